//! The settings of `limits`, as written and as they hold for a tenant.
//!
//! Takes JSON; gives rates and limits, or why not. Thanos' limits file is taken as it is, under `write`, less its
//! `global` part, which is about one process and not about tenants; the block of a single tenant can also stand
//! alone.

use std::collections::BTreeMap;

use gauntlet_policy::settings;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::budgets::{Budgets, WrittenEntry};

/// The settings as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    requests: Option<WrittenRate>,
    bytes: Option<WrittenRate>,
    decoded_bytes: Option<WrittenRate>,
    samples: Option<WrittenRate>,
    new_series: Option<WrittenRate>,
    request: Option<RequestLimits>,
    head_series_limit: Option<u64>,
    write: Option<LimitsFile>,
    series_budgets: Option<Vec<WrittenEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRate {
    per_second: Option<f64>,
    burst: Option<u64>,
}

/// Thanos' limits file, below its `write`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    global: Option<IgnoredAny>,
    default: Option<TenantLimits>,
    tenants: Option<BTreeMap<String, TenantLimits>>,
}

#[derive(Debug, Default)]
pub struct Limits {
    pub rates: Vec<Rate>,
    pub budgets: Budgets,
    default: TenantLimits,
    tenants: BTreeMap<String, TenantLimits>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    pub bucket: &'static str,
    pub per_second: f64,
    pub burst: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantLimits {
    request: Option<RequestLimits>,
    #[serde(rename = "head_series_limit")]
    head_series: Option<u64>,
}

/// Per request; `None` is not given, 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLimits {
    #[serde(rename = "size_bytes_limit")]
    pub size_bytes: Option<u64>,
    #[serde(rename = "series_limit")]
    pub series: Option<u64>,
    #[serde(rename = "samples_limit")]
    pub samples: Option<u64>,
}

impl Limits {
    pub fn read(text: &str) -> Result<Self, String> {
        let written: Written = settings(text)?;
        let mut limits = Self {
            default: TenantLimits {
                request: written.request,
                head_series: written.head_series_limit,
            },
            budgets: Budgets::check(written.series_budgets.unwrap_or_default())?,
            ..Self::default()
        };
        // In the order buckets are paid in.
        for (bucket, rate) in [
            ("requests", written.requests),
            ("bytes", written.bytes),
            ("decoded_bytes", written.decoded_bytes),
            ("samples", written.samples),
            ("new_series", written.new_series),
        ] {
            limits.rates.extend(rate.map(|rate| rate.checked(bucket)).transpose()?);
        }
        if let Some(write) = written.write {
            if limits.default.request.is_some() || limits.default.head_series.is_some() {
                return Err("limits for the tenant stand under `write` or at the top, not both".to_owned());
            }
            if write.global.is_some() {
                return Err(
                    "write.global is about one Thanos process: max_concurrent_requests in the gateway's \
                    `limits` takes its place"
                        .to_owned(),
                );
            }
            limits.default = write.default.unwrap_or_default();
            limits.tenants = write.tenants.unwrap_or_default();
        }
        Ok(limits)
    }

    /// What holds for a tenant: its own limits, and the default where it has none.
    pub fn of_tenant(&self, tenant: &str) -> (RequestLimits, u64) {
        self.of(self.tenants.get(tenant))
    }

    /// What holds for any tenant, named or not.
    pub fn of_all_tenants(&self) -> impl Iterator<Item = (RequestLimits, u64)> {
        let own = std::iter::once(None).chain(self.tenants.values().map(Some));
        own.map(|own| self.of(own))
    }

    fn of(&self, own: Option<&TenantLimits>) -> (RequestLimits, u64) {
        let default = self.default.request.unwrap_or_default();
        let request = match own.and_then(|own| own.request) {
            None => default,
            Some(own) => RequestLimits {
                size_bytes: own.size_bytes.or(default.size_bytes),
                series: own.series.or(default.series),
                samples: own.samples.or(default.samples),
            },
        };
        let head_series = own.and_then(|own| own.head_series).or(self.default.head_series);
        (request, head_series.unwrap_or(0))
    }
}

impl RequestLimits {
    pub fn is_some(&self) -> bool {
        let all = [self.size_bytes, self.series, self.samples];
        all.into_iter().flatten().any(|limit| limit > 0)
    }
}

impl WrittenRate {
    /// Without `burst`, one second's worth.
    fn checked(&self, bucket: &'static str) -> Result<Rate, String> {
        let per_second = self.per_second.filter(|rate| *rate > 0.0);
        let per_second = per_second.ok_or_else(|| format!("{bucket}.per_second must be a number above 0"))?;
        // Saturates, which is what is wanted of an absurd rate.
        let burst = self.burst.unwrap_or(per_second.ceil() as u64);
        if burst == 0 {
            return Err(format!("{bucket}.burst must be above 0, or nothing would ever pass"));
        }
        Ok(Rate {
            bucket,
            per_second,
            burst,
        })
    }
}
