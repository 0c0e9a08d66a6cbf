//! Files that nobody else could have written: what is loaded from them is as good as what this process made.
//!
//! Takes a folder and bytes, gives the same bytes later. A file is believed only where it is ours, no one else can write
//! it, and its authentication code, made with a key only we can read, is right for what it is asked to be. Never
//! gives half a file, and never prunes one that a process uses.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// How the name of a file ends that is being written.
const TEMPORARY: &str = ".tmp";
/// Nothing takes that long to write.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How much may lie in a folder.
#[derive(Debug, Clone, Copy)]
pub struct FolderBounds {
    pub files: usize,
    pub bytes: u64,
}

/// What pruning came to: what is left may be more than there may be where all of it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    pub removed: usize,
    pub files: usize,
    pub bytes: u64,
}

/// A file of the folder, believed or not.
struct Lying {
    name: String,
    bytes: u64,
    used: SystemTime,
}

impl Lying {
    fn is_older_than(&self, age: Duration, now: SystemTime) -> bool {
        now.duration_since(self.used).is_ok_and(|old| old > age)
    }
}

/// A folder of such files and their key.
pub struct OwnedFolder {
    path: PathBuf,
    key: hmac::Key,
}

impl OwnedFolder {
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
        let Some(file) = there(open_ours(&path, most))? else {
            return Ok(None);
        };
        self.authentic(&path, &file, magic, identity, most).map(Some)
    }

    /// The same, of a file that is in use from now on, if it can be.
    ///
    /// # Errors
    /// As [`OwnedFolder::read`].
    pub fn read_to_use(
        &self,
        name: &str,
        magic: &[u8],
        identity: &[u8],
        most: u64,
    ) -> Result<Option<(Vec<u8>, InUse)>, OwnedError> {
        let path = self.path.join(name);
        let Some(file) = there(open_ours(&path, most))? else {
            return Ok(None);
        };
        let Some(in_use) = InUse::of(file) else { return Ok(None) };
        let bytes = self.authentic(&path, &in_use.0, magic, identity, most)?;
        Ok(Some((bytes, in_use)))
    }

    fn authentic(
        &self,
        path: &Path,
        file: &File,
        magic: &[u8],
        identity: &[u8],
        most: u64,
    ) -> Result<Vec<u8>, OwnedError> {
        let mut bytes = read_whole(path, file, most)?;
        let code = magic.len() + TAG_LENGTH;
        if bytes.len() < code || !bytes.starts_with(magic) {
            return Err(OwnedError::Shape(path.to_owned()));
        }
        let (head, rest) = bytes.split_at(code);
        if hmac::verify(&self.key, &signed(magic, identity, rest), &head[magic.len()..]).is_err() {
            return Err(OwnedError::Shape(path.to_owned()));
        }
        Ok(bytes.split_off(code))
    }

    /// Keeps `bytes`. Whole or not at all: a reader never sees half a file.
    ///
    /// # Errors
    /// If the disk says no.
    pub fn write(&self, name: &str, magic: &[u8], identity: &[u8], bytes: &[u8]) -> Result<(), OwnedError> {
        self.write_to_use(name, magic, identity, bytes).map(drop)
    }

    /// The same, of a file that is in use from the moment it is there.
    ///
    /// # Errors
    /// As [`OwnedFolder::write`].
    pub fn write_to_use(
        &self,
        name: &str,
        magic: &[u8],
        identity: &[u8],
        bytes: &[u8],
    ) -> Result<Option<InUse>, OwnedError> {
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

    /// Removes files whose names end in `suffix` and that no process uses, those first that nobody has used for longest, until
    /// there are no more, and no more bytes of them, than there may be; and what a process that died left half-written.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn prune(&self, suffix: &str, most: FolderBounds) -> Result<Pruned, OwnedError> {
        let mut files = self.files()?;
        let now = SystemTime::now();
        let is_abandoned = |file: &Lying| file.name.ends_with(TEMPORARY) && file.is_older_than(ABANDONED, now);
        files
            .iter()
            .filter(|file| is_abandoned(file))
            .for_each(|file| drop(self.remove(&file.name)));
        files.retain(|file| file.name.ends_with(suffix));
        files.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
        let mut left = Pruned {
            removed: 0,
            files: files.len(),
            bytes: files.iter().map(|file| file.bytes).sum(),
        };
        for file in &files {
            if left.files <= most.files && left.bytes <= most.bytes {
                break;
            }
            if self.remove_unused(&file.name) {
                left.removed += 1;
                left.files -= 1;
                left.bytes -= file.bytes;
            }
        }
        Ok(left)
    }

    fn files(&self) -> Result<Vec<Lying>, OwnedError> {
        let io = |error| OwnedError::Io(self.path.clone(), error);
        let entries = std::fs::read_dir(&self.path).map_err(io)?;
        let file = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry.ok()?;
            // Not of what a link leads to.
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some(Lying {
                name: entry.file_name().into_string().ok()?,
                bytes: metadata.len(),
                used: metadata.modified().ok()?,
            })
        };
        Ok(entries.filter_map(file).collect())
    }

    /// Whether it is gone.
    fn remove_unused(&self, name: &str) -> bool {
        match there(open_ours(&self.path.join(name), u64::MAX)) {
            Ok(Some(file)) if file.try_lock().is_err() => false,
            Ok(None) => true,
            Err(OwnedError::Io(..)) => false,
            // Also one that nobody would believe.
            _ => self.remove(name).is_ok(),
        }
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

/// A file that no process prunes as long as this lives.
#[derive(Debug)]
pub struct InUse(File);

impl InUse {
    /// `None` where it is being removed.
    fn of(file: File) -> Option<Self> {
        // Where the file system has no locks nobody gets one to remove it.
        let taken = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        let gone = file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        let in_use = Self(file);
        (!taken && !gone).then(|| {
            in_use.touch();
            in_use
        })
    }

    /// What was used last is pruned last.
    fn touch(&self) {
        // A file system that keeps no times has another order, and no other bound.
        let _ = self.0.set_modified(SystemTime::now());
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.touch();
    }
}

/// A digest of everything the code must vouch for: also what the file is, so that renaming one makes nothing else of it.
fn signed(magic: &[u8], identity: &[u8], bytes: &[u8]) -> Vec<u8> {
    [magic, identity, digest::digest(&digest::SHA256, bytes).as_ref()].concat()
}

fn read_key(path: &Path) -> Result<Vec<u8>, OwnedError> {
    let key = read_whole(path, &open_ours(path, KEY_LENGTH as u64)?, KEY_LENGTH as u64)?;
    if key.len() != KEY_LENGTH {
        return Err(OwnedError::Shape(path.to_owned()));
    }
    Ok(key)
}

fn write_key(folder: &Path, path: &Path) -> Result<(), OwnedError> {
    let mut key = [0; KEY_LENGTH];
    let random = || io::Error::other("no random numbers");
    rand::fill(&mut key).map_err(|_| OwnedError::Io(path.to_owned(), random()))?;
    write_ours(folder, path, &[&key], Placing::IfNew).map(drop)
}

/// `None` if there is no such file.
fn there<T>(found: Result<T, OwnedError>) -> Result<Option<T>, OwnedError> {
    match found {
        Err(OwnedError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Opens a file that no one else could have written. The open file is examined, not the path: a path can be
/// made to mean another file in between.
fn open_ours(path: &Path, most: u64) -> Result<File, OwnedError> {
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
    Ok(file)
}

fn read_whole(path: &Path, file: &File, most: u64) -> Result<Vec<u8>, OwnedError> {
    let io = |error| OwnedError::Io(path.to_owned(), error);
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[derive(PartialEq, Eq)]
enum Placing {
    Replace,
    IfNew,
}

/// What was written, in use from before it has its name; `None` where there was one already, or the file system has no locks.
fn write_ours(folder: &Path, path: &Path, parts: &[&[u8]], placing: Placing) -> Result<Option<InUse>, OwnedError> {
    let io = |error| OwnedError::Io(path.to_owned(), error);
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io(io::Error::other("no random numbers")))?;
    let temporary = folder.join(format!(".{}{TEMPORARY}", HEXLOWER.encode(&random)));
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
        let in_use = InUse::of(file);
        match placing {
            Placing::Replace => std::fs::rename(&temporary, path)?,
            Placing::IfNew => match std::fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            },
        }
        Ok(in_use)
    })();
    // After a rename there is nothing left to remove, which is no error.
    let _ = std::fs::remove_file(&temporary);
    written.map_err(io)
}

fn ours(path: &Path, metadata: &Metadata) -> Result<(), OwnedError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(OwnedError::Owner(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OwnedError::Mode(path.to_owned(), mode));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8] = b"test\n";
    const HOUR: Duration = Duration::from_secs(3600);

    /// With files a, b and c of as many bytes each, which were used in this order long ago; and how many that is.
    fn folder(path: &Path) -> (OwnedFolder, u64) {
        let folder = OwnedFolder::open(path).unwrap();
        for (hours, name) in [(30, "a.x"), (20, "b.x"), (10, "c.x")] {
            folder.write(name, MAGIC, b"", &[7; 100]).unwrap();
            age(&path.join(name), hours);
        }
        let bytes = std::fs::metadata(path.join("a.x")).unwrap().len();
        (folder, bytes)
    }

    fn age(path: &Path, hours: u32) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - HOUR * hours).unwrap();
    }

    fn left(folder: &OwnedFolder) -> Vec<String> {
        let mut names = folder.names().unwrap();
        names.sort();
        names
    }

    fn bounds(files: usize, bytes: u64) -> FolderBounds {
        FolderBounds { files, bytes }
    }

    #[test]
    fn what_nobody_has_used_for_longest_goes_first_until_both_bounds_hold() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("f");
        let (folder, bytes) = folder(&path);
        let pruned = folder.prune(".x", bounds(3, 3 * bytes)).unwrap();
        assert_eq!((pruned.removed, pruned.files, pruned.bytes), (0, 3, 3 * bytes));
        // Reading it is using it.
        drop(folder.read_to_use("a.x", MAGIC, b"", 1000).unwrap().unwrap());
        let pruned = folder.prune(".x", bounds(3, 3 * bytes - 1)).unwrap();
        assert_eq!(
            (pruned.removed, left(&folder)),
            (1, vec!["a.x".into(), "c.x".into(), "key".into()])
        );
        let pruned = folder.prune(".x", bounds(1, u64::MAX)).unwrap();
        assert_eq!((pruned.removed, left(&folder)), (1, vec!["a.x".into(), "key".into()]));
        folder.prune(".x", bounds(0, 0)).unwrap();
        assert_eq!(left(&folder), ["key"]);
    }

    #[test]
    fn what_a_process_uses_stays_and_what_one_left_half_written_goes() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("f");
        let (folder, _) = folder(&path);
        let (bytes, in_use) = folder.read_to_use("a.x", MAGIC, b"", 1000).unwrap().unwrap();
        assert_eq!(bytes, [7; 100]);
        let written = folder.write_to_use("d.x", MAGIC, b"", b"d").unwrap().unwrap();
        std::fs::write(path.join(".old.tmp"), "half").unwrap();
        std::fs::write(path.join(".new.tmp"), "half").unwrap();
        std::fs::write(path.join("e.x"), "nobody believes this").unwrap();
        std::fs::set_permissions(path.join("e.x"), Permissions::from_mode(0o644)).unwrap();
        age(&path.join(".old.tmp"), 2);
        let other = OwnedFolder::open(&path).unwrap();
        let pruned = other.prune(".x", bounds(0, 0)).unwrap();
        assert_eq!((pruned.removed, pruned.files), (3, 2));
        assert_eq!(left(&folder), [".new.tmp", "a.x", "d.x", "key"]);
        drop((in_use, written));
        assert_eq!(other.prune(".x", bounds(0, 0)).unwrap().removed, 2);
        assert_eq!(
            folder
                .read_to_use("a.x", MAGIC, b"", 1000)
                .unwrap()
                .map(|(bytes, _)| bytes),
            None
        );
    }

    #[test]
    fn a_file_that_is_being_removed_is_not_there_and_can_be_written_again() {
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("f");
        let (folder, _) = folder(&path);
        let removing = File::open(path.join("a.x")).unwrap();
        removing.try_lock().unwrap();
        assert!(folder.read_to_use("a.x", MAGIC, b"", 1000).unwrap().is_none());
        let again = folder.write_to_use("a.x", MAGIC, b"", b"again").unwrap();
        assert!(again.is_some());
        drop(removing);
        let (bytes, _) = folder.read_to_use("a.x", MAGIC, b"", 1000).unwrap().unwrap();
        assert_eq!(bytes, b"again");
    }
}
