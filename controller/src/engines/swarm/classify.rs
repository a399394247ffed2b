//! What an engine's answer means, as one pure function of status and text.
//!
//! The status alone misleads: Swarm answers a stale version with 500 and a network in use with 400, so the
//! words decide first. Does not retry and does not log; callers act on the class.

use std::fmt;

use super::EngineError;

/// What a call was about, for messages and for [`EngineError::NameTaken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    kind: &'static str,
    name: String,
}

impl Target {
    /// A named object.
    pub(super) fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
    /// Something without a name of its own, such as a list.
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind, name: String::new() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(self.kind) } else { write!(f, "{} {}", self.kind, self.name) }
    }
}

/// The class of an answer that is no success.
pub(super) fn classify(target: &Target, status: u16, message: &str) -> EngineError {
    let text = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let what = target.to_string();
    let message = message.trim().to_owned();

    if has(&["update out of sequence"]) {
        return EngineError::OutOfSequence { what };
    }
    if has(&["does not have a leader", "context deadline exceeded", "code = unavailable"]) {
        return EngineError::Unreachable { what, message };
    }
    let already = has(&["already part of a swarm"]);
    if has(&["not a swarm manager", "not part of a swarm"]) || (status == 503 && !already) {
        return EngineError::NotManager { message };
    }
    match status {
        409 => EngineError::NameTaken { name: target.name.clone() },
        404 => EngineError::NotFound { what },
        400 | 403 | 500 if has(&["in use", "active endpoints"]) => EngineError::InUse { what, message },
        400 | 422 => EngineError::Invalid { what, message },
        // A proxy before the engine says these; the engine itself never does.
        408 | 502 | 504 => EngineError::Unreachable { what, message },
        _ => EngineError::Other { what, status, message },
    }
}

/// The class of a failed call of the client library.
pub(super) fn classify_client(target: &Target, error: &bollard::errors::Error) -> EngineError {
    use bollard::errors::Error as E;
    let what = target.to_string();
    match error {
        E::DockerResponseServerError { status_code, message } => classify(target, *status_code, message),
        E::RequestTimeoutError
        | E::HyperResponseError { .. }
        | E::HyperLegacyError { .. }
        | E::IOError { .. }
        | E::SocketNotFoundError(_) => EngineError::Unreachable { what, message: chain(error) },
        E::InvalidURIError { .. } | E::InvalidURIPartsError { .. } | E::URLParseError { .. } | E::HttpClientError { .. } => {
            EngineError::Invalid { what, message: chain(error) }
        }
        // The engine said yes, in words that we could not read.
        _ => EngineError::Other { what, status: 200, message: chain(error) },
    }
}

/// An error with its causes: the client library's top line alone says only "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(error: &EngineError) -> &'static str {
        match error {
            EngineError::NotFound { .. } => "NotFound",
            EngineError::OutOfSequence { .. } => "OutOfSequence",
            EngineError::NameTaken { .. } => "NameTaken",
            EngineError::InUse { .. } => "InUse",
            EngineError::Invalid { .. } => "Invalid",
            EngineError::Denied { .. } => "Denied",
            EngineError::NotManager { .. } => "NotManager",
            EngineError::NotLeading { .. } => "NotLeading",
            EngineError::Unreachable { .. } => "Unreachable",
            EngineError::RegistrySilent { .. } => "RegistrySilent",
            EngineError::Other { .. } => "Other",
        }
    }

    #[test]
    fn answers_have_the_class_that_their_words_say() {
        let table = [
            (500, "rpc error: code = Unknown desc = update out of sequence", "OutOfSequence"),
            (409, "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service x already exists", "NameTaken"),
            (409, "network with name x already exists", "NameTaken"),
            (400, "rpc error: code = FailedPrecondition desc = network abc is in use by service def", "InUse"),
            (400, "rpc error: code = InvalidArgument desc = secret 'x' is in use by the following service: y", "InUse"),
            (500, "network x is in use by task y", "InUse"),
            (403, "error while removing network: network x id abc has active endpoints", "InUse"),
            (404, "service abc not found", "NotFound"),
            (503, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\"", "NotManager"),
            (503, "This node is not part of a swarm", "NotManager"),
            (406, "This node is not part of a swarm", "NotManager"),
            (500, "rpc error: code = Unknown desc = The swarm does not have a leader.", "Unreachable"),
            (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", "Unreachable"),
            (503, "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm", "Other"),
            (400, "invalid memory value 1: must be at least 4MiB", "Invalid"),
            (422, "no", "Invalid"),
            (502, "bad gateway", "Unreachable"),
            (500, "something broke", "Other"),
            (401, "denied", "Other"),
        ];
        for (status, message, want) in table {
            let got = classify(&Target::new("service", "x"), status, message);
            assert_eq!(class(&got), want, "{status} {message}");
        }
    }

    #[test]
    fn a_taken_name_is_named() {
        let error = classify(&Target::new("service", "shop-web"), 409, "exists");
        assert_eq!(error.to_string(), "the name shop-web is in use on the engine");
    }

    #[test]
    fn a_call_without_an_answer_is_unreachable() {
        let error = classify_client(&Target::of("service list"), &bollard::errors::Error::RequestTimeoutError);
        assert_eq!(class(&error), "Unreachable");
        let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
        assert_eq!(class(&classify_client(&Target::of("service list"), &error)), "Unreachable");
    }
}
