//! What this process uses of the machine: getrusage(2), `proc_pid_stat(5)` and `/proc/self/fd`.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use super::identity;

/// What this process uses; nothing of what the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on processors.
    pub processor: Duration,
    /// Threads, bytes of addresses, and bytes that are in memory.
    pub memory: Option<[u64; 3]>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// How many bytes of addresses there may be, and how many descriptors.
    pub limits: Option<[u64; 2]>,
}

impl Usage {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let spent = getrusage(UsageWho::RUSAGE_SELF)
            .map_or(Duration::ZERO, |usage| duration(usage.user_time()) + duration(usage.system_time()));
        let limit = |of| getrlimit(of).map(|(soft, _)| soft);
        let limits = limit(Resource::RLIMIT_AS).and_then(|of| Ok([of, limit(Resource::RLIMIT_NOFILE)?]));
        // The listing holds one of its own.
        let descriptors = fs::read_dir("/proc/self/fd").map(|all| all.count().saturating_sub(1) as u64);
        Self {
            processor: spent,
            memory: identity::memory().ok(),
            descriptors: descriptors.ok(),
            limits: limits.ok(),
        }
    }
}

/// A time of the kernel's.
fn duration(time: TimeVal) -> Duration {
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(number(time.tv_sec())) + Duration::from_micros(number(time.tv_usec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_grows_with_what_is_done() {
        let before = Usage::now();
        let files: Vec<_> = (0..20).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = Usage::now();
        let open = |usage: &Usage| usage.descriptors.unwrap();
        assert!(open(&after) >= open(&before) + 20, "{before:?} {after:?}");
        drop(files);
        let [threads, addresses, resident] = after.memory.unwrap();
        assert!(threads >= 2 && addresses > resident && resident > 1 << 20, "{after:?}");
        let [most_addresses, most_files] = after.limits.unwrap();
        assert!(most_addresses >= addresses && most_files >= open(&after), "{after:?}");
        while Usage::now().processor <= after.processor {}
    }
}
