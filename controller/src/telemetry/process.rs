//! What the kernel counts of this process, under the names that Prometheus' own clients give it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks of `/proc/self/stat` per second, on every Linux that this runs on.
const TICKS: f64 = 100.0;

/// Reads `/proc` on each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = read("stat").as_deref().and_then(cpu_seconds) {
            let counter = ConstCounter::new(seconds);
            let help = "User and system CPU time";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        if let Some(bytes) = read("status").as_deref().and_then(resident_bytes) {
            let gauge = ConstGauge::new(bytes);
            let help = "Resident memory";
            gauge.encode(encoder.encode_descriptor("process_resident_memory_bytes", help, None, gauge.metric_type())?)?;
        }
        if let Some(count) = std::fs::read_dir("/proc/self/fd").ok().and_then(|entries| i64::try_from(entries.count()).ok()) {
            let gauge = ConstGauge::new(count);
            let help = "Open file descriptors";
            gauge.encode(encoder.encode_descriptor("process_open_fds", help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/{file}")).ok()
}

/// A process's name may hold spaces and parentheses; what follows the last one does not.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        assert_eq!(cpu_seconds("42 (odd) name) S 7 42 42 0 -1 0 0 0 0 0 150 50 30 20 20 0 1 0 100 0 0"), Some(2.0));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!((cpu_seconds("odd"), resident_bytes("odd")), (None, None));
    }

    #[test]
    fn this_process_is_described() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for sample in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
            assert!(text.lines().any(|line| line.starts_with(sample)), "no {sample} in\n{text}");
        }
    }
}
