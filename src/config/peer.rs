//! The kinds of values that only clients and endpoints have: names of others, and what the kernel says of a process.

use super::diagnostic::Place;
use super::key::{Key, Kind};
use super::kinds::{entries, strings};
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// Names of something else in the file, each with its place.
pub(super) type Names = Vec<(Place, String)>;

/// Names of something else in the file.
pub(super) const NAMES: Kind<Names> = Kind::new("an array of strings", |key, value, reader| {
    let names = strings(key, value, reader)?;
    Some(names.iter().map(|name| (reader.place(&name.span()), (*name.get_ref()).to_owned())).collect())
});
/// What the kernel says of a process.
pub(super) const PEER: Kind<Peer> = Kind::new("a table with `user`, `group` and `unit`", peer);

/// What the kernel must say of the process at the other end of a Unix socket; all that is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name of its user.
    pub user: Option<String>,
    /// The name of one of its groups.
    pub group: Option<String>,
    /// Its systemd unit.
    pub unit: Option<String>,
}

/// Reads what the kernel must say.
fn peer(key: &Key<Peer>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Peer> {
    let mut peer = Peer::default();
    for (entry, value) in entries(key, value, reader)? {
        let text = (*value.get_ref()).to_owned();
        if text.is_empty() {
            let message = format!("`peer.{}` is empty", entry.get_ref());
            reader.refuse(&value.span(), message, "write a name, or remove it");
        }
        match *entry.get_ref() {
            "user" => peer.user = Some(text),
            "group" => peer.group = Some(text),
            "unit" => {
                if !text.contains('.') {
                    let hint = format!("write unit = \"{text}.service\"");
                    reader.refuse(&value.span(), format!("`{text}` is not the name of a unit"), hint);
                }
                peer.unit = Some(text);
            }
            unknown => {
                let hint = suggestion(unknown, &["user", "group", "unit"]);
                reader.refuse_structure(&entry.span(), format!("unknown key `peer.{unknown}`"), hint);
            }
        }
    }
    if peer == Peer::default() {
        reader.refuse(&value.span(), "`peer` is empty", format!("write peer = {}", key.example));
    }
    Some(peer)
}
