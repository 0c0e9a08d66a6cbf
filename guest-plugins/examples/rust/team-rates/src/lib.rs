//! A rate for each team of one tenant, which `limits` does not have.
//!
//! Takes `{"label": L, "teams": {"payments": N, ...}, "others": N}`, samples per second. Gives each series the stream of its
//! team, and charges each stream's samples to a bucket of the same name. Never names a stream that the settings do not: what
//! senders write cannot make more of them.

use std::collections::BTreeMap;

use gauntlet_policy::{
    Admission, Admit, Charge, Context, Decision, Fate, Inputs, Policy, Relabel, Series, Write, settings, tenant_policy,
};
use serde::Deserialize;

const OTHERS: &str = "team-others";

/// A burst is what this many seconds bring.
const BURST_SECONDS: u64 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    label: String,
    teams: BTreeMap<String, u64>,
    others: u64,
}

#[derive(Debug)]
struct TeamRates {
    label: String,
    /// Streams by team, and samples per second by stream.
    streams: BTreeMap<String, String>,
    rates: BTreeMap<String, u64>,
}

impl Policy for TeamRates {
    fn configure(text: &str, _context: &Context) -> Result<Self, String> {
        let Settings { label, teams, others } = settings(text)?;
        if teams.values().chain([&others]).any(|rate| *rate == 0) {
            return Err("a rate of 0 lets nothing pass; a team is blocked by a rule of `relabel`".to_owned());
        }
        let stream = |team: &String| format!("team-{team}");
        if teams.keys().any(|team| stream(team) == OTHERS) {
            return Err("teams.others has a key of its own, `others`".to_owned());
        }
        let rates = teams.iter().map(|(team, rate)| (stream(team), *rate));
        Ok(Self {
            label,
            rates: rates.chain([(OTHERS.to_owned(), others)]).collect(),
            streams: teams.keys().map(|team| (team.clone(), stream(team))).collect(),
        })
    }
}

impl Relabel for TeamRates {
    fn relabel(&self, series: &mut Series) -> Fate {
        let stream = self.streams.get(series.value(&self.label));
        series.assign_stream(stream.map_or(OTHERS, String::as_str));
        Fate::Keep
    }
}

impl Admit for TeamRates {
    fn inputs(&self) -> Inputs {
        Inputs::TOTALS
    }

    fn admit(&self, write: &Write) -> Decision {
        let charges = write.streams.iter().filter_map(|stream| {
            let rate = self.rates.get(&stream.name)?;
            let burst = rate.saturating_mul(BURST_SECONDS);
            Some(Charge {
                bucket: stream.name.clone(),
                // More than the bucket holds could never be paid for, and the write would come again for ever.
                tokens: (stream.totals.samples + stream.totals.histograms).min(burst),
                per_second: *rate as f64,
                burst,
            })
        });
        Decision::Admit(Admission {
            charges: charges.collect(),
            routes: Vec::new(),
        })
    }
}

tenant_policy!(TeamRates);

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_let_nothing_pass_and_names_that_are_taken_are_refused() {
        let context = Context {
            tenant: "kazusa".to_owned(),
            upstreams: vec!["main".to_owned()],
        };
        for (settings, reason) in [
            (
                r#"{"label": "team", "teams": {"a": 0}, "others": 1}"#,
                "lets nothing pass",
            ),
            (
                r#"{"label": "team", "teams": {"a": 1}, "others": 0}"#,
                "lets nothing pass",
            ),
            (
                r#"{"label": "team", "teams": {"others": 1}, "others": 1}"#,
                "teams.others",
            ),
            (r#"{"label": "team", "teams": {}}"#, "others"),
        ] {
            assert!(
                TeamRates::configure(settings, &context).unwrap_err().contains(reason),
                "{settings}"
            );
        }
    }
}
