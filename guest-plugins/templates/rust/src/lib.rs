//! Drops the Go runtime's metrics and says which cluster the others are from.

use gauntlet_policy::{Context, Fate, Policy, Relabel, Series, relabel_policy, settings};
use serde::Deserialize;

/// What an operator writes under `settings`. Other keys are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MyPolicy {
    cluster: String,
}

impl Policy for MyPolicy {
    fn configure(text: &str, _context: &Context) -> Result<Self, String> {
        settings(text)
    }
}

impl Relabel for MyPolicy {
    /// Must depend on nothing but the settings and the series: what it says is remembered.
    fn relabel(&self, series: &mut Series) -> Fate {
        if series.value("__name__").starts_with("go_") {
            return Fate::drop("go_metrics");
        }
        series.set("cluster", &self.cluster);
        Fate::Keep
    }
}

relabel_policy!(MyPolicy);
