//! Why there is no token.

use crate::exit::{Exit, ToExit};
use crate::state_file;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A server cannot be reached, or is out of order for now.
    #[error("cannot reach `{host}`")]
    Away {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address that tokens must not be sent to, or that none can be.
    #[error("`{0}` is neither an address of https:// nor one of this machine")]
    Insecure(String),
    /// An answer that is none.
    #[error("`{host}` answers with {what}")]
    Strange {
        /// Its host.
        host: String,
        /// What it answers with.
        what: String,
    },
    /// Nobody says which authorization server it is.
    #[error("the upstream does not say which authorization server it has")]
    NoServer,
    /// Nobody says what the authorization server can do.
    #[error("the authorization server `{0}` does not say what it can do")]
    NoMetadata(String),
    /// A document is about another resource than it was asked for.
    #[error("the metadata are of `{found}`, which is not the upstream `{wanted}`")]
    ForeignResource {
        /// What it is about.
        found: String,
        /// The upstream.
        wanted: String,
    },
    /// A document is of another authorization server than it was asked for.
    #[error("the metadata are of the issuer `{found}`, and not of `{wanted}`")]
    ForeignIssuer {
        /// What it says.
        found: String,
        /// The server that was asked.
        wanted: String,
    },
    /// The upstream has another authorization server than the configuration says.
    #[error("the upstream does not use the authorization server `{0}` of the configuration")]
    OtherServer(String),
    /// It cannot keep a code from being stolen.
    #[error("the authorization server `{0}` does not say that it supports PKCE with S256")]
    NoPkce(String),
    /// It has no such way.
    #[error("the authorization server `{issuer}` offers no {what}")]
    NotOffered {
        /// The server.
        issuer: String,
        /// The way.
        what: &'static str,
    },
    /// Nobody has told it who mcpeg is.
    #[error("the authorization server `{0}` does not know mcpeg, and registers nobody by itself")]
    NoClient(String),
    /// What a browser brought back is not the answer to this login.
    #[error("what came back does not belong to this login: {0}")]
    ForeignAnswer(&'static str),
    /// The server says no.
    #[error("the authorization server refuses {act}: {error}")]
    Refused {
        /// What.
        act: &'static str,
        /// Its error code, and its words.
        error: String,
        /// The code alone.
        code: String,
    },
    /// The file of a login.
    #[error(transparent)]
    File(#[from] state_file::Error),
    /// The kernel gives no random bytes.
    #[error("cannot make a secret")]
    Random(#[from] getrandom::Error),
}

/// A text of somebody else for people.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}

impl Error {
    /// The same as an error of I/O.
    pub(super) fn away(host: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Away { host: host.to_owned(), source: source.into() }
    }

    /// Whether what was granted before is worth nothing any more.
    pub(crate) fn is_grant(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "invalid_grant")
    }

    /// Whether only another login helps: the server does not take what was granted before, or whom it was granted to.
    pub(crate) fn ends_login(&self) -> bool {
        let codes = ["invalid_grant", "invalid_client", "unauthorized_client"];
        matches!(self, Self::Refused { code, .. } if codes.contains(&code.as_str()))
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Away { .. } | Self::Strange { .. } | Self::NoServer | Self::NoMetadata(_) => {
                Exit::Unavailable
            }
            Self::Refused { .. } | Self::ForeignAnswer(_) => Exit::Permission,
            Self::File(error) => error.to_exit(),
            Self::Random(_) => Exit::Os,
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoServer => {
                "write its issuer: oauth = { issuer = \"https://…\" } in the upstream's table".to_owned()
            }
            Self::NoClient(_) => "register mcpeg there by hand, with the redirect URI \
                                  http://127.0.0.1/callback, and write oauth = { client_id = \"…\" }"
                .to_owned(),
            Self::OtherServer(_) => {
                "correct `oauth.issuer`, or register mcpeg at the server that the upstream names".to_owned()
            }
            Self::NotOffered { what: "login by a browser", .. } => "try it with --device".to_owned(),
            Self::ForeignAnswer(_) => {
                "begin anew with `mcpeg login`, and open the address that it prints".to_owned()
            }
            Self::Refused { code, .. } if code == "invalid_scope" => "correct `oauth.scopes`".to_owned(),
            Self::File(state_file::Error::Open { path, .. }) => {
                format!("`chmod 600 {}`; if others may have read it, log out and in again", path.display())
            }
            Self::File(state_file::Error::Content { path, .. }) => {
                format!("move `{}` away, and log in again", path.display())
            }
            Self::File(error) => return error.hint(),
            _ => return None,
        })
    }
}
