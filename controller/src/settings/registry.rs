//! The list of settings. Adding one here makes it settable, listed, documented and checked.

use api_types::{FieldError, HumanDuration};

use super::definition::{DefaultValue, Definition, ValueType, nearest};

/// Platform hosts are `<app>-<org>.<default domain>`: at most 61 bytes and a dot come before it.
const MAX_DEFAULT_DOMAIN: usize = 253 - 62;

/// Fewest revisions that may be kept of an app.
pub const LEAST_REVISIONS: i64 = 5;

const fn secs(n: u64) -> HumanDuration {
    HumanDuration::from_secs(n)
}

static REGISTRY: [Definition; 14] = [
    Definition {
        key: "api.rate_limit",
        value_type: ValueType::Integer { min: 60, max: 1_000_000 },
        default: DefaultValue::Integer(12_000),
        description: "Requests to the API that each token may make in a minute, in the long run; more are answered with 429 and Retry-After. Takes effect at once.",
    },
    Definition {
        key: "api.rate_limit_burst",
        value_type: ValueType::Integer { min: 1, max: 100_000 },
        default: DefaultValue::Integer(1_000),
        description: "Requests to the API that each token may make at once, after a pause. Takes effect at once.",
    },
    Definition {
        key: "api.rate_limit_failures",
        value_type: ValueType::Integer { min: 1, max: 100_000 },
        default: DefaultValue::Integer(60),
        description: "Requests to the API without a valid token that are answered with 401 in a minute, for each address; more are answered with 429. Requests with a valid token do not count and are not hindered. Takes effect at once.",
    },
    Definition {
        key: "controller.concurrency",
        value_type: ValueType::Integer { min: 1, max: 256 },
        default: DefaultValue::Integer(8),
        description: "Apps that are reconciled at the same time. Takes effect at once.",
    },
    Definition {
        key: "controller.resync_interval",
        value_type: ValueType::Duration { min: secs(1), max: secs(3600) },
        default: DefaultValue::Text("30s"),
        description: "Time after which every app is looked at again, even when nothing happened. Takes effect at once.",
    },
    Definition {
        key: "edge.certificate_warning",
        value_type: ValueType::Duration { min: secs(3600), max: secs(30 * 86_400) },
        default: DefaultValue::Text("21d"),
        description: "How long before its end a certificate says so in its condition Ready (CertificateExpiring). Takes effect at once.",
    },
    Definition {
        key: "edge.default_domain",
        value_type: ValueType::Host { max: MAX_DEFAULT_DOMAIN },
        default: DefaultValue::Text("apps.localhost"),
        description: "Domain under which every app with a port gets the host <app>-<organization>. A wildcard DNS record must point it to the edge. Takes effect at once, for all apps.",
    },
    Definition {
        key: "events.retention_per_object",
        value_type: ValueType::Integer { min: 10, max: 10_000 },
        default: DefaultValue::Integer(200),
        description: "Events that are kept of one object; the oldest go first. Takes effect with the object's next event.",
    },
    Definition {
        key: "images.registry_timeout",
        value_type: ValueType::Duration { min: secs(1), max: secs(300) },
        default: DefaultValue::Text("10s"),
        description: "Longest wait for an image registry's answer. Takes effect with the next look-up.",
    },
    Definition {
        key: "limits.max_replicas",
        value_type: ValueType::Integer { min: 1, max: api_types::kinds::app::MAX_REPLICAS as i64 },
        default: DefaultValue::Integer(100),
        description: "Most replicas of one process. Checked when an app is applied or scaled; running apps keep theirs.",
    },
    Definition {
        key: "revisions.retention_count",
        value_type: ValueType::Integer { min: LEAST_REVISIONS, max: 10_000 },
        default: DefaultValue::Integer(100),
        description: "Revisions that are kept of one app, with the secret values that they refer to; the oldest go first, but never what serves or was proven last. Takes effect with the app's next change.",
    },
    Definition {
        key: "revisions.retention_days",
        value_type: ValueType::Integer { min: 1, max: 36_500 },
        default: DefaultValue::Integer(3_650),
        description: "Days for which revisions of an app are kept, as far as revisions.retention_count allows. The newest five, what serves and what was proven last are kept at any age. Takes effect with the app's next change.",
    },
    Definition {
        key: "swarm.endpoint_mode",
        value_type: ValueType::Words(&["dnsrr", "vip"]),
        default: DefaultValue::Text("dnsrr"),
        description: "How processes of an app find each other: DNS round robin, or a virtual IP, which needs IPVS in the kernel. Takes effect with each app's next release.",
    },
    Definition {
        key: "swarm.writes_per_second",
        value_type: ValueType::Integer { min: 1, max: 10_000 },
        default: DefaultValue::Integer(1_000),
        description: "Most writes per second to the Swarm, over all apps. Takes effect when the controller starts.",
    },
];

/// All settings by key.
pub fn registry() -> &'static [Definition] {
    &REGISTRY
}

/// A setting's definition.
///
/// # Errors
/// A field error at `metadata.name` that lists the known keys and suggests the nearest.
pub fn find(key: &str) -> Result<&'static Definition, FieldError> {
    REGISTRY.iter().find(|definition| definition.key == key).ok_or_else(|| {
        let keys = || REGISTRY.iter().map(|definition| definition.key);
        let known: Vec<&str> = keys().collect();
        let mut error = FieldError::new("metadata.name", format!("there is no setting of this key; known are {}", known.join(", ")));
        error.suggestion = nearest(key, keys());
        error
    })
}

#[cfg(test)]
mod tests {
    use api_types::SettingKey;
    use serde_json::json;

    use super::*;

    fn check(key: &str, value: serde_json::Value) -> Result<serde_json::Value, FieldError> {
        find(key).expect("is registered").check(&value)
    }

    #[test]
    fn every_default_passes_its_own_check_and_every_key_is_one() {
        for definition in registry() {
            let default = definition.default_value();
            assert_eq!(definition.check(&default), Ok(default), "{}", definition.key);
            assert!(definition.key.parse::<SettingKey>().is_ok(), "{}", definition.key);
        }
        assert!(registry().is_sorted_by_key(|definition| definition.key));
    }

    #[test]
    fn a_wrong_value_is_told_what_is_allowed() {
        for (key, value, expected) in [
            ("controller.concurrency", json!(0), "from 1 to 256"),
            ("controller.concurrency", json!("8"), "a whole number"),
            ("controller.concurrency", json!(1.5), "a whole number"),
            ("controller.resync_interval", json!("10"), "a duration from 1s to 1h"),
            ("controller.resync_interval", json!("2h"), "from 1s to 1h"),
            ("edge.default_domain", json!("localhost"), "at least two labels"),
            ("edge.default_domain", json!("a`.example"), "DNS name"),
            ("edge.default_domain", json!(format!("{}.example", "a.".repeat(120))), "at most 191 bytes"),
            ("swarm.endpoint_mode", json!("ipvs"), "one of: dnsrr, vip"),
            ("swarm.endpoint_mode", json!(null), "one of"),
        ] {
            let error = check(key, value.clone()).expect_err("is refused");
            assert_eq!(error.path, "spec.value");
            assert!(error.message.contains(expected) && error.message.contains(key), "{key} {value}: {}", error.message);
        }
    }

    #[test]
    fn a_duration_has_one_stored_form() {
        assert_eq!(check("controller.resync_interval", json!("60s")), Ok(json!("1m")));
    }

    #[test]
    fn typing_errors_get_a_suggestion() {
        assert_eq!(find("edge.default_domian").expect_err("unknown").suggestion.as_deref(), Some("edge.default_domain"));
        assert_eq!(find("zzz").expect_err("unknown").suggestion, None);
        assert_eq!(check("swarm.endpoint_mode", json!("dnsr")).expect_err("unknown").suggestion.as_deref(), Some("dnsrr"));
    }
}
