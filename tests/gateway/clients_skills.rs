//! Real servers of skills behind one endpoint, and a real host that verifies what it reads of them.

use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::gateway::{Gateway, write};
use crate::tools::Tools;
use crate::upstreams::{PYTHON, stdio};

/// Writes a skill, of which one file is none in UTF-8, and returns what a host is to find of it.
fn skill(folder: &Path, name: &str, words: &str) -> Value {
    let (root, bytes) = (folder.join(name), [0xff, 0, 1]);
    std::fs::create_dir_all(root.join("assets")).expect("a folder");
    let manifest = format!("---\nname: {name}\ndescription: Says {words}.\n---\n\n# {words}\n");
    write(&root.join("SKILL.md"), &manifest);
    write(&root.join("assets/picture.bin"), bytes);
    let file = |bytes: &[u8]| json!([true, base64::engine::general_purpose::STANDARD.encode(bytes)]);
    json!({ "SKILL.md": file(manifest.as_bytes()), "assets/picture.bin": file(&bytes) })
}

#[tokio::test]
#[ignore = "needs the test tools"]
async fn host_of_skills_verifies_those_of_a_merged_catalog() {
    let (tools, scratch) = (Tools::get().await, tempfile::tempdir().expect("a scratch directory"));
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/clients");
    let script = |name: &str| tools.script(scratch.path(), &clients.join(name));
    let (server, host) = (script("skills_server.mjs"), script("skills.mjs"));
    let folder = |name: &str| scratch.path().join(name);
    // Both have one of the same address; what is in it differs.
    let [one, two] = ["one", "two"].map(|name| skill(&folder(name), "greet", name));
    let own = skill(&folder("two"), "leave", "goodbye");
    let upstream = |name: &str| stdio(name, &tools.node(), &[&server, folder(name).to_str().expect("UTF-8")]);
    let echo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    let configuration = upstream("one") + &upstream("two") + &stdio("echo", PYTHON, &[echo]);
    let gateway = Gateway::start(&configuration).await;
    let found = |root: &str, name: &str, files: &Value| {
        let directory = json!([format!("{root}/SKILL.md"), format!("{root}/assets")]);
        (format!("{root}/SKILL.md"), json!({ "name": name, "files": files, "directory": directory }))
    };
    for (path, all) in [
        (
            "/mcp",
            vec![
                found("skill://mcpeg.one/greet", "greet", &one),
                found("skill://mcpeg.two/greet", "greet", &two),
                found("skill://leave", "leave", &own),
            ],
        ),
        ("/mcp/two", vec![found("skill://greet", "greet", &two), found("skill://leave", "leave", &own)]),
    ] {
        let all: Value = all.into_iter().collect::<serde_json::Map<_, _>>().into();
        for (mode, revision) in [("auto", "2026-07-28"), ("legacy", "2025-11-25")] {
            let output = tools.run(&tools.node(), &[&host, &gateway.url(path), mode]).await;
            let told: Value = serde_json::from_slice(&output.stdout).expect("what the host found");
            let expected =
                json!({ "supported": true, "revision": revision, "found": all, "refused": -32602 });
            assert_eq!(told, expected, "{path} {mode}");
        }
    }
    gateway.stop().await;
}
