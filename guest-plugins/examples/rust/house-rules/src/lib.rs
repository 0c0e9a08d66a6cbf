//! House rules: what every example of a policy does, in each language.
//!
//! Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
//! cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.

use gauntlet_policy::log::{self, Level};
use gauntlet_policy::{
    Admission, Admit, Charge, Context, Decision, Fate, Inputs, Policy, Relabel, Route, Series, Write, settings,
    tenant_policy,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HouseRules {
    #[serde(default)]
    cluster: String,
    kube_upstream: Option<String>,
    #[serde(default = "a_million")]
    samples_per_second: f64,
}

fn a_million() -> f64 {
    1e6
}

impl Policy for HouseRules {
    fn configure(text: &str, context: &Context) -> Result<Self, String> {
        let rules: Self = settings(text)?;
        if rules.cluster.is_empty() {
            return Err("cluster is missing".to_owned());
        }
        if let Some(upstream) = rules
            .kube_upstream
            .as_ref()
            .filter(|name| !context.upstreams.contains(name))
        {
            return Err(format!(
                "kube_upstream: {} has no upstream `{upstream}`",
                context.tenant
            ));
        }
        log::write(Level::Info, &format!("house rules for cluster {}", rules.cluster));
        Ok(rules)
    }
}

impl Relabel for HouseRules {
    fn relabel(&self, series: &mut Series) -> Fate {
        let name = series.value("__name__");
        if name.starts_with("go_") {
            return Fate::drop("go_metrics");
        }
        if name.starts_with("kube_") {
            series.assign_stream("kube");
        } else if name.starts_with("debug_") {
            series.assign_budget("debug", 1000);
        } else if name != "up" {
            series.remove("replica");
            series.set("cluster", &self.cluster);
        }
        Fate::Keep
    }
}

impl Admit for HouseRules {
    fn inputs(&self) -> Inputs {
        Inputs::TOTALS
    }

    fn admit(&self, write: &Write) -> Decision {
        let counts = write
            .streams
            .iter()
            .map(|stream| stream.totals.samples + stream.totals.histograms);
        let samples = counts.sum();
        if samples > 5000 {
            return Decision::Reject("more than 5000 samples in one write".to_owned());
        }
        let kube = write.streams.iter().filter(|stream| stream.name == "kube");
        let route = |upstream: &String| Route {
            stream: "kube".to_owned(),
            upstream: upstream.clone(),
        };
        Decision::Admit(Admission {
            charges: vec![Charge {
                bucket: "samples".to_owned(),
                tokens: samples,
                per_second: self.samples_per_second,
                burst: (self.samples_per_second * 5.0) as u64,
            }],
            routes: kube.filter_map(|_| self.kube_upstream.as_ref().map(route)).collect(),
        })
    }
}

tenant_policy!(HouseRules);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
