//! Names on the engine. Deterministic, because a name is the idempotency key of a create whose answer was lost.

use api_types::{AppName, ProcessName};
use uuid::Uuid;

/// First part of every name of an app: `<app>-<uid8>`. Carries a part of the uid, so that a re-created
/// app never inherits anything.
pub fn prefix(app: &AppName, uid: Uuid) -> String {
    let hex = uid.simple().to_string();
    // The random half of a version 7 uuid; the first half is the time.
    format!("{app}-{}", &hex[hex.len() - 8..])
}

/// The app's overlay network.
pub fn network(app: &AppName, uid: Uuid) -> String {
    prefix(app, uid)
}

/// The Swarm service of one release of a process. At most 63 bytes, Swarm's limit.
pub fn service(app: &AppName, uid: Uuid, process: &ProcessName, release: &str) -> String {
    format!("{}-{process}-{release}", prefix(app, uid))
}

/// The Swarm secret of one version of a secret variable.
pub fn secret(app: &AppName, uid: Uuid, version: i64) -> String {
    format!("{}-s{version}", prefix(app, uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits_swarm() {
        let app: AppName = "a".repeat(30).parse().expect("valid");
        let process: ProcessName = "p".repeat(15).parse().expect("valid");
        assert_eq!(service(&app, Uuid::nil(), &process, "0123456").len(), 63);
    }
}
