//! What README.md tells people to type, as it stands there: only the port is another, and no server is downloaded.

use std::os::unix::fs::PermissionsExt as _;

use crate::client::Client;
use crate::daemon::Site;
use crate::gateway::{Gateway, write};
use crate::upstreams::{PROBE, PYTHON};

/// The README.
const README: &str = include_str!("../../README.md");

/// The only block in this language that has this text.
fn block(language: &str, text: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = README.split(&fence).skip(1).filter_map(|rest| rest.split_once("```"));
    let mut found = blocks.map(|(block, _)| block).filter(|block| block.contains(text));
    let block = found.next().unwrap_or_else(|| panic!("no block of {language} with {text}"));
    assert_eq!(found.next(), None, "{text}");
    block.to_owned()
}

/// A site with this configuration, on any port, in whose `bin` stands a server for each of the programs of the examples.
fn site(configuration: &str) -> Site {
    let address = "127.0.0.1:8080";
    assert!(configuration.contains(address), "{configuration}");
    let site = Site::with_config(&configuration.replace(address, "127.0.0.1:0"));
    let programs = site.path("bin");
    std::fs::create_dir(&programs).expect("a new directory");
    for name in ["uvx", "mcp-server-time"] {
        let program = programs.join(name);
        write(&program, format!("#!/bin/sh\nexec {PYTHON} {PROBE}\n"));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    site.variable("PATH", &path)
}

#[tokio::test]
async fn first_steps_of_the_readme_reach_a_server() {
    let commands = block("sh", "uvx");
    let (_, rest) = commands.split_once("<<'END'\n").expect("a configuration in the commands");
    let (configuration, run) = rest.split_once("END\n").expect("its end");
    assert_eq!(run.trim(), "cargo run --release -- --config mcpeg.toml");
    let gateway = Gateway::on(site(configuration)).await;
    let curl = block("sh", "curl --silent").replace("127.0.0.1:8080", gateway.address());
    let answer = crate::tools::run_any(tokio::process::Command::new("sh").args(["-c", &curl])).await;
    let answer = String::from_utf8(answer.stdout).expect("UTF-8");
    assert!(answer.contains("\"tools\"") && answer.contains("sleep"), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn configuration_in_the_readme_is_valid_and_serves_as_it_stands() {
    let configuration = block("toml", "[upstreams.docs]");
    let site = site(&configuration);
    let checked = site.run(&["--check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    // Only the service has that directory.
    let text = configuration.replace("/var/log/mcpeg", &site.path("").display().to_string());
    site.write("mcpeg.toml", text.replace("127.0.0.1:8080", "127.0.0.1:0"));
    let gateway = Gateway::on(site).await;
    assert!(!Client::modern(gateway.address(), "/mcp/time").tools().await.is_empty());
    gateway.stop().await;
}

#[test]
fn readme_and_manual_say_how_the_service_gets_variables_and_places_to_write() {
    let page = include_str!("../../packaging/man/mcpeg.toml.5").replace("\\-", "-");
    for text in [block("ini", "[Service]"), page] {
        for word in ["[Service]", "Environment=DOCS_TOKEN=", "ReadWritePaths=/srv/documents"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    for word in
        ["systemctl restart mcpeg", "no reload", "cargo test", "installs no mcpeg on the machine itself"]
    {
        assert!(README.contains(word), "{word}");
    }
}
