//! Sends series to upstreams by label, metric or tenant, as a plugin.
//!
//! Takes `{"routes": [{"match": {label: pattern}, "stream": S, "upstream": U, "tenants": [T]}]}`; gives each series
//! the stream of the first route that matches it, and each stream its upstream. Patterns are anchored and in
//! Prometheus' syntax, a missing label is an empty one. A series that no route matches stays where it was.
//!
//! A series is judged without knowing its tenant, since verdicts are remembered. Where routes that name tenants
//! come before the one that decides, the stream therefore names them all, as `a|b`, and the write, whose tenant is
//! known, goes to the first of them that is for this tenant.

mod settings;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use gauntlet_policy::{Admission, Admit, Decision, Fate, Inputs, Policy, Relabel, Series, Write, tenant_policy};

use settings::{Route, read};

/// Between the names of a stream that several routes claim; no stream can be named with it.
const OR: char = '|';

/// A tenant's routes. Patterns match by using memory of their own, hence the cell.
pub struct Routes(RefCell<Vec<Route>>);

impl Policy for Routes {
    fn configure(settings: &str) -> Result<Self, String> {
        read(settings).map(|routes| Self(RefCell::new(routes)))
    }
}

impl Relabel for Routes {
    fn relabel(&self, series: &mut Series) -> Fate {
        let mut stream = String::new();
        for route in self.0.borrow_mut().iter_mut() {
            if !route
                .patterns
                .iter_mut()
                .all(|(label, pattern)| pattern.is_match(series.value(label)))
            {
                continue;
            }
            // Two routes of one stream go the same way.
            if !stream.split(OR).any(|claimed| claimed == route.stream) {
                if !stream.is_empty() {
                    stream.push(OR);
                }
                stream.push_str(&route.stream);
            }
            if route.tenants.is_none() {
                break;
            }
        }
        if !stream.is_empty() {
            series.assign_stream(stream);
        }
        Fate::Keep
    }
}

impl Admit for Routes {
    fn admit(&self, write: &Write) -> Decision {
        let routes = self.0.borrow();
        let upstream = |stream: &str| {
            stream.split(OR).find_map(|claimed| {
                let route = routes
                    .iter()
                    .find(|route| route.stream == claimed && route.is_for(&write.tenant))?;
                Some((stream.to_owned(), route.upstream.clone()))
            })
        };
        let routes = write
            .streams
            .iter()
            .filter_map(|stream| upstream(&stream.name))
            .collect();
        Decision::Admit(Admission {
            charges: Vec::new(),
            routes,
        })
    }

    /// Where a stream goes is in its name, and in the tenant's.
    fn inputs(&self) -> Inputs {
        Inputs::empty()
    }
}

tenant_policy!(Routes);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
