//! The load without a gateway over stdio: calls that are in flight at once in a child's pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::load::{Figures, HELLO, INITIALIZED, RUN, SESSION_CALL, own_time};
use super::process::{end, processor_time};

/// Keeps this many calls in flight at a server that is started with these words; also returns its processor time for each,
/// in microseconds. What has arrived at once is answered by new calls in one write, so that no client can ask less of it.
pub(crate) fn measure(words: &[&str], calls: usize) -> (Figures, f64) {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the upstream");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::with_capacity(64 * 1024, child.stdout.take().expect("piped"));
    let mut line = String::new();
    writeln!(input, "{HELLO}").expect("the upstream reads");
    output.read_line(&mut line).expect("an answer");
    writeln!(input, "{INITIALIZED}").expect("the upstream reads");
    let call = |number: usize| SESSION_CALL.replacen("\"id\":1", &format!("\"id\":{number}"), 1) + "\n";
    input.write_all((0..calls).map(call).collect::<String>().as_bytes()).expect("the upstream reads");
    let (before, began) = ((own_time(), processor_time(child.id())), Instant::now());
    let (mut since, mut times) = (vec![began; calls], Vec::new());
    while began.elapsed() < RUN {
        let mut next = String::new();
        while next.is_empty() || output.buffer().contains(&b'\n') {
            line.clear();
            output.read_line(&mut line).expect("an answer");
            assert!(line.contains("\"hello\""), "{line}");
            let number = number_of(&line);
            times.push(since[number].elapsed());
            since[number] = Instant::now();
            next += &call(number);
        }
        input.write_all(next.as_bytes()).expect("the upstream reads");
    }
    let spent = (own_time().saturating_sub(before.0), processor_time(child.id()).saturating_sub(before.1));
    drop(input);
    end(&mut child);
    let figures = Figures::new(times, RUN, spent.0);
    let each = super::each(spent.1, &figures);
    (figures, each)
}

/// The identifier in an answer.
fn number_of(line: &str) -> usize {
    let (_, rest) = line.split_once("\"id\":").expect("an answer to a call");
    rest.split(|other: char| !other.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}
