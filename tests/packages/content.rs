//! Both packages and the installer write the same files, each in its own place.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::built::{VERSION, build, deb, repository, rpm};
use crate::machine::text;

/// Files of one package, by their path in the other's terms, uncompressed.
type Files = BTreeMap<String, Vec<u8>>;

/// Where the installer puts what a package has below `/usr`.
const LOCAL: [(&str, &str); 4] = [
    ("usr/local/share/zsh/site-functions/", "usr/share/zsh/vendor-completions/"),
    ("usr/local/", "usr/"),
    ("etc/fish/completions/", "usr/share/fish/vendor_completions.d/"),
    CONFIGURATION,
];

/// The unit.
const UNIT: &str = "usr/lib/systemd/system/mcpeg.service";

/// A configuration that needs every freedom that a unit can give.
const WIDEST: &str =
    "[upstreams.program]\ncommand = \"node\"\n[upstreams.far]\nurl = \"https://example.org/mcp\"\n";

/// Where RPM distributions have what Debian has elsewhere.
const RPM: [(&str, &str); 2] =
    [("usr/share/zsh/site-functions/", "usr/share/zsh/vendor-completions/"), CONFIGURATION];

/// The package for Debian holds the first configuration as a file to copy: dpkg would take a conffile away in a purge, also
/// from an installation that has taken it over.
const CONFIGURATION: (&str, &str) = ("etc/mcpeg/mcpeg.toml", "usr/share/mcpeg/mcpeg.toml");

/// Upstreams that need programs and the network.
const WIDE: &[u8] =
    b"[upstreams.a]\ncommand = \"true\"\n[upstreams.b]\nurl = \"https://mcp.example.org/mcp\"\n";

/// Runs a pipeline in a shell.
fn shell(pipeline: &str, arguments: &[&Path]) {
    #[expect(clippy::disallowed_methods, reason = "the unpackers are children of the test")]
    let output = Command::new("sh").args(["-euc", pipeline, "sh"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{pipeline}: {}", text(&output.stderr));
}

/// The files below a directory, with the first of these pairs that fits in place of the beginning of their path.
fn files(root: &Path, places: &[(&str, &str)]) -> Files {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().is_file()).map(|entry| {
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let place = places
            .iter()
            .find_map(|(here, there)| path.strip_prefix(here).map(|rest| format!("{there}{rest}")));
        let mut content = std::fs::read(entry.path()).unwrap();
        if content.starts_with(&[0x1f, 0x8b]) {
            content = unzipped(entry.path());
        }
        (place.unwrap_or(path).trim_end_matches(".gz").to_owned(), content)
    });
    files.collect()
}

/// The content of a gzip file.
fn unzipped(path: &Path) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "gzip is a child of the test")]
    let output = Command::new("gzip").args(["--decompress", "--stdout"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    output.stdout
}

/// The files of the package for Debian.
fn debian() -> Files {
    let scratch = tempfile::tempdir().unwrap();
    shell("dpkg-deb --extract \"$1\" \"$2\"", &[&deb(VERSION), scratch.path()]);
    files(scratch.path(), &[])
}

#[test]
#[ignore = "needs rpmbuild, and cargo-deb from crates.io"]
fn both_packages_have_the_same_files() {
    let scratch = tempfile::tempdir().unwrap();
    shell(
        "rpm2archive - <\"$1\" | tar --extract --gzip --directory \"$2\"",
        &[&rpm(VERSION), scratch.path()],
    );
    let (mut debian, mut other) = (debian(), files(scratch.path(), &RPM));
    // What is said of the distribution itself, and where it wants the licence and the change log.
    for only in ["README.Debian", "changelog.Debian", "copyright"] {
        assert!(debian.remove(&format!("usr/share/doc/mcpeg/{only}")).is_some(), "{only}");
    }
    assert!(debian.remove("usr/share/lintian/overrides/mcpeg").is_some());
    assert!(other.remove("usr/share/licenses/mcpeg/LICENSE").is_some());
    let changes = other.remove("usr/share/doc/mcpeg/CHANGELOG.md");
    assert_eq!(debian.remove("usr/share/doc/mcpeg/changelog"), changes);
    same(&debian, &other);
}

/// What an installation with these options writes for all to use and as the configuration, in the package's places.
fn with(options: &[&str]) -> Files {
    let scratch = tempfile::tempdir().unwrap();
    // A package's unit is the one under which every configuration can work; the installer's is for the one that is there.
    let fragment = "etc/mcpeg/conf.d/wide.toml";
    std::fs::create_dir_all(scratch.path().join(fragment).parent().unwrap()).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(scratch.path().join(fragment)).unwrap(), WIDE)
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "the program under test")]
    let output = Command::new(env!("CARGO_BIN_EXE_mcpeg"))
        .args(["install", "--yes", "--root"])
        .arg(scratch.path())
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut installed = files(scratch.path(), &LOCAL);
    assert!(installed.remove("var/lib/mcpeg/install.json").is_some() && installed.remove(fragment).is_some());
    installed.retain(|path, _| path.starts_with("usr/") || path.starts_with("etc/mcpeg/"));
    installed
}

#[test]
#[ignore = "needs root, and cargo-deb from crates.io"]
fn package_and_installer_write_the_same_files() {
    let mut installed = with(&[]);
    // A package does not know what it will be configured for, so its unit is the widest.
    let wide = tempfile::tempdir().unwrap();
    let config = wide.path().join("mcpeg.toml");
    std::fs::File::create(&config).unwrap().write_all(WIDEST.as_bytes()).unwrap();
    let unit = with(&["--config", config.to_str().unwrap()]).remove(UNIT).expect("a unit");
    installed.insert(UNIT.to_owned(), text(&unit).replace("/usr/local/bin/mcpeg", "/usr/bin/mcpeg").into());

    let mut packaged = debian();
    // The package's binary is stripped.
    assert!(installed.remove("usr/bin/mcpeg").is_some() && packaged.remove("usr/bin/mcpeg").is_some());
    packaged.retain(|path, _| !path.starts_with("usr/share/doc/") && !path.starts_with("usr/share/lintian/"));
    installed.retain(|path, _| !path.starts_with("usr/share/doc/"));
    same(&packaged, &installed);
}

/// Asserts that both have the same paths with the same content.
fn same(one: &Files, other: &Files) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, content) in one {
        assert!(*content == other[path], "{path} differs:\n{}\n---\n{}", text(content), text(&other[path]));
    }
}

#[test]
#[ignore = "needs cargo-cyclonedx from crates.io"]
fn bill_of_materials_names_what_the_program_is_made_of_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    build(&["--only", "tar", "--sbom", "--output", scratch.path().to_str().unwrap()]);
    let name = format!("mcpeg-{VERSION}.cdx.json");
    let bill = std::fs::read_to_string(scratch.path().join(&name)).unwrap();
    assert!(!bill.contains(repository().to_str().unwrap()), "it names a path of this machine");
    let sums = std::fs::read_to_string(scratch.path().join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&name) && sums.contains(".tar.gz"), "{sums}");

    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    assert_eq!(
        (&bill["bomFormat"], &bill["metadata"]["component"]["version"]),
        (&"CycloneDX".into(), &VERSION.into())
    );
    let components = bill["components"].as_array().unwrap();
    let names: Vec<_> = components.iter().filter_map(|component| component["name"].as_str()).collect();
    assert!(components.iter().all(|component| component["licenses"].is_array()), "one without a licence");
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for (alias, dependency) in manifest["dependencies"].as_table().unwrap() {
        let name = dependency.get("package").and_then(toml::Value::as_str).unwrap_or(alias);
        assert!(names.contains(&name), "{name} is missing");
    }
    assert!(!names.contains(&"proptest"), "what only tests need is no part of the program");
}
