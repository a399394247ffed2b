//! Quantities of CPU and memory, in Kubernetes' notation.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{ParseError, excerpt};

/// CPU in thousandths of a core: `500m`, `0.5`, `2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u64);

impl Cpu {
    /// Thousandths of a core.
    pub fn millis(self) -> u64 {
        self.0
    }
    /// Billionths of a core, the engine's unit.
    pub fn nanos(self) -> i64 {
        i64::try_from(self.0.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
    }
}

impl FromStr for Cpu {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let err = || ParseError::new(format!("a CPU quantity looks like \"500m\", \"0.5\" or \"2\"; \"{}\" does not", excerpt(text)));
        let millis = if let Some(millis) = text.strip_suffix('m') {
            digits(millis).ok_or_else(err)?
        } else {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            if fraction.is_empty() || fraction.len() > 3 {
                return Err(err());
            }
            let whole = digits(whole).ok_or_else(err)?;
            let fraction_millis = digits(fraction).ok_or_else(err)? * 10u64.pow(3 - u32::try_from(fraction.len()).unwrap_or(3));
            whole.checked_mul(1000).and_then(|w| w.checked_add(fraction_millis)).ok_or_else(err)?
        };
        // 1 m is below what the kernel's scheduler can express; 1,000 cores is beyond any node.
        if (10..=1_000_000).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(ParseError::new(format!("a CPU quantity must be between 10m and 1000; \"{}\" is not", excerpt(text))))
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

/// Memory in bytes: `256Mi`, `1Gi`, `500M`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

const UNITS: [(&str, u64); 6] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];

impl Memory {
    /// Bytes.
    pub fn bytes(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl FromStr for Memory {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let err = || ParseError::new(format!("a memory quantity looks like \"256Mi\" or \"1Gi\"; \"{}\" does not", excerpt(text)));
        let (number, unit) =
            UNITS.iter().find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit))).unwrap_or((text, 1));
        let bytes = digits(number).and_then(|n| n.checked_mul(unit)).ok_or_else(err)?;
        // The engine refuses limits under 6 MiB (4 MiB before 20.10).
        if (6 * (1 << 20)..=1 << 44).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(ParseError::new(format!("a memory quantity must be between 6Mi and 16384Gi; \"{}\" is not", excerpt(text))))
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, unit) in UNITS {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// An amount of bytes such as a limit of a request's body: `512Ki`, `50Mi`; from 1Ki to 2Gi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let err = || ParseError::new(format!("an amount of bytes looks like \"512Ki\" or \"50Mi\"; \"{}\" does not", excerpt(text)));
        let (number, unit) =
            UNITS.iter().find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit))).unwrap_or((text, 1));
        let bytes = digits(number).and_then(|n| n.checked_mul(unit)).ok_or_else(err)?;
        if (1 << 10..=2 << 30).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(ParseError::new(format!("an amount of bytes must be between 1Ki and 2Gi; \"{}\" is not", excerpt(text))))
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, unit) in UNITS {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}", self.0)
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

macro_rules! quantity_serde {
    ($name:ident, $pattern:expr, $example:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "examples": [$example]})
            }
        }
    };
}
quantity_serde!(Cpu, "^([0-9]+m|[0-9]+(\\.[0-9]{1,3})?)$", "500m");
quantity_serde!(Memory, "^[0-9]+(Gi|Mi|Ki|G|M|k)?$", "256Mi");
quantity_serde!(ByteSize, "^[0-9]+(Gi|Mi|Ki|G|M|k)?$", "50Mi");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_notations_agree() {
        for (text, millis) in [("500m", 500), ("0.5", 500), ("0.05", 50), ("2", 2000), ("1.250", 1250)] {
            assert_eq!(text.parse::<Cpu>().map(Cpu::millis), Ok(millis), "{text}");
        }
        for bad in ["", "m", "-1", "1.", "1.2345", "1e3", "0", "1001", "١", "99999999999999999999"] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_notations_agree() {
        for (text, bytes) in [("256Mi", 268_435_456), ("1Gi", 1 << 30), ("500M", 500_000_000), ("8388608", 8_388_608)] {
            assert_eq!(text.parse::<Memory>().map(Memory::bytes), Ok(bytes), "{text}");
        }
        for bad in ["", "Mi", "1mi", "1 Gi", "1Ti", "5Mi", "-1Gi", "99999999999Gi"] {
            assert!(bad.parse::<Memory>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!("50Mi".parse::<ByteSize>().map(|size| (size.bytes(), size.to_string())), Ok((50 << 20, "50Mi".to_owned())));
        for bad in ["", "0", "1023", "3Gi", "1mb", "-1Mi"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn display_reads_back_as_the_same_value() {
        for text in ["500m", "2", "1250m"] {
            assert_eq!(text.parse::<Cpu>().map(|q| q.to_string()).as_deref(), Ok(text));
        }
        for text in ["256Mi", "3Gi", "500M", "6291457"] {
            assert_eq!(text.parse::<Memory>().map(|q| q.to_string()).as_deref(), Ok(text));
        }
    }
}
