//! Prometheus' `relabel_configs` as a plugin.
use gauntlet_policy::{Fate, Policy, Relabel, Series, relabel_policy};
struct R;
impl Policy for R { fn configure(_: &str) -> Result<Self, String> { Ok(R) } }
impl Relabel for R { fn relabel(&self, _: &mut Series) -> Fate { Fate::Keep } }
relabel_policy!(R);
