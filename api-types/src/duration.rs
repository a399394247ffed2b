//! Lengths of time as people write them: `250ms`, `10s`, `5m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{ParseError, excerpt};

/// A length of time with millisecond resolution, at most 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(u64);

/// Longest accepted length: 30 days. Nothing in a manifest sensibly waits longer.
const MAX_MILLIS: u64 = 30 * 24 * 3_600_000;
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl HumanDuration {
    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }
    /// From whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// As the standard library's type.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }
    /// As chrono's type.
    pub fn chrono(self) -> chrono::Duration {
        chrono::Duration::milliseconds(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl FromStr for HumanDuration {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text, MAX_MILLIS)
    }
}

impl HumanDuration {
    fn parse(text: &str, max: u64) -> Result<Self, ParseError> {
        let err = || ParseError::new(format!("a duration looks like \"10s\", \"5m\" or \"1h30m\"; \"{}\" does not", excerpt(text)));
        let mut rest = text;
        let mut total: u64 = 0;
        let mut smallest = u64::MAX;
        if rest.is_empty() {
            return Err(err());
        }
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (unit, tail) = tail.split_at(letters);
            let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(err)?;
            // "5m1h" and "1s1s" are typing errors, not durations.
            if factor >= smallest || number.len() > 12 {
                return Err(err());
            }
            smallest = factor;
            let number: u64 = number.parse().map_err(|_| err())?;
            total = number.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or_else(err)?;
            rest = tail;
        }
        if total > max {
            return Err(ParseError::new(format!("a duration must be at most {}; \"{}\" is more", Self(max), excerpt(text))));
        }
        Ok(Self(total))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(d|h|ms|m|s))+$", "examples": ["10s", "5m", "1h30m"]})
    }
}

/// How long a token is good for: a minute to ten years, such as `12h` or `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(HumanDuration);

/// Shortest lifetime: a minute. A shorter one is over before the token was copied.
const MIN_LIFETIME: u64 = 60_000;
/// Longest lifetime: ten years.
const MAX_LIFETIME: u64 = 3650 * 86_400_000;

impl Lifetime {
    /// As chrono's type.
    pub fn chrono(self) -> chrono::Duration {
        self.0.chrono()
    }
}

impl FromStr for Lifetime {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = HumanDuration::parse(text, MAX_LIFETIME)?;
        if parsed.0 < MIN_LIFETIME {
            return Err(ParseError::new(format!("a lifetime must be at least 1m; \"{}\" is less", excerpt(text))));
        }
        Ok(Self(parsed))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Lifetime {
    fn schema_name() -> Cow<'static, str> {
        "Lifetime".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(d|h|ms|m|s))+$", "examples": ["12h", "90d"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_may_be_longer_than_other_durations_but_not_without_bound() {
        for text in ["1m", "12h", "90d", "3650d"] {
            assert_eq!(text.parse::<Lifetime>().map(|lifetime| lifetime.to_string()).as_deref(), Ok(text));
        }
        for bad in ["59s", "3651d", "0d", "", "90", "999999999999d"] {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_read_and_print() {
        for (text, millis) in [("0s", 0), ("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000)] {
            let parsed = text.parse::<HumanDuration>();
            assert_eq!(parsed, Ok(HumanDuration(millis)), "{text}");
            assert_eq!(parsed.map(|d| d.to_string()).as_deref(), Ok(text));
        }
        for bad in ["", "10", "s", "5m1h", "1s1s", "1.5s", "-1s", "10 s", "31d", "999999999999d", "１s"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }
}
