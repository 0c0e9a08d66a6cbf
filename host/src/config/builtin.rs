//! The standard plugins, embedded: every Gauntlet has them by these names.
//!
//! Gives bytes; never reads a file at run time.

/// The component of a standard plugin.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    let found = PLUGINS.iter().find(|(built_in, _)| *built_in == name);
    found.map(|(_, bytes)| *bytes)
}

/// Name and component, as built from `guest-plugins/` (`policies/plugins/SHA256SUMS` has their digests).
pub(super) const PLUGINS: &[(&str, &[u8])] = &[
    ("limits", include_bytes!("../../../policies/plugins/limits.wasm")),
    ("relabel", include_bytes!("../../../policies/plugins/relabel.wasm")),
    ("route", include_bytes!("../../../policies/plugins/route.wasm")),
];
