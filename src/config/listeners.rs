//! Where the gateway listens: the listeners of the file, and those of the command line, which replace them.
//!
//! The command line may move a listener, but only the file can say `auth = "none"`: opening the gateway to others is
//! a decision that is written down.

use toml::de::DeValue;

use super::address::{Bindings, Clash, ListenAddr};
use super::diagnostic::{Place, Problems};
use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};
use super::source::Overrides;

/// Listener addresses, each with its place.
pub(super) const ADDRESSES: Kind<Vec<(Place, ListenAddr)>> = Kind::new("an array of addresses", addresses);

/// The address of one listener, with its place.
pub(super) const ADDRESS: Kind<(Place, ListenAddr)> =
    Kind::new("an address", |key, value, reader| listener(key.name, value, reader));

/// Listeners as the file has them, each with its place: the short form, and those with a name, and whether they ask who
/// clients are.
pub(super) type Written = (Vec<(Place, ListenAddr)>, Vec<(Place, ListenAddr, bool)>);

/// Reads the addresses.
fn addresses(
    key: &Key<Vec<(Place, ListenAddr)>>,
    value: &Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<(Place, ListenAddr)>> {
    let DeValue::Array(items) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = [\"…\"]", key.name));
        return None;
    };
    Some(items.iter().filter_map(|item| listener(key.name, item, reader)).collect())
}

/// Reads one address of the file.
fn listener(name: &str, item: &Value<'_>, reader: &mut Reader<'_>) -> Option<(Place, ListenAddr)> {
    if let DeValue::Integer(port) = item.get_ref() {
        reader.wrong_type(name, "a string", item, format!("write \"127.0.0.1:{}\"", port.as_str()));
        return None;
    }
    let text = kinds::element(name, item, reader)?;
    let listener = text.get_ref().parse::<ListenAddr>();
    let listener =
        listener.map_err(|error| reader.refuse(&text.span(), error.to_string(), error.hint())).ok()?;
    Some((reader.place(&text.span()), listener))
}

/// Those in force: the command line's, which have no name, or else the file's. Off loopback they need the written word,
/// `is_open`, or ask who clients are.
pub(super) fn in_force(
    (mut found, mut named): Written,
    overrides: &Overrides,
    is_open: bool,
    problems: &mut Problems,
) -> Vec<ListenAddr> {
    if !overrides.listen.is_empty() {
        found.clear();
        named.clear();
        for item in &overrides.listen {
            found.extend(address(item, Place::Option("--listen"), problems));
        }
    }
    for (place, listener) in &found {
        reachable(listener, place, is_open, overrides.dev, problems);
    }
    for (place, listener, asks) in &named {
        reachable(listener, place, is_open || *asks, overrides.dev, problems);
    }
    let plain = found.len();
    found.extend(named.into_iter().map(|(place, listener, _)| (place, listener)));
    together(&found, plain, problems);
    found.into_iter().map(|(_, listener)| listener).collect()
}

/// Refuses listeners that cannot be bound together, of which the first so many have no name. Nothing is looked up where there is
/// one only.
fn together(found: &[(Place, ListenAddr)], plain: usize, problems: &mut Problems) {
    if found.len() < 2 {
        return;
    }
    let bindings = Bindings::of(found.iter().map(|(_, listener)| listener));
    for (at, (place, listener)) in found.iter().enumerate() {
        let before = || found[..at].iter().enumerate();
        let same = before().any(|(_, (_, other))| other == listener);
        if same && at >= plain {
            let hint = "leave one of them out; without `listen` in [server] it listens on 127.0.0.1:8080";
            problems.push_with_hint(place.clone(), format!("listener `{listener}` is listed twice"), hint);
            continue;
        }
        if same && !is_port_zero(listener) {
            problems.push(place.clone(), format!("listener `{listener}` is listed twice"));
            continue;
        }
        let clash = before().find_map(|(number, (_, other))| Some((other, bindings.clash(number, at)?)));
        let (other, what) = match clash {
            Some((other, Clash::Same(address))) => (other, format!("both are {address}")),
            Some((other, Clash::Covered(address))) => (other, format!("one of them takes {address} along")),
            None => continue,
        };
        let message = format!("listeners `{other}` and `{listener}` cannot be used together: {what}");
        problems.push_with_hint(place.clone(), message, "leave one of them out");
    }
}

/// Port 0 may be listed twice without a name: the kernel chooses two ports.
const fn is_port_zero(listener: &ListenAddr) -> bool {
    matches!(listener, ListenAddr::Tcp { port: 0, .. })
}

/// Reads one address.
fn address(text: &str, place: Place, problems: &mut Problems) -> Option<(Place, ListenAddr)> {
    match text.parse::<ListenAddr>() {
        Ok(listener) => Some((place, listener)),
        Err(error) => {
            problems.push_with_hint(place, error.to_string(), error.hint());
            None
        }
    }
}

/// Refuses a listener that others can reach, unless the file allows it; the development profile never does.
fn reachable(listener: &ListenAddr, place: &Place, is_open: bool, dev: bool, problems: &mut Problems) {
    if listener.is_local() {
        return;
    }
    if dev {
        problems.push_with_hint(
            place.clone(),
            format!("listener `{listener}` is not a loopback address, which --dev requires"),
            "listen on 127.0.0.1, or leave --dev out",
        );
    } else if !is_open {
        problems.push_with_hint(
            place.clone(),
            format!("listener `{listener}` can be reached by other machines, and nothing asks who they are"),
            "give it a table [listeners.NAME] with `auth`, listen on 127.0.0.1, or write auth = \"none\" in [server] of the \
             configuration file if anybody may use it",
        );
    }
}
