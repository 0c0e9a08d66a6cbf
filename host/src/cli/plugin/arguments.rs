//! What several of the commands take.
//!
//! Takes flags, gives the plugin's bytes, settings as JSON text and the bounds to run under. Never runs anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::outcome::Wrong;
use super::project::newer_source;
use crate::config::{self, PluginSource, Sandbox, defaults};
use crate::memory::NO_LIMIT;
use crate::model::TenantId;

/// Whose bounds a plugin runs under.
#[derive(Debug, Args)]
pub struct UnderBounds {
    /// The main configuration file whose `sandbox` and `memory_limit` bound the plugin; files with secrets need not be
    /// there. If this is left out, the defaults bound it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How what is found is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Where the plugin is in force.
#[derive(Debug, Args)]
struct Setting {
    /// The policy's settings, as YAML or JSON; `@FILE` reads them from a file.
    #[arg(long, value_name = "TEXT", default_value = "{}")]
    settings: String,
    /// The tenant that the plugin is told.
    #[arg(long, value_name = "ID", default_value = "test")]
    tenant: String,
    /// An upstream that the tenant may route to; can be given more than once, the first one takes what is not routed.
    #[arg(long = "upstream", value_name = "NAME", default_values_t = ["main".to_owned()])]
    upstreams: Vec<String>,
}

/// One plugin with settings, under bounds.
#[derive(Debug, Args)]
pub struct OnePlugin {
    /// The component, or the name of a built-in plugin.
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    bounds: UnderBounds,
    /// How it is told.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl OnePlugin {
    /// # Errors
    /// If the plugin cannot be read, or the configuration or the settings cannot be used.
    pub fn read(&self) -> Result<(Arc<PluginSource>, Confines, Configured), Wrong> {
        Ok((plugin(&self.plugin)?, self.bounds.read()?, self.setting.read()?))
    }
}

/// The bounds of one gateway.
#[derive(Debug, Clone)]
pub struct Confines {
    pub sandbox: Sandbox,
    /// Of the process, in bytes.
    pub memory: u64,
}

impl UnderBounds {
    /// Where they are written.
    pub fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// # Errors
    /// If the configuration cannot be used.
    pub fn read(&self) -> Result<Confines, Wrong> {
        let Some(file) = &self.config else {
            return Ok(Confines {
                sandbox: defaults::SANDBOX.keeping_compiled(),
                memory: NO_LIMIT,
            });
        };
        let loaded = config::load_without_secrets(file).map_err(|errors| lines(&errors))?;
        Ok(Confines {
            memory: loaded.config.memory_limit(),
            sandbox: loaded.config.sandbox.keeping_compiled(),
        })
    }
}

/// One line for each.
pub fn lines<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Where a plugin is in force, read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Configured {
    /// JSON text.
    pub settings: String,
    pub tenant: TenantId,
    pub upstreams: Vec<String>,
}

impl Setting {
    /// # Errors
    /// If the settings are no YAML, or the tenant can be none.
    fn read(&self) -> Result<Configured, Wrong> {
        let text = match self.settings.strip_prefix('@') {
            None => self.settings.clone(),
            Some(file) => std::fs::read_to_string(file).map_err(|error| format!("cannot read `{file}`: {error}"))?,
        };
        Ok(Configured {
            settings: config::settings_of(&text).map_err(|error| format!("--settings: {error}"))?,
            tenant: TenantId::new(&self.tenant).map_err(|error| format!("--tenant: {error}"))?,
            upstreams: self.upstreams.clone(),
        })
    }
}

/// A component by the name of a built-in plugin, or by its file.
///
/// # Errors
/// If there is no such file.
pub fn plugin(named: &Path) -> Result<Arc<PluginSource>, Wrong> {
    let name = named.file_stem().unwrap_or_default().to_string_lossy();
    if let Some(bytes) = named.to_str().and_then(config::builtin) {
        return Ok(config::plugin_source(&name, bytes, None));
    }
    let bytes = std::fs::read(named).map_err(|error| {
        format!(
            "cannot read the plugin `{}`: {error}; built in are limits, relabel and route",
            named.display()
        )
    })?;
    if let Some(newer) = newer_source(named) {
        eprintln!(
            "gauntlet: {} is older than {}: `gauntlet plugin build` makes it anew",
            named.display(),
            newer.display()
        );
    }
    Ok(config::plugin_source(&name, &bytes, Some(named.to_owned())))
}
