//! Questions to modern clients, as results that ask for input (MCP 2026-07-28 §Multi Round-Trip Requests).

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::suspended::AGAIN;
use crate::gateway::relay::{ClientMeta, Outcome, array_items, member, member_str, method, raw_string};

/// The result that asks a client for input.
pub(super) fn input_required(requests: &str, state: &str) -> Outcome {
    let state = raw_string(state);
    let text =
        format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":{state}}}"#);
    Outcome::Result(RawValue::from_string(text).expect("valid members make a valid object"))
}

/// Whether a client can have a person visit a page.
pub(super) fn can_visit(client: &ClientMeta) -> bool {
    member(&client.capabilities, "elicitation").is_some_and(|can| member(can, "url").is_some())
}

/// What a legacy server wants to be visited before it is asked again (MCP 2025-11-25 §URL Elicitation Required Error),
/// as questions; `None` if it does not say what.
pub(super) fn visits(error: &RawValue) -> Option<Outcome> {
    let wanted = member(member(error, "data")?, "elicitations")?;
    let wanted = array_items(wanted).filter(|wanted| !wanted.is_empty())?;
    let mut names = HashSet::new();
    let visits = wanted.into_iter().enumerate().map(|(place, visit)| {
        let theirs = member_str(visit, "elicitationId").map_or_else(|| place.to_string(), Into::into);
        let others = (1..).map(|more| format!("{theirs}-{more}"));
        let mut free =
            std::iter::once(theirs.clone()).chain(others).filter(|name| names.insert(name.clone()));
        let name = free.next().expect("there is always another number");
        question(&name, method::ELICIT, visit.get())
    });
    let requests = format!("{{{}}}", visits.collect::<Vec<_>>().join(","));
    Some(input_required(&requests, AGAIN))
}

/// One member of `inputRequests`.
pub(super) fn question(name: &str, method: &str, params: &str) -> String {
    format!(r#"{}:{{"method":{},"params":{params}}}"#, raw_string(name), raw_string(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_to_visit_are_asked_for_in_the_words_of_the_server() {
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let capabilities = json(r#"{"elicitation":{"url":{}}}"#);
        assert!(can_visit(&ClientMeta { capabilities, ..ClientMeta::default() }));
        assert!(!can_visit(&ClientMeta::default()));
        let page = r#"{"url":"https://example.org/", "elicitationId":"e1","z":1.0,"a":9007199254740993}"#;
        let error = json(&format!(
            r#"{{"code":-32042,"message":"m","data":{{"elicitations":[{page},{{"url":"u"}}]}}}}"#
        ));
        let Some(Outcome::Result(asked)) = visits(&error) else { panic!("it can be asked") };
        let expected = format!(
            r#""inputRequests":{{"e1":{{"method":"elicitation/create","params":{page}}},"1":{{"method":"elicitation/create","params":{{"url":"u"}}}}}}"#
        );
        assert!(asked.get().contains(&expected), "{}", asked.get());
        // Nothing to do is no reason to come back.
        assert!(visits(&json(r#"{"data":{"elicitations":[]}}"#)).is_none());
        // Each has a name of its own, whatever the server calls it.
        let same = r#"{"data":{"elicitations":[{"elicitationId":"1"},{"url":"u"},{"elicitationId":"1"}]}}"#;
        let Some(Outcome::Result(asked)) = visits(&json(same)) else { panic!("it can be asked") };
        let asked: serde_json::Value = serde_json::from_str(asked.get()).unwrap();
        assert_eq!(asked["inputRequests"].as_object().unwrap().len(), 3, "{asked}");
    }
}
