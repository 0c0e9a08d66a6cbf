//! Sends series to upstreams by label, metric or tenant, as a plugin.
//!
//! Takes `{"routes": [{"match": {label: pattern}, "stream": S, "upstream": U, "tenants": [T]}]}`; gives each series
//! the stream of the first route that matches it, and each stream its upstream. Patterns are anchored and in
//! Prometheus' syntax, a missing label is an empty one. A series that no route matches stays where it was. Routes for
//! other tenants are passed over; where none is left, nothing is judged. An upstream that is not the tenant's is refused with the settings.

mod settings;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use gauntlet_policy::{
    Admission, Admit, Context, Decision, Fate, Inputs, Policy, Relabel, Series, Write, tenant_policy,
};

use settings::{Route, read};

/// A tenant's routes. Patterns match by using memory of their own, hence the cell.
pub struct Routes(RefCell<Vec<Route>>);

impl Policy for Routes {
    fn configure(settings: &str, context: &Context) -> Result<Self, String> {
        read(settings, context).map(|routes| Self(RefCell::new(routes)))
    }
}

impl Relabel for Routes {
    fn relabel(&self, series: &mut Series) -> Fate {
        let mut routes = self.0.borrow_mut();
        let mut matching = routes
            .iter_mut()
            .filter_map(|route| route.matches(series).then_some(&*route.stream));
        if let Some(stream) = matching.next() {
            series.assign_stream(stream);
        }
        Fate::Keep
    }

    fn judges_series(&self) -> bool {
        !self.0.borrow().is_empty()
    }
}

impl Admit for Routes {
    fn admit(&self, write: &Write) -> Decision {
        let routes = self.0.borrow();
        let to = |name: &str| {
            let route = routes.iter().find(|route| route.stream == name)?;
            Some(gauntlet_policy::Route {
                stream: route.stream.clone(),
                upstream: route.upstream.clone(),
            })
        };
        Decision::Admit(Admission {
            charges: Vec::new(),
            routes: write.streams.iter().filter_map(|stream| to(&stream.name)).collect(),
        })
    }

    /// Where a stream goes is in its name.
    fn inputs(&self) -> Inputs {
        Inputs::empty()
    }

    fn judges_writes(&self) -> bool {
        !self.0.borrow().is_empty()
    }
}

tenant_policy!(Routes);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
