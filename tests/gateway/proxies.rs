//! Proxies on the same machine, which make requests of others look like those of this machine.

use http::Method;

use crate::client::{post, send};
use crate::gateway::Gateway;

/// What the log says of them.
const WARNING: &str = "a proxy on this machine passes requests on";

#[tokio::test]
async fn proxy_on_this_machine_is_warned_of_once_by_any_of_its_headers() {
    for header in ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"] {
        let gateway = Gateway::start("").await;
        send(gateway.address(), Method::GET, "/health", &[], "").await;
        assert!(!gateway.printed().contains(WARNING), "{header}: nobody forwards yet");
        for _ in 0..3 {
            send(gateway.address(), Method::GET, "/health", &[(header, "for=192.0.2.1")], "").await;
            post(gateway.address(), "/mcp", &[(header, "192.0.2.1")], "{}").await;
        }
        gateway.prints(WARNING).await;
        // One more line, of which the log has all that comes before it.
        send(gateway.address(), Method::GET, "/health", &[("host", "evil.example")], "").await;
        gateway.prints("a request is refused").await;
        let printed = gateway.printed();
        assert_eq!(printed.matches(WARNING).count(), 1, "{header}: {printed}");
        assert!(printed.contains(&header.to_lowercase()) && printed.contains("BEHIND A PROXY"), "{printed}");
        assert!(!printed.contains("192.0.2.1"), "{printed}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn name_that_a_proxy_passes_on_is_accepted_where_it_is_allowed() {
    let gateway = Gateway::start_with("allowed_hosts = [\"mcp.example.org\"]", "", &[]).await;
    for (host, status) in [("mcp.example.org", 200), ("mcp.example.org:443", 200), ("other.example.org", 403)]
    {
        let headers = [("host", host), ("x-forwarded-for", "192.0.2.1")];
        let answer = send(gateway.address(), Method::GET, "/health/live", &headers, "").await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
    gateway.stop().await;
}
