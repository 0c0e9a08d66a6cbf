//! The settings of `limits`, as written and as they hold for a tenant.
//!
//! Takes JSON; gives rates and limits, or why not. Thanos' limits file is taken as it is, under `write`, less its
//! `global` part, which is about one process and not about tenants; the block of a single tenant can also stand
//! alone.

use std::collections::BTreeMap;

use gauntlet_policy::settings::{Object, Value, parse};

/// What is charged, in the order buckets are paid in.
const BUCKETS: [&str; 5] = ["requests", "bytes", "decoded_bytes", "samples", "new_series"];

#[derive(Debug, Default)]
pub struct Limits {
    pub rates: Vec<Rate>,
    default: TenantLimits,
    tenants: BTreeMap<String, TenantLimits>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    pub bucket: &'static str,
    pub per_second: f64,
    pub burst: u64,
}

#[derive(Debug, Default)]
struct TenantLimits {
    request: Option<RequestLimits>,
    head_series: Option<u64>,
}

/// Per request; `None` is not given, 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestLimits {
    pub size_bytes: Option<u64>,
    pub series: Option<u64>,
    pub samples: Option<u64>,
}

impl Limits {
    pub fn read(settings: &str) -> Result<Self, String> {
        let value = parse(settings)?;
        let mut object = Object::of(&value, "")?;
        let mut limits = Self::default();
        for bucket in BUCKETS {
            limits.rates.extend(
                object
                    .object(bucket)?
                    .map(|rate| Rate::read(rate, bucket))
                    .transpose()?,
            );
        }
        limits.default = TenantLimits::read(&mut object)?;
        if let Some(mut write) = object.object("write")? {
            if limits.default.request.is_some() || limits.default.head_series.is_some() {
                return Err("limits for the tenant stand under `write` or at the top, not both".to_owned());
            }
            if write.value("global").is_some_and(|global| *global != Value::Null) {
                return Err(
                    "write.global is about one Thanos process: max_concurrent_requests in the gateway's \
                    `limits` takes its place"
                        .to_owned(),
                );
            }
            if let Some(mut default) = write.object("default")? {
                limits.default = TenantLimits::read(&mut default)?;
                default.finish()?;
            }
            if let Some(tenants) = write.object("tenants")? {
                for (tenant, value) in tenants.entries() {
                    let mut object = Object::of(value, tenants.path(tenant))?;
                    limits.tenants.insert(tenant.clone(), TenantLimits::read(&mut object)?);
                    object.finish()?;
                }
            }
            write.finish()?;
        }
        object.finish()?;
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

impl Rate {
    /// Without `burst`, one second's worth.
    fn read(mut object: Object<'_>, bucket: &'static str) -> Result<Self, String> {
        let per_second = object.number("per_second")?.filter(|rate| *rate > 0.0);
        let burst = object.whole("burst")?;
        let (rate_path, burst_path) = (object.path("per_second"), object.path("burst"));
        object.finish()?;
        let per_second = per_second.ok_or_else(|| format!("{rate_path} must be a number above 0"))?;
        // Saturates, which is what is wanted of an absurd rate.
        let burst = burst.unwrap_or(per_second.ceil() as u64);
        if burst == 0 {
            return Err(format!("{burst_path} must be above 0, or nothing would ever pass"));
        }
        Ok(Self {
            bucket,
            per_second,
            burst,
        })
    }
}

impl TenantLimits {
    fn read(object: &mut Object<'_>) -> Result<Self, String> {
        let request = object.object("request")?.map(RequestLimits::read).transpose()?;
        Ok(Self {
            request,
            head_series: object.whole("head_series_limit")?,
        })
    }
}

impl RequestLimits {
    fn read(mut object: Object<'_>) -> Result<Self, String> {
        let limits = Self {
            size_bytes: object.whole("size_bytes_limit")?,
            series: object.whole("series_limit")?,
            samples: object.whole("samples_limit")?,
        };
        object.finish()?;
        Ok(limits)
    }
}
