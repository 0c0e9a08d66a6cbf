//! Rates and per-request limits as a plugin.
//!
//! Takes rates (`samples`, `requests`, `bytes`, `decoded_bytes`, `new_series`, each `{per_second, burst}`) and
//! limits in the words of Thanos' limits file; gives charges on buckets of those names, or a rejection that says
//! which limit and by how much; takes `series_budgets`, gives each series its budget. Never keeps a count: the gateway
//! owns the buckets, and knows which series are active.
//!
//! A write that is larger than a bucket could never be paid for, and its sender would retry it for ever. So a
//! charge is capped at the burst: such a write waits for a full bucket, takes all of it, and goes through.

mod budgets;
mod settings;

#[cfg(test)]
mod tests;

use gauntlet_policy::{
    Admission, Admit, Charge, Context, Decision, Fate, Inputs, Policy, Relabel, Series, Write, tenant_policy,
};

use settings::{Limits, RequestLimits};

impl Policy for Limits {
    fn configure(settings: &str, _context: &Context) -> Result<Self, String> {
        Self::read(settings)
    }
}

impl Relabel for Limits {
    fn relabel(&self, series: &mut Series) -> Fate {
        self.budgets.assign(series);
        Fate::Keep
    }

    fn judges_series(&self) -> bool {
        !self.budgets.is_empty()
    }
}

impl Admit for Limits {
    fn admit(&self, write: &Write) -> Decision {
        let counted = Counted::of(write);
        let (request, head_series_limit) = self.of_tenant(&write.tenant);
        if let Some(text) = over_request_limit(&request, &counted).or_else(|| over_head_limit(head_series_limit, write))
        {
            return Decision::Reject(text);
        }
        let tokens = |bucket: &str| match bucket {
            "samples" => counted.samples,
            "requests" => 1,
            "bytes" => write.compressed_bytes,
            "decoded_bytes" => write.decoded_bytes,
            _ => write.new_series,
        };
        let charge = |rate: &settings::Rate| Charge {
            bucket: rate.bucket.to_owned(),
            tokens: tokens(rate.bucket).min(rate.burst),
            per_second: rate.per_second,
            burst: rate.burst,
        };
        let charges = self
            .rates
            .iter()
            .map(charge)
            .filter(|charge| charge.tokens > 0)
            .collect();
        Decision::Admit(Admission {
            charges,
            routes: Vec::new(),
        })
    }

    /// What the rates charge and the limits compare: those of all tenants, for which one is asked is not known yet.
    fn inputs(&self) -> Inputs {
        let charged = self.rates.iter().map(|rate| match rate.bucket {
            "samples" => Inputs::TOTALS,
            "requests" => Inputs::empty(),
            "bytes" => Inputs::COMPRESSED_BYTES,
            "decoded_bytes" => Inputs::DECODED_BYTES,
            _ => Inputs::NEW_SERIES,
        });
        let compared = self.of_all_tenants().flat_map(|(request, head_series)| {
            [
                (request.size_bytes, Inputs::COMPRESSED_BYTES | Inputs::DECODED_BYTES),
                (request.series.max(request.samples), Inputs::TOTALS),
                (Some(head_series), Inputs::ACTIVE_SERIES | Inputs::NEW_SERIES),
            ]
        });
        let compared = compared.filter(|(limit, _)| limit.is_some_and(|limit| limit > 0));
        charged.chain(compared.map(|(_, inputs)| inputs)).collect()
    }

    fn judges_writes(&self) -> bool {
        !self.rates.is_empty() || self.of_all_tenants().any(|(request, head_series)| request.is_some() || head_series > 0)
    }
}

/// A write in the units that limits are in.
struct Counted {
    /// The larger of what came and what it decodes to: Thanos holds both against the limit.
    bytes: u64,
    /// Left after relabelling.
    series: u64,
    /// Float and histogram samples left after relabelling.
    samples: u64,
}

impl Counted {
    fn of(write: &Write) -> Self {
        let mut counted = Self {
            bytes: write.compressed_bytes.max(write.decoded_bytes),
            series: 0,
            samples: 0,
        };
        for stream in &write.streams {
            let totals = stream.totals;
            counted.series = counted.series.saturating_add(totals.series);
            counted.samples = counted
                .samples
                .saturating_add(totals.samples)
                .saturating_add(totals.histograms);
        }
        counted
    }
}

/// Zero is no limit, as in Thanos.
fn over_request_limit(limits: &RequestLimits, counted: &Counted) -> Option<String> {
    let over = |count: u64, limit: Option<u64>, unit: &str, key: &str| {
        let limit = limit.filter(|limit| *limit > 0 && count > *limit)?;
        Some(format!("write has {count} {unit}, {key} is {limit}"))
    };
    over(counted.bytes, limits.size_bytes, "bytes", "size_bytes_limit")
        .or_else(|| over(counted.series, limits.series, "series", "series_limit"))
        .or_else(|| over(counted.samples, limits.samples, "samples", "samples_limit"))
}

/// Only writes that bring new series are refused: those that go on with known ones add nothing to the head.
fn over_head_limit(limit: u64, write: &Write) -> Option<String> {
    (limit > 0 && write.new_series > 0 && write.active_series > limit).then(|| {
        format!(
            "write brings {} new series to {} active ones, head_series_limit is {limit}",
            write.new_series, write.active_series
        )
    })
}

tenant_policy!(Limits);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
