//! Who is asked for names: the name servers of `/etc/resolv.conf`.
//!
//! Takes the file's path, gives a resolver that is made again when the file's content has changed. What cannot be used
//! changes nothing and is told once: the name servers of before are asked on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;

pub struct SystemResolver {
    path: PathBuf,
    /// What every name server listens on; a `resolv.conf` cannot say.
    port: u16,
    /// Made when the first name is looked up: many configurations have none, and a container without the file shall run
    /// them.
    made: Mutex<Option<Made>>,
}

struct Made {
    /// What was there when the resolver was made or kept.
    content: Content,
    resolver: TokioResolver,
}

type Content = Result<Vec<u8>, io::ErrorKind>;

impl Default for SystemResolver {
    fn default() -> Self {
        Self::of(Path::new("/etc/resolv.conf"), 53)
    }
}

impl SystemResolver {
    pub fn of(path: &Path, port: u16) -> Self {
        Self {
            path: path.to_owned(),
            port,
            made: Mutex::default(),
        }
    }

    /// The resolver of the file as it is now, or as it was when it could last be used.
    ///
    /// # Errors
    /// If it cannot be used and never could.
    pub fn current(&self) -> Result<TokioResolver, String> {
        let content = std::fs::read(&self.path).map_err(|e| e.kind());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.content == content) {
            return Ok(made.resolver.clone());
        }
        let resolver = match (self.make(&content), made.take()) {
            (Ok(resolver), None) => resolver,
            (Ok(resolver), Some(_)) => {
                tracing::info!(path = %self.path.display(), "the name servers are read again");
                resolver
            }
            (Err(error), Some(before)) => {
                tracing::warn!(path = %self.path.display(), error, "cannot be used, the name servers of before are asked on");
                before.resolver
            }
            (Err(error), None) => return Err(format!("{}: {error}", self.path.display())),
        };
        *made = Some(Made {
            content,
            resolver: resolver.clone(),
        });
        Ok(resolver)
    }

    fn make(&self, content: &Content) -> Result<TokioResolver, String> {
        let content = content.as_ref().map_err(ToString::to_string)?;
        let text = |error: NetError| error.to_string();
        let (mut config, system) = parse_resolv_conf(content).map_err(text)?;
        for connection in config.name_servers.iter_mut().flat_map(|s| &mut s.connections) {
            connection.port = self.port;
        }
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = system;
        // The refresh interval is the operator's; an answer from a cache would make it longer.
        builder.options_mut().cache_size = 0;
        builder.build().map_err(text)
    }
}
