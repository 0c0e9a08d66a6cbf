//! Compiled plugins on disk, and the one place where compiled code is loaded.
//!
//! Takes machine code from the compiling child or from the cache; gives components. Loading machine code is
//! unsafe: whoever can write it can do anything this process can. So a file is believed only where it is ours, no
//! one else can write it, and its authentication code, made with a key only we can read, is right; a file that is
//! not is ignored, and the plugin is compiled again. Never loads from a path, only from bytes that were checked.
#![allow(unsafe_code)]

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac, rand};
use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Largest artefact kept, in bytes. Python's, the largest known, has 60 MB.
pub const MAX_ARTEFACT: u64 = 512 << 20;

const MAGIC: &[u8] = b"gauntlet artefact 1\n";
const KEY_LENGTH: usize = 32;
const TAG_LENGTH: usize = 32;

/// Machine code that this process made or found authentic: the only thing [`load`] takes.
pub struct Artefact(Vec<u8>);

impl Artefact {
    /// Takes what the compiling child wrote, as it came through the child's own pipe.
    pub(super) fn from_child(bytes: Vec<u8>) -> Self {
        Self(bytes)
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
    unsafe { Component::deserialize(engine, &artefact.0) }
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

    fn file_name(&self) -> String {
        format!(
            "{}-{}.cwasm",
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

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0} belongs to someone else")]
    Owner(PathBuf),
    #[error("{0} can be read or written by others (its mode is {1:o})")]
    Mode(PathBuf, u32),
    #[error("{0} is not what this program writes")]
    Shape(PathBuf),
}

/// A folder of artefacts.
pub struct Cache {
    folder: PathBuf,
    key: hmac::Key,
}

impl Cache {
    /// Opens the folder, or makes it with a new key.
    ///
    /// # Errors
    /// If it cannot be made, or someone else could have put something into it.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let io = |error| CacheError::Io(folder.to_owned(), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
        let metadata = std::fs::symlink_metadata(folder).map_err(io)?;
        if !metadata.is_dir() {
            return Err(CacheError::Shape(folder.to_owned()));
        }
        ours(folder, &metadata)?;
        let path = folder.join("key");
        let key = match Self::read_key(&path) {
            Err(CacheError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                Self::write_key(folder, &path)?;
                // Read back: another process may have been first, and then its key counts.
                Self::read_key(&path)?
            }
            other => other?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// The artefact if there is one that can be believed; `None` if there is none.
    ///
    /// # Errors
    /// Says what is wrong with the file that is there.
    pub fn read(&self, identity: &Identity) -> Result<Option<Artefact>, CacheError> {
        let path = self.folder.join(identity.file_name());
        let mut bytes = match read_ours(&path, MAX_ARTEFACT) {
            Ok(bytes) => bytes,
            Err(CacheError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let code = MAGIC.len() + TAG_LENGTH;
        if bytes.len() < code || !bytes.starts_with(MAGIC) {
            return Err(CacheError::Shape(path));
        }
        let (head, rest) = bytes.split_at(code);
        let signed = Self::signed(identity, rest);
        if hmac::verify(&self.key, &signed, &head[MAGIC.len()..]).is_err() {
            return Err(CacheError::Shape(path));
        }
        Ok(Some(Artefact(bytes.split_off(code))))
    }

    /// Keeps an artefact. Whole or not at all: a reader never sees half a file.
    ///
    /// # Errors
    /// If the disk says no.
    pub fn write(&self, identity: &Identity, artefact: &Artefact) -> Result<(), CacheError> {
        let tag = hmac::sign(&self.key, &Self::signed(identity, &artefact.0));
        let path = self.folder.join(identity.file_name());
        write_ours(
            &self.folder,
            &path,
            &[MAGIC, tag.as_ref(), &artefact.0],
            Placing::Replace,
        )
    }

    /// A digest of everything the code must vouch for: also whose artefact it is, so that renaming a file makes
    /// no other plugin of it.
    fn signed(identity: &Identity, code: &[u8]) -> Vec<u8> {
        let mut signed = Vec::with_capacity(MAGIC.len() + 96);
        signed.extend_from_slice(MAGIC);
        signed.extend_from_slice(&identity.sha256);
        signed.extend_from_slice(&identity.engine);
        signed.extend_from_slice(digest::digest(&digest::SHA256, code).as_ref());
        signed
    }

    fn read_key(path: &Path) -> Result<Vec<u8>, CacheError> {
        let key = read_ours(path, KEY_LENGTH as u64)?;
        if key.len() != KEY_LENGTH {
            return Err(CacheError::Shape(path.to_owned()));
        }
        Ok(key)
    }

    fn write_key(folder: &Path, path: &Path) -> Result<(), CacheError> {
        let mut key = [0; KEY_LENGTH];
        let random = || io::Error::other("no random numbers");
        rand::fill(&mut key).map_err(|_| CacheError::Io(path.to_owned(), random()))?;
        write_ours(folder, path, &[&key], Placing::IfNew)
    }
}

/// Reads a file that no one else could have written. The open file is examined, not the path: a path can be
/// made to mean another file in between.
fn read_ours(path: &Path, most: u64) -> Result<Vec<u8>, CacheError> {
    let io = |error| CacheError::Io(path.to_owned(), error);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(CacheError::Shape(path.to_owned()));
    }
    ours(path, &metadata)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[derive(PartialEq, Eq)]
enum Placing {
    Replace,
    IfNew,
}

fn write_ours(folder: &Path, path: &Path, parts: &[&[u8]], placing: Placing) -> Result<(), CacheError> {
    let io = |error| CacheError::Io(path.to_owned(), error);
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io(io::Error::other("no random numbers")))?;
    let temporary = folder.join(format!(".{}.tmp", HEXLOWER.encode(&random)));
    let written = (|| {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        // The mode above is subject to the umask, which can only take away; the owner must be able to read it.
        file.set_permissions(Permissions::from_mode(0o600))?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        match placing {
            Placing::Replace => std::fs::rename(&temporary, path),
            Placing::IfNew => match std::fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            },
        }
    })();
    // After a rename there is nothing left to remove, which is no error.
    let _ = std::fs::remove_file(&temporary);
    written.map_err(io)
}

fn ours(path: &Path, metadata: &std::fs::Metadata) -> Result<(), CacheError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CacheError::Owner(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CacheError::Mode(path.to_owned(), mode));
    }
    Ok(())
}
