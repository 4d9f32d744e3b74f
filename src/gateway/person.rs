//! What upstreams are shown of the client of a call, where they are shown anything of it.
//!
//! Whoever differs in that shares nothing of such an upstream: whatever is kept by [`Person`], or by the endpoint, which has it,
//! is for one of them alone.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::client::ClientName;
use crate::config::{ClientHeader, OfClient, Secret, Transport, Upstream};

/// What is written otherwise of a name in a header, where names are apart by spaces.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// What upstreams may be shown of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Person {
    /// Its name, if it has shown one.
    client: Option<ClientName>,
    /// What it has sent in headers that upstreams want, in the order of their names.
    sent: Vec<(HeaderName, HeaderValue)>,
}

/// What upstreams want to be shown of clients.
#[derive(Debug)]
pub(crate) struct Wanted(Vec<HeaderName>);

/// Why it cannot be told what a client has sent: a header that is there twice, or is not visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Who uses a session; whoever comes first, where it comes from a process that did not tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whose(Arc<OnceLock<Option<Arc<Person>>>>);

impl Wanted {
    /// What these upstreams want; `None` if they want nothing.
    pub(crate) fn of<'a>(upstreams: impl IntoIterator<Item = &'a Upstream>) -> Option<Self> {
        let personal = |upstream: &&Upstream| upstream.transport.is_personal();
        let mut personal = upstreams.into_iter().filter(personal).peekable();
        personal.peek()?;
        let headers = personal.flat_map(|upstream| match &upstream.transport {
            Transport::Http { client_headers, .. } => client_headers.values().collect(),
            Transport::Stdio { .. } => Vec::new(),
        });
        let mut names: Vec<_> = headers.flat_map(ClientHeader::headers).cloned().collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Some(Self(names))
    }

    /// Reads it from a request of a client; `None` if there is nothing to be shown.
    pub(crate) fn read(
        &self,
        headers: &HeaderMap,
        client: Option<&ClientName>,
    ) -> Result<Option<Arc<Person>>, Ambiguous> {
        let mut sent = Vec::new();
        for name in &self.0 {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() || value.to_str().is_err() {
                return Err(Ambiguous);
            }
            if value.is_empty() {
                continue;
            }
            let mut value = value.clone();
            value.set_sensitive(true);
            sent.push((name.clone(), value));
        }
        let client = client.cloned();
        Ok((client.is_some() || !sent.is_empty()).then(|| Arc::new(Person { client, sent })))
    }
}

impl Person {
    /// Its name, if it has shown one.
    pub(crate) const fn client(&self) -> Option<&ClientName> {
        self.client.as_ref()
    }

    /// The value of a header for it; `None` if it has not what is needed.
    pub(crate) fn header(&self, header: &ClientHeader) -> Option<Secret> {
        let name = self.client.as_ref().map(shown);
        header.fill(|what| match what {
            OfClient::Name => name.as_deref(),
            OfClient::Header(wanted) => {
                let sent = self.sent.iter().find(|(name, _)| name == wanted)?;
                sent.1.to_str().ok()
            }
        })
    }

    /// Its headers, on their way to another process.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        self.sent.iter().map(move |(name, value)| (name.to_string(), text(value)))
    }

    /// The person of this name that another process has told of.
    pub(crate) fn told(client: Option<ClientName>, sent: &[(String, String)]) -> Option<Arc<Self>> {
        let header = |(name, value): &(String, String)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        };
        let sent: Vec<_> = sent.iter().filter_map(header).collect();
        (client.is_some() || !sent.is_empty()).then(|| Arc::new(Self { client, sent }))
    }
}

/// A name as a header has it: that of the entry, and of a person also issuer and subject.
fn shown(name: &ClientName) -> String {
    let part = |text| utf8_percent_encode(text, UNSAFE).to_string();
    match name.subject() {
        Some((issuer, subject)) => format!("{} {} {}", part(name.entry()), part(issuer), part(subject)),
        None => part(name.entry()),
    }
}

impl Whose {
    /// This one's, or that of nobody who can be told from others.
    pub(crate) fn of(person: Option<Arc<Person>>) -> Self {
        Self(Arc::new(person.into()))
    }

    /// Who it is, if it is known and can be told from others.
    pub(crate) fn person(&self) -> Option<&Arc<Person>> {
        self.0.get()?.as_ref()
    }

    /// Whether that was told, or somebody has come.
    pub(crate) fn is_known(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether it is this one; the first who comes, where that is not known.
    pub(crate) fn is(&self, person: Option<&Arc<Person>>) -> bool {
        self.0.get_or_init(|| person.cloned()).as_ref() == person
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_so_that_no_two_look_alike_and_each_is_a_header() {
        let person = |subject: &str| shown(&ClientName::person("dev", "https://login.example.org", subject));
        assert_eq!(shown(&ClientName::new("ci")), "ci");
        assert_eq!(person("alice"), "dev https://login.example.org alice");
        let subjects = ["a", "a ", "a b", "a%20b", "ä", "a\r\nX: y", "a\u{7f}", ""];
        let mut all: Vec<_> = subjects.iter().map(|subject| person(subject)).collect();
        assert!(
            all.iter().all(|name| HeaderValue::from_str(name).is_ok_and(|it| it.to_str().is_ok())),
            "{all:?}"
        );
        all.sort();
        all.dedup_by_key(|name| name.trim().to_owned());
        assert_eq!(all.len(), subjects.len(), "{all:?}");
    }

    #[test]
    fn header_that_is_there_twice_or_cannot_be_shown_is_nobodys() {
        let wanted = Wanted(vec![HeaderName::from_static("x-token")]);
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-token", HeaderValue::from_bytes(value).unwrap());
            }
            wanted.read(&headers, None)
        };
        let sent = |person: Arc<Person>| person.sent().next().unwrap().1;
        assert_eq!(read(&[b"t"]).map(|it| it.map(sent)), Ok(Some("t".to_owned())));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b""]), Ok(None));
        for values in [&[b"a".as_slice(), b"a"] as &[&[u8]], &[b"a", b""], &[b"", b"a"], &["ä".as_bytes()]] {
            assert_eq!(read(values), Err(Ambiguous), "{values:?}");
        }
        let person = read(&[b"hunter2"]).unwrap().unwrap();
        assert!(!format!("{person:?}").contains("hunter2"));
        assert_eq!(Person::told(None, &person.sent().collect::<Vec<_>>()), Some(person));
    }

    #[test]
    fn session_of_somebody_unknown_is_that_of_the_first_who_comes() {
        let person = |name: &str| Person::told(Some(ClientName::new(name)), &[]);
        let (ann, ben) = (person("ann"), person("ben"));
        let whose = Whose::default();
        assert!(whose.person().is_none() && whose.is(ann.as_ref()));
        assert!(whose.is(ann.as_ref()) && !whose.is(ben.as_ref()) && !whose.is(None));
        assert!(!Whose::of(None).is(ann.as_ref()) && Whose::of(ann.clone()).is(ann.as_ref()));
    }
}
