//! Errors as the API sends them: RFC 9457 problem documents with a list of field errors.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::why::Case;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// Path from the object's root, such as `spec.processes.web.port`. In a list request it begins
    /// with `items[N].`.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// What was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Where it is explained, such as `docs/troubleshooting.md#unsafe-host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub see: Option<String>,
}

impl FieldError {
    /// An error without a suggestion.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), suggestion: None, see: None }
    }
    /// With the section that explains it.
    #[must_use]
    pub fn about(self, case: Case) -> Self {
        Self { see: Some(case.page()), ..self }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean \"{suggestion}\"?)")?;
        }
        Ok(())
    }
}

/// The closed list of problems. Its words are the last part of a problem's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// 400: the request is not JSON, or a parameter is malformed.
    BadRequest,
    /// 401: no token, or one that is not valid.
    Unauthorized,
    /// 403: the token's role does not allow this.
    Forbidden,
    /// 404: no such object, or not one that the token may see.
    NotFound,
    /// 405: the path does not take this method.
    MethodNotAllowed,
    /// 409: the object changed since it was read, or a unique name is in use.
    Conflict,
    /// 410: a watch cannot resume from there any more; list again.
    Gone,
    /// 412: `If-Match` or `If-None-Match` does not hold; nothing was written.
    PreconditionFailed,
    /// 408: the request took longer than allowed.
    Timeout,
    /// 413: the body is larger than allowed.
    PayloadTooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 422: the object is not valid; `errors` lists every reason.
    Invalid,
    /// 429: too many requests.
    TooManyRequests,
    /// 500: our fault.
    Internal,
    /// 503: a part that this request needs does not answer.
    Unavailable,
}

impl ProblemKind {
    /// HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::Gone => 410,
            Self::PreconditionFailed => 412,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
    /// Short title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed",
            Self::Unauthorized => "Authentication is required",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Timeout => "The request took too long",
            Self::Conflict => "Conflict",
            Self::Gone => "Too old",
            Self::PreconditionFailed => "The object is not the one that was read",
            Self::PayloadTooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::Invalid => "The object is not valid",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Internal error",
            Self::Unavailable => "Temporarily unavailable",
        }
    }
}

/// An RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Which problem; programs match on this.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind's title.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What went wrong this time and what to do about it.
    pub detail: String,
    /// Every field that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Id of the request, to find it in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with a detail text.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, title: kind.title().to_owned(), status: kind.status(), detail: detail.into(), errors: Vec::new(), request_id: None }
    }
    /// `Invalid` with all its field errors.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "1 field is not valid".to_owned(),
            n => format!("{n} fields are not valid"),
        };
        Self { errors, ..Self::new(ProblemKind::Invalid, detail) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
