//! Specs of apps, and clocks, that the simulations share.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api_types::kinds::app::AppSpec;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use skyswarm::clock::Clock;
use skyswarm::store::AppKey;
use tokio::time::Instant;

/// Tokio's paused time as the platform's clock. The wall can be stepped.
pub(crate) struct SimClock {
    start: Instant,
    skew_ms: AtomicI64,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), skew_ms: AtomicI64::new(0) }
    }
    /// Steps the wall clock, as an operator or NTP does.
    pub(crate) fn step_wall(&self, by: TimeDelta) {
        self.skew_ms.fetch_add(by.num_milliseconds(), Ordering::AcqRel);
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        let start = DateTime::from_timestamp(1_790_000_000, 0).expect("in range");
        start + self.start.elapsed() + TimeDelta::milliseconds(self.skew_ms.load(Ordering::Acquire))
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

pub(crate) fn key(name: &str) -> AppKey {
    AppKey { org: "acme".parse().expect("valid"), name: name.parse().expect("valid") }
}

/// An app with two web tasks, a worker and a secret; `more` is laid over it.
pub(crate) fn app(image: &str, more: Value) -> AppSpec {
    let mut spec = json!({
        "image": image,
        "secrets": {"TOKEN": "one"},
        "processes": {"web": {"port": 8080, "replicas": 2}, "worker": {}},
        "rollout": {"healthWindow": "2s", "progressDeadline": "20s"},
    });
    let Value::Object(more) = more else { panic!("an object") };
    spec.as_object_mut().expect("an object").extend(more);
    serde_json::from_value(spec).expect("a valid spec")
}
