//! A tenant under policies that nobody has configured, for who asks what they would do.
//!
//! Takes what serves the tenant and policies as a question gives them; gives a generation that nothing is served by. Its policies
//! are tried as any are before they serve, and counted nowhere. Knows no plugin but the built-in ones and those that serve
//! somebody already: a question compiles no stranger's code.

use std::sync::Arc;

use super::explanation::AskedPolicy;
use crate::chain::{BuildError, Chain, Context};
use crate::config::{PluginSource, Proposed, builtin, plugin_source, with_own_policies};
use crate::pipeline::Pipeline;
use crate::tenant::Generation;

/// Policies of one question.
const MAX_POLICIES: usize = 16;

/// Why there is no such tenant. The place is that of the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaygroundError {
    #[error("policies: a question has at most {MAX_POLICIES} policies, this one {0}")]
    TooMany(usize),
    #[error("policies[{place}].plugin: there is no plugin `{plugin}` that is built in or that serves any tenant")]
    NoPlugin { place: usize, plugin: String },
    #[error("policies[{place}].policy: {fault}")]
    Name { place: usize, fault: String },
    #[error("policies[{place}].settings: {fault}")]
    Policy { place: usize, fault: BuildError },
    /// One of the operator's, which is around the tenant's own.
    #[error("the operator's {fault}")]
    Operators { fault: BuildError },
}

impl PlaygroundError {
    /// Asked again a moment later it may do.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Policy { fault, .. } | Self::Operators { fault } if fault.may_pass())
    }
}

/// The tenant that `serving` serves, with `asked` in place of its own policies.
///
/// # Errors
/// Says which policy cannot be asked, and why.
pub async fn under(
    current: &Pipeline,
    serving: &Generation,
    asked: Vec<AskedPolicy>,
) -> Result<Generation, PlaygroundError> {
    if asked.len() > MAX_POLICIES {
        return Err(PlaygroundError::TooMany(asked.len()));
    }
    let mut own = Vec::with_capacity(asked.len());
    for (
        place,
        AskedPolicy {
            policy,
            plugin,
            settings,
        },
    ) in asked.into_iter().enumerate()
    {
        let source = known_plugin(current, &plugin);
        own.push(Proposed {
            name: policy,
            plugin: source.ok_or(PlaygroundError::NoPlugin { place, plugin })?,
            settings: match settings {
                serde_json::Value::Null => "{}".to_owned(),
                settings => settings.to_string(),
            },
        });
    }
    let config = with_own_policies(serving.config(), own);
    let (config, first, count) = config.map_err(|(place, fault)| PlaygroundError::Name { place, fault })?;
    let (shared, context) = (&current.shared, Context::of(&config));
    let chain = Chain::build_aside(
        &shared.engine,
        &context,
        &config.policies,
        serving.number(),
        &shared.watch,
    );
    let chain = chain.await.map_err(|fault| {
        let place = config.policies.iter().position(|policy| policy.name == fault.policy);
        match place
            .and_then(|place| place.checked_sub(first))
            .filter(|place| *place < count)
        {
            Some(place) => PlaygroundError::Policy { place, fault },
            None => PlaygroundError::Operators { fault },
        }
    })?;
    Ok(serving.aside(Arc::new(config), chain))
}

fn known_plugin(current: &Pipeline, name: &str) -> Option<Arc<PluginSource>> {
    let mut in_use = current.tenants.serving().flat_map(|serving| &serving.config().policies);
    let found = in_use.find(|policy| policy.plugin.name == name);
    let found = found.map(|policy| Arc::clone(&policy.plugin));
    found.or_else(|| Some(plugin_source(name, builtin(name)?, None)))
}
