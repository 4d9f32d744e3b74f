//! What the log tells at `/metrics`.

use crate::gateway::Metric;
use crate::log::{Handle, Health};

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
