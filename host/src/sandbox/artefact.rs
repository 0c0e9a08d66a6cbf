//! Compiled plugins on disk, and the one place where compiled code is loaded.
//!
//! Takes machine code from the compiling child or from the cache; gives components. Loading machine code is
//! unsafe: whoever can write it can do anything this process can. So a file is believed only as `owned` believes it; a
//! file that is not is ignored, and the plugin is compiled again. What lies in the folder is bounded: what nobody has used
//! for longest goes first, and what a process uses does not. Never loads from a path, only from bytes that were checked.
#![allow(unsafe_code)]

use std::hash::{Hash, Hasher};
use std::path::Path;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::memory::Held;
use crate::owned::{FolderBounds, InUse, OwnedError, OwnedFolder};

/// Largest artefact kept, in bytes. Python's, the largest known, has 60 MB.
pub const MAX_ARTEFACT: u64 = 512 << 20;

/// Artefacts kept, whatever their size: each is a file to look at where one is written.
const MAX_FILES: usize = 10_000;
const SUFFIX: &str = ".cwasm";

const MAGIC: &[u8] = b"gauntlet artefact 1\n";

/// Machine code that this process made or found authentic: the only thing [`load`] takes.
pub struct Artefact {
    bytes: Vec<u8>,
    /// For the bytes; nothing for those of a file.
    _held: Option<Held>,
}

impl Artefact {
    /// Takes what the compiling child wrote, as it came through the child's own pipe.
    pub(super) fn from_child(bytes: Vec<u8>, held: Held) -> Self {
        Self {
            bytes,
            _held: Some(held),
        }
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Makes a component out of machine code.
///
/// # Errors
/// If the engine that compiled it was configured otherwise or is another version.
pub fn load(engine: &Engine, artefact: &Artefact) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` wants bytes that `precompile_component` made, unchanged since. An `Artefact` is made in
    // two places only: `from_child`, called with what our own binary's compiling child wrote to a pipe that no one
    // else holds; and `Cache::read`, after the authentication code over the whole of it proved to be made with a
    // key that is kept in a file only this user can read.
    unsafe { Component::deserialize(engine, &artefact.bytes) }
}

/// What an artefact belongs to: the plugin's bytes, and everything about the engine that shapes its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    sha256: [u8; 32],
    engine: [u8; 32],
}

impl Identity {
    pub fn new(sha256: [u8; 32], engine: &Engine) -> Self {
        let mut hasher = Sha256Hasher(digest::Context::new(&digest::SHA256));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let mut hash = [0; 32];
        hash.copy_from_slice(hasher.0.finish().as_ref());
        Self { sha256, engine: hash }
    }

    fn whole(&self) -> [u8; 64] {
        let mut whole = [0; 64];
        whole[..32].copy_from_slice(&self.sha256);
        whole[32..].copy_from_slice(&self.engine);
        whole
    }

    fn file_name(&self) -> String {
        format!(
            "{}-{}{SUFFIX}",
            HEXLOWER.encode(&self.sha256),
            HEXLOWER.encode(&self.engine[..8])
        )
    }
}

/// The standard library's hashers are free to change between its versions; files outlive those.
struct Sha256Hasher(digest::Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the digest is taken whole.
    fn finish(&self) -> u64 {
        0
    }
}

/// A folder of artefacts.
pub struct Cache {
    folder: OwnedFolder,
    bounds: FolderBounds,
}

impl Cache {
    /// Opens the folder, or makes it with a new key. It may have so many bytes.
    ///
    /// # Errors
    /// If it cannot be made, or someone else could have put something into it.
    pub fn open(folder: &Path, bytes: u64) -> Result<Self, OwnedError> {
        let bounds = FolderBounds {
            files: MAX_FILES,
            bytes,
        };
        let folder = OwnedFolder::open(folder)?;
        Ok(Self { folder, bounds })
    }

    /// The artefact if there is one that can be believed; `None` if there is none. Its file is in use as long as what is
    /// given with it lives.
    ///
    /// # Errors
    /// Says what is wrong with the file that is there.
    pub fn read(&self, identity: &Identity) -> Result<Option<(Artefact, InUse)>, OwnedError> {
        let (name, identity) = (identity.file_name(), identity.whole());
        let read = self.folder.read_to_use(&name, MAGIC, &identity, MAX_ARTEFACT)?;
        Ok(read.map(|(bytes, in_use)| (Artefact { bytes, _held: None }, in_use)))
    }

    /// Keeps an artefact, whose file is in use as [`Cache::read`] says, and makes room for it.
    ///
    /// # Errors
    /// If the disk says no.
    pub fn write(&self, identity: &Identity, artefact: &Artefact) -> Result<Option<InUse>, OwnedError> {
        let (name, identity) = (identity.file_name(), identity.whole());
        let in_use = self.folder.write_to_use(&name, MAGIC, &identity, &artefact.bytes)?;
        self.prune()?;
        Ok(in_use)
    }

    /// Removes what is too much.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn prune(&self) -> Result<(), OwnedError> {
        let pruned = self.folder.prune(SUFFIX, self.bounds)?;
        let (removed, files, bytes) = (pruned.removed, pruned.files, pruned.bytes);
        if bytes > self.bounds.bytes || files > self.bounds.files {
            tracing::warn!(
                files,
                bytes,
                max_cache_size = self.bounds.bytes,
                "compiled plugins that are in use take more than `sandbox.max_cache_size` or are too many; none of them is removed"
            );
        } else if removed > 0 {
            tracing::info!(
                removed,
                files,
                bytes,
                "compiled plugins that nobody has used for longest were removed"
            );
        }
        Ok(())
    }
}
