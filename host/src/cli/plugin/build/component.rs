//! A component out of a core module.
//!
//! Takes a module that a compiler left behind, gives the component: of a module that was made with bindings by what those
//! put into it, of another by the names of its exports. What it imports of WASI's first preview is answered inside of it, by
//! what wasi.wat says. Never runs it.

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::wit::{CONTRACT, FILE};

/// What is behind WASI, and as which module it is imported.
const WASI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi.wasm"));
const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// What bindings leave in a module.
const BINDINGS: &str = "component-type";

/// What of a module decides how it becomes a component.
#[derive(Default)]
struct Module {
    has_bindings: bool,
    imports_wasi: bool,
    exports: Vec<String>,
}

/// # Errors
/// Says what is wrong with the module, in words that follow its name.
pub fn of(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let module = read(wasm)?;
    let mut wasm = wasm.to_vec();
    if !module.has_bindings {
        embed(&mut wasm, &module.exports)?;
    }
    let encoder = ComponentEncoder::default().validate(true).module(&wasm);
    let mut encoder = encoder.map_err(no_component)?;
    if module.imports_wasi {
        let mut wasi = WASI.to_vec();
        embed_world(&mut wasi, "wasi", "import gauntlet:policy/log@1.0.0;\n")?;
        encoder = encoder.adapter(WASI_MODULE, &wasi).map_err(no_component)?;
    }
    encoder.encode().map_err(no_component)
}

fn no_component(error: impl std::fmt::Display) -> String {
    format!("makes no component: {error:#}")
}

fn read(wasm: &[u8]) -> Result<Module, String> {
    if wasm.get(..8) != Some(b"\0asm\x01\0\0\0") {
        return Err(match wasm.get(..8) {
            Some([0, b'a', b's', b'm', _, 0, 1, 0]) => "is a component already".to_owned(),
            _ => "is not WebAssembly".to_owned(),
        });
    }
    let mut module = Module::default();
    let broken = |error: wasmparser::BinaryReaderError| format!("is broken: {error}");
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(broken)? {
            Payload::CustomSection(section) => module.has_bindings |= section.name().starts_with(BINDINGS),
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(broken)?;
                    module.imports_wasi |= import.module == WASI_MODULE;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    module.exports.push(export.map_err(broken)?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(module)
}

/// Says in the module what its exports are.
fn embed(wasm: &mut Vec<u8>, exports: &[String]) -> Result<(), String> {
    let has = |name: &str| exports.iter().any(|export| export == name);
    let mut worlds = vec![match (has("relabel"), has("admit")) {
        (true, true) => "tenant-policy",
        (true, false) => "relabel-policy",
        (false, true) => "admission-policy",
        (false, false) => {
            return Err("exports neither `relabel` nor `admit`, so it is no policy".to_owned());
        }
    }];
    worlds.extend(has("relabel-packed").then_some("packed-relabel"));
    worlds.extend(has("admission-inputs").then_some("remembered-admission"));
    worlds.extend(has("judges").then_some("scoped-policy"));
    let include = |world: &&str| format!("include gauntlet:policy/{world}@1.0.0;\n");
    embed_world(wasm, "plugin", &worlds.iter().map(include).collect::<String>())
}

/// Says in the module what world it is of: its name, and what it says.
fn embed_world(wasm: &mut Vec<u8>, name: &str, says: &str) -> Result<(), String> {
    let mut resolve = Resolve::default();
    resolve.push_str(FILE, CONTRACT).map_err(no_component)?;
    let text = format!("package built:{name};\nworld {name} {{\n{says}}}\n");
    let built = resolve.push_str("built.wit", &text).map_err(no_component)?;
    let world = resolve.select_world(&[built], Some(name)).map_err(no_component)?;
    embed_component_metadata(wasm, &resolve, world, StringEncoding::UTF8).map_err(no_component)
}
