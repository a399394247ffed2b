//! All settings at one moment, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::{AppName, Host, HumanDuration, OrgName};
use serde_json::Value;

use super::registry::registry;

/// How processes of an app find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointMode {
    /// DNS round robin.
    Dnsrr,
    /// A virtual IP.
    Vip,
}

/// All settings at one moment. `Settings::default()` holds the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from_stored(&BTreeMap::new())
    }
}

impl Settings {
    /// Stored values over the defaults. A stored value that this release refuses (a newer or older
    /// one wrote it) is logged and its default used: a platform that does not start because of one
    /// setting could not be told another value.
    pub fn from_stored(stored: &BTreeMap<String, Value>) -> Self {
        let mut values = BTreeMap::new();
        for definition in registry() {
            let value = stored.get(definition.key).and_then(|value| match definition.check(value) {
                Ok(value) => Some(value),
                Err(error) => {
                    tracing::warn!(key = definition.key, %error, "stored setting is not valid; its default is used");
                    None
                }
            });
            values.insert(definition.key, value.unwrap_or_else(|| definition.default_value()));
        }
        Self { values }
    }

    /// `api.rate_limit` and `api.rate_limit_burst`
    pub fn rate_limit(&self) -> (u32, u32) {
        let number = |key| u32::try_from(self.integer(key)).unwrap_or(1);
        (number("api.rate_limit"), number("api.rate_limit_burst"))
    }
    /// `api.rate_limit_failures`
    pub fn rate_limit_failures(&self) -> u32 {
        u32::try_from(self.integer("api.rate_limit_failures")).unwrap_or(1)
    }
    /// `edge.certificate_warning`
    pub fn certificate_warning(&self) -> Duration {
        self.duration("edge.certificate_warning")
    }
    /// `edge.default_domain`
    pub fn default_domain(&self) -> &str {
        self.text("edge.default_domain")
    }
    /// The host that an app with a port gets under the default domain. `None` never happens while the
    /// bounds of names and of `edge.default_domain` add up to a DNS name.
    pub fn platform_host(&self, org: &OrgName, app: &AppName) -> Option<Host> {
        format!("{app}-{org}.{}", self.default_domain()).parse().ok()
    }
    /// Whether a host is the default domain or under it, and so not for users to claim.
    pub fn is_platform_host(&self, host: &Host) -> bool {
        is_at_or_under(host.as_str(), self.default_domain())
    }
    /// `swarm.endpoint_mode`
    pub fn endpoint_mode(&self) -> EndpointMode {
        if self.text("swarm.endpoint_mode") == "vip" { EndpointMode::Vip } else { EndpointMode::Dnsrr }
    }
    /// `controller.resync_interval`
    pub fn resync_interval(&self) -> Duration {
        self.duration("controller.resync_interval")
    }
    /// `controller.concurrency`
    pub fn concurrency(&self) -> usize {
        usize::try_from(self.integer("controller.concurrency")).unwrap_or(1)
    }
    /// `images.registry_timeout`
    pub fn registry_timeout(&self) -> Duration {
        self.duration("images.registry_timeout")
    }
    /// `limits.max_replicas`
    pub fn max_replicas(&self) -> u32 {
        u32::try_from(self.integer("limits.max_replicas")).unwrap_or(1)
    }
    /// `swarm.writes_per_second`
    pub fn swarm_writes_per_second(&self) -> u32 {
        u32::try_from(self.integer("swarm.writes_per_second")).unwrap_or(1)
    }
    /// `events.retention_per_object`
    pub fn events_retention_per_object(&self) -> i64 {
        self.integer("events.retention_per_object")
    }

    /// `revisions.retention_days`
    pub fn revisions_retention_days(&self) -> i64 {
        self.integer("revisions.retention_days")
    }

    /// `revisions.retention_count`
    pub fn revisions_retention_count(&self) -> i64 {
        self.integer("revisions.retention_count")
    }

    // The values below passed their definition's check, so the fallbacks are never taken.

    fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    fn integer(&self, key: &str) -> i64 {
        self.values.get(key).and_then(Value::as_i64).unwrap_or(1)
    }
    fn duration(&self, key: &str) -> Duration {
        self.text(key).parse::<HumanDuration>().map_or(Duration::from_secs(30), HumanDuration::get)
    }
}

/// Whether a host is a domain or has it as a suffix of whole labels.
pub fn is_at_or_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn getters_show_defaults_and_stored_values() {
        let stored = BTreeMap::from([
            ("edge.default_domain".to_owned(), json!("apps.example.com")),
            ("controller.resync_interval".to_owned(), json!("5s")),
            ("swarm.endpoint_mode".to_owned(), json!("vip")),
            ("limits.max_replicas".to_owned(), json!("a text")),
            ("of.another_release".to_owned(), json!(1)),
        ]);
        let settings = Settings::from_stored(&stored);
        assert_eq!(settings.default_domain(), "apps.example.com");
        assert_eq!(settings.resync_interval(), Duration::from_secs(5));
        assert_eq!(settings.endpoint_mode(), EndpointMode::Vip);
        assert_eq!(settings.max_replicas(), 100, "a stored value of the wrong type counts as not set");
        let defaults = Settings::default();
        assert_eq!((defaults.concurrency(), defaults.swarm_writes_per_second()), (8, 1_000));
        assert_eq!((defaults.registry_timeout(), defaults.events_retention_per_object()), (Duration::from_secs(10), 200));
    }

    #[test]
    fn the_longest_names_still_make_a_host() {
        let stored = BTreeMap::from([("edge.default_domain".to_owned(), json!(format!("{}example", "a.".repeat(92))))]);
        let settings = Settings::from_stored(&stored);
        assert_eq!(settings.default_domain().len(), 191);
        let name = "a".repeat(30);
        let host = settings.platform_host(&name.parse().expect("a name"), &name.parse().expect("a name"));
        assert_eq!(host.map(|host| host.as_str().len()), Some(253));
    }

    #[test]
    fn only_whole_labels_count_as_under() {
        for (host, under) in
            [("apps.example.com", true), ("a.apps.example.com", true), ("myapps.example.com", false), ("example.com", false)]
        {
            assert_eq!(is_at_or_under(host, "apps.example.com"), under, "{host}");
        }
    }
}
