//! The targets on their seeds, and on what comes of these by small changes.

use std::path::Path;

use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};

/// How many changed forms of each seed are tried.
const FORMS: u32 = 20_000;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Changes some bytes, as a fuzzer would: one is another, is gone, is there twice, or a piece comes again elsewhere.
fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    /// Bytes that mean something to a parser.
    const TELLING: &[u8] = b"\n\r\t \"\\{}[]:,0-.eu\0\xc3\xe2\x82\xff";
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(4) {
            0 if at < bytes.len() => bytes[at] = TELLING[numbers.below(TELLING.len())],
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, TELLING[numbers.below(TELLING.len())]),
            _ => {
                let piece = bytes[at..(at + numbers.below(16)).min(bytes.len())].to_vec();
                let to = numbers.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Calls a target with the seeds of its name and their changed forms, as `fuzz_target!` would.
fn on_seeds(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut numbers = Numbers(1);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        target(&seed);
        for _ in 0..FORMS {
            let mut form = seed.clone();
            change(&mut form, &mut numbers);
            target(&form);
        }
        seeds += 1;
    }
    assert!(seeds > 0, "{name} has no seeds");
}

/// The same for a target that takes another input than bytes.
fn on_seeds_as<T>(name: &str, target: impl Fn(T))
where
    T: for<'a> Arbitrary<'a>,
{
    on_seeds(name, |bytes| {
        if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
            target(input);
        }
    });
}

#[test]
fn events() {
    on_seeds_as("events", |(piece, text): (u8, Vec<u8>)| mcpeg_fuzz::events::holds(piece, &text));
}

#[test]
fn lines() {
    on_seeds_as("lines", |(piece, text): (u8, Vec<u8>)| mcpeg_fuzz::lines::holds(piece, &text));
}

#[test]
fn message() {
    on_seeds("message", mcpeg_fuzz::message::holds);
}

#[test]
fn names() {
    on_seeds_as("names", |text: String| mcpeg_fuzz::names::holds(&text));
}

#[test]
fn splice() {
    on_seeds_as("splice", |text: String| mcpeg_fuzz::splice::holds(&text));
}

/// An example has one.
#[cfg(not(test))]
fn main() {}
