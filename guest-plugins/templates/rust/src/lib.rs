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

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_policy::Label;

    fn series(labels: &[(&str, &str)]) -> Series {
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        Series::new(labels.iter().map(label).collect())
    }

    #[test]
    fn a_series_gets_its_cluster() -> Result<(), String> {
        let context = Context::new("kazusa", &["main"]);
        let policy = MyPolicy::configure(r#"{"cluster": "eu-1"}"#, &context)?;
        let mut up = series(&[("__name__", "up"), ("job", "api")]);
        assert_eq!(policy.relabel(&mut up), Fate::Keep);
        assert_eq!(up.value("cluster"), "eu-1");
        Ok(())
    }
}
