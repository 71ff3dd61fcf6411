//! The arguments of a job: what stands behind the component on the command
//! line. Errors are one line that names the argument.

use crate::error::{Error, Result};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

/// Behind the component it asks for the arguments of the job.
const HELP: &str = "help";

/// Whether a name is taken for another one, misspelled.
fn is_like(wrong: &str, right: &str) -> bool {
    distance(wrong, right) <= (right.len() / 3).max(1)
}

/// The arguments of a job: `--key value`, `--key=value`, `--flag`, and
/// positional ones.
///
/// ```
/// use heddle::prelude::*;
/// let args = Args::of(["in.txt", "--threshold", "3", "--verbose"]);
/// assert_eq!(args.positional(0), Some("in.txt"));
/// assert_eq!(args.parse::<u32>("threshold").unwrap(), Some(3));
/// assert!(args.flag("verbose"));
/// assert!(args.required("output").is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Args {
    named: Vec<(String, Option<String>)>,
    positional: Vec<String>,
    asked: Rc<RefCell<Asked>>,
}

/// How a program asked for a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Required,
    Optional,
    Flag,
}

/// What a program has asked for so far: all that is known of the arguments
/// that it takes.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// In the order in which it asked.
    keys: Vec<(String, Kind)>,
    /// So many positional arguments, from the first.
    positional: usize,
    is_help_wanted: bool,
}

impl Asked {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, _)| name == key)
    }

    fn add(&mut self, key: &str, kind: Kind) {
        if !self.has(key) {
            self.keys.push((key.to_string(), kind));
        }
    }

    /// The known key that a wrong one is most like.
    fn nearest(&self, wrong: &str) -> Option<&str> {
        let known = self.keys.iter().map(|(key, _)| key.as_str()).filter(|key| is_like(wrong, key));
        known.min_by_key(|key| distance(wrong, key))
    }

    /// What the program takes, if that is what was wanted of it.
    pub(crate) fn help(&self) -> Option<Error> {
        if !self.is_help_wanted || self.has(HELP) {
            return None;
        }
        Some(Error::new(format_args!("{}; {OPTIONS_OF_HEDDLE}", self.usage())))
    }

    fn usage(&self) -> String {
        let mut parts: Vec<String> =
            (1..=self.positional).map(|number| format!("<ARGUMENT {number}>")).collect();
        parts.extend(self.keys.iter().map(|(key, kind)| match kind {
            Kind::Required => format!("--{key} <VALUE>"),
            Kind::Optional => format!("[--{key} <VALUE>]"),
            Kind::Flag => format!("[--{key}]"),
        }));
        match parts.as_slice() {
            [] => "this job takes no arguments".to_string(),
            parts => format!("this job takes {}", parts.join(" ")),
        }
    }
}

const OPTIONS_OF_HEDDLE: &str = "options of Heddle stand before the component";

impl Args {
    pub(crate) fn new(arguments: Vec<String>) -> Self {
        let mut args = Self::default();
        let mut rest = arguments.into_iter().peekable();
        let mut only_positional = false;
        while let Some(argument) = rest.next() {
            match argument.strip_prefix("--") {
                Some("") if !only_positional => only_positional = true,
                Some(key) if !only_positional => {
                    if let Some((key, value)) = key.split_once('=') {
                        args.named.push((key.into(), Some(value.into())));
                    } else {
                        let value = rest.next_if(|next| !next.starts_with("--"));
                        args.named.push((key.into(), value));
                    }
                }
                _ => args.positional.push(argument),
            }
        }
        args.asked.borrow_mut().is_help_wanted = args.named.iter().any(|(key, _)| key == HELP);
        args
    }

    /// What the program asks for, now and later.
    pub(crate) fn asked(&self) -> Rc<RefCell<Asked>> {
        Rc::clone(&self.asked)
    }

    /// Arguments as they would stand on the command line.
    pub fn of<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(arguments.into_iter().map(Into::into).collect())
    }

    fn find(&self, key: &str, kind: Kind) -> Option<&Option<String>> {
        self.asked.borrow_mut().add(key, kind);
        self.named.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `--key`, if it is given with one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key, Kind::Optional)?.as_deref()
    }

    /// The value of `--key`, or an error that says that it is missing.
    pub fn required(&self, key: &str) -> Result<&str> {
        match self.find(key, Kind::Required) {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(Error::new(format_args!("the argument --{key} needs a value"))),
            // What is built with it is thrown away: the arguments are told instead.
            None if self.asked.borrow().is_help_wanted => Ok(""),
            None => Err(self.missing(key)),
        }
    }

    fn missing(&self, key: &str) -> Error {
        let asked = self.asked.borrow();
        let misspelled =
            self.named.iter().map(|(name, _)| name).find(|name| !asked.has(name) && is_like(name, key));
        match misspelled {
            Some(name) => {
                Error::new(format_args!("the argument --{key} is missing; is --{name} meant for it?"))
            }
            None => Error::new(format_args!("the argument --{key} is missing")),
        }
    }

    /// The value of `--key` as a `V`, if it is given.
    pub fn parse<V: FromStr>(&self, key: &str) -> Result<Option<V>>
    where
        V::Err: fmt::Display,
    {
        match self.find(key, Kind::Optional) {
            None => Ok(None),
            Some(None) => Err(Error::new(format_args!("the argument --{key} needs a value"))),
            Some(Some(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(error) => {
                    let why = expected::<V>().unwrap_or_else(|| V::Err::to_string(&error));
                    Err(Error::new(format_args!("the argument --{key} cannot be `{text}`: {why}")))
                }
            },
        }
    }

    /// The value of `--key` as a `V`, or `default`.
    pub fn parse_or<V: FromStr>(&self, key: &str, default: V) -> Result<V>
    where
        V::Err: fmt::Display,
    {
        Ok(self.parse(key)?.unwrap_or(default))
    }

    /// Whether `--key` is given, with or without a value.
    pub fn flag(&self, key: &str) -> bool {
        self.find(key, Kind::Flag).is_some()
    }

    /// The positional argument of an index, from 0.
    pub fn positional(&self, index: usize) -> Option<&str> {
        let mut asked = self.asked.borrow_mut();
        asked.positional = asked.positional.max(index.saturating_add(1));
        self.positional.get(index).map(String::as_str)
    }

    /// All positional arguments.
    pub fn positionals(&self) -> &[String] {
        let mut asked = self.asked.borrow_mut();
        asked.positional = asked.positional.max(self.positional.len());
        &self.positional
    }

    /// An error that names the first argument that the program never asked
    /// for, with the nearest known one, or one that is given twice. Call it
    /// when all arguments are read.
    pub fn deny_unknown(&self) -> Result<()> {
        let asked = self.asked.borrow();
        if asked.is_help_wanted && !asked.has(HELP) {
            return asked.help().map_or(Ok(()), Err);
        }
        if let Some((unknown, _)) = self.named.iter().find(|(key, _)| !asked.has(key)) {
            return Err(match asked.nearest(unknown) {
                Some(key) => Error::new(format_args!("unknown argument --{unknown}; did you mean --{key}?")),
                None => {
                    let usage = asked.usage();
                    Error::new(format_args!("unknown argument --{unknown}; {usage}; {OPTIONS_OF_HEDDLE}"))
                }
            });
        }
        let is_repeated =
            |index: usize| self.named[..index].iter().any(|(key, _)| *key == self.named[index].0);
        if let Some(index) = (0..self.named.len()).find(|index| is_repeated(*index)) {
            return Err(Error::new(format_args!("the argument --{} is given twice", self.named[index].0)));
        }
        match self.positional.get(asked.positional) {
            None => Ok(()),
            Some(unknown) => {
                let usage = asked.usage();
                Err(Error::new(format_args!("unknown argument `{unknown}`; {usage}; {OPTIONS_OF_HEDDLE}")))
            }
        }
    }
}

/// What a text of such a type is, in words; of other types their own error
/// tells.
fn expected<V>() -> Option<String> {
    let whole = |min: i128, max: u128| format!("it has to be a whole number from {min} to {max}");
    Some(match std::any::type_name::<V>() {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" => whole(0, u64::MAX.into()),
        "usize" => whole(0, usize::MAX as u128),
        "i8" => whole(i8::MIN.into(), i8::MAX as u128),
        "i16" => whole(i16::MIN.into(), i16::MAX as u128),
        "i32" => whole(i32::MIN.into(), i32::MAX as u128),
        "i64" => whole(i64::MIN.into(), i64::MAX as u128),
        "isize" => whole(isize::MIN as i128, isize::MAX as u128),
        "f32" | "f64" => "it has to be a number".to_string(),
        "bool" => "it has to be `true` or `false`".to_string(),
        "char" => "it has to be one character".to_string(),
        _ => return None,
    })
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_arguments() {
        let args = Args::of(["--a", "1", "x", "--b=2", "--flag", "--n", "-5", "--", "--y"]);
        assert_eq!(args.required("a").unwrap(), "1");
        assert_eq!(args.get("b"), Some("2"));
        assert!(args.flag("flag"));
        assert_eq!(args.get("flag"), None);
        assert_eq!(args.parse::<i32>("n").unwrap(), Some(-5));
        assert_eq!(args.positionals(), ["x", "--y"]);
    }

    #[test]
    fn errors_are_one_clear_line() {
        let args = Args::of(["--count", "many", "--ouput", "x", "--last"]);
        let line = |error: Error| error.to_string();
        assert_eq!(line(args.required("input").unwrap_err()), "the argument --input is missing");
        assert_eq!(line(args.required("last").unwrap_err()), "the argument --last needs a value");
        assert_eq!(
            line(args.parse::<u32>("count").unwrap_err()),
            "the argument --count cannot be `many`: it has to be a whole number from 0 to 4294967295"
        );
        assert_eq!(
            line(args.required("output").unwrap_err()),
            "the argument --output is missing; is --ouput meant for it?"
        );
        assert!(args.get("output").is_none());
        assert_eq!(
            line(args.deny_unknown().unwrap_err()),
            "unknown argument --ouput; did you mean --output?"
        );
    }

    fn denied(arguments: &[&str]) -> String {
        let args = Args::of(arguments.iter().copied());
        let read = args.required("input").and_then(|_| args.parse::<u32>("limit")).map(|_| args.flag("loud"));
        let denied = read.and_then(|_| args.deny_unknown());
        denied.map_or_else(|error| error.to_string(), |()| "taken".to_string())
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let takes = "this job takes --input <VALUE> [--limit <VALUE>] [--loud]";
        let heddle = "options of Heddle stand before the component";
        assert_eq!(denied(&["--input", "a", "--limit", "3", "--loud"]), "taken");
        assert_eq!(denied(&["--input", "a", "--input", "b"]), "the argument --input is given twice");
        assert_eq!(denied(&["--input", "a", "more"]), format!("unknown argument `more`; {takes}; {heddle}"));
        assert_eq!(denied(&["-p", "3", "--input", "a"]), format!("unknown argument `-p`; {takes}; {heddle}"));
        assert_eq!(
            denied(&["--input", "a", "--parallelism=3"]),
            format!("unknown argument --parallelism; {takes}; {heddle}")
        );
        assert_eq!(
            denied(&["--input", "a", "--limt", "3"]),
            "unknown argument --limt; did you mean --limit?"
        );
    }

    #[test]
    fn help_tells_what_the_program_asks_for() {
        let takes = "this job takes --input <VALUE> [--limit <VALUE>] [--loud]";
        assert_eq!(denied(&["--help"]), format!("{takes}; options of Heddle stand before the component"));
        let args = Args::of(["--help"]);
        assert!(args.flag("help") && args.asked().borrow().help().is_none(), "the program's own");
        let args = Args::of(["--help"]);
        args.positional(1);
        assert_eq!(
            args.asked().borrow().help().unwrap().message(),
            "this job takes <ARGUMENT 1> <ARGUMENT 2>; options of Heddle stand before the component"
        );
        assert!(Args::of(["x"]).asked().borrow().help().is_none());
    }
}
