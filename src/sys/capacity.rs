//! How much memory the process may have.

use std::fs;
use std::path::Path;

/// Where the hierarchy of cgroup(7) version 2 is.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that the process and its children may have together: that of the machine (`proc_meminfo(5)`, `MemTotal`), or
/// what a cgroup around them may have at most (`memory.max`, `memory.high`); `None` where neither is told.
pub(crate) fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| Path::new(GROUPS).join(path));
    let groups = own.iter().flat_map(|own| own.ancestors()).take_while(|group| group.starts_with(GROUPS));
    let limit = |file: &Path| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limits = groups.flat_map(|group| ["memory.max", "memory.high"].map(|name| limit(&group.join(name))));
    limits.flatten().chain(machine).min()
}

/// The memory of the machine.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_no_more_than_that_of_the_machine() {
        let machine = total(&fs::read_to_string("/proc/meminfo").unwrap()).unwrap();
        let memory = memory().unwrap();
        assert!(memory > 16 << 20 && memory <= machine, "{memory} {machine}");
        assert_eq!(total("MemTotal:       16 kB\nMemFree: 8 kB\n"), Some(16 << 10));
        assert_eq!(total("MemFree: 8 kB\n"), None);
    }
}
