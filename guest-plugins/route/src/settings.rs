//! The settings of `route`.
//!
//! Takes JSON; gives routes ready to match, or why not.

use gauntlet_policy::settings::{Object, Value, parse};
use go_regex::Regex;

use crate::OR;

#[derive(Debug)]
pub struct Route {
    /// Label and pattern; all must match. Empty: every series.
    pub patterns: Vec<(String, Regex)>,
    pub stream: String,
    pub upstream: String,
    /// `None`: every tenant.
    pub tenants: Option<Vec<String>>,
}

impl Route {
    pub fn is_for(&self, tenant: &str) -> bool {
        self.tenants
            .as_ref()
            .is_none_or(|tenants| tenants.iter().any(|named| named == tenant))
    }
}

pub fn read(settings: &str) -> Result<Vec<Route>, String> {
    let value = parse(settings)?;
    let mut object = Object::of(&value, "")?;
    let written = object.array("routes")?.unwrap_or(&[]);
    object.finish()?;
    let mut routes: Vec<Route> = Vec::new();
    for (index, value) in written.iter().enumerate() {
        let path = format!("routes[{index}]");
        let route = read_route(Object::of(value, path.as_str())?)?;
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

fn read_route(mut object: Object<'_>) -> Result<Route, String> {
    let upstream_path = object.path("upstream");
    let upstream = object.string("upstream")?.filter(|name| !name.is_empty());
    let upstream = upstream.ok_or_else(|| format!("{upstream_path} must name an upstream"))?;
    // Most streams exist for one upstream and need no name of their own.
    let stream = object.string("stream")?.unwrap_or_else(|| upstream.clone());
    if stream.is_empty() || stream.contains(OR) {
        return Err(format!("{} must be a name without `{OR}`", object.path("stream")));
    }
    let mut patterns = Vec::new();
    if let Some(matches) = object.object("match")? {
        for (label, pattern) in matches.entries() {
            let path = matches.path(label);
            let Value::String(pattern) = pattern else {
                return Err(format!("{path} must be a pattern in quotes"));
            };
            patterns.push((
                label.clone(),
                Regex::new(pattern).map_err(|error| format!("{path}: {error}"))?,
            ));
        }
    }
    let tenants = object
        .array("tenants")?
        .map(|tenants| read_tenants(tenants, &object.path("tenants")))
        .transpose()?;
    object.finish()?;
    Ok(Route {
        patterns,
        stream,
        upstream,
        tenants,
    })
}

fn read_tenants(tenants: &[Value], path: &str) -> Result<Vec<String>, String> {
    let name = |tenant: &Value| match tenant {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        _ => None,
    };
    match tenants.iter().map(name).collect::<Option<Vec<_>>>() {
        Some(names) if !names.is_empty() => Ok(names),
        _ => Err(format!(
            "{path} must be a list of tenants; leave it out for all of them"
        )),
    }
}
