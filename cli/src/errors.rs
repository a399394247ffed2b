//! What can go wrong in a command: what, where, what to do next, and the exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or manifest, 3 not found, 4 not allowed, 5 conflict,
//! 6 server not available, 124 timeout, 130 interrupted.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use api_types::Problem;
use api_types::problem::ProblemKind;

use crate::manifest::Findings;

/// Result of a command.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line is not right.
    #[error("{0}")]
    Usage(String),
    /// Manifests are not right; the text says everything.
    #[error("{0}")]
    Manifests(Box<Findings>),
    /// What was asked for did not come true.
    #[error("{0}")]
    Failed(String),
    /// No such object.
    #[error("{what}")]
    NotFound {
        /// What there is not.
        what: String,
        /// Names that are near, or how to see all.
        hint: Option<String>,
    },
    /// Time is up.
    #[error("{0}")]
    Timeout(String),
    /// The server said no.
    #[error("{}", problem_text(.0))]
    Problem(Box<Problem>),
    /// The server did not answer.
    #[error("the server at {url} cannot be reached")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It answered, but not as a Skyswarm server does.
    #[error("the answer of {url} is not one of a Skyswarm server: {what}")]
    Protocol {
        /// The address.
        url: String,
        /// What was seen.
        what: String,
    },
    /// A local file or the terminal.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A comparison found differences; they are printed already. Not an error, but an exit code.
    #[error("there are differences")]
    Differs,
    /// A comparison could not be made: told apart from [`CliError::Differs`] by its exit code.
    #[error(transparent)]
    Uncompared(Box<CliError>),
    /// An app is not ready; why is printed already. Not an error, but an exit code.
    #[error("the app is not ready")]
    NotReady,
    /// Whoever read the output has gone away. Not an error for anybody.
    #[error("the output was closed")]
    Closed,
}

fn problem_text(problem: &Problem) -> String {
    let mut text = format!("{}: {}", problem.title, problem.detail);
    for error in &problem.errors {
        let _ = write!(text, "\n  {error}");
    }
    if let (ProblemKind::Internal, Some(id)) = (problem.kind, &problem.request_id) {
        let _ = write!(text, " (request {id})");
    }
    text
}

impl CliError {
    /// A local failure with its cause.
    pub fn io(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Io { what: what.into(), source: Box::new(source) }
    }

    /// The problem's kind, when the server sent one.
    pub fn problem_kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Problem(problem) => Some(problem.kind),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        let kind = self.problem_kind();
        matches!(self, Self::Unreachable { .. })
            || matches!(kind, Some(ProblemKind::Unavailable | ProblemKind::TooManyRequests | ProblemKind::Timeout | ProblemKind::Internal))
    }

    /// See the module.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Differs | Self::NotReady => 1,
            Self::Uncompared(error) => error.exit_code().max(2),
            Self::Failed(_) | Self::Io { .. } | Self::Protocol { .. } => 1,
            Self::Usage(_) | Self::Manifests(_) => 2,
            Self::NotFound { .. } => 3,
            Self::Unreachable { .. } => 6,
            Self::Timeout(_) => 124,
            Self::Problem(problem) => match problem.kind {
                ProblemKind::BadRequest | ProblemKind::Invalid | ProblemKind::PayloadTooLarge => 2,
                ProblemKind::NotFound => 3,
                ProblemKind::Unauthorized | ProblemKind::Forbidden => 4,
                ProblemKind::Conflict | ProblemKind::Gone | ProblemKind::PreconditionFailed => 5,
                ProblemKind::Unavailable | ProblemKind::TooManyRequests | ProblemKind::Timeout => 6,
                ProblemKind::Internal | ProblemKind::MethodNotAllowed | ProblemKind::UnsupportedMediaType => 1,
            },
        }
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { hint, .. } => hint.clone(),
            Self::Uncompared(error) => error.hint(),
            Self::Unreachable { .. } => {
                Some("set SKYSWARM_URL or --url to the server's address, or start one on this machine with: skyswarm up".to_owned())
            }
            Self::Protocol { .. } => Some("check SKYSWARM_URL; is a proxy or another server in between?".to_owned()),
            Self::Problem(problem) => match problem.kind {
                ProblemKind::Unauthorized => Some("set SKYSWARM_TOKEN to a valid token, or keep one with: skyctl login URL".to_owned()),
                ProblemKind::Forbidden => Some("`skyctl whoami` shows what the token may do".to_owned()),
                ProblemKind::Invalid => problem.errors.iter().find_map(|error| error.see.as_ref()).map(|see| format!("see {see}")),
                // The text says itself where to read on.
                ProblemKind::Conflict if problem.detail.contains(api_types::why::PAGE) || problem.detail.contains("skyctl ") => None,
                ProblemKind::Conflict => {
                    Some("read the object again (`skyctl get KIND NAME -o yaml`) and repeat the change on it".to_owned())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The whole error for a person: one paragraph, its causes, and the hint.
    pub fn report(&self) -> String {
        match self {
            Self::Differs | Self::NotReady => return String::new(),
            Self::Uncompared(error) => return error.report(),
            _ => {}
        }
        if let Self::Manifests(findings) = self {
            return findings.to_string();
        }
        let mut text = format!("error: {self}");
        let mut cause = self.source();
        // Of a connection that failed only the innermost cause says anything: that it was refused, not that sending failed.
        while let (Self::Unreachable { .. }, Some(inner)) = (self, cause.and_then(Error::source)) {
            cause = Some(inner);
        }
        while let Some(error) = cause {
            let line = error.to_string();
            // Libraries like to repeat the cause in their own text.
            if !text.contains(&line) {
                let _ = write!(text, ": {line}");
            }
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {hint}");
        }
        text.push('\n');
        text
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::io("the output cannot be written", error),
        }
    }
}

impl From<Box<Findings>> for CliError {
    fn from(findings: Box<Findings>) -> Self {
        Self::Manifests(findings)
    }
}

impl From<crate::manifest::CollectError> for CliError {
    fn from(error: crate::manifest::CollectError) -> Self {
        match error.source() {
            Some(source) => Self::Usage(format!("{error}: {source}")),
            None => Self::Usage(error.to_string()),
        }
    }
}
