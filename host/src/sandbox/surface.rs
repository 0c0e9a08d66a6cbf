//! What a component imports and exports, by name, read off its bytes.
//!
//! Takes a component that nobody has compiled or checked yet; gives the names at its outside, those of the contract apart
//! from the rest. For people: whether the gateway takes it is for `plugin` to say. Never runs or compiles anything.

use wasmparser::{ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload};

use super::contract;
use crate::model::plain;

/// Longest name shown, in bytes, and most names of each kind.
const MAX_NAME: usize = 128;
const MAX_NAMES: usize = 256;

/// The outside of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surface {
    /// The version of the contract that it was built for: `gauntlet:policy@1.0.0`. `None` if it imports nothing of it.
    pub contract: Option<String>,
    pub imports: Vec<String>,
    /// Of the contract.
    pub exports: Vec<String>,
    /// Other exports, which nobody asks for.
    pub ignored: Vec<String>,
}

impl Surface {
    /// # Errors
    /// If the bytes are no component.
    pub fn read(wasm: &[u8]) -> Result<Self, String> {
        let mut surface = Self::default();
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(|error| plain(&error.to_string(), 256))? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => return Err("is a core WebAssembly module, not a component".to_owned()),
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import.map_err(|error| plain(&error.to_string(), 256))?;
                        surface.import(import.name.name, &import.ty);
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export.map_err(|error| plain(&error.to_string(), 256))?;
                        surface.export(export.name.name, export.kind);
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    fn import(&mut self, name: &str, ty: &ComponentTypeRef) {
        // What functions speak of.
        if matches!(ty, ComponentTypeRef::Type(_)) {
            return;
        }
        if let Some((_, version)) = name
            .strip_prefix(contract::NAMESPACE)
            .and_then(|rest| rest.split_once('@'))
        {
            self.contract
                .get_or_insert_with(|| format!("gauntlet:policy@{}", plain(version, MAX_NAME)));
        }
        push(&mut self.imports, name);
    }

    fn export(&mut self, name: &str, kind: ComponentExternalKind) {
        match kind {
            ComponentExternalKind::Func if contract::FUNCTIONS.iter().any(|(known, _)| *known == name) => {
                push(&mut self.exports, name)
            }
            ComponentExternalKind::Type => {}
            _ => push(&mut self.ignored, name),
        }
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if names.len() < MAX_NAMES {
        names.push(plain(name, MAX_NAME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_of_a_built_in_plugin_is_read() {
        let surface = Surface::read(include_bytes!("../../../policies/plugins/route.wasm")).unwrap();
        assert!(surface.contract.unwrap().starts_with("gauntlet:policy@"));
        assert_eq!(surface.exports.iter().filter(|name| *name == "configure").count(), 1);
        assert!(
            surface.imports.iter().all(|name| name.starts_with("gauntlet:policy/")),
            "{:?}",
            surface.imports
        );
        assert_eq!(surface.ignored, [""; 0]);
    }

    #[test]
    fn what_is_no_component_has_none() {
        assert!(
            Surface::read(b"\0asm\x01\0\0\0")
                .unwrap_err()
                .contains("core WebAssembly module")
        );
        assert!(Surface::read(b"nonsense").is_err());
    }
}
