//! Headers of requests to upstreams: which mcpeg sets itself, and which say something of the client of a call: `${client:name}`, `${client:header:X-NAME}`.

use std::fmt;

use http::{HeaderName, header};

use super::secret::Secret;

/// Headers by which clients prove who they are, to mcpeg and nobody else.
const PROOFS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// Headers that the gateway itself sets on each request to an upstream.
const RESERVED: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("last-event-id"),
];

/// What may be said of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfClient {
    /// Its name.
    Name,
    /// What it has sent in this header.
    Header(HeaderName),
}

/// The value of a header that is another one for each client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientHeader {
    /// What is the same for all.
    text: Secret,
    /// What is put into that, and where, in this order.
    inserted: Vec<(usize, OfClient)>,
}

/// Whether a header of this name is set by the gateway itself, so that no configuration may have it.
#[must_use]
pub fn is_reserved_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes())
        .is_ok_and(|header| RESERVED.contains(&header) || header.as_str().starts_with("mcp-"))
}

impl OfClient {
    /// Reads what follows `client:` in a reference, or says what is wrong with it and how it is mended.
    pub(super) fn parse(reference: &str) -> Result<Self, (String, String)> {
        let refuse = |message: String, hint: &str| Err((message, hint.to_owned()));
        let name = match reference.split_once(':') {
            None if reference == "name" => return Ok(Self::Name),
            Some(("header", name)) => HeaderName::from_bytes(name.as_bytes()).ok(),
            _ => None,
        };
        match name {
            None => refuse(
                "`${client:` does not begin a reference that mcpeg knows".to_owned(),
                "write ${client:name}, or ${client:header:X-NAME} with the name of a header",
            ),
            Some(name) if PROOFS.contains(&name) => refuse(
                format!(
                    "`${{client:header:{name}}}` would pass on what a client proves itself to mcpeg with, which MCP forbids"
                ),
                "give mcpeg a token of its own by `oauth`, or have clients send the upstream's in another header, such as \
                 ${client:header:X-Upstream-Token}",
            ),
            Some(name) if is_reserved_header(name.as_str()) => refuse(
                format!("`${{client:header:{name}}}` belongs to one connection and is not passed on"),
                "name another header, such as ${client:header:X-NAME}",
            ),
            Some(name) => Ok(Self::Header(name)),
        }
    }
}

impl ClientHeader {
    /// A value of this text, with what is put into it.
    pub(super) const fn new(text: Secret, inserted: Vec<(usize, OfClient)>) -> Self {
        Self { text, inserted }
    }

    /// What is the same for all, if that is all.
    pub(super) fn constant(self) -> Result<Secret, Self> {
        if self.inserted.is_empty() { Ok(self.text) } else { Err(self) }
    }

    /// What is the same for all.
    pub(super) const fn text(&self) -> &Secret {
        &self.text
    }

    /// The headers of clients that are put into it.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.inserted.iter().filter_map(|(_, what)| match what {
            OfClient::Header(name) => Some(name),
            OfClient::Name => None,
        })
    }

    /// The value for a client of which this is known; `None` if some of it is not.
    pub fn fill<'a>(&self, known: impl Fn(&OfClient) -> Option<&'a str>) -> Option<Secret> {
        let text = self.text.reveal();
        let (mut filled, mut from) = (String::with_capacity(text.len()), 0);
        for (at, what) in &self.inserted {
            filled.push_str(&text[from..*at]);
            filled.push_str(known(what)?);
            from = *at;
        }
        filled.push_str(&text[from..]);
        Some(Secret::new(filled))
    }
}

impl fmt::Debug for ClientHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientHeader").field(&self.inserted).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_put_where_the_reference_stood_and_nothing_is_half_filled() {
        let token = OfClient::parse("header:X-Token").unwrap();
        let inserted = vec![(4, OfClient::Name), (4, token.clone()), (6, OfClient::Name)];
        let header = ClientHeader::new(Secret::new("at: ./".to_owned()), inserted);
        let filled = |has_token: bool| {
            header.fill(|what| match what {
                OfClient::Name => Some("ann"),
                OfClient::Header(_) => Some("t").filter(|_| has_token),
            })
        };
        assert_eq!(filled(true).unwrap().reveal(), "at: annt./ann");
        assert_eq!(filled(false), None);
        assert_eq!(header.headers().collect::<Vec<_>>(), ["x-token"]);
        assert!(!format!("{header:?}").contains("at:"), "it may be a secret");
    }

    #[test]
    fn what_proves_a_client_or_belongs_to_its_connection_is_refused() {
        for name in ["Authorization", "authorization", "Proxy-Authorization", "cookie"] {
            let (message, _) = OfClient::parse(&format!("header:{name}")).unwrap_err();
            assert!(message.contains("which MCP forbids"), "{message}");
        }
        for name in ["Host", "Content-Length", "Mcp-Session-Id", "Mcp-Param-X"] {
            let (message, _) = OfClient::parse(&format!("header:{name}")).unwrap_err();
            assert!(message.contains("is not passed on"), "{message}");
        }
        for other in ["", "names", "header", "header:", "header:a b", "secret:x", "name:x"] {
            let (message, _) = OfClient::parse(other).unwrap_err();
            assert!(message.contains("does not begin a reference"), "{other}: {message}");
        }
    }
}
