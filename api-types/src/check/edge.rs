//! Rules about `spec.edge` that its types cannot say.

use super::path;
use crate::FieldError;
use crate::kinds::app::AppSpec;
use crate::kinds::edge::{
    BasicAuthSpec, HstsSpec, MAX_MESSAGE_BYTES, MAX_PAGE_BYTES, MAX_RANGES, MAX_USERS, MaintenanceSpec, Protocol, password_hash,
};

const AT: &str = "spec.edge";
/// The lists that browsers carry with them take no host that promises less (hstspreload.org).
const PRELOAD_DAYS: u32 = 365;

/// Everything that contradicts itself.
pub(super) fn check(spec: &AppSpec, errors: &mut Vec<FieldError>) {
    let edge = &spec.edge;
    if edge.is_empty() {
        return;
    }
    if spec.routed_process().is_none() && !spec.processes.is_empty() {
        errors.push(FieldError::new(
            AT,
            "the edge sends requests to no process of this app; give one a \"port\" (and, of several, one the name \"web\")",
        ));
    }
    if let Some(hsts) = edge.https.as_ref().and_then(|https| https.hsts.as_ref()) {
        check_hsts(hsts, errors);
    }
    if let Some(auth) = &edge.basic_auth {
        check_users(auth, errors);
    }
    if edge.allow_from.len() > MAX_RANGES {
        let message = format!("expected at most {MAX_RANGES} ranges, found {}", edge.allow_from.len());
        errors.push(FieldError::new(path::field(AT, "allowFrom"), message));
    }
    let speaks_h2c = spec.routed_process().is_some_and(|(_, process, _)| process.protocol == Protocol::H2c);
    if edge.max_request_body.is_some() && speaks_h2c {
        let message = "a limit makes the proxy read whole bodies, which gRPC streams do not survive; remove it, or use protocol http";
        errors.push(FieldError::new(path::field(AT, "maxRequestBody"), message));
    }
    if let Some(page) = &edge.maintenance {
        check_maintenance(page, errors);
    }
}

fn check_hsts(hsts: &HstsSpec, errors: &mut Vec<FieldError>) {
    let at = "spec.edge.https.hsts";
    if hsts.max_age_days > 3650 {
        errors.push(FieldError::new(path::field(at, "maxAgeDays"), format!("expected at most 3650, found {}", hsts.max_age_days)));
    }
    if hsts.preload && (!hsts.include_subdomains || hsts.max_age_days < PRELOAD_DAYS) {
        let message = format!("browsers' makers want includeSubdomains: true and maxAgeDays of at least {PRELOAD_DAYS} beside it");
        errors.push(FieldError::new(path::field(at, "preload"), message));
    }
}

fn check_users(auth: &BasicAuthSpec, errors: &mut Vec<FieldError>) {
    let at = "spec.edge.basicAuth.users";
    match auth.users.len() {
        0 => errors.push(FieldError::new(at, "expected at least one user; remove basicAuth to let everybody in")),
        count if count > MAX_USERS => errors.push(FieldError::new(at, format!("expected at most {MAX_USERS} users, found {count}"))),
        _ => {}
    }
    for (name, user) in &auth.users {
        let at = path::field(&path::field(at, name.as_str()), "password");
        let Some(password) = user.password.as_ref().map(crate::SecretValue::expose) else { continue };
        let problem = match password_hash(password) {
            Some(Err(why)) => Some(why),
            Some(Ok(())) => None,
            None if password.is_empty() => Some("a password must not be empty".to_owned()),
            // What bcrypt looks at.
            None if password.len() > 72 => Some("a password may have at most 72 bytes".to_owned()),
            None if password.chars().any(char::is_control) => Some("a password must not hold control characters".to_owned()),
            None => None,
        };
        errors.extend(problem.map(|why| FieldError::new(&at, why)));
    }
}

fn check_maintenance(page: &MaintenanceSpec, errors: &mut Vec<FieldError>) {
    let at = "spec.edge.maintenance";
    for (name, text, most) in [("message", &page.message, MAX_MESSAGE_BYTES), ("html", &page.html, MAX_PAGE_BYTES)] {
        let Some(text) = text else { continue };
        if text.len() > most {
            errors.push(FieldError::new(path::field(at, name), format!("expected at most {most} bytes, found {}", text.len())));
        }
    }
    if page.message.is_some() && page.html.is_some() {
        errors.push(FieldError::new(path::field(at, "html"), "a page of your own has its own text; remove \"message\" or \"html\""));
    }
}
