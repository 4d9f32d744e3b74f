//! What the log and the process tell at `/metrics`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::gateway::Metric;
use crate::log::{Handle, Health};
use crate::sys::usage::Usage;

/// What tells the numbers of the process, which begins now.
pub(super) fn of_process() -> impl Fn() -> Vec<Metric> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    move || of_usage(&Usage::now(), began)
}

/// These numbers, under the names that all clients of Prometheus have for them
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
///
/// The collectors that there are as crates are for other versions of prometheus-client, or for other clients.
fn of_usage(usage: &Usage, began: f64) -> Vec<Metric> {
    let mut all = vec![
        Metric::counter("process_cpu_seconds", "Time on processors, of the user's and the system's", 0)
            .float(usage.processor.as_secs_f64()),
        Metric::gauge("process_start_time_seconds", "When the process began, in seconds since 1970", 0)
            .float(began),
    ];
    if let Some([threads, addresses, resident]) = usage.memory {
        all.push(Metric::gauge("process_threads", "Threads of the process", threads));
        all.push(Metric::gauge("process_virtual_memory_bytes", "Addresses that the process uses", addresses));
        all.push(Metric::gauge(
            "process_resident_memory_bytes",
            "What is in memory of the process",
            resident,
        ));
    }
    if let Some(open) = usage.descriptors {
        all.push(Metric::gauge("process_open_fds", "Open descriptors", open));
    }
    if let Some([addresses, open]) = usage.limits {
        all.push(Metric::gauge(
            "process_virtual_memory_max_bytes",
            "How many addresses it may use",
            addresses,
        ));
        all.push(Metric::gauge("process_max_fds", "How many descriptors may be open", open));
    }
    all.into_iter().map(Metric::foreign).collect()
}

/// The numbers of the log file and of the audit; none of what there is not.
pub(super) fn of_log(log: &Handle) -> Vec<Metric> {
    let file = log.health().map(|health| all(&health)).unwrap_or_default();
    let audit = log.audit_health().map(|health| of_audit(&health)).unwrap_or_default();
    file.into_iter().chain(audit).collect()
}

/// The numbers of the audit.
fn of_audit(health: &Health) -> Vec<Metric> {
    vec![
        Metric::counter("audit_records", "Records of the audit that were written", health.written),
        Metric::counter("audit_records_lost", "Records of the audit that were lost", health.lost),
        Metric::gauge("audit_queue_records", "Records of the audit that wait", health.waiting),
    ]
}

/// The numbers of a log file.
fn all(health: &Health) -> Vec<Metric> {
    let lost = health.lost_by_level.by_level();
    let lost = lost.map(|(level, count)| (vec![("level", level.to_owned())], count));
    vec![
        Metric::counter("log_records", "Records that were written to the log file", health.written),
        Metric::counter("log_bytes", "Bytes that were written to the log file", health.bytes),
        Metric::gauge("log_queue_records", "Log records that wait for the disk", health.waiting),
        Metric::counters("log_records_lost", "Log records that were lost", lost),
        Metric::counter("log_rotations", "Rotations of the log file", health.rotations),
        Metric::gauge(
            "log_trouble",
            "1 while the log file cannot be written, moved or opened",
            u64::from(health.trouble.is_some()),
        ),
    ]
}
