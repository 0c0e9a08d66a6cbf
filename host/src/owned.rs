//! Files that nobody else could have written: what is loaded from them is as good as what this process made.
//!
//! Takes a folder and bytes, gives the same bytes later. A file is believed only where it is ours, no one else can write
//! it, and its authentication code, made with a key only we can read, is right for what it is asked to be. Never
//! gives half a file.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac, rand};
use data_encoding::HEXLOWER;
use rustix::fs::OFlags;

const KEY_LENGTH: usize = 32;
const TAG_LENGTH: usize = 32;
const KEY: &str = "key";

#[derive(Debug, thiserror::Error)]
pub enum OwnedError {
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0} belongs to someone else")]
    Owner(PathBuf),
    #[error("{0} can be read or written by others (its mode is {1:o})")]
    Mode(PathBuf, u32),
    #[error("{0} is not what this program writes")]
    Shape(PathBuf),
}

/// A folder of such files and their key.
pub struct Folder {
    path: PathBuf,
    key: hmac::Key,
}

impl Folder {
    /// Opens the folder, or makes it with a new key.
    ///
    /// # Errors
    /// If it cannot be made, or someone else could have put something into it.
    pub fn open(folder: &Path) -> Result<Self, OwnedError> {
        let io = |error| OwnedError::Io(folder.to_owned(), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io)?;
        let metadata = std::fs::symlink_metadata(folder).map_err(io)?;
        if !metadata.is_dir() {
            return Err(OwnedError::Shape(folder.to_owned()));
        }
        ours(folder, &metadata)?;
        let path = folder.join(KEY);
        let key = match read_key(&path) {
            Err(OwnedError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                write_key(folder, &path)?;
                // Read back: another process may have been first, and then its key counts.
                read_key(&path)?
            }
            other => other?,
        };
        Ok(Self {
            path: folder.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// The bytes of the file `name` if it was written with the same `magic` and `identity`; `None` if there is none.
    ///
    /// # Errors
    /// Says what is wrong with the file that is there.
    pub fn read(&self, name: &str, magic: &[u8], identity: &[u8], most: u64) -> Result<Option<Vec<u8>>, OwnedError> {
        let path = self.path.join(name);
        let mut bytes = match read_ours(&path, most) {
            Ok(bytes) => bytes,
            Err(OwnedError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let code = magic.len() + TAG_LENGTH;
        if bytes.len() < code || !bytes.starts_with(magic) {
            return Err(OwnedError::Shape(path));
        }
        let (head, rest) = bytes.split_at(code);
        if hmac::verify(&self.key, &signed(magic, identity, rest), &head[magic.len()..]).is_err() {
            return Err(OwnedError::Shape(path));
        }
        Ok(Some(bytes.split_off(code)))
    }

    /// Keeps `bytes`. Whole or not at all: a reader never sees half a file.
    ///
    /// # Errors
    /// If the disk says no.
    pub fn write(&self, name: &str, magic: &[u8], identity: &[u8], bytes: &[u8]) -> Result<(), OwnedError> {
        let tag = hmac::sign(&self.key, &signed(magic, identity, bytes));
        let parts = [magic, tag.as_ref(), bytes];
        write_ours(&self.path, &self.path.join(name), &parts, Placing::Replace)
    }

    /// The names of the files there are, believed or not, in no order.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, OwnedError> {
        let io = |error| OwnedError::Io(self.path.clone(), error);
        let entries = std::fs::read_dir(&self.path).map_err(io)?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// If the disk says no.
    pub fn remove(&self, name: &str) -> Result<(), OwnedError> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OwnedError::Io(path, error)),
            _ => Ok(()),
        }
    }
}

/// A digest of everything the code must vouch for: also what the file is, so that renaming one makes nothing else of it.
fn signed(magic: &[u8], identity: &[u8], bytes: &[u8]) -> Vec<u8> {
    [magic, identity, digest::digest(&digest::SHA256, bytes).as_ref()].concat()
}

fn read_key(path: &Path) -> Result<Vec<u8>, OwnedError> {
    let key = read_ours(path, KEY_LENGTH as u64)?;
    if key.len() != KEY_LENGTH {
        return Err(OwnedError::Shape(path.to_owned()));
    }
    Ok(key)
}

fn write_key(folder: &Path, path: &Path) -> Result<(), OwnedError> {
    let mut key = [0; KEY_LENGTH];
    let random = || io::Error::other("no random numbers");
    rand::fill(&mut key).map_err(|_| OwnedError::Io(path.to_owned(), random()))?;
    write_ours(folder, path, &[&key], Placing::IfNew)
}

/// Reads a file that no one else could have written. The open file is examined, not the path: a path can be
/// made to mean another file in between.
fn read_ours(path: &Path, most: u64) -> Result<Vec<u8>, OwnedError> {
    let io = |error| OwnedError::Io(path.to_owned(), error);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(OwnedError::Shape(path.to_owned()));
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

fn write_ours(folder: &Path, path: &Path, parts: &[&[u8]], placing: Placing) -> Result<(), OwnedError> {
    let io = |error| OwnedError::Io(path.to_owned(), error);
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

fn ours(path: &Path, metadata: &std::fs::Metadata) -> Result<(), OwnedError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(OwnedError::Owner(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OwnedError::Mode(path.to_owned(), mode));
    }
    Ok(())
}
