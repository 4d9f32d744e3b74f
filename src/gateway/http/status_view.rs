//! What the status page shows, in words and rows for its template.
//!
//! Whatever others have written may say anything: characters that are not seen or reorder others become escapes, long texts are
//! cut, and the template escapes what means something to HTML.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use askama::Template;
use bytesize::ByteSize;
use jiff::Timestamp;

use crate::gateway::session::Attendance;
use crate::gateway::status::{Status, UpstreamState, UpstreamStatus};
use crate::gateway::telemetry::{Counted, Failure, Ledger, SAMPLES};
use crate::text;

/// Characters of a name, and of a longer text, that are shown.
const NAME: usize = 80;
/// The same of a longer text.
const TEXT: usize = 300;
/// Upstreams that cannot be used and are named above all.
const NAMED: usize = 5;
/// The size of the drawing of a latency, and how much of it stays free above and below.
const DRAWING: (f64, f64, f64) = (120.0, 28.0, 3.0);
/// How all clients of this machine are named, that are not known by more.
const LOCAL: &str = "127.0.0.0/8";
/// Latencies below this are drawn low, since they are all the same to people.
const LOW: Duration = Duration::from_millis(5);

/// What the page shows.
#[derive(Debug, Template)]
#[template(path = "status-body.html.j2", escape = "html")]
pub(super) struct View {
    /// How it goes, as one word for the colour.
    tone: &'static str,
    /// How it goes, in one sentence.
    summary: String,
    /// Upstreams that cannot be used.
    missing: Vec<String>,
    /// As many more.
    more: usize,
    /// Numbers of the gateway.
    facts: Vec<Fact>,
    /// Each upstream.
    upstreams: Vec<Upstream>,
    /// What has failed last.
    failures: Vec<Failed>,
    /// Who uses the gateway, for those who may know.
    clients: Option<Vec<Client>>,
    /// What else is known of the gateway.
    about: Vec<Fact>,
}

/// A value with a name.
#[derive(Debug)]
struct Fact {
    /// The name.
    name: &'static str,
    /// The value.
    value: String,
    /// What is said beside it, or the word for its colour.
    rest: String,
}

/// One upstream.
#[derive(Debug)]
struct Upstream {
    /// Its name.
    name: String,
    /// How it is reached.
    kind: String,
    /// The word for its colour.
    tone: &'static str,
    /// Its state.
    state: &'static str,
    /// How long its calls have taken lately, if there were any.
    latency: Option<Latency>,
    /// Calls.
    calls: String,
    /// Those that have failed.
    errors: String,
    /// Whether there are any.
    has_failed: bool,
    /// How often it was started again.
    restarts: String,
    /// Why it cannot be used, or what was wrong last.
    cause: Option<String>,
    /// What its command has written last.
    last_line: Option<String>,
    /// What mends that.
    mend: Option<String>,
    /// What tells more.
    command: String,
    /// What is wrong though it works.
    warnings: Vec<String>,
}

/// How long calls have taken lately.
#[derive(Debug)]
struct Latency {
    /// The line, as SVG has it.
    path: String,
    /// On average.
    mean: String,
    /// What nearly all took.
    rest: String,
}

/// A request that has failed.
#[derive(Debug)]
struct Failed {
    /// When, for programs.
    stamp: String,
    /// When, for people.
    time: String,
    /// Its identifier.
    request: String,
    /// What it has asked for.
    asked: String,
    /// Whose it is, if that is known.
    client: String,
    /// The word for its colour.
    tone: &'static str,
    /// What came of it.
    outcome: &'static str,
    /// Why.
    reason: String,
}

/// A client.
#[derive(Debug)]
struct Client {
    /// Its name, or where it comes from.
    name: String,
    /// What it says to be.
    software: String,
    /// Its sessions.
    sessions: String,
}

impl View {
    /// That of a gateway, which may be draining, with so many connections of clients at these listeners, and who they are, for
    /// those who may know.
    pub(super) fn new(
        (status, ledger): (&Status, &Ledger),
        draining: bool,
        (listeners, connections): (&[String], usize),
        clients: Option<&[Attendance]>,
    ) -> Self {
        // What is built in is the gateway itself.
        let upstreams: Vec<_> = status.upstreams.iter().filter(|one| one.transport != "builtin").collect();
        let is_on = |one: &&&UpstreamStatus| one.state != UpstreamState::Disabled;
        let missing = upstreams.iter().filter(is_on).filter(|one| !one.state.is_usable());
        let missing: Vec<_> = missing.map(|one| shown(&one.name, NAME)).collect();
        let all = upstreams.iter().filter(is_on).count();
        let (tone, summary) = summary(missing.len(), all, draining);
        let named = missing.len().min(NAMED);
        let (calls, lately) = (ledger.calls_by_upstream(), ledger.lately());
        let upstream = |one: &&UpstreamStatus| {
            let calls = calls.get(one.name.as_str()).copied().unwrap_or_default();
            Upstream::new(one, calls, lately.get(one.name.as_str()).map(Vec::as_slice).unwrap_or_default())
        };
        let failures = ledger.recent().all();
        Self {
            tone,
            summary,
            more: missing.len() - named,
            missing: missing.into_iter().take(named).collect(),
            facts: facts(status, ledger, connections),
            upstreams: upstreams.iter().map(upstream).collect(),
            failures: failures
                .iter()
                .map(|failure| Failed::new(failure, ledger, clients.is_some()))
                .collect(),
            clients: clients.map(|all| all.iter().map(Client::new).collect()),
            about: about(status, ledger, listeners),
        }
    }
}

/// How it goes: a word for the colour, and a sentence, which names of upstreams may follow.
fn summary(missing: usize, all: usize, draining: bool) -> (&'static str, String) {
    match (missing, all) {
        _ if draining => ("poor", "The gateway is ending; requests in flight are finished".to_owned()),
        (_, 0) => ("off", "The gateway serves; no upstream is configured".to_owned()),
        (0, 1) => ("good", "The upstream can be used".to_owned()),
        (0, _) => ("good", format!("All {all} upstreams can be used")),
        (1, 1) => ("bad", "The only upstream cannot be used".to_owned()),
        _ => ("bad", format!("{missing} of {all} upstreams cannot be used")),
    }
}

/// Numbers of the gateway.
fn facts(status: &Status, ledger: &Ledger, connections: usize) -> Vec<Fact> {
    let (calls, errors) =
        ledger.calls_by_upstream().values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    let share = if errors == 0 { "none has failed".to_owned() } else { format!("{} failed", number(errors)) };
    let fact = |name, value, rest: String| Fact { name, value, rest };
    let limit = format!("of {}", ByteSize(status.memory.limit as u64).display().iec());
    vec![
        fact("Tool calls", number(calls), if calls == 0 { String::new() } else { share }),
        fact("In flight", number(status.in_flight as u64), String::new()),
        fact("Sessions", number(status.sessions as u64), String::new()),
        fact("Connections", number(connections as u64), String::new()),
        fact("Held in memory", ByteSize(status.memory.held as u64).display().iec().to_string(), limit),
        fact("Up for", uptime(status.uptime_seconds), String::new()),
    ]
}

/// What else is known of the gateway.
fn about(status: &Status, ledger: &Ledger, listeners: &[String]) -> Vec<Fact> {
    let fact = |name, value, tone: &str| Fact { name, value, rest: tone.to_owned() };
    let mut about = vec![
        fact("Version", status.version.clone(), ""),
        fact("Process", std::process::id().to_string(), ""),
        fact("Listening", listeners.iter().map(|it| shown(it, TEXT)).collect::<Vec<_>>().join(", "), ""),
    ];
    for one in &status.certificates {
        let tone = match one.days_left {
            0..=7 => "bad",
            8..=30 => "poor",
            _ => "",
        };
        let days = if one.days_left == 1 { "day" } else { "days" };
        about.push(fact(
            "Certificate",
            format!("{}: {} {days} left", shown(&one.listener, NAME), one.days_left),
            tone,
        ));
    }
    let refused: Vec<_> =
        ledger.refusals().map(|(reason, count)| format!("{} {reason}", number(count))).collect();
    about.push(fact(
        "Refused",
        if refused.is_empty() { "nothing".to_owned() } else { refused.join(", ") },
        "",
    ));
    about
}

impl Upstream {
    /// One with so many calls, errors among them, and what was counted lately.
    fn new(status: &UpstreamStatus, (calls, errors): (u64, u64), lately: &[Counted]) -> Self {
        let era = status.era.map(|era| format!(", {}", era.name()));
        let pid = status.pid.map(|pid| format!(", pid {pid}"));
        let long = |text: &Option<String>| text.as_deref().map(|text| shown(text, TEXT));
        Self {
            name: shown(&status.name, NAME),
            kind: format!("{}{}{}", status.transport, era.unwrap_or_default(), pid.unwrap_or_default()),
            tone: match status.state {
                UpstreamState::Ready => "good",
                UpstreamState::Starting | UpstreamState::Degraded => "poor",
                UpstreamState::Idle | UpstreamState::Disabled => "off",
                UpstreamState::BackingOff | UpstreamState::NeedsLogin | UpstreamState::Stopped => "bad",
            },
            state: status.state.word(),
            latency: Latency::of(lately),
            calls: number(calls),
            errors: number(errors),
            has_failed: errors > 0,
            restarts: number(status.restarts),
            cause: long(&status.last_error),
            last_line: long(&status.last_line),
            mend: long(&status.mend),
            command: format!("mcpeg explain {}", shown(&status.name, NAME)),
            warnings: status.warnings.iter().map(|warning| shown(warning, TEXT)).collect(),
        }
    }

    /// Whether there is more to say than its numbers.
    const fn has_more(&self) -> bool {
        self.cause.is_some() || !self.warnings.is_empty()
    }
}

impl Latency {
    /// That of what was counted lately, the latest last.
    fn of(lately: &[Counted]) -> Option<Self> {
        let all = lately.iter().fold(Counted::default(), Counted::and);
        let mean = all.mean()?;
        let most = all.all_but(20).map_or("above 5 min".to_owned(), |most| format!("≤ {}", took(most)));
        Some(Self { path: path(lately), mean: took(mean), rest: format!("95 % {most}") })
    }
}

/// The line of means, the latest of which is at the right; it has gaps where nothing was counted.
fn path(lately: &[Counted]) -> String {
    let (width, height, free) = DRAWING;
    let means: Vec<_> = lately.iter().map(Counted::mean).collect();
    let most = means.iter().flatten().max().copied().unwrap_or_default().max(LOW);
    let mut path = String::new();
    let mut is_drawn = false;
    for (back, mean) in means.iter().rev().enumerate().collect::<Vec<_>>().into_iter().rev() {
        let Some(mean) = mean else {
            is_drawn = false;
            continue;
        };
        let steps =
            u32::try_from(back).map_or(0.0, f64::from) / u32::try_from(SAMPLES).map_or(1.0, f64::from);
        let x = width * (1.0 - steps);
        let y = (height - 2.0 * free).mul_add(1.0 - mean.as_secs_f64() / most.as_secs_f64(), free);
        // A line of no length is a dot, so that a lone value is seen, too. Writing into a string does not fail.
        let _ = if is_drawn { write!(path, "L{x:.1} {y:.1}") } else { write!(path, "M{x:.1} {y:.1}h0") };
        is_drawn = true;
    }
    path
}

impl Failed {
    /// A failure; whose it is, if that may be told.
    fn new(failure: &Failure, ledger: &Ledger, is_told: bool) -> Self {
        let at = stamp(failure.at());
        let [upstream, tool] = failure.place().and_then(|place| ledger.tool_at(place)).unwrap_or_default();
        let asked = [failure.method().unwrap_or_default(), &shown(tool, NAME)].join(" ");
        let at_upstream =
            if upstream.is_empty() { String::new() } else { format!(" at {}", shown(upstream, NAME)) };
        let client = failure.client().filter(|_| is_told).map(|client| shown(client.entry(), NAME));
        Self {
            time: at.strftime("%H:%M:%S").to_string(),
            stamp: at.strftime("%FT%TZ").to_string(),
            request: failure.request().show(|id| shown(id, NAME)),
            asked: asked.trim_end().to_owned() + &at_upstream,
            client: client.unwrap_or_default(),
            tone: if failure.outcome() == "refused" { "poor" } else { "bad" },
            outcome: failure.outcome(),
            reason: failure.reason().map(|reason| shown(reason, TEXT)).unwrap_or_default(),
        }
    }
}

impl Client {
    /// A client with its sessions.
    fn new(one: &Attendance) -> Self {
        let software: Vec<_> = one.software().iter().map(|software| shown(software, NAME)).collect();
        let name = if one.client() == LOCAL { "this machine" } else { one.client() };
        Self {
            name: shown(name, NAME),
            software: software.join(", "),
            sessions: number(one.sessions() as u64),
        }
    }
}

/// A point in time as it is shown.
fn stamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or_default()
}

/// The time, for the page.
pub(super) fn now() -> String {
    stamp(SystemTime::now()).strftime("%F %T UTC").to_string()
}

/// A text of others as it may be shown, of so many characters at most.
fn shown(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    let mut rest = text.chars();
    for char in rest.by_ref().take(most) {
        match char {
            '\n' | '\t' => shown.push(' '),
            char if text::is_hidden(char) => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A number with its thousands apart.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut apart = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// A time that something took, as short as people have it.
fn took(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match time.as_secs() {
        0 if millis < 9.95 => format!("{} ms", format!("{millis:.1}").trim_end_matches(".0")),
        0 => format!("{millis:.0} ms"),
        1..60 => format!("{} s", format!("{:.1}", millis / 1000.0).trim_end_matches(".0")),
        seconds => format!("{} min", seconds / 60),
    }
}

/// How long the gateway is there, in its two largest units.
fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => "< 1 min".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A page that has this text wherever others have a say.
    fn page(text: &str) -> String {
        let text = || text.to_owned();
        let upstream = UpstreamStatus {
            name: text(),
            transport: "stdio".to_owned(),
            state: UpstreamState::BackingOff,
            era: None,
            pid: Some(1),
            restarts: 3,
            last_error: Some(text()),
            mend: Some(text()),
            exit_code: None,
            exit_signal: None,
            last_line: Some(text()),
            last_lines: vec![text()],
            warnings: vec![text()],
        };
        let status = Status { upstreams: vec![upstream], ..Status::default() };
        let ledger = Ledger::new(10, &crate::config::Log::default());
        ledger.fail(&text());
        let clients = [Attendance::new(text(), 1, vec![text()])];
        View::new((&status, &ledger), false, (&[text()], 1), Some(&clients)).render().unwrap()
    }

    #[test]
    fn hostile_texts_are_text_visible_and_short() {
        let plain = page("plain");
        let tags = |page: &str| page.matches('<').count();
        for text in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "' autofocus onfocus='alert(1)",
            "</style></template><!--",
            "&lt;b&gt;",
        ] {
            let page = page(text);
            assert_eq!(tags(&page), tags(&plain), "{text}: {page}");
            assert!(!page.contains(text), "{text}: {page}");
        }
        let long = page(&"x".repeat(10_000));
        assert!(long.len() < plain.len() + 20 * (TEXT + 3) && !long.contains(&"x".repeat(TEXT + 1)));
        let hidden = page("\u{202e}gnp.exe\u{0}\u{1b}[31m\u{200b}");
        assert!(
            !hidden.contains('\u{202e}') && !hidden.contains('\0') && hidden.contains("\\u{202e}gnp.exe"),
            "{hidden}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_makes_a_tag_or_hides(text in "x[ -~\\PC\\pC]{0,40}") {
            let (page, plain) = (page(&text), page("x"));
            for char in ['<', '>', '"'] {
                prop_assert_eq!(page.matches(char).count(), plain.matches(char).count());
            }
            prop_assert!(!page.chars().any(|char| char != '\n' && text::is_hidden(char)));
        }
    }

    #[test]
    fn line_has_its_last_value_at_the_right_and_gaps_where_nothing_was() {
        assert_eq!(path(&[]), "");
        let (none, some) = (Counted::default(), Counted::of(1, Duration::from_millis(10)));
        let slow = Counted::of(2, Duration::from_millis(40));
        assert_eq!(path(&[some]), "M120.0 3.0h0");
        assert_eq!(path(&[slow, slow, none, some]), "M111.0 3.0h0L114.0 3.0M120.0 19.5h0");
    }

    #[test]
    fn numbers_and_times_are_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        let times = [300, 5000, 12_345, 1_500_000, 90_000_000].map(Duration::from_micros);
        assert_eq!(times.map(took), ["0.3 ms", "5 ms", "12 ms", "1.5 s", "1 min"]);
        let ups = [59, 60, 3_700, 90_000].map(uptime);
        assert_eq!(ups, ["< 1 min", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
