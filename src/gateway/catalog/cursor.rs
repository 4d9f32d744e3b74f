//! Where the next page of a merged list begins.
//!
//! A cursor names its list, the last item of its page and that one's place: it leads on after others have come and gone, after a restart,
//! and at another gateway with these upstreams. To clients it is opaque (MCP §Pagination).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::value::RawValue;

use super::endpoint_view::EndpointView;
use crate::gateway::error::Fault;
use crate::gateway::relay::{code, member, member_str};
use crate::gateway::upstream::{Kind, Listing};

/// The last item of a page.
pub(super) struct Cursor {
    /// Its upstream's place in the endpoint's order.
    upstream: usize,
    /// Its own place in the upstream's list when the page was made.
    index: usize,
    /// Its name or address, as the upstream knows it.
    key: String,
}

impl Cursor {
    /// Its upstream's place in the endpoint's order.
    pub(super) const fn upstream(&self) -> usize {
        self.upstream
    }

    /// The cursor in a request's params, if there is one.
    pub(super) fn of(
        params: Option<&RawValue>,
        view: &EndpointView,
        kind: Kind,
    ) -> Result<Option<Self>, Fault> {
        let Some(cursor) = params.and_then(|params| member(params, "cursor")) else { return Ok(None) };
        if cursor.get() == "null" {
            return Ok(None);
        }
        let text = params.and_then(|params| member_str(params, "cursor")).unwrap_or_default();
        Self::read(&text, view, kind).map(Some).ok_or_else(|| {
            let message = "the cursor leads nowhere; list from the beginning, without one";
            Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message)
        })
    }

    /// What [`Self::after`] has written for this list, if its upstream is still there.
    fn read(text: &str, view: &EndpointView, kind: Kind) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (list, name, index, key): (String, String, usize, String) = serde_json::from_slice(&json).ok()?;
        if list != kind.items() {
            return None;
        }
        let upstream = view.upstreams().iter().position(|upstream| upstream.name() == name)?;
        Some(Self { upstream, index, key })
    }

    /// The cursor of what comes after this item of this upstream.
    pub(super) fn after(kind: Kind, upstream: &str, index: usize, key: &str) -> String {
        let json = serde_json::json!([kind.items(), upstream, index, key]).to_string();
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Where the upstream's list goes on. If the item is gone, the one that followed it has taken its place.
    pub(super) fn next(&self, listing: &Listing, kind: Kind) -> usize {
        let is_it = |item: &RawValue| member_str(item, kind.key()).is_some_and(|key| key == self.key);
        // Where nothing has changed, nobody needs to search.
        if listing.items.get(self.index).is_some_and(|item| is_it(item)) {
            return self.index + 1;
        }
        listing.items.iter().position(|item| is_it(item)).map_or(self.index, |index| index + 1)
    }
}
