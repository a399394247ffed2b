//! Logs to stderr, and the registry behind `/metrics`.
//!
//! Nothing here decides what is logged or counted. Secrets are kept out of both by their types, which
//! have no `Display`; object names are kept out of metrics by the rule that labels are closed enums.

pub mod exposition;
mod process;
mod since;

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
pub use since::Since;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable with the filter, such as `info,skyswarm=debug`.
pub const LOG_VARIABLE: &str = "SKYSWARM_LOG";
/// The filter when the variable is not set.
const DEFAULT_FILTER: &str = "info,sqlx=warn,hyper=warn,h2=warn,rustls=warn";
/// What the names of all own metrics begin with.
const PREFIX: &str = "skyswarm";

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The variable holds something that is no filter.
    #[error("{LOG_VARIABLE} holds no valid filter: {filter:?}")]
    Filter {
        /// What it holds.
        filter: String,
        /// Why it is none.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Set up already.
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// The format of this process's log, for the processes that it starts.
pub fn format() -> LogFormat {
    FORMAT.get().copied().unwrap_or_default()
}

/// Sets logging up for the process, once, at the start of `main`.
pub fn init(format: LogFormat) -> Result<(), TelemetryError> {
    // A second call fails below.
    let _ = FORMAT.set(format);
    let filter = filter(std::env::var(LOG_VARIABLE).ok())?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal() && !no_color).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().try_init(),
    }
    .map_err(TelemetryError::Twice)
}

fn filter(variable: Option<String>) -> Result<EnvFilter, TelemetryError> {
    let filter = variable.filter(|filter| !filter.trim().is_empty()).unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    EnvFilter::try_new(&filter).map_err(|source| TelemetryError::Filter { filter, source })
}

/// The process's metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct MetricsRegistry {
    registry: Arc<Mutex<Registry>>,
}

impl Default for MetricsRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsRegistry {
    /// A registry with what is known of every process: its release, and what the kernel counts of it.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let own = Self { registry: Arc::new(Mutex::new(registry)) };
        own.register(|registry| {
            let release = [("version", env!("CARGO_PKG_VERSION"))];
            let info = Family::<_, Gauge>::default();
            info.get_or_create_owned(&release).set(1);
            registry.register("build_info", "Always 1; the labels say what runs", info);
        });
        own
    }

    /// Registers metrics, such as `registry.register(runtime::Metrics::register)`. Their names are prefixed.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(self.registry.lock().unwrap_or_else(PoisonError::into_inner).sub_registry_with_prefix(PREFIX))
    }

    /// The metrics as OpenMetrics text; see [`exposition::OPENMETRICS`].
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_an_error_that_names_the_variable() {
        assert!(filter(None).is_ok() && filter(Some("  ".into())).is_ok() && filter(Some("debug,sqlx=off".into())).is_ok());
        let error = filter(Some("info,=%=".into())).unwrap_err();
        assert!(error.to_string().contains("SKYSWARM_LOG") && std::error::Error::source(&error).is_some());
    }

    #[test]
    fn metrics_of_every_part_come_out_of_one_registry_with_one_prefix() {
        let metrics = MetricsRegistry::new();
        metrics.register(crate::runtime::Metrics::register).leader.set(1);
        let text = metrics.clone().encode().unwrap();
        assert!(text.contains("\nskyswarm_leader 1\n") && text.ends_with("# EOF\n"), "{text}");
        let release = format!("\nskyswarm_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&release) && text.contains("\nprocess_open_fds "), "{text}");
    }
}
