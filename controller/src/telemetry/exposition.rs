//! The two text formats of metrics.
//!
//! The registry writes OpenMetrics. A reader that does not ask for it gets Prometheus' older text format, in which a
//! counter is declared under the name of its sample (`…_total`) and nothing marks the end. Pure.

/// Media type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of Prometheus' older text format.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether an `Accept` header asks for OpenMetrics.
pub fn wants_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        is_named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// OpenMetrics as Prometheus' older text format.
pub fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // A metric is described before its type is known.
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(described, _)| *described == name) {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            let kind = if kind == "unknown" { "untyped" } else { kind };
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_declared_by_the_name_of_their_samples() {
        let openmetrics = "# HELP a_runs Runs by result.\n# TYPE a_runs counter\na_runs_total{result=\"ok\"} 1\n# HELP a_age_seconds Age.\n\
                           # TYPE a_age_seconds gauge\n# UNIT a_age_seconds seconds\na_age_seconds 2.5\n# EOF\n";
        let text = "# HELP a_runs_total Runs by result.\n# TYPE a_runs_total counter\na_runs_total{result=\"ok\"} 1\n\
                    # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\na_age_seconds 2.5\n";
        assert_eq!(to_prometheus(openmetrics), text);
    }

    #[test]
    fn openmetrics_goes_to_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(wants_openmetrics(prometheus) && wants_openmetrics("Application/OpenMetrics-Text"));
        for other in ["", "*/*", "text/plain", "application/json", "application/openmetrics-text;q=0"] {
            assert!(!wants_openmetrics(other), "{other}");
        }
    }
}
