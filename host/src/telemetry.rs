//! Logs and metrics: the only ways the process speaks about itself.
//!
//! Takes events from every stage, gives lines on standard error and the text of `/metrics`. Never logs a secret
//! or a sample's value, and never lets a label come from the wire: `tenant` is a configured one or empty.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod durations;
pub mod metrics;
#[cfg(test)]
pub(crate) mod page;
mod throttle;

pub use metrics::Metrics;
pub use throttle::{Throttle, Throttles};

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Logfmt,
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// If `level` is neither a level nor a `tracing` filter, or logging was started before.
pub fn init(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(level)
        .map_err(|e| format!("--log.level: `{level}` is neither a level nor a filter: {e}"))?;
    let lines = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Logfmt => {
            let logfmt = tracing_logfmt::builder().with_target(false).layer();
            lines.with(logfmt.with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true);
            lines.with(json.with_writer(std::io::stderr)).try_init()
        }
    }
    .map_err(|e| e.to_string())
}
