//! Every file a configuration is made of, and whether any of them has changed.
//!
//! Takes paths, gives contents (each file read once per load, so that two uses cannot differ) and
//! [`Inputs`], which tells by content whether a new load would see something else: times never say that a
//! file is another, at most that it cannot be. Never waits on a pipe and never reads without a bound.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::glob;

/// Largest file read. Python plugins are about 18 MB; nothing else comes near.
pub(super) const MAX_FILE_SIZE: u64 = 64 << 20;

/// Of so many looks one reads every file, whatever its stamp says: a minute at the usual interval. For file systems
/// that do not keep the time of change as POSIX has it.
const THOROUGH: u32 = 12;

/// Age from which a time of change tells one change from the next: file systems count in steps of up to two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// SHA-256 of a file's content; `None` for one that could not be read.
type Content = Option<[u8; 32]>;

/// Some of a load's files, and what was in them.
#[derive(Debug, Clone)]
pub(super) struct Contents(Vec<(PathBuf, Content)>);

/// The names and contents that a load read.
#[derive(Clone, Default)]
pub struct Inputs {
    patterns: Vec<PathBuf>,
    files: ByName,
    /// Of files that were found as the load read them.
    stamps: HashMap<OsString, Stamp>,
    looks: u32,
}

/// As the names are written: to compare paths part by part is most of what ten thousand files cost.
type ByName = BTreeMap<OsString, Content>;

/// What a file cannot keep while its content changes: a write sets the time of change, which nobody can set back, and
/// a swapped symlink leads to another file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: Duration,
}

impl Stamp {
    /// `None` if the next change could leave the same.
    fn of(path: &Path, now: SystemTime) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let changed = Duration::new(
            metadata.ctime().try_into().ok()?,
            metadata.ctime_nsec().try_into().ok()?,
        );
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        (now.checked_sub(changed)? > SETTLED).then_some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed,
        })
    }
}

impl Inputs {
    /// What the load saw.
    pub fn loaded(&self) -> [u8; 32] {
        fold(self.files.iter().map(|(name, content)| (name.as_os_str(), *content)))
    }

    /// What a load would see now: equal to [`Inputs::loaded`] while nothing has changed. Reads files, so it belongs
    /// on a blocking thread. A file that is missing is part of the answer and no error.
    pub fn look(&mut self) -> [u8; 32] {
        self.look_at(SystemTime::now())
    }

    pub(super) fn look_at(&mut self, now: SystemTime) -> [u8; 32] {
        if self.looks.is_multiple_of(THOROUGH) {
            self.stamps.clear();
        }
        self.looks = self.looks.wrapping_add(1);
        let new = self
            .patterns
            .iter()
            .flat_map(|pattern| glob::expand(pattern).unwrap_or_default());
        let new: Vec<OsString> = new.map(PathBuf::into_os_string).collect();
        let mut names: Vec<&OsStr> = self.files.keys().chain(&new).map(OsString::as_os_str).collect();
        names.sort_unstable();
        names.dedup();
        let (files, stamps) = (&self.files, &mut self.stamps);
        fold(names.into_iter().map(|name| {
            let loaded = files.get(name).copied().flatten();
            (name, content_now(name, loaded, stamps, now))
        }))
    }

    /// How many files the next look need not read while they stay as they are.
    #[cfg(test)]
    pub(super) fn stamped(&self) -> usize {
        self.stamps.len()
    }

    /// Every file named, sorted: the main file, tenant files, certificates, secrets, plugins.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(Path::new)
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No names: a secret pasted where the name of its file belongs would be one.
        f.debug_struct("Inputs")
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// What is in the file now, unread where its stamp says that it is `loaded` still.
fn content_now(name: &OsStr, loaded: Content, stamps: &mut HashMap<OsString, Stamp>, now: SystemTime) -> Content {
    // As a load does: what else waits for this processor comes between.
    thread::yield_now();
    let path = Path::new(name);
    // Asked before reading: a change that comes between makes the next look read again.
    let stamp = Stamp::of(path, now);
    if stamp.is_some() && stamp.as_ref() == stamps.get(name) {
        return loaded;
    }
    let content = read_bounded(path).ok().map(|bytes| sha256(&Zeroizing::new(bytes)));
    match stamp {
        Some(stamp) if content.is_some() && content == loaded => drop(stamps.insert(name.to_owned(), stamp)),
        _ => drop(stamps.remove(name)),
    }
    content
}

fn fold<'a>(files: impl Iterator<Item = (&'a OsStr, Content)>) -> [u8; 32] {
    let mut all = Vec::new();
    for (name, content) in files {
        let name = name.as_encoded_bytes();
        all.extend_from_slice(&(name.len() as u64).to_le_bytes());
        all.extend_from_slice(name);
        all.push(u8::from(content.is_some()));
        all.extend_from_slice(content.as_ref().map_or(&[][..], |hash| &hash[..]));
    }
    sha256(&all)
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Reads files for one load and remembers them.
#[derive(Default)]
pub(super) struct Files {
    cache: RefCell<BTreeMap<PathBuf, Arc<[u8]>>>,
    seen: RefCell<ByName>,
    /// What was asked for since [`Files::watched`] began.
    asked: RefCell<Vec<PathBuf>>,
    patterns: RefCell<Vec<PathBuf>>,
    /// Secrets need not be there: see [`Files::lacks_secret`].
    without_secrets: bool,
}

impl Files {
    /// For a place that has the configuration and not its secrets.
    pub(super) fn without_secrets() -> Self {
        Self {
            without_secrets: true,
            ..Self::default()
        }
    }

    /// Whether the secret at this absolute path is one to do without.
    pub(super) fn lacks_secret(&self, path: &Path) -> bool {
        self.without_secrets && !path.exists()
    }

    /// The content of the file at this absolute path.
    ///
    /// # Errors
    /// Says why it cannot be read, without naming it.
    pub(super) fn read(&self, path: &Path) -> Result<Arc<[u8]>, String> {
        self.asked.borrow_mut().push(path.to_owned());
        if let Some(bytes) = self.cache.borrow().get(path) {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = self.note(path, read_bounded(path))?.into();
        self.cache.borrow_mut().insert(path.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
    }

    /// The same for a secret, which is not kept and is wiped when dropped.
    ///
    /// # Errors
    /// Says why it cannot be read, without naming it.
    pub(super) fn read_secret(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        self.asked.borrow_mut().push(path.to_owned());
        self.note(path, read_bounded(path)).map(Zeroizing::new)
    }

    /// The files that match `pattern` now; the pattern is watched from here on.
    ///
    /// # Errors
    /// As [`glob::expand`].
    pub(super) fn expand(&self, pattern: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        self.patterns.borrow_mut().push(pattern.to_owned());
        glob::expand(pattern)
    }

    /// Runs `work`, and gives what it read besides.
    pub(super) fn watched<T>(&self, work: impl FnOnce() -> T) -> (T, Contents) {
        self.asked.borrow_mut().clear();
        let result = work();
        let asked = self.asked.take().into_iter();
        let contents = asked.map(|path| (self.seen.borrow().get(path.as_os_str()).copied().flatten(), path));
        (
            result,
            Contents(contents.map(|(content, path)| (path, content)).collect()),
        )
    }

    /// Whether a read of the same files would now find the same. They are read, and watched from here on.
    pub(super) fn hold(&self, contents: &Contents) -> bool {
        contents.0.iter().all(|(path, content)| {
            let seen = self.seen.borrow().get(path.as_os_str()).copied();
            let now = seen.unwrap_or_else(|| {
                let bytes = read_bounded(path).map(Zeroizing::new);
                let now = bytes.ok().map(|bytes| sha256(&bytes));
                self.seen.borrow_mut().insert(path.clone().into_os_string(), now);
                now
            });
            now.is_some() && now == *content
        })
    }

    /// One number for the content of every file read so far.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        fold(
            self.seen
                .borrow()
                .iter()
                .map(|(name, content)| (name.as_os_str(), *content)),
        )
    }

    pub(super) fn into_inputs(self) -> Inputs {
        Inputs {
            patterns: self.patterns.into_inner(),
            files: self.seen.into_inner(),
            ..Inputs::default()
        }
    }

    fn note(&self, path: &Path, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
        let content = read.as_deref().ok().map(sha256);
        self.seen.borrow_mut().insert(path.as_os_str().to_owned(), content);
        read.map_err(|error| reason(&error))
    }
}

/// A read error in words.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // One byte more, so that one read sees the end.
    let mut bytes = vec![0; usize::try_from(metadata.len().min(MAX_FILE_SIZE)).unwrap_or(0) + 1];
    let mut file = File::open(path)?;
    let first = file.read(&mut bytes)?;
    bytes.truncate(first);
    if first as u64 != metadata.len() {
        // It changes while it is read, or is none of a disk's files.
        let rest = MAX_FILE_SIZE + 1 - first as u64;
        file.take(rest).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_left_the_stamp_is_seen_within_twelve_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (path, later) = (folder.path().join("file"), SystemTime::now() + SETTLED * 2);
        fs::write(&path, "is now").unwrap();
        let name = path.clone().into_os_string();
        let mut inputs = Inputs {
            files: [(name.clone(), Some(sha256(b"was at the load")))].into(),
            ..Inputs::default()
        };
        assert_ne!(inputs.look_at(later), inputs.loaded());
        // As a file system leaves it that does not keep the time of a change.
        inputs.stamps.insert(name, Stamp::of(&path, later).unwrap());
        for _ in 1..THOROUGH {
            assert_eq!(inputs.look_at(later), inputs.loaded());
        }
        assert_ne!(inputs.look_at(later), inputs.loaded());
    }
}
