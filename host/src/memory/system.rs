//! What the system says of memory: how much there may be, and how much there is.
//!
//! Takes the files of /proc and of control groups, of both versions; gives bytes. What is not there says nothing. Never
//! caches: a group's bound may be changed while the process runs.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The most that is a bound: version 1 has a number just below 2^63 where there is none.
const NO_BOUND: u64 = 1 << 62;

/// What bounds the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// In bytes.
    pub bytes: u64,
    /// None: it is the machine's own memory.
    pub group: Option<Group>,
}

/// A control group, which bounds the memory of the processes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Memory of the process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    pub total: u64,
    /// What no file stands behind, so that the system cannot drop it.
    pub anonymous: u64,
}

impl Bound {
    /// None where the system says nothing.
    pub fn read() -> Option<Self> {
        Self::read_below(Path::new("/"))
    }

    fn read_below(root: &Path) -> Option<Self> {
        let groups = groups(root).into_iter().filter_map(|group| {
            let bytes = group.limit()?;
            Some(Self {
                bytes,
                group: Some(group),
            })
        });
        let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
        let machine = machine.and_then(|text| kilobytes(&text, "MemTotal:"));
        let machine = machine.map(|bytes| Self { bytes, group: None });
        groups.chain(machine).min_by_key(|bound| bound.bytes)
    }
}

impl Group {
    fn limit(&self) -> Option<u64> {
        let files: &[&str] = match self.version {
            Version::One => &["memory.limit_in_bytes"],
            // Above `high` nothing is killed, and nothing gets anywhere either.
            Version::Two => &["memory.max", "memory.high"],
        };
        let bounds = files.iter().filter_map(|file| self.number(file));
        bounds.filter(|bytes| *bytes < NO_BOUND).min()
    }

    /// What is in use and cannot be dropped, in bytes: of all processes of the group, and of the kernel on their behalf.
    pub fn in_use(&self) -> Option<u64> {
        let (all, droppable): (&str, &[&str]) = match self.version {
            Version::One => ("memory.usage_in_bytes", &["total_inactive_file", "total_active_file"]),
            Version::Two => ("memory.current", &["inactive_file", "active_file", "slab_reclaimable"]),
        };
        let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        let droppable: u64 = droppable.iter().filter_map(|key| number_of(&stat, key)).sum();
        Some(self.number(all)?.saturating_sub(droppable))
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }
}

impl Resident {
    /// None where the system says nothing.
    pub fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(Self {
            total: kilobytes(&status, "VmRSS:")?,
            anonymous: kilobytes(&status, "RssAnon:")?,
        })
    }
}

/// The groups that the process is in, each with all that are above it, as far as they can be seen from here.
fn groups(root: &Path) -> Vec<Group> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (member, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut groups = Vec::new();
    for (version, path) in member.lines().filter_map(membership) {
        for (seen_from, mounted_at) in mounts.lines().filter_map(|line| mount(line, version)) {
            let top = root.join(mounted_at.trim_start_matches('/'));
            let inside = inside(Path::new(path), Path::new(seen_from));
            groups.extend(inside.ancestors().map(|inside| Group {
                folder: top.join(inside),
                version,
            }));
        }
    }
    groups
}

/// Where below its mount point a group is. In a container without a namespace for groups `path` is the host's, and what
/// is mounted begins somewhere in it; in one with a namespace a group outside of it is told by `..`.
fn inside(path: &Path, seen_from: &Path) -> PathBuf {
    let inside = path.strip_prefix(seen_from).unwrap_or(path);
    if inside.components().any(|part| part == Component::ParentDir) {
        return PathBuf::new();
    }
    inside
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// A line of /proc/self/cgroup: number, controllers, path; version 2 has no controllers.
fn membership(line: &str) -> Option<(Version, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    match controllers {
        "" => Some((Version::Two, path)),
        _ if has_memory(controllers) => Some((Version::One, path)),
        _ => None,
    }
}

/// A line of /proc/self/mountinfo, if it mounts groups of `version`: what of the hierarchy is mounted, and where.
fn mount(line: &str, version: Version) -> Option<(&str, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let found = (fields.next()?, fields.next()?);
    let mut filesystem = filesystem.split(' ');
    let is_it = match (filesystem.next()?, version) {
        ("cgroup2", Version::Two) => true,
        ("cgroup", Version::One) => filesystem.nth(1).is_some_and(has_memory),
        _ => false,
    };
    is_it.then_some(found)
}

fn has_memory(controllers: &str) -> bool {
    controllers.split(',').any(|name| name == "memory")
}

/// `VmRSS:      1764 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    number_of(text, key).map(|kilobytes| kilobytes.saturating_mul(1024))
}

/// What comes after the word `key` on the line that begins with it.
fn number_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let number = lines.find_map(|behind| behind.strip_prefix([' ', '\t']))?;
    number.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "32 31 0:29 /docker/a /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                             35 31 0:32 /docker/a /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const MACHINE: (u64, bool) = (24_000_000 << 10, false);

    /// A system of 24 GB with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let memory = [("proc/meminfo", "MemTotal:       24000000 kB\nMemFree:  1 kB\n")];
        for (path, text) in memory.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn bound(files: &[(&str, &str)]) -> (u64, bool) {
        let bound = Bound::read_below(system(files).path()).unwrap();
        (bound.bytes, bound.group.is_some())
    }

    #[test]
    fn the_least_bound_of_a_group_and_those_above_it_holds() {
        let nested = |own, above| {
            bound(&[
                ("proc/self/cgroup", "0::/kube/pod/box\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/kube/pod/box/memory.max", own),
                ("sys/fs/cgroup/kube/pod/memory.max", above),
                ("sys/fs/cgroup/kube/memory.max", "max\n"),
            ])
        };
        assert_eq!(nested("1073741824\n", "max\n"), (1 << 30, true));
        assert_eq!(nested("1073741824\n", "536870912\n"), (512 << 20, true));
        assert_eq!(nested("max\n", "536870912\n"), (512 << 20, true));
        assert_eq!(nested("max\n", "max\n"), MACHINE);
        assert_eq!(nested("99999999999999\n", "max\n"), MACHINE);
    }

    #[test]
    fn a_container_sees_its_own_group_at_the_mount_point() {
        let namespaced = bound(&[
            ("proc/self/cgroup", "0::/../outside\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "4096\n"),
            ("sys/fs/cgroup/memory.high", "2048\n"),
        ]);
        assert_eq!(namespaced, (2048, true));
        let version_1 = |limit| {
            bound(&[
                (
                    "proc/self/cgroup",
                    "5:cpu:/docker/a\n4:hugetlb,memory:/docker/a\n0::/\n",
                ),
                ("proc/self/mountinfo", V1_MOUNTS),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", limit),
            ])
        };
        assert_eq!(version_1("1048576\n"), (1 << 20, true));
        assert_eq!(version_1("9223372036854771712\n"), MACHINE);
    }

    #[test]
    fn nothing_is_read_where_there_is_nothing_to_read() {
        assert_eq!(bound(&[("proc/self/cgroup", "nonsense\n0:\n")]), MACHINE);
        assert_eq!(Bound::read_below(Path::new("/nowhere")), None);
    }

    #[test]
    fn what_a_group_has_in_use_is_without_what_the_system_can_drop() {
        let in_use = |version, files: &[(&str, &str)]| {
            let root = system(files);
            let folder = root.path().join("group");
            Group { folder, version }.in_use()
        };
        let stat = "anon 5\ninactive_file 300\nactive_file 20\nslab_reclaimable 1\n";
        let version_2 = [("group/memory.stat", stat), ("group/memory.current", "1000\n")];
        assert_eq!(in_use(Version::Two, &version_2), Some(679));
        let stat = "inactive_file 7\ntotal_inactive_file 300\ntotal_active_file 20\n";
        let version_1 = [("group/memory.stat", stat), ("group/memory.usage_in_bytes", "1000\n")];
        assert_eq!(in_use(Version::One, &version_1), Some(680));
        assert_eq!(in_use(Version::One, &[]), None);
    }

    #[test]
    fn this_process_takes_memory_and_is_bounded() {
        let resident = Resident::read().unwrap();
        assert!(
            resident.anonymous > 100_000 && resident.total >= resident.anonymous,
            "{resident:?}"
        );
        assert!(Bound::read().unwrap().bytes > resident.anonymous);
    }
}
