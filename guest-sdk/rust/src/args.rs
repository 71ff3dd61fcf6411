//! The arguments of a job: what stands behind the component on the command
//! line. Errors are one line that names the argument.

use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

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
    asked: RefCell<BTreeSet<String>>,
}

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
        args
    }

    /// Arguments as they would stand on the command line.
    pub fn of<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(arguments.into_iter().map(Into::into).collect())
    }

    fn find(&self, key: &str) -> Option<&Option<String>> {
        self.asked.borrow_mut().insert(key.to_string());
        self.named.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of `--key`, if it is given with one.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key)?.as_deref()
    }

    /// The value of `--key`, or an error that says that it is missing.
    pub fn required(&self, key: &str) -> Result<&str> {
        match self.find(key) {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(Error::new(format_args!("the argument --{key} needs a value"))),
            None => Err(Error::new(format_args!("the argument --{key} is missing"))),
        }
    }

    /// The value of `--key` as a `V`, if it is given.
    pub fn parse<V: FromStr>(&self, key: &str) -> Result<Option<V>>
    where
        V::Err: fmt::Display,
    {
        match self.find(key) {
            None => Ok(None),
            Some(None) => Err(Error::new(format_args!("the argument --{key} needs a value"))),
            Some(Some(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(error) => {
                    Err(Error::new(format_args!("the argument --{key} cannot be `{text}`: {error}")))
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
        self.find(key).is_some()
    }

    /// The positional argument of an index, from 0.
    pub fn positional(&self, index: usize) -> Option<&str> {
        self.positional.get(index).map(String::as_str)
    }

    /// All positional arguments.
    pub fn positionals(&self) -> &[String] {
        &self.positional
    }

    /// An error that names the first `--key` that the program never asked
    /// for, with the nearest known one. Call it when all arguments are read.
    pub fn deny_unknown(&self) -> Result<()> {
        let asked = self.asked.borrow();
        let Some((unknown, _)) = self.named.iter().find(|(key, _)| !asked.contains(key)) else {
            return Ok(());
        };
        let nearest = asked.iter().map(|key| (distance(key, unknown), key)).min();
        Err(match nearest {
            Some((distance, key)) if distance <= 3 => {
                Error::new(format_args!("unknown argument --{unknown}; did you mean --{key}?"))
            }
            _ => Error::new(format_args!("unknown argument --{unknown}")),
        })
    }
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
            "the argument --count cannot be `many`: invalid digit found in string"
        );
        assert!(args.get("output").is_none());
        assert_eq!(
            line(args.deny_unknown().unwrap_err()),
            "unknown argument --ouput; did you mean --output?"
        );
    }
}
