//! The types that a configuration value may have, and how each is written.
//!
//! Durations are `500ms`, `10 s`, `1 min`, `2 h`, `1 d`; a bare number is
//! milliseconds. Memory sizes are `64mb`, `1g`, `32768`; a bare number is
//! bytes, and units are powers of 1024, as Flink's. Knows no option.

use crate::key_group::MAX_PARALLELISM_LIMIT;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A type that a configuration value may have.
pub trait ConfigValue: Sized {
    /// What the documentation calls the type.
    fn type_name() -> String;

    /// Reads a value.
    ///
    /// # Errors
    /// What was expected instead, such as ``a duration like `10 s` or `500ms` ``.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value of an option that is not set and has no default; `None` if
    /// the type has none, and the option must have a default.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    fn type_name() -> String {
        T::type_name()
    }

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl ConfigValue for bool {
    fn type_name() -> String {
        "boolean".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("`true` or `false`".into()),
        }
    }
}

impl ConfigValue for u32 {
    fn type_name() -> String {
        "integer".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("an integer from 0 to {}", u32::MAX))
    }
}

/// How many subtasks or key groups an operator may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallelism(pub u32);

impl ConfigValue for Parallelism {
    fn type_name() -> String {
        format!("integer, 1 to {MAX_PARALLELISM_LIMIT}")
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..=MAX_PARALLELISM_LIMIT) => Ok(Self(number)),
            _ => Err(format!("an integer from 1 to {MAX_PARALLELISM_LIMIT}")),
        }
    }
}

impl ConfigValue for NonZeroU32 {
    fn type_name() -> String {
        "integer, 1 or more".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("an integer from 1 to {}", u32::MAX))
    }
}

impl ConfigValue for f64 {
    fn type_name() -> String {
        "number".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("a number such as `1.5`".into()),
        }
    }
}

/// A number from 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fraction(pub f64);

impl ConfigValue for Fraction {
    fn type_name() -> String {
        "fraction".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(Self(number)),
            _ => Err("a number from 0.0 to 1.0".into()),
        }
    }
}

/// Ports to try, in this order; 0 is any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(Vec<RangeInclusive<u16>>);

impl PortRange {
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().cloned().flatten()
    }
}

impl PortRange {
    /// The port, if it is a certain one.
    pub fn only(&self) -> Option<u16> {
        let mut ports = self.ports();
        ports.next().filter(|port| *port != 0 && ports.next().is_none())
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self(vec![port..=port])
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

impl ConfigValue for PortRange {
    fn type_name() -> String {
        "port, or ports to try".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let range = |part: &str| -> Option<RangeInclusive<u16>> {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            let (start, end) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
            (start <= end).then_some(start..=end)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| "a port like `50100`, or ports like `50100-50200,50300`".into())
    }
}

impl ConfigValue for String {
    fn type_name() -> String {
        "text".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl ConfigValue for Vec<String> {
    fn type_name() -> String {
        "list".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(';').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }
}

/// Splits `10 s` into its number and its unit in lower case.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim().to_ascii_lowercase()))
}

impl ConfigValue for Duration {
    fn type_name() -> String {
        "duration".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a duration such as `10 s`, `500ms` or `1 min`".to_owned();
        let (number, unit) = number_and_unit(text).ok_or_else(expected)?;
        let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs).ok_or_else(expected);
        match unit.as_str() {
            "ns" | "nano" | "nanosecond" | "nanoseconds" => Ok(Duration::from_nanos(number)),
            "us" | "µs" | "micro" | "microsecond" | "microseconds" => Ok(Duration::from_micros(number)),
            "" | "ms" | "milli" | "millisecond" | "milliseconds" => Ok(Duration::from_millis(number)),
            "s" | "sec" | "second" | "seconds" => seconds(1),
            "m" | "min" | "minute" | "minutes" => seconds(60),
            "h" | "hour" | "hours" => seconds(3600),
            "d" | "day" | "days" => seconds(86_400),
            _ => Err(expected()),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

impl MemorySize {
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }
}

impl ConfigValue for MemorySize {
    fn type_name() -> String {
        "memory size".into()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a memory size such as `64mb`, `1g` or `32768` bytes".to_owned();
        let (number, unit) = number_and_unit(text).ok_or_else(expected)?;
        let shift = match unit.as_str() {
            "" | "b" | "bytes" => 0,
            "k" | "kb" | "kib" | "kibibytes" => 10,
            "m" | "mb" | "mib" | "mebibytes" => 20,
            "g" | "gb" | "gib" | "gibibytes" => 30,
            "t" | "tb" | "tib" | "tebibytes" => 40,
            _ => return Err(expected()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(expected)
    }
}

/// `1.5 gb`, `64 mb`, `100 bytes`: the largest unit in which it is at least 1.
impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "tb"), (30, "gb"), (20, "mb"), (10, "kb")] {
            if self.0 >= 1 << shift {
                let count = self.0 as f64 / (1u64 << shift) as f64;
                let text = format!("{count:.2}");
                let text = text.trim_end_matches('0').trim_end_matches('.');
                return write!(f, "{text} {unit}");
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// An enum whose values are words; case does not matter.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $other:literal)*,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl ConfigValue for $name {
            fn type_name() -> String {
                [$(format!("`{}`", $word),)*].join(", ")
            }

            fn parse(text: &str) -> Result<Self, String> {
                $(if text.eq_ignore_ascii_case($word) $(|| text.eq_ignore_ascii_case($other))* {
                    return Ok($name::$variant);
                })*
                Err(format!("one of {}", Self::type_name()))
            }
        }
    };
}

words! {
    /// `execution.runtime-mode`.
    RuntimeMode {
        Streaming = "STREAMING",
        Batch = "BATCH",
        /// BATCH if every source is bounded.
        Automatic = "AUTOMATIC",
    }
}

words! {
    /// `execution.target`: where a job runs.
    Target {
        Local = "local",
        Remote = "remote",
        YarnSession = "yarn-session",
        YarnPerJob = "yarn-per-job",
        YarnApplication = "yarn-application",
    }
}

words! {
    /// `high-availability.type`: what outlives a JobManager.
    HighAvailabilityType {
        /// Nothing.
        None = "NONE",
        /// What is in a folder.
        Filesystem = "filesystem",
    }
}

words! {
    /// `taskmanager.wasm.preemption`: how a busy guest is made to yield.
    Preemption {
        Epoch = "epoch",
        None = "none",
    }
}

words! {
    /// `restart-strategy.type`.
    RestartStrategyType {
        None = "none" | "off" | "disable",
        FixedDelay = "fixed-delay" | "fixeddelay",
        ExponentialDelay = "exponential-delay" | "exponentialdelay",
        FailureRate = "failure-rate" | "failurerate",
    }
}

words! {
    /// `env.log.level`.
    LogLevel {
        Error = "ERROR",
        Warn = "WARN",
        Info = "INFO",
        Debug = "DEBUG",
        Trace = "TRACE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10 s", Duration::from_secs(10)),
            ("500ms", Duration::from_millis(500)),
            ("1 min", Duration::from_secs(60)),
            ("100", Duration::from_millis(100)),
            ("2 h", Duration::from_secs(7200)),
            ("0 s", Duration::ZERO),
        ] {
            assert_eq!(Duration::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "-1 s", "1.5 s", "10 parsecs", "99999999999999999999 s"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_sizes() {
        for (text, expected) in [
            ("64mb", 64 << 20),
            ("1g", 1 << 30),
            ("32768", 32768),
            ("32 kb", 32768),
            ("0", 0),
            ("1 TiB", 1 << 40),
        ] {
            assert_eq!(MemorySize::parse(text), Ok(MemorySize(expected)), "{text}");
        }
        for text in ["", "mb", "-1", "1.5g", "1 elephant", "99999999999g"] {
            assert!(MemorySize::parse(text).is_err(), "{text}");
        }
        for (bytes, expected) in
            [(100, "100 bytes"), (64 << 20, "64 mb"), (1728 << 20, "1.69 gb"), (10 << 30, "10 gb")]
        {
            assert_eq!(MemorySize(bytes).to_string(), expected);
        }
    }

    #[test]
    fn ports() {
        let all = |text| PortRange::parse(text).map(|range| range.ports().collect::<Vec<_>>());
        assert_eq!(all("0"), Ok(vec![0]));
        assert_eq!(all("50100-50102, 7"), Ok(vec![50100, 50101, 50102, 7]));
        assert_eq!(PortRange::parse("50100-50102,7").unwrap().to_string(), "50100-50102,7");
        let only = |text| PortRange::parse(text).unwrap().only();
        assert_eq!([only("6123"), only("0"), only("6123-6124")], [Some(6123), None, None]);
        for text in ["", "x", "-1", "2-1", "1,,2", "65536"] {
            assert!(all(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!(RuntimeMode::parse("batch"), Ok(RuntimeMode::Batch));
        assert_eq!(RestartStrategyType::parse("off"), Ok(RestartStrategyType::None));
        assert_eq!(
            Target::parse("moon").unwrap_err(),
            "one of `local`, `remote`, `yarn-session`, `yarn-per-job`, `yarn-application`"
        );
        assert_eq!(Vec::<String>::parse("a; b;;c"), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert!(Fraction::parse("1.1").is_err());
        assert!(f64::parse("NaN").is_err());
        assert!(NonZeroU32::parse("0").is_err());
        assert!(u32::parse("-1").is_err());
        assert_eq!(Parallelism::parse("32768"), Ok(Parallelism(32_768)));
        for text in ["0", "-1", "32769", "x"] {
            assert_eq!(Parallelism::parse(text).unwrap_err(), "an integer from 1 to 32768");
        }
    }
}
