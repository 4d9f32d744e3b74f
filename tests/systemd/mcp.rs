//! An MCP client made of curl inside the machine: what a stranger would type, in both eras.

use serde_json::{Value, json};

use crate::machine::{Machine, text};

/// The endpoint of a fresh installation.
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:8080/mcp";

/// The last legacy revision.
const LEGACY: &str = "2025-11-25";
/// The stateless revision.
const MODERN: &str = "2026-07-28";

/// One answer of the gateway.
struct Answer {
    /// The header lines, as they came.
    head: String,
    /// The JSON-RPC message of the body; null if the body is empty.
    message: Value,
}

/// Calls a tool as a legacy client does: initialize, the notification, the call, and the end of the session.
pub(crate) fn legacy_call(
    machine: &Machine,
    url: &str,
    tool: &str,
    arguments: &Value,
) -> Result<Value, String> {
    let client = json!({ "name": "curl", "version": "1" });
    let hello = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client });
    let opened = post(
        machine,
        url,
        &[],
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
    )?;
    if opened.message["result"]["protocolVersion"] != LEGACY {
        return Err(format!("initialize was answered by {}", opened.message));
    }
    let mut headers = vec![format!("MCP-Protocol-Version: {LEGACY}")];
    headers.extend(header(&opened.head, "mcp-session-id").map(|id| format!("Mcp-Session-Id: {id}")));
    post(machine, url, &headers, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    let params = json!({ "name": tool, "arguments": arguments });
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
    let answer = post(machine, url, &headers, &call)?;
    result(answer, 2)
}

/// Calls a tool as a modern client does: one request that carries everything.
pub(crate) fn modern_call(
    machine: &Machine,
    url: &str,
    tool: &str,
    arguments: &Value,
) -> Result<Value, String> {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let headers = [
        format!("MCP-Protocol-Version: {MODERN}"),
        "Mcp-Method: tools/call".to_owned(),
        format!("Mcp-Name: {tool}"),
    ];
    let call = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params });
    result(post(machine, url, &headers, &call)?, 3)
}

/// The result of a tool call, which must have succeeded.
fn result(answer: Answer, id: u64) -> Result<Value, String> {
    let Answer { message, head } = answer;
    let result = &message["result"];
    if message["id"] != id || !result.is_object() || result["isError"] == true {
        return Err(format!("{head}\n{message}"));
    }
    Ok(result.clone())
}

/// Posts one message.
fn post(machine: &Machine, url: &str, headers: &[String], message: &Value) -> Result<Answer, String> {
    let message = message.to_string();
    let mut command =
        vec!["curl", "--silent", "--show-error", "--include", "--max-time", "20", "--data", &message];
    command.extend(["--header", "Content-Type: application/json"]);
    command.extend(["--header", "Accept: application/json, text/event-stream"]);
    for header in headers {
        command.extend(["--header", header]);
    }
    command.push(url);
    let output = machine.run(&command);
    let said = text(&output.stdout);
    let (head, body) = said.split_once("\r\n\r\n").ok_or_else(|| text(&output.stderr))?;
    let message = message_in(body).ok_or_else(|| format!("no message in: {said}"))?;
    Ok(Answer { head: head.to_owned(), message })
}

/// The message of a body: plain JSON, or the last one of an event stream (progress may come before the answer).
fn message_in(body: &str) -> Option<Value> {
    if body.trim().is_empty() {
        return Some(Value::Null);
    }
    serde_json::from_str(body).ok().or_else(|| {
        let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
        events.filter_map(|data| serde_json::from_str::<Value>(data).ok()).next_back()
    })
}

/// The value of a header, whose name may be written in either case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
