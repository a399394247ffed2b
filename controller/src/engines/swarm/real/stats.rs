//! What a container uses now, as the engine measures it.

use std::time::Duration;

use bollard::models::{ContainerCpuStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures::StreamExt;

use super::{Call, ContainerUsage, DockerSwarm, EngineError, EngineResult, Target, within};

/// The engine takes two samples a second apart; a busy one needs longer.
const DEADLINE: Duration = Duration::from_secs(8);

impl DockerSwarm {
    pub(super) async fn usage_of(&self, id: &str) -> EngineResult<ContainerUsage> {
        let target = Target::new("container", id);
        let mut answers = self.docker().stats(id, Some(StatsOptions { stream: false, one_shot: false }));
        let first = async { answers.next().await.transpose() };
        let stats = self.inner.options.metrics.count(Call::ContainerStats, within(&target, DEADLINE, first)).await?;
        let stats = stats.ok_or_else(|| EngineError::NotFound { what: format!("container {id}") })?;
        Ok(usage(&stats))
    }
}

/// Cores from the difference of two samples, and memory without what the kernel can take back at any time.
fn usage(stats: &ContainerStatsResponse) -> ContainerUsage {
    let total = |cpu: &Option<ContainerCpuStats>| cpu.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage);
    let between = || (stats.read? - stats.preread?).num_nanoseconds();
    let used = || i64::try_from(total(&stats.cpu_stats)?.checked_sub(total(&stats.precpu_stats)?)?).ok();
    let cpu_millis = match (used(), between()) {
        // A first sample without one before has a time of the year 1.
        (Some(used), Some(between)) if between > 0 => used.checked_mul(1000).map(|used| used / between),
        _ => None,
    };
    let memory = stats.memory_stats.as_ref();
    let cache = |name: &str| memory.and_then(|memory| memory.stats.as_ref()?.get(name)).copied();
    // Named so with cgroup version 1 and 2.
    let reclaimable = cache("total_inactive_file").or_else(|| cache("inactive_file")).unwrap_or(0);
    let memory_bytes = memory.and_then(|memory| i64::try_from(memory.usage?.saturating_sub(reclaimable)).ok());
    ContainerUsage { cpu_millis, memory_bytes }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(value: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(value).expect("an answer of the engine")
    }

    #[test]
    fn cores_are_the_time_used_between_two_samples() {
        let measured = stats(json!({
            "read": "2026-01-01T00:00:02Z", "preread": "2026-01-01T00:00:01Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 1_750_000_000_u64}}, "precpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000_u64}},
            "memory_stats": {"usage": 5_000_000, "stats": {"inactive_file": 1_000_000}}
        }));
        assert_eq!(usage(&measured), ContainerUsage { cpu_millis: Some(250), memory_bytes: Some(4_000_000) });
    }

    #[test]
    fn what_was_not_measured_is_not_made_up() {
        let ended = stats(json!({"read": "0001-01-01T00:00:00Z", "preread": "0001-01-01T00:00:00Z", "cpu_stats": {}, "memory_stats": {}}));
        assert_eq!(usage(&ended), ContainerUsage { cpu_millis: None, memory_bytes: None });
        let first = stats(json!({"read": "2026-01-01T00:00:02Z", "cpu_stats": {"cpu_usage": {"total_usage": 5}}}));
        assert_eq!(usage(&first).cpu_millis, None, "one sample says nothing of now");
    }
}
