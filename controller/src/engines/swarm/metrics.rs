//! What is counted of the calls to an engine. Labels are words of this file, never names or ids.

use std::future::Future;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{EngineError, EngineResult};

/// Writes an enum of calls together with the two words of each.
macro_rules! calls {
    ($($(#[$doc:meta])* $variant:ident => $object:literal $verb:literal),+ $(,)?) => {
        /// A kind of call to an engine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Call {
            $($(#[$doc])* $variant),+
        }

        impl Call {
            /// Every kind of call.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The object that it is about, and what it does with it.
            fn words(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($object, $verb)),+ }
            }
        }
    };
}

calls! {
    /// What the engine is.
    EngineInfo => "engine" "inspect",
    /// Making a Swarm.
    SwarmInit => "swarm" "create",
    /// Machines.
    NodeList => "node" "list",
    /// Whether a machine takes tasks.
    NodeUpdate => "node" "update",
    /// Services.
    ServiceList => "service" "list",
    /// One service.
    ServiceInspect => "service" "inspect",
    /// A new service.
    ServiceCreate => "service" "create",
    /// A changed service.
    ServiceUpdate => "service" "update",
    /// A service that goes.
    ServiceRemove => "service" "remove",
    /// Tasks.
    TaskList => "task" "list",
    /// How a container ended.
    ContainerInspect => "container" "inspect",
    /// Networks.
    NetworkList => "network" "list",
    /// One network.
    NetworkInspect => "network" "inspect",
    /// A new network.
    NetworkCreate => "network" "create",
    /// A network that goes.
    NetworkRemove => "network" "remove",
    /// Secrets.
    SecretList => "secret" "list",
    /// A new secret.
    SecretCreate => "secret" "create",
    /// A secret that goes.
    SecretRemove => "secret" "remove",
    /// What a container uses.
    ContainerStats => "container" "stats",
    /// One image on the engine.
    ImageInspect => "image" "inspect",
    /// A question to a registry, through the engine.
    RegistryInspect => "registry" "inspect",
}

/// Every value of the label `result`, `ok` first.
const RESULTS: [&str; 11] = [
    "ok",
    "not_found",
    "out_of_sequence",
    "name_taken",
    "in_use",
    "invalid",
    "not_manager",
    "not_leading",
    "unreachable",
    "denied",
    "other",
];

fn result_of<T>(result: &EngineResult<T>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(EngineError::NotFound { .. }) => "not_found",
        Err(EngineError::OutOfSequence { .. }) => "out_of_sequence",
        Err(EngineError::NameTaken { .. }) => "name_taken",
        Err(EngineError::InUse { .. }) => "in_use",
        Err(EngineError::Invalid { .. }) => "invalid",
        Err(EngineError::NotManager { .. }) => "not_manager",
        Err(EngineError::Unreachable { .. } | EngineError::RegistrySilent { .. }) => "unreachable",
        Err(EngineError::NotLeading { .. }) => "not_leading",
        Err(EngineError::Denied { .. }) => "denied",
        Err(EngineError::Other { .. }) => "other",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    object: &'static str,
    verb: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}

/// Counts and times of calls. Cloning shares them.
#[derive(Debug, Clone)]
pub struct EngineMetrics {
    calls: Family<Outcome, Counter>,
    seconds: Family<Verb, Histogram, fn() -> Histogram>,
}

impl Default for EngineMetrics {
    /// Counts that nobody reads, with every series there from the start.
    fn default() -> Self {
        // 0.5 ms to 16 s; a write ends by its deadline after 20 s.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Self { calls: Family::default(), seconds: Family::new_with_constructor(seconds) };
        for (object, verb) in Call::ALL.iter().map(|call| call.words()) {
            metrics.seconds.get_or_create_owned(&Verb { verb });
            for result in RESULTS {
                metrics.calls.get_or_create_owned(&Outcome { object, verb, result });
            }
        }
        metrics
    }
}

impl EngineMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("engine_calls", "Calls to the engine by object, verb and result", metrics.calls.clone());
        registry.register("engine_call_duration_seconds", "Time until the engine answered, by verb", metrics.seconds.clone());
        metrics
    }

    /// Makes a call and counts how it ended. One that is dropped before its end is not counted.
    pub(super) async fn count<T>(&self, call: Call, answer: impl Future<Output = EngineResult<T>>) -> EngineResult<T> {
        let begun = Instant::now();
        let result = answer.await;
        let (object, verb) = call.words();
        self.seconds.get_or_create_owned(&Verb { verb }).observe(begun.elapsed().as_secs_f64());
        self.calls.get_or_create_owned(&Outcome { object, verb, result: result_of(&result) }).inc();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_counted_by_what_it_was_and_how_it_ended() {
        let mut registry = Registry::with_prefix("skyswarm");
        let metrics = EngineMetrics::register(&mut registry);
        let refused = async { Err::<(), _>(EngineError::OutOfSequence { what: "service x".into() }) };
        assert!(metrics.count(Call::ServiceUpdate, refused).await.is_err());
        assert!(metrics.count(Call::ServiceUpdate, async { Ok(()) }).await.is_ok());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "skyswarm_engine_calls_total{object=\"service\",verb=\"update\",result=\"out_of_sequence\"} 1",
            "skyswarm_engine_calls_total{object=\"service\",verb=\"update\",result=\"ok\"} 1",
            "skyswarm_engine_calls_total{object=\"task\",verb=\"list\",result=\"unreachable\"} 0",
            "skyswarm_engine_call_duration_seconds_count{verb=\"update\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
        }
    }
}
