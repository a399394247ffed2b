//! Which objects of a list, and which part of it: selectors and keyset pages, as SQL.
//!
//! A page goes on after the last name of the one before it, so what is made or deleted meanwhile moves
//! nothing: no object that was there all the time is left out or shown twice.

use api_types::selector::{FieldSelector, LabelSelector};

/// What a list is asked for. The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only objects whose name comes after this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: Option<i64>,
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these fields.
    pub fields: FieldSelector,
}

/// A condition on a column of labels; the parameter is a [`LabelSelector`] as JSON.
macro_rules! labels_match {
    ($labels:literal, $selector:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM jsonb_to_recordset(",
            $selector,
            ") AS r(key text, op text, vals jsonb) WHERE NOT CASE r.op WHEN 'exists' THEN ",
            $labels,
            " ? r.key WHEN 'absent' THEN NOT (",
            $labels,
            " ? r.key) WHEN 'in' THEN COALESCE(r.vals ? (",
            $labels,
            " ->> r.key), false) ELSE NOT COALESCE(r.vals ? (",
            $labels,
            " ->> r.key), false) END)"
        )
    };
}
pub(super) use labels_match;

/// A condition on fields; `$value` is SQL that gives the value of `f.field` (and `f.condition`) as text, the
/// parameter a [`FieldSelector`] as JSON.
macro_rules! fields_match {
    ($value:literal, $selector:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM jsonb_to_recordset(",
            $selector,
            ") AS f(field text, condition text, negated boolean, value text) WHERE (COALESCE(",
            $value,
            ", '') = f.value) = f.negated)"
        )
    };
}
pub(super) use fields_match;
