//! Label and field selectors, with the grammar of Kubernetes: `team=core,tier in (web,api),!legacy` and
//! `status.ready=False,spec.image!=nginx:1`. Pure: parsing, printing as data for the store, and matching.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use crate::condition::{ConditionStatus, ConditionType};
use crate::name::{LabelKey, LabelValue, ParseError, excerpt};

/// Longest selector in bytes.
pub const MAX_SELECTOR: usize = 4096;
/// Most terms of one selector.
const MAX_TERMS: usize = 32;

/// What a label must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelOperator {
    /// One of the values.
    In,
    /// None of the values; an object without the label matches as well.
    NotIn,
    /// Any value.
    Exists,
    /// The object does not have the label.
    Absent,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelTerm {
    /// The label's key.
    pub key: String,
    /// What it must be.
    pub op: LabelOperator,
    /// The values of `in` and `notin`.
    pub vals: BTreeSet<String>,
}

impl LabelTerm {
    fn matches(&self, value: Option<&str>) -> bool {
        match self.op {
            LabelOperator::In => value.is_some_and(|value| self.vals.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.vals.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::Absent => value.is_none(),
        }
    }
}

/// Which labels objects must have; every term must hold. The empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LabelSelector(Vec<LabelTerm>);

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &BTreeMap<LabelKey, LabelValue>) -> bool {
        self.0.iter().all(|term| term.matches(labels.iter().find(|(key, _)| key.as_str() == term.key).map(|(_, value)| value.as_str())))
    }
    /// Whether labels in their JSON form satisfy it.
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.0.iter().all(|term| term.matches(labels.get(&term.key).and_then(Value::as_str)))
    }
}

const LABEL_GRAMMAR: &str = "labelSelector is made of key=value, key!=value, key in (a,b), key notin (a,b), key and !key, joined by commas";

impl FromStr for LabelSelector {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        check_length("labelSelector", text)?;
        let terms = split_terms(text)?.into_iter().map(label_term).collect::<Result<Vec<_>, _>>()?;
        check_terms("labelSelector", terms.len())?;
        Ok(Self(terms))
    }
}

fn check_length(what: &str, text: &str) -> Result<(), ParseError> {
    if text.len() <= MAX_SELECTOR {
        return Ok(());
    }
    Err(ParseError::new(format!("{what} has at most {MAX_SELECTOR} bytes")))
}

fn check_terms(what: &str, count: usize) -> Result<(), ParseError> {
    if count <= MAX_TERMS {
        return Ok(());
    }
    Err(ParseError::new(format!("{what} has at most {MAX_TERMS} terms; there are {count}")))
}

/// Splits at the commas that are not between parentheses.
fn split_terms(text: &str) -> Result<Vec<&str>, ParseError> {
    let (mut terms, mut begin, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(ParseError::new(format!("{LABEL_GRAMMAR}; the parentheses of \"{}\" do not match", excerpt(text)))),
            ',' if !inside => {
                terms.extend(text.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(ParseError::new(format!("{LABEL_GRAMMAR}; a parenthesis of \"{}\" is not closed", excerpt(text))));
    }
    terms.extend(text.get(begin..));
    Ok(terms.into_iter().map(str::trim).filter(|term| !term.is_empty()).collect())
}

fn label_term(text: &str) -> Result<LabelTerm, ParseError> {
    let err = || ParseError::new(format!("{LABEL_GRAMMAR}; \"{}\" is none of them", excerpt(text)));
    let term = |key: &str, op, vals: BTreeSet<String>| {
        let key = key.trim();
        key.parse::<LabelKey>().map_err(|_| err())?;
        Ok(LabelTerm { key: key.to_owned(), op, vals })
    };
    let one = |value: &str| -> Result<BTreeSet<String>, ParseError> { Ok(BTreeSet::from([label_value(value).ok_or_else(err)?])) };
    if let Some(key) = text.strip_prefix('!') {
        return term(key, LabelOperator::Absent, BTreeSet::new());
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(err)?;
        let (key, word) = head.trim_end().rsplit_once(char::is_whitespace).ok_or_else(err)?;
        let op = match word {
            "in" => LabelOperator::In,
            "notin" => LabelOperator::NotIn,
            _ => return Err(err()),
        };
        let vals = list.split(',').map(label_value).collect::<Option<BTreeSet<_>>>().ok_or_else(err)?;
        return term(key, op, vals);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return term(key, LabelOperator::NotIn, one(value)?);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return term(key, LabelOperator::In, one(value)?);
    }
    term(text, LabelOperator::Exists, BTreeSet::new())
}

fn label_value(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = !text.contains(['=', '!', '(', ')', ' ']);
    (plain && LabelValue::try_from(text.to_owned()).is_ok()).then(|| text.to_owned())
}

/// Which fields a list can be selected by. A closed list for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selectable {
    /// Paths from the object's root.
    fields: &'static [&'static str],
    /// Whether `status.<condition>` works, such as `status.ready`.
    conditions: bool,
}

impl Selectable {
    /// Of apps.
    pub const APP: Self = Self { fields: &["metadata.name", "spec.image"], conditions: true };
    /// Of domains.
    pub const DOMAIN: Self = Self { fields: &["metadata.name", "spec.app"], conditions: false };
    /// Of nodes.
    pub const NODE: Self = Self { fields: &["metadata.name", "status.role", "status.state", "status.availability"], conditions: false };
    /// Of events.
    pub const EVENT: Self = Self { fields: &["kind", "name", "type", "reason"], conditions: false };
    /// Of all other kinds.
    pub const OTHER: Self = Self { fields: &["metadata.name"], conditions: false };

    fn words(self) -> String {
        let mut words = self.fields.join(", ");
        if self.conditions {
            let known: Vec<String> =
                ConditionType::ALL.into_iter().map(|kind| format!("status.{}", lower_first(&kind.to_string()))).collect();
            words.push_str(", ");
            words.push_str(&known.join(", "));
        }
        words
    }
}

/// One requirement of a field selector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldTerm {
    /// The path, or `condition`.
    pub field: String,
    /// Which condition, when it is one.
    pub condition: Option<String>,
    /// Whether the field must be something else.
    pub negated: bool,
    /// The value.
    pub value: String,
}

/// What fields objects must have; every term must hold. The empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldSelector(Vec<FieldTerm>);

impl FieldSelector {
    /// Reads a selector of a kind.
    ///
    /// # Errors
    /// When it is malformed, or names a field that the kind cannot be selected by.
    pub fn parse(text: &str, selectable: Selectable) -> Result<Self, ParseError> {
        check_length("fieldSelector", text)?;
        let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
        let terms = terms.map(|term| field_term(term, selectable)).collect::<Result<Vec<_>, _>>()?;
        check_terms("fieldSelector", terms.len())?;
        Ok(Self(terms))
    }
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether an object in its JSON form satisfies it. A condition that the object does not have is `Unknown`;
    /// another field that it does not have is the empty text.
    pub fn matches_json(&self, object: &Value) -> bool {
        self.0.iter().all(|term| (found(term, object) == term.value) != term.negated)
    }
}

fn found<'a>(term: &FieldTerm, object: &'a Value) -> &'a str {
    let Some(condition) = &term.condition else {
        let at = term.field.split('.').try_fold(object, |value, key| value.get(key));
        return at.and_then(Value::as_str).unwrap_or_default();
    };
    let conditions = object.get("status").and_then(|status| status.get("conditions")).and_then(Value::as_array);
    let found = conditions.and_then(|all| all.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(condition)));
    found.and_then(|condition| condition.get("status")).and_then(Value::as_str).unwrap_or("Unknown")
}

fn field_term(text: &str, selectable: Selectable) -> Result<FieldTerm, ParseError> {
    let (path, negated, value) = if let Some((path, value)) = text.split_once("!=") {
        (path, true, value)
    } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (path, false, value)
    } else {
        return Err(ParseError::new(format!(
            "fieldSelector is made of field=value and field!=value, joined by commas; \"{}\" is neither",
            excerpt(text)
        )));
    };
    let (path, value) = (path.trim(), value.trim().to_owned());
    if selectable.fields.contains(&path) {
        return Ok(FieldTerm { field: path.to_owned(), condition: None, negated, value });
    }
    let condition = path
        .strip_prefix("status.")
        .filter(|_| selectable.conditions)
        .and_then(|word| ConditionType::ALL.into_iter().find(|kind| lower_first(&kind.to_string()) == word));
    let Some(condition) = condition else {
        return Err(ParseError::new(format!(
            "fieldSelector cannot select by \"{}\" here; it can by {}",
            excerpt(path),
            selectable.words()
        )));
    };
    let known = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
    if !known.iter().any(|status| status.to_string() == value) {
        return Err(ParseError::new(format!("{path} is True, False or Unknown; \"{}\" is none of them", excerpt(&value))));
    }
    Ok(FieldTerm { field: "condition".to_owned(), condition: Some(condition.to_string()), negated, value })
}

fn lower_first(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_have_the_grammar_of_kubernetes() {
        let labels = json!({"team": "core", "tier": "web", "empty": ""});
        for (text, wanted) in [
            ("", true),
            ("team=core", true),
            ("team==core", true),
            ("team = core , tier=web", true),
            ("team", true),
            ("team=core,tier=api", false),
            ("team!=core", false),
            ("team!=other", true),
            ("absent!=x", true),
            ("absent=x", false),
            ("absent", false),
            ("!absent", true),
            ("!team", false),
            ("tier in (web,api)", true),
            ("tier in ( api )", false),
            ("tier notin (web,api)", false),
            ("tier notin (api),team in (core)", true),
            ("absent notin (a)", true),
            ("absent in (a)", false),
            ("empty=", true),
            ("empty in (,x)", true),
            ("empty!=", false),
        ] {
            let selector: LabelSelector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches_json(&labels), wanted, "{text}");
            let typed: BTreeMap<LabelKey, LabelValue> = serde_json::from_value(labels.clone()).expect("labels");
            assert_eq!(selector.matches(&typed), wanted, "{text}");
        }
        for bad in [
            "=x",
            "a b",
            "a in b",
            "a in (b",
            "a in b)",
            "a in ((b))",
            "a within (b)",
            "!",
            "a=b=c",
            "a=b c",
            "skyswarm.dev/org=x",
            "in (a)",
            "ä=x",
        ] {
            assert!(bad.parse::<LabelSelector>().is_err(), "{bad}");
        }
        assert!("a,".repeat(33).parse::<LabelSelector>().is_err(), "too many terms");
        assert!("a".repeat(5000).parse::<LabelSelector>().is_err(), "too long");
    }

    #[test]
    fn field_selectors_know_the_fields_of_their_kind() {
        let app = json!({
            "metadata": {"name": "shop"}, "spec": {"image": "a:1"},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]},
        });
        for (text, wanted) in [
            ("", true),
            ("metadata.name=shop", true),
            ("metadata.name==shop,spec.image=a:1", true),
            ("metadata.name!=shop", false),
            ("status.ready=False", true),
            ("status.ready!=True", true),
            ("status.ready=Unknown", false),
            ("status.imagePullable=Unknown", true),
            ("spec.image=", false),
        ] {
            let selector = FieldSelector::parse(text, Selectable::APP).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches_json(&app), wanted, "{text}");
        }
        for bad in ["status.nonsense=True", "status.ready=maybe", "spec.env.KEY=x", "metadata.name", "=x", "status.ready in (True)"] {
            assert!(FieldSelector::parse(bad, Selectable::APP).is_err(), "{bad}");
        }
        let error = FieldSelector::parse("status.ready=True", Selectable::DOMAIN).expect_err("no conditions");
        assert!(error.to_string().contains("metadata.name, spec.app"), "{error}");
    }

    #[test]
    fn no_text_makes_a_selector_panic() {
        for text in ["((((", "))", ",,,", "!!", "=", "!=", "==", "in", "a in ()", "\u{0}", "a notin (,,)", "🙂=🙂", "!🙂", "🙂 in (🙂)"]
        {
            let _ = text.parse::<LabelSelector>();
            let _ = FieldSelector::parse(text, Selectable::APP);
        }
    }
}
