//! Whether memory suffices for what is configured.
//!
//! Takes the configuration and what the system allows, gives the limit that holds and what is hardly meant. Never an
//! error: the same files are checked on another machine than the one they are for.

use super::Config;
use super::units::show_size;
use crate::memory::system::Bound;
use crate::memory::{self, ACCOUNTED_PERCENT, Kind};

impl Config {
    /// How much memory may be held, in bytes: as configured, or else of what the system allows now.
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit_of(Bound::read().as_ref())
    }

    fn memory_limit_of(&self, bound: Option<&Bound>) -> u64 {
        let default = || bound.map_or(memory::NO_LIMIT, share);
        self.memory_limit.unwrap_or_else(default)
    }

    /// How many bytes of bodies may be held under that limit.
    pub fn max_in_flight_size(&self, memory_limit: u64) -> u64 {
        let bodies = memory::most(memory_limit, Kind::Bodies);
        self.remote_write.max_in_flight_size.min(bodies)
    }
}

fn share(bound: &Bound) -> u64 {
    bound.bytes / 100 * ACCOUNTED_PERCENT
}

/// What would be met only under load.
pub(super) fn warnings(config: &Config, bound: Option<&Bound>) -> Vec<String> {
    let limit = config.memory_limit_of(bound);
    let mut warnings = Vec::new();
    if let Some(bound) = bound {
        warnings.extend(match config.memory_limit {
            Some(written) => above_the_bound(written, bound),
            None => below_the_largest(config, limit, bound),
        });
    }
    let (written, bodies) = (
        config.remote_write.max_in_flight_size,
        memory::most(limit, Kind::Bodies),
    );
    if written != u64::MAX && written > bodies {
        warnings.push(format!(
            "remote_write.max_in_flight_size ({}) is more than the {} that bodies may have of memory_limit ({})",
            show_size(written),
            rounded(bodies),
            rounded(limit)
        ));
    }
    warnings
}

fn above_the_bound(written: u64, bound: &Bound) -> Option<String> {
    (written > share(bound)).then(|| {
        format!(
            "memory_limit ({}) is more than {ACCOUNTED_PERCENT} % of the {} that {} allows: what the process takes beside \
             it may not fit, and the process may be killed",
            show_size(written),
            rounded(bound.bytes),
            who(bound)
        )
    })
}

fn below_the_largest(config: &Config, limit: u64, bound: &Bound) -> Option<String> {
    let (tenant, largest) = config
        .tenants
        .values()
        .map(|tenant| (&tenant.id, tenant.limits.largest_write()))
        .max_by_key(|(_, size)| *size)?;
    let least = memory::limit_that_guarantees(Kind::Bodies, largest);
    (limit < least).then(|| {
        format!(
            "{} allows {}, of which memory_limit is {}, and a write of max_body_size + max_decoded_size ({}) of tenant \
             {tenant} is certain of its place from {} on; a larger one than fits is refused again and again",
            who(bound),
            rounded(bound.bytes),
            rounded(limit),
            show_size(largest),
            rounded(least)
        )
    })
}

fn who(bound: &Bound) -> &'static str {
    match bound.group {
        Some(_) => "the control group",
        None => "the machine",
    }
}

/// In whole mebibytes.
fn rounded(bytes: u64) -> String {
    format!("{}MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::load;
    use crate::config::tests::bare;

    const GIB: u64 = 1 << 30;

    /// Says nothing of memory, and has no tenant.
    fn plain() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("g.yaml");
        let text = "{remote_write: {insecure_http: true}, upstreams: {soft: {endpoints: ['http://r:1']}}}";
        std::fs::write(&file, text).unwrap();
        load(&file).unwrap().config
    }

    fn bound(bytes: u64) -> Option<Bound> {
        Some(Bound { bytes, group: None })
    }

    fn told(change: impl FnOnce(&mut Config), bytes: u64) -> String {
        let mut config = plain();
        change(&mut config);
        warnings(&config, bound(bytes).as_ref()).join("\n")
    }

    #[test]
    fn the_limit_is_what_is_written_or_a_share_of_what_the_system_allows() {
        let mut config = plain();
        assert_eq!(config.memory_limit_of(bound(1000).as_ref()), 800);
        assert_eq!(config.memory_limit_of(None), memory::NO_LIMIT);
        assert_eq!(config.max_in_flight_size(GIB), memory::most(GIB, Kind::Bodies));
        config.memory_limit = Some(5);
        config.remote_write.max_in_flight_size = 3;
        assert_eq!(config.memory_limit_of(bound(1000).as_ref()), 5);
        assert_eq!(config.max_in_flight_size(GIB), 3);
    }

    #[test]
    fn a_limit_that_the_system_does_not_allow_is_told() {
        let written = |limit| told(|config| config.memory_limit = Some(limit), GIB);
        assert_eq!(written(GIB / 100 * 80), "");
        let text = written(GIB);
        assert!(
            text.starts_with("memory_limit (1GiB) is more than 80 % of the 1024MiB that the machine allows"),
            "{text}"
        );
    }

    #[test]
    fn more_bodies_in_flight_than_memory_leaves_room_for_are_told() {
        let written = |size| told(|config| config.remote_write.max_in_flight_size = size, GIB);
        assert_eq!(written(256 << 20), "");
        let text = written(512 << 20);
        assert!(
            text.contains("(512MiB) is more than the 491MiB that bodies may have of memory_limit (819MiB)"),
            "{text}"
        );
    }

    #[test]
    fn a_system_too_small_for_the_largest_write_is_told() {
        let small = |bytes| {
            let tenant = |config: &mut Config| drop(config.tenants.insert(bare("a").id, Arc::new(bare("a"))));
            told(tenant, bytes)
        };
        assert_eq!(small(GIB), "");
        let text = small(256 << 20);
        assert!(
            text.contains("allows 256MiB, of which memory_limit is 204MiB") && text.contains("tenant a"),
            "{text}"
        );
    }
}
