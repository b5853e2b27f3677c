//! Memory limits of control groups, which containers and services live in. Both versions.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, section "Memory Interface Files", and
//! <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>.

use std::path::{Path, PathBuf};

/// What the narrowest limit leaves; none where there is no limit. `root` is `/`, but for tests.
pub(super) fn available_bytes(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = root.join("sys/fs/cgroup");
    let left = groups.lines().flat_map(|line| {
        // `0::/path` in version 2, `7:memory:/path` in version 1.
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.next());
        let (mount, files) = match controllers {
            Some("") => (mounts.clone(), &VERSION_2),
            Some(list) if list.split(',').any(|name| name == "memory") => {
                (mounts.join("memory"), &VERSION_1)
            }
            _ => return Vec::new(),
        };
        let path = path.unwrap_or_default().trim_start_matches('/');
        left(&mount, path, files)
    });
    left.min()
}

/// The names of what a group says.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Pages of files that nobody has used for a while: taken away before anything fails.
    reclaimable: &'static str,
}

const VERSION_2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file ",
};

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

/// What the limits of a group and of those around it leave. In a container the group's own path
/// may not be there, only what is mounted as the root.
fn left(mount: &Path, path: &str, files: &Files) -> Vec<u64> {
    let mut folders: Vec<PathBuf> = Path::new(path)
        .ancestors()
        .map(|path| mount.join(path))
        .collect();
    folders.dedup();
    let left = |folder: &PathBuf| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // `max` is no number and no limit.
        let (limit, used) = (number(files.limit)?, number(files.used)?);
        let stat = read("memory.stat").unwrap_or_default();
        let reclaimable = stat
            .lines()
            .find_map(|line| line.strip_prefix(files.reclaimable)?.trim().parse().ok());
        let kept = used.saturating_sub(reclaimable.unwrap_or(0));
        Some(limit.saturating_sub(kept))
    };
    folders.iter().filter_map(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_narrowest_group_of_version_2_counts() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "1000\n"),
                ("sys/fs/cgroup/a/memory.current", "300\n"),
                ("sys/fs/cgroup/a/memory.stat", "anon 9\ninactive_file 100\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/b/memory.current", "10\n"),
            ],
        );
        assert_eq!(available_bytes(root.path()), Some(800));
        write(root.path(), &[("sys/fs/cgroup/a/b/memory.max", "110\n")]);
        assert_eq!(available_bytes(root.path()), Some(100));
    }

    #[test]
    fn a_group_of_version_1_and_a_container_that_only_sees_its_own() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("proc/self/cgroup", "7:cpu,memory:/docker/x\n1:name=s:/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 500\n",
                ),
            ],
        );
        assert_eq!(available_bytes(root.path()), Some(3500));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(available_bytes(root.path()), None);
        write(root.path(), &[("proc/self/cgroup", "0::/\n")]);
        assert_eq!(available_bytes(root.path()), None);
    }
}
