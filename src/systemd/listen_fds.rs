//! `sd_listen_fds(3)`: how many descriptors were passed to this process, and their names.

/// How many descriptors were passed to this process, from 3 on. A child may inherit the variables; they are not for it.
pub(crate) fn count() -> u16 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| ours).and_then(|count| u16::try_from(count).ok()).unwrap_or(0)
}

/// Their names, in the same order; the empty name for one without any.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    names.into_iter().chain(std::iter::repeat(String::new()))
}
