//! Where a policy is in force: its tenant, and the upstreams that the tenant may route to.
//!
//! Takes what the gateway says of it; gives an error for the operator where settings name another upstream. Never knows
//! more of an upstream than its name.

use crate::Context;

impl Context {
    /// For tests of a policy: a tenant and its upstreams, the first of which takes what is not routed.
    pub fn new(tenant: &str, upstreams: &[&str]) -> Self {
        Self {
            tenant: tenant.to_owned(),
            upstreams: upstreams.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Accepts an upstream that the tenant may route to. `place` is the place in the settings that names it, such as
    /// `routes[2].upstream`.
    pub fn check_upstream(&self, place: &str, upstream: &str) -> Result<(), String> {
        if self.upstreams.iter().any(|known| known == upstream) {
            return Ok(());
        }
        let known: Vec<String> = self.upstreams.iter().map(|name| format!("`{name}`")).collect();
        Err(format!(
            "{place} must be an upstream of tenant `{}`, which has {}, not `{upstream}`",
            self.tenant,
            known.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_not_the_tenants_is_told_with_its_place_and_those_there_are() {
        let context = Context::new("kazusa", &["soft", "hard"]);
        assert_eq!(context.check_upstream("routes[0].upstream", "hard"), Ok(()));
        assert_eq!(
            context.check_upstream("routes[0].upstream", "sofft").unwrap_err(),
            "routes[0].upstream must be an upstream of tenant `kazusa`, which has `soft`, `hard`, not `sofft`"
        );
    }
}
