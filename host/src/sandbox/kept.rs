//! Where compiled plugins are kept by whoever has no configuration that says so.
//!
//! Takes the environment, gives a folder below the user's own caches. Never one below somebody else's home, as `sudo` may
//! leave it: what was made there would stand in its owner's way, who could not believe it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::Sandbox;

/// Below the user's caches.
const FOLDER: &str = "gauntlet/plugins";

impl Sandbox {
    /// The same with a folder for compiled plugins, if the user has a place for one. What is configured stays.
    #[must_use]
    pub fn keeping_compiled(mut self) -> Self {
        self.cache_dir = self.cache_dir.or_else(folder);
        self
    }
}

/// `None` if there is no place for it: then all is compiled each time.
pub fn folder() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    below(path("XDG_CACHE_HOME"), path("HOME"))
}

fn below(caches: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let named = caches.filter(|folder| folder.is_absolute());
    let caches = named.or_else(|| Some(home.filter(|home| home.is_absolute())?.join(".cache")))?;
    is_ours(&caches).then(|| caches.join(FOLDER))
}

/// The folder, or else the one that it would be made in.
fn is_ours(folder: &Path) -> bool {
    let there = folder.ancestors().find_map(|folder| std::fs::metadata(folder).ok());
    there.is_some_and(|there| there.is_dir() && there.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_below_the_users_caches_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let of =
            |caches: Option<&Path>, home: Option<&Path>| below(caches.map(Path::to_owned), home.map(Path::to_owned));
        let (ours, caches) = (home.path(), home.path().join("caches"));
        assert_eq!(of(None, Some(ours)), Some(ours.join(".cache/gauntlet/plugins")));
        assert_eq!(of(Some(&caches), Some(ours)), Some(caches.join("gauntlet/plugins")));
        assert_eq!(
            of(Some(Path::new("caches")), Some(ours)),
            Some(ours.join(".cache/gauntlet/plugins"))
        );
        assert_eq!(of(None, None), None);
        assert_eq!(of(None, Some(Path::new(""))), None);
        // No folder can be made in it.
        let file = ours.join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(of(None, Some(&file)), None);
    }

    #[test]
    fn what_is_configured_stays() {
        let configured = Sandbox {
            cache_dir: Some("/var/cache/gauntlet".into()),
            ..crate::config::defaults::SANDBOX
        };
        assert_eq!(configured.clone().keeping_compiled(), configured);
    }
}
