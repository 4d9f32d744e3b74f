//! Manual, files for monitoring, and completions, as they are shipped.

/// The scripts of the shells that ask [`super::complete`] when TAB is pressed. A person wrote them; they are shipped as they are.
pub(super) const COMPLETIONS: [(&str, &[u8]); 3] = [
    ("mcpeg.bash", include_bytes!("../../completions/mcpeg.bash")),
    ("_mcpeg", include_bytes!("../../completions/_mcpeg")),
    ("mcpeg.fish", include_bytes!("../../completions/mcpeg.fish")),
];

/// What [`super::manual`] has generated.
const MANUAL: [&[u8]; 4] = [
    include_bytes!("../../packaging/man/mcpeg.8"),
    include_bytes!("../../packaging/man/mcpeg.toml.5"),
    include_bytes!("../../packaging/man/mcpeg-install.8"),
    include_bytes!("../../packaging/man/mcpeg-uninstall.8"),
];

/// The rules of Prometheus and the dashboard of Grafana.
const MONITORING: [&[u8]; 2] = [
    include_bytes!("../../packaging/prometheus/mcpeg.rules.yml"),
    include_bytes!("../../packaging/grafana/mcpeg.json"),
];

/// What an installation writes, in the order of `install::Layout::documents`.
pub(super) fn installed() -> Vec<&'static [u8]> {
    MANUAL.into_iter().chain(MONITORING).chain(COMPLETIONS.map(|(_, script)| script)).collect()
}
