//! Routing: which upstream each stream of a write goes to.
//!
//! Takes the routes that policies returned and the tenant's list of upstreams; gives one upstream per stream. A policy
//! can only name upstreams in its tenant's list: anything else is a fault, never a guess. Pure.

use std::sync::Arc;

/// A policy named an upstream that its tenant may not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a policy routes stream {stream:?} to upstream {upstream:?}, which is not in the tenant's list")]
pub struct RouteError {
    pub stream: String,
    pub upstream: String,
}

/// The upstream of every stream: an index into the tenant's list. Can be made only by [`route`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes(Vec<usize>);

impl Routes {
    /// Index into the tenant's upstreams of the stream at `position`; `None` if there is no such stream: nobody has
    /// said where it goes.
    pub fn upstream_of(&self, position: usize) -> Option<usize> {
        self.0.get(position).copied()
    }

    /// The upstreams that get something, each once, in the tenant's order.
    pub fn targets(&self, gets_something: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut targets: Vec<usize> = self
            .0
            .iter()
            .enumerate()
            .filter(|(stream, _)| gets_something(*stream))
            .map(|(_, at)| *at)
            .collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

/// The first upstream of a tenant's list takes every stream that no policy routes.
const DEFAULT: usize = 0;

/// Resolves `routes` (stream, upstream; a later one wins over an earlier one) for `streams`.
///
/// # Errors
/// If a route names an upstream outside `upstreams`, whether or not this write has the stream.
pub fn route(
    streams: &[Arc<str>],
    routes: &[(Arc<str>, Arc<str>)],
    upstreams: &[String],
) -> Result<Routes, RouteError> {
    let mut of_stream = vec![DEFAULT; streams.len()];
    for (stream, upstream) in routes {
        let Some(at) = upstreams.iter().position(|name| **name == **upstream) else {
            return Err(RouteError {
                stream: stream.to_string(),
                upstream: upstream.to_string(),
            });
        };
        for (position, name) in streams.iter().enumerate() {
            if name == stream {
                of_stream[position] = at;
            }
        }
    }
    Ok(Routes(of_stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(Arc<str>, Arc<str>)> {
        pairs
            .iter()
            .map(|(stream, upstream)| (Arc::from(*stream), Arc::from(*upstream)))
            .collect()
    }

    #[test]
    fn a_stream_that_no_policy_routes_goes_to_the_first_upstream() {
        let routes = route(&names(&["", "kube"]), &[], &["soft".into(), "other".into()]).unwrap();
        assert_eq!([0, 1, 2].map(|at| routes.upstream_of(at)), [Some(0), Some(0), None]);
    }

    #[test]
    fn a_later_route_wins_and_the_default_stream_can_be_routed() {
        let upstreams = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let routes = route(
            &names(&["", "kube"]),
            &pairs(&[("kube", "b"), ("kube", "c"), ("", "b")]),
            &upstreams,
        )
        .unwrap();
        assert_eq!([0, 1].map(|at| routes.upstream_of(at)), [Some(1), Some(2)]);
        assert_eq!(routes.targets(|stream| stream == 1), vec![2]);
        assert_eq!(routes.targets(|_| true), vec![1, 2]);
    }

    #[test]
    fn an_upstream_outside_the_tenants_list_is_a_fault_even_for_an_absent_stream() {
        let error = route(&names(&[""]), &pairs(&[("absent", "other-tenants")]), &["soft".into()]).unwrap_err();
        assert_eq!(error.upstream, "other-tenants");
    }
}
