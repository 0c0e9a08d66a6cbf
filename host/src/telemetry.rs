//! Logs and metrics: the only ways the process speaks about itself.
//!
//! Takes events from every stage, gives lines on standard error and the text of `/metrics`. Never logs a secret
//! or a sample's value, and never lets a label come from the wire: `tenant` is a configured one or empty.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

mod access_log;
mod durations;
mod family;
mod labels;
pub mod metrics;
#[cfg(test)]
pub(crate) mod page;
mod presence;
mod process;
mod recent;
mod runtimes;
mod throttle;

pub use access_log::{AccessLine, AccessLog};
pub use metrics::Metrics;
pub use recent::Recent;
pub use throttle::{Throttle, Throttles, network_of};

/// For gauges, which are signed; no machine has 2^63 bytes.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Logfmt,
    Json,
}

/// Which lines are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

/// The least of a level that lines of what Gauntlet is built on have: they speak of connections and instructions.
const OF_OTHERS: LevelFilter = LevelFilter::WARN;

impl FromStr for LogLevel {
    type Err = String;

    /// A level is that of Gauntlet's own lines. A filter is taken as it is; a word in it that is no level would be read
    /// as a target that logs everything, which nobody means.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            "expected `error`, `warn`, `info`, `debug`, `trace` or `off`, or a filter such as `info,gauntlet=debug`";
        // Nothing is a level to the parser.
        let level = |word: &str| word.parse::<LevelFilter>().ok().filter(|_| !word.is_empty());
        if let Some(level) = level(text) {
            return Ok(Self(format!("{},gauntlet={level}", level.min(OF_OTHERS))));
        }
        let is_meant = |directive: &str| directive.contains('=') || level(directive).is_some();
        match text.split(',').all(|directive| is_meant(directive.trim())) && EnvFilter::try_new(text).is_ok() {
            true => Ok(Self(text.to_owned())),
            false => Err(wrong.to_owned()),
        }
    }
}

/// Starts logging to standard error.
///
/// # Errors
/// If logging was started before.
pub fn init(level: &LogLevel, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(&level.0).map_err(|e| e.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Option<String> {
        text.parse().ok().map(|LogLevel(filter)| filter)
    }

    #[test]
    fn a_level_is_that_of_the_gateways_own_lines() {
        for (level, filter_of) in [
            ("error", "error,gauntlet=error"),
            ("info", "warn,gauntlet=info"),
            ("DEBUG", "warn,gauntlet=debug"),
            ("off", "off,gauntlet=off"),
        ] {
            assert_eq!(filter(level).as_deref(), Some(filter_of));
            assert!(EnvFilter::try_new(filter_of).is_ok());
        }
        assert_eq!(filter("info,hyper=debug").as_deref(), Some("info,hyper=debug"));
    }

    #[test]
    fn what_is_no_level_is_refused_and_not_taken_for_a_target() {
        for wrong in ["loud", "", "gauntlet", "info,loud", "gauntlet=loud", "debug,"] {
            assert_eq!(filter(wrong), None, "{wrong:?}");
        }
    }
}
