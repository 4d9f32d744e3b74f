//! A login by a code that a person types into a browser anywhere (RFC 8628).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::discovery::Authority;
use super::error::Error;
use super::grant::{Granted, request};
use super::registration::Client;
use super::web::Web;

/// How often the server is asked at least and at most, in seconds, whatever it says.
const EVERY: std::ops::RangeInclusive<u64> = 1..=60;
/// How often it is asked where it says nothing, in seconds; and how much less often after it was too often.
const USUAL: u64 = 5;

/// A login that waits for a person.
pub(crate) struct Device(Begun);

/// What a server says of it.
#[derive(Deserialize)]
struct Begun {
    /// What the token is had for.
    device_code: String,
    /// What the person types.
    user_code: String,
    /// Where.
    verification_uri: String,
    /// Where nothing need be typed.
    verification_uri_complete: Option<String>,
    /// How long it waits, in seconds.
    expires_in: u64,
    /// How often it may be asked, in seconds.
    interval: Option<u64>,
}

impl Device {
    /// Begins one.
    pub(crate) async fn begin(web: &Web, authority: &Authority, client: &Client) -> Result<Self, Error> {
        let scope = authority.scope();
        let mut form = vec![("resource", authority.resource())];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let answer = client.post(web, authority.device_endpoint()?, &form).await?;
        if answer.status() != StatusCode::OK {
            return Err(answer.refusal("the login", client.secret().as_slice()));
        }
        answer.document().map(Self)
    }

    /// Where the person goes, what is typed there, and where nothing need be typed.
    pub(crate) fn told(&self) -> (&str, &str, Option<&str>) {
        (&self.0.verification_uri, &self.0.user_code, self.0.verification_uri_complete.as_deref())
    }

    /// Waits until the person has logged in, or the server does not wait any longer.
    pub(crate) async fn granted(
        &self,
        web: &Web,
        authority: &Authority,
        client: &Client,
    ) -> Result<Granted, Error> {
        let end = Instant::now() + Duration::from_secs(self.0.expires_in);
        let mut every = self.0.interval.unwrap_or(USUAL).clamp(*EVERY.start(), *EVERY.end());
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &self.0.device_code),
            ("resource", authority.resource()),
        ];
        let polling = async {
            loop {
                sleep(Duration::from_secs(every)).await;
                match request(web, authority.token_endpoint()?, client, &form, "the login").await {
                    Err(Error::Refused { code, .. }) if code == "authorization_pending" => {}
                    Err(Error::Refused { code, .. }) if code == "slow_down" => {
                        every = (every + USUAL).min(*EVERY.end());
                    }
                    // RFC 8628 §3.5: a server that cannot be reached is asked less often.
                    Err(Error::Away { .. }) => every = (every * 2).min(*EVERY.end()),
                    ended => return ended,
                }
            }
        };
        tokio::select! {
            ended = polling => ended,
            () = sleep_until(end) => {
                let code = "expired_token".to_owned();
                Err(Error::Refused { act: "the login", error: code.clone(), code })
            }
        }
    }
}
