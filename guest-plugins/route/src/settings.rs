//! The settings of `route`.
//!
//! Takes JSON and where it is in force; gives the tenant's routes ready to match, or why not.

use gauntlet_policy::{Context, Series, settings};
use go_regex::Patterns;
use serde::Deserialize;

/// The settings as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    routes: Option<Vec<WrittenRoute>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    r#match: Option<Patterns>,
    stream: Option<String>,
    upstream: Option<String>,
    tenants: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Route {
    patterns: Patterns,
    pub stream: String,
    pub upstream: String,
}

impl Route {
    pub fn matches(&mut self, series: &Series) -> bool {
        self.patterns.match_all(|label| series.value(label))
    }
}

/// Routes that are for other tenants are checked as far as they can be, and left out.
pub fn read(text: &str, context: &Context) -> Result<Vec<Route>, String> {
    let written: Written = settings(text)?;
    let mut routes: Vec<Route> = Vec::new();
    for (index, route) in written.routes.unwrap_or_default().into_iter().enumerate() {
        let path = format!("routes[{index}]");
        let is_mine = route.is_for(&context.tenant);
        let route = route.checked(&path)?;
        if !is_mine {
            continue;
        }
        context.check_upstream(&format!("{path}.upstream"), &route.upstream)?;
        if let Some(other) = routes
            .iter()
            .find(|other| other.stream == route.stream && other.upstream != route.upstream)
        {
            return Err(format!(
                "{path} sends stream `{}` to `{}`, an earlier route sends it to `{}`",
                route.stream, route.upstream, other.upstream
            ));
        }
        routes.push(route);
    }
    Ok(routes)
}

impl WrittenRoute {
    fn is_for(&self, tenant: &str) -> bool {
        let tenants = self.tenants.as_ref();
        tenants.is_none_or(|tenants| tenants.iter().any(|named| named == tenant))
    }

    fn checked(self, path: &str) -> Result<Route, String> {
        let upstream = self.upstream.filter(|name| !name.is_empty());
        let upstream = upstream.ok_or_else(|| format!("{path}.upstream must name an upstream"))?;
        // Most streams exist for one upstream and need no name of their own.
        let stream = self.stream.unwrap_or_else(|| upstream.clone());
        if stream.is_empty() {
            return Err(format!("{path}.stream must be a name"));
        }
        let nobody = |tenants: &Vec<String>| tenants.is_empty() || tenants.iter().any(String::is_empty);
        if self.tenants.as_ref().is_some_and(nobody) {
            return Err(format!(
                "{path}.tenants must be a list of tenants; leave it out for all of them"
            ));
        }
        Ok(Route {
            patterns: self.r#match.unwrap_or_default(),
            stream,
            upstream,
        })
    }
}
