//! What one side wrote reaches the other byte for byte: params, results and errors, over both transports and in both eras.
//!
//! The probe server slices what it received out of the raw line and never prints parsed JSON again, so a gateway that
//! parses and prints anywhere on the way shows here.

use crate::client::{Client, MODERN_META};
use crate::gateway::Gateway;
use crate::upstreams::{http, http_probe, probe, sse, sse_probe};

/// Numbers, strings, keys and spaces that typed models and `serde_json::Value` change.
const ODD: &str = concat!(
    r#"{"zeta":1.0,"alpha":123456789012345678901234567890,"neg":-0,"exp":1E+2,"tiny":1e-400,"#,
    r#""esc":"\u00e9\u2028\/\ud83d\ude00","raw":"é 😀","lone":"\ud800","dup":1,"dup":2,"#,
    r#""x-vendor/key":{"b":[],"a":{}}, "spaces" : [ 1 , 2 ],"null":null,"":"empty key","deep":"#
);

/// [`ODD`] with nesting deeper than a recursive parser's usual limit of 128.
fn odd() -> String {
    format!("{ODD}{}1.50{}}}", "[".repeat(300), "]".repeat(300))
}

/// The params of a call with vendor members around the arguments.
fn params(tool: &str, arguments: &str, modern: bool) -> String {
    let meta = if modern { MODERN_META } else { r#""com.example/trace":"\u0061""# };
    format!(
        r#"{{"vendor":1.00,"arguments":{arguments}, "name":"{tool}","_meta":{{{meta},"z":1.0}},"task":{{"ttl":1e3}}}}"#
    )
}

/// The result that the probe server writes for these params.
fn echoed(params: &str, arguments: &str, modern: bool) -> String {
    let text = serde_json::to_string(params).expect("a string");
    let end = if modern {
        r#","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo": {"name": "probe", "version": "1.0.0"}}"#
    } else {
        ""
    };
    format!(
        r#"{{"zVendor":1.0e2,"structuredContent":{arguments},"content":[{{"type":"text","text":{text}}}],"aVendor":{{"b":1.0,"a":9007199254740993}}{end}}}"#
    )
}

/// Calls `echo` and `fail` under the names that `prefix` makes and compares every byte.
async fn compare(client: &Client, prefix: &str, modern: bool) {
    let arguments = odd();
    let echo = format!("{prefix}echo");
    let sent = params(&echo, &arguments, modern);
    let answer = client.request(r#""id-\u0031""#, "tools/call", &echo, &sent).await;
    // The name is all that a gateway may change, and it must not touch anything around it.
    let expected = echoed(&params("echo", &arguments, modern), &arguments, modern);
    assert_eq!(answer.result(), expected);
    let reply = answer.reply();
    let id = crate::client::Message::read(&reply).id.expect("an id").get();
    assert_eq!(id, r#""id-\u0031""#, "the id comes back as it was sent");

    let answer = client.call(&format!("{prefix}fail"), &arguments).await;
    assert_eq!(
        answer.raw_error(),
        format!(r#"{{"data":{arguments},"message":"failed as asked","code":-32099}}"#)
    );
}

/// Compares through a gateway with one upstream and through one with two, where names are prefixed.
async fn through_gateways(upstream: &str, modern: bool) {
    let other = probe("other", &[]);
    for (configuration, prefix) in [(upstream.to_owned(), ""), (format!("{upstream}{other}"), "probe_")] {
        let gateway = Gateway::start(&configuration).await;
        let client = client(gateway.address(), "/mcp", modern).await;
        compare(&client, prefix, modern).await;
        gateway.stop().await;
    }
}

/// A client of the era.
async fn client(address: &str, path: &str, modern: bool) -> Client {
    if modern { Client::modern(address, path) } else { Client::legacy(address, path).await }
}

#[tokio::test]
async fn the_probe_server_itself_changes_nothing() {
    let upstream = http_probe(&[]).await;
    let address = format!("127.0.0.1:{}", upstream.port);
    for modern in [false, true] {
        compare(&client(&address, "/mcp", modern).await, "", modern).await;
    }
}

#[tokio::test]
async fn legacy_calls_over_stdio_keep_every_byte() {
    through_gateways(&probe("probe", &["--era", "legacy"]), false).await;
}

#[tokio::test]
async fn modern_calls_over_stdio_keep_every_byte() {
    through_gateways(&probe("probe", &["--era", "modern"]), true).await;
}

#[tokio::test]
async fn legacy_calls_over_http_keep_every_byte() {
    let upstream = http_probe(&["--era", "legacy"]).await;
    through_gateways(&http("probe", upstream.port), false).await;
}

#[tokio::test]
async fn legacy_calls_over_http_with_sse_keep_every_byte() {
    let upstream = sse_probe(&[]).await;
    for lines in ["transport = \"sse\"\n", ""] {
        through_gateways(&sse("probe", upstream.port, lines), false).await;
    }
}

#[tokio::test]
async fn modern_calls_over_http_keep_every_byte() {
    let upstream = http_probe(&["--era", "modern"]).await;
    through_gateways(&http("probe", upstream.port), true).await;
}

#[tokio::test]
async fn unknown_members_of_tools_survive_in_the_merged_list() {
    let gateway = Gateway::start(&(probe("one", &[]) + &probe("two", &[]))).await;
    let client = Client::legacy(gateway.address(), "/mcp").await;
    let list = client.request("1", "tools/list", "", "{}").await.result();
    assert_eq!(list.matches(r#""vendor": {"z": 1, "a": 2}"#).count(), 2 * 7, "{list}");
    gateway.stop().await;
}

#[tokio::test]
async fn line_breaks_between_tokens_break_no_framing() {
    // Lines frame messages on stdio, and blank lines frame events; JSON allows both between tokens.
    let upstream = http_probe(&[]).await;
    for configuration in [probe("probe", &[]), http("probe", upstream.port)] {
        let gateway = Gateway::start(&configuration).await;
        for modern in [false, true] {
            let client = client(gateway.address(), "/mcp", modern).await;
            let answer = client.call("echo", "{\r\n\n  \"a\":\n\n1.0\r}").await;
            let squeezed = answer.result().replace([' ', '\r', '\n'], "");
            assert!(squeezed.contains(r#""structuredContent":{"a":1.0}"#), "{squeezed}");
        }
        gateway.stop().await;
    }
}

/// JSON text as somebody may write it: numbers of any form and size, escapes, doubled keys, spaces.
fn any_json() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let number = "-?(0|[1-9][0-9]{0,30})([.][0-9]{1,9})?([eE][+-]?[0-9]{1,4})?";
    let text =
        "\"([ !#-\\[\\]-~\u{a0}-\u{2027}\u{1f600}-\u{1f64f}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"";
    let leaf = prop_oneof![
        number.prop_map(String::from),
        text.prop_map(String::from),
        prop_oneof!["true", "false", "null"].prop_map(String::from)
    ];
    let space = "[ ]{0,2}";
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let member = (text, space, inner.clone())
            .prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
        ]
    })
}

#[tokio::test]
async fn arbitrary_json_passes_byte_for_byte_both_ways() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let (legacy, modern) =
        (Client::legacy(gateway.address(), "/mcp").await, Client::modern(gateway.address(), "/mcp"));
    let (strategy, mut runner) = (any_json(), proptest::test_runner::TestRunner::default());
    for case in 0..150 {
        let tree = strategy.new_tree(&mut runner).expect("JSON");
        let json = format!(r#"{{"value":{},"again":1}}"#, tree.current());
        for (client, era) in [(&legacy, false), (&modern, true)] {
            let sent = params("echo", &json, era);
            let id = case.to_string();
            let answer = client.request(&id, "tools/call", "echo", &sent).await;
            assert_eq!(answer.result(), echoed(&sent, &json, era));
            let answer = client.call("fail", &json).await;
            assert_eq!(
                answer.raw_error(),
                format!(r#"{{"data":{json},"message":"failed as asked","code":-32099}}"#)
            );
        }
    }
    gateway.stop().await;
}
