//! What an unknown key was meant to be.

/// What people write who know another program's configuration, and what it is called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("mcpServers", "upstreams"),
    ("servers", "upstreams"),
    ("upstream", "upstreams"),
    ("logging", "log"),
    ("host", "listen"),
    ("port", "listen"),
    ("bind", "listen"),
    ("cmd", "command"),
    ("environment", "env"),
    ("cwd", "working_dir"),
    ("serverUrl", "url"),
    ("endpoint", "url"),
    ("timeout", "request_timeout"),
];

/// The hint for an unknown key: the nearest valid one, or all of them if none is near.
pub(super) fn suggestion(unknown: &str, known: &[&str]) -> String {
    let elsewhere = ELSEWHERE.iter().find(|(theirs, ours)| *theirs == unknown && known.contains(ours));
    let near = |name: &&&str| strsim::jaro_winkler(&unknown.to_ascii_lowercase(), name);
    let nearest = known.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match (elsewhere, nearest) {
        (_, None) => "there are none".to_owned(),
        (Some((_, ours)), _) => format!("did you mean `{ours}`?"),
        (None, Some(name)) if near(&name) >= 0.75 => format!("did you mean `{name}`?"),
        _ => format!(
            "valid keys are {}",
            known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}
