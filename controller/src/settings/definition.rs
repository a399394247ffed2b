//! What a setting is: its key, its type with bounds, its default, and the check of a value.

use api_types::{FieldError, Host, HumanDuration};
use serde_json::Value;

/// Path of the errors of a setting's value.
const PATH: &str = "spec.value";
/// Longest setting of type string.
const MAX_STRING: usize = 1024;

/// The type of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Text without control characters.
    String,
    /// A whole number between two bounds, both allowed.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// A length of time between two bounds, both allowed.
    Duration {
        /// Shortest.
        min: HumanDuration,
        /// Longest.
        max: HumanDuration,
    },
    /// A DNS name of at most so many bytes.
    Host {
        /// Most bytes.
        max: usize,
    },
    /// One of these words.
    Words(&'static [&'static str]),
}

/// The default of a setting, of the setting's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// A string, duration, host or word.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Dotted key.
    pub key: &'static str,
    /// Type and bounds.
    pub value_type: ValueType,
    /// Value when nothing is set.
    pub default: DefaultValue,
    /// What it does, its unit and when a change takes effect.
    pub description: &'static str,
}

impl Definition {
    /// The default as JSON.
    pub fn default_value(&self) -> Value {
        match self.default {
            DefaultValue::Text(text) => text.into(),
            DefaultValue::Integer(number) => number.into(),
            DefaultValue::Boolean(truth) => truth.into(),
        }
    }

    /// The type's word: `string`, `integer`, `boolean`, `duration`, `host`, or the words joined by `|`.
    pub fn type_word(&self) -> String {
        match self.value_type {
            ValueType::String => "string".to_owned(),
            ValueType::Integer { .. } => "integer".to_owned(),
            ValueType::Boolean => "boolean".to_owned(),
            ValueType::Duration { .. } => "duration".to_owned(),
            ValueType::Host { .. } => "host".to_owned(),
            ValueType::Words(words) => words.join("|"),
        }
    }

    /// What is allowed, for people.
    fn expected(&self) -> String {
        match self.value_type {
            ValueType::String => format!("a text of at most {MAX_STRING} bytes without control characters"),
            ValueType::Integer { min, max } => format!("a whole number from {min} to {max}"),
            ValueType::Boolean => "true or false".to_owned(),
            ValueType::Duration { min, max } => format!("a duration from {min} to {max}, such as \"10s\" or \"5m\""),
            ValueType::Host { max } => format!("a lower-case DNS name of at most {max} bytes with at least two labels"),
            ValueType::Words(words) => format!("one of: {}", words.join(", ")),
        }
    }

    /// Checks a value and brings it into its stored form.
    ///
    /// # Errors
    /// A field error at `spec.value` that says what is allowed.
    pub fn check(&self, value: &Value) -> Result<Value, FieldError> {
        self.normal_form(value).ok_or_else(|| {
            let mut error = FieldError::new(PATH, format!("{} must be {}; {} is not", self.key, self.expected(), excerpt(value)));
            if let (ValueType::Words(words), Value::String(text)) = (self.value_type, value) {
                error.suggestion = nearest(text, words.iter().copied());
            }
            error
        })
    }

    fn normal_form(&self, value: &Value) -> Option<Value> {
        match (self.value_type, value) {
            (ValueType::String, Value::String(text)) => {
                (text.len() <= MAX_STRING && !text.chars().any(char::is_control)).then(|| value.clone())
            }
            (ValueType::Integer { min, max }, Value::Number(number)) => {
                number.as_i64().filter(|number| (min..=max).contains(number)).map(Value::from)
            }
            (ValueType::Boolean, Value::Bool(_)) => Some(value.clone()),
            (ValueType::Duration { min, max }, Value::String(text)) => {
                let parsed: HumanDuration = text.parse().ok()?;
                // "60s" and "1m" are one value, so they are stored as one.
                (min..=max).contains(&parsed).then(|| parsed.to_string().into())
            }
            (ValueType::Host { max }, Value::String(text)) => (text.len() <= max && text.parse::<Host>().is_ok()).then(|| value.clone()),
            (ValueType::Words(words), Value::String(text)) => words.contains(&text.as_str()).then(|| value.clone()),
            _ => None,
        }
    }
}

/// The nearest of some words, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    words
        .map(|word| (strsim::jaro_winkler(text, word), word))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word.to_owned())
}

fn excerpt(value: &Value) -> String {
    let text: String = value.to_string().chars().take(60).collect();
    text
}
