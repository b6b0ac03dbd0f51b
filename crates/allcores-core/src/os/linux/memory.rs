//! How much memory a program can still get, by the machine and by its control groups.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Bytes of memory of the machine, and how many this process could still get: what the
/// kernel calls available, and no more than any control group on the way up has left.
///
/// What can't be read is taken for no limit. The answer is an estimate, and old as soon
/// as it is given.
pub fn memory() -> (u64, u64) {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim_start_matches(':').split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .map(|kib| kib << 10)
    };
    let total = field("MemTotal").unwrap_or(8 << 30);
    let swap = field("SwapFree").unwrap_or(0);
    let free = field("MemAvailable").map_or(u64::MAX, |free| free + swap);
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    (
        total,
        free.min(left_in_groups(&groups, Path::new("/sys/fs/cgroup"))),
    )
}

/// Bytes of this process's memory that are no file's and not shared, as far as they are in
/// memory: now, and the most that there were, as far as that can be told.
pub fn anonymous_memory() -> Option<(u64, u64)> {
    let text = read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number = line.split_whitespace().next()?;
        number.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let now = field("RssAnon:")?;
    let others = field("RssFile:")? + field("RssShmem:")?;
    Some((now, field("VmHWM:")?.saturating_sub(others).max(now)))
}

/// The least that any group of this process has left, by the lines of `/proc/self/cgroup`.
fn left_in_groups(groups: &str, mounted: &Path) -> u64 {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                Some(left(mounted, path, "memory.max", "memory.current"))
            } else if controllers.split(',').any(|name| name == "memory") {
                let (limit, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
                Some(left(&mounted.join("memory"), path, limit, used))
            } else {
                None
            }
        })
        .min()
        .unwrap_or(u64::MAX)
}

/// The least that the group `path` and those above it have left.
fn left(root: &Path, path: &str, limit: &str, used: &str) -> u64 {
    let number = |folder: &Path, name: &str| -> Option<u64> {
        read_to_string(folder.join(name)).ok()?.trim().parse().ok()
    };
    let mut folder: PathBuf = root.join(path);
    let mut least = u64::MAX;
    while folder.starts_with(root) {
        if let (Some(limit), Some(used)) = (number(&folder, limit), number(&folder, used)) {
            // File pages that nobody has used lately are given up before anybody is killed.
            let idle = read_to_string(folder.join("memory.stat"))
                .unwrap_or_default()
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok())
                .unwrap_or(0);
            least = least.min(limit.saturating_sub(used.saturating_sub(idle)));
        }
        if !folder.pop() {
            break;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    /// The tightest group on the way up counts, and idle file pages count as free.
    #[test]
    fn the_tightest_group_counts() {
        let root = std::env::temp_dir().join(format!("allcores-cgroup-{}", std::process::id()));
        let inner = root.join("outer/inner");
        create_dir_all(&inner).unwrap();
        write(inner.join("memory.max"), "max\n").unwrap();
        write(inner.join("memory.current"), "10\n").unwrap();
        write(root.join("outer/memory.max"), "1000\n").unwrap();
        write(root.join("outer/memory.current"), "700\n").unwrap();
        write(
            root.join("outer/memory.stat"),
            "anon 600\ninactive_file 50\n",
        )
        .unwrap();
        let old = root.join("memory/group");
        create_dir_all(&old).unwrap();
        write(old.join("memory.limit_in_bytes"), "500\n").unwrap();
        write(old.join("memory.usage_in_bytes"), "499\n").unwrap();
        assert_eq!(left_in_groups("0::/outer/inner\n", &root), 350);
        assert_eq!(left_in_groups("5:cpu,memory:/group\n0::/\n", &root), 1);
        assert_eq!(left_in_groups("3:cpu:/outer\n", &root), u64::MAX);
        assert_eq!(left_in_groups("0::/nowhere\n", &root), u64::MAX);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
