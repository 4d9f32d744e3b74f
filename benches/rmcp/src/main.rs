//! An upstream with one tool, `echo`, written with rmcp as its documentation says: what a gateway is measured with.
//!
//! `rmcp-upstream --stdio` serves over stdio until there is no more input. `rmcp-upstream --http` serves Streamable HTTP at `/mcp` on
//! a free port of 127.0.0.1 until it is killed; its first line on standard output is that address, such as
//! `127.0.0.1:40123`. All settings are rmcp's defaults: legacy clients have sessions, those of 2026-07-28 have none, and an
//! answer is a stream of events.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt as _;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::service::ServerInitializeError;
use rmcp::transport::stdio;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServiceExt as _, tool, tool_router};
use tokio::net::TcpListener;

/// The server: what it says is what it hears.
#[derive(Clone, Debug)]
struct Echo;

/// The tool's arguments.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Heard {
    /// What is said again.
    text: String,
}

#[tool_router(server_handler)]
impl Echo {
    /// Returns its argument.
    #[tool(description = "Returns its argument")]
    #[expect(clippy::unused_self, reason = "a tool is a method, as in the documentation of rmcp")]
    fn echo(&self, Parameters(Heard { text }): Parameters<Heard>) -> String {
        text
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Something else was asked for.
    #[error("usage: rmcp-upstream [--stdio | --http]")]
    Usage,
    /// A socket or the standard output.
    #[error("cannot serve: {0}")]
    Serve(#[from] std::io::Error),
    /// What came over stdio was not the beginning of a conversation.
    #[error("no client: {0}")]
    Client(#[from] Box<ServerInitializeError>),
    /// A task of rmcp.
    #[error("a task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves over stdio until there is no more input.
async fn over_stdio() -> Result<(), Error> {
    let service = Echo.serve(stdio()).await.map_err(Box::new)?;
    service.waiting().await?;
    Ok(())
}

/// Serves over HTTP; prints its address first.
async fn over_http() -> Result<(), Error> {
    let service: StreamableHttpService<_, LocalSessionManager> =
        StreamableHttpService::new(|| Ok(Echo), Arc::default(), StreamableHttpServerConfig::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    // Without this an answer of several writes waits for the client's delayed acknowledgements.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().nest_service("/mcp", service)).await?;
    Ok(())
}

/// Does what the command line says.
fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--stdio"] => runtime.block_on(over_stdio()),
        ["--http"] => runtime.block_on(over_http()),
        _ => Err(Error::Usage),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rmcp-upstream: {error}");
            ExitCode::FAILURE
        }
    }
}
