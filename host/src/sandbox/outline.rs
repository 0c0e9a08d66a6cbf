//! What a component imports and exports, read before any of it is compiled.
//!
//! Takes a component's bytes, gives the first thing in them that breaks the contract: compiling for half a minute is no way to
//! learn of a wrong name. For the compiling child, which is bounded: a few bytes of types can be made to take gigabytes to
//! check. Never judges whether they are a valid component: compiling says so, and why.

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentFuncTypeId,
    ComponentValType,
};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::contract::{ContractError, Exported, FUNCTIONS, NAMESPACE, has_interface};
use super::imports::wasi;
use crate::model::plain;

/// Longest type read, in bytes of its text; the longest of the contract has 400.
const MAX_TYPE: usize = 4096;
/// How much of two types is shown from where they begin to differ, in bytes.
const SHOWN: usize = 160;

/// What a plugin imports under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An interface. `is_sound`: with nothing in it but functions and types.
    Interface {
        is_sound: bool,
    },
    Function,
    /// As `use types.{label}` in a world leaves it.
    Type,
    Other,
}

/// Whether a policy may import this. `wasi`: whether stock toolchains' imports are linked.
///
/// # Errors
/// Says why not, by its name.
pub fn check_import(name: &str, kind: Kind, wasi: bool) -> Result<(), ContractError> {
    let shown = || plain(name, 128);
    match kind {
        Kind::Type => Ok(()),
        Kind::Function => Err(ContractError::Import(shown())),
        Kind::Other => Err(ContractError::ImportKind(shown())),
        // The contract has no resources; a type under its name that brings some is a forgery.
        Kind::Interface { is_sound } if has_interface(name) => match is_sound {
            true => Ok(()),
            false => Err(ContractError::ImportKind(shown())),
        },
        Kind::Interface { .. } if name.starts_with(NAMESPACE) => Err(ContractError::Version(shown())),
        Kind::Interface { .. } => match wasi::is_linked(name) {
            true if wasi => Ok(()),
            true => Err(ContractError::Wasi(shown())),
            false => Err(ContractError::Import(shown())),
        },
    }
}

/// # Errors
/// Names the first import or export that breaks the contract, or what is missing. `wasi`: whether stock toolchains' imports
/// are linked.
pub fn check(wasm: &[u8], wasi: bool) -> Result<(), ContractError> {
    let Some(outline) = Outline::read(wasm) else {
        return Ok(());
    };
    let types = outline.types.as_ref();
    for name in &outline.imports {
        if let Some(item) = types.component_item_for_import(name) {
            check_import(name, kind(types, &item.ty), wasi)?;
        }
    }
    let mut exported = Exported::default();
    for name in &outline.exports {
        let function = FUNCTIONS.iter().find(|(known, _)| known == name);
        let item = types.component_item_for_export(name);
        if let (Some((name, expected)), Some(item)) = (function, item) {
            check_export(types, name, expected, &item.ty)?;
            exported.add(name);
        }
    }
    exported.check()
}

struct Outline<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    types: Types,
}

impl<'a> Outline<'a> {
    /// Of all but what functions do; `None` if that is no component.
    fn read(wasm: &'a [u8]) -> Option<Self> {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.ok()?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section.clone() {
                        imports.push(import.ok()?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section.clone() {
                        exports.push(export.ok()?.name.name);
                    }
                }
                _ => {}
            }
            match validator.payload(&payload).ok()? {
                ValidPayload::End(types) if depth == 0 => {
                    return Some(Self {
                        imports,
                        exports,
                        types,
                    });
                }
                ValidPayload::End(_) => depth -= 1,
                _ => {}
            }
        }
        None
    }
}

fn kind(types: TypesRef<'_>, item: &ComponentEntityType) -> Kind {
    let is_resource = |id: &ComponentAnyTypeId| matches!(id, ComponentAnyTypeId::Resource(_));
    match item {
        ComponentEntityType::Instance(id) => {
            let mut items = types[*id].exports.values();
            let is_sound = items.all(|item| match &item.ty {
                ComponentEntityType::Func(_) => true,
                ComponentEntityType::Type { referenced, .. } => !is_resource(referenced),
                _ => false,
            });
            Kind::Interface { is_sound }
        }
        ComponentEntityType::Func(_) => Kind::Function,
        ComponentEntityType::Type { referenced, .. } if !is_resource(referenced) => Kind::Type,
        _ => Kind::Other,
    }
}

fn check_export(
    types: TypesRef<'_>,
    name: &'static str,
    expected: &str,
    item: &ComponentEntityType,
) -> Result<(), ContractError> {
    let ComponentEntityType::Func(id) = item else {
        return Err(ContractError::ExportKind(name));
    };
    let mut text = TypeText {
        types,
        text: String::new(),
    };
    text.function(*id);
    if text.text == expected {
        return Ok(());
    }
    let (expected, found) = from_the_difference(expected, &text.text);
    Err(ContractError::Type { name, expected, found })
}

/// Both from the last word before they begin to differ.
fn from_the_difference(expected: &str, found: &str) -> (String, String) {
    let same = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    // Names and punctuation of the contract are ASCII, so this is no place inside a character.
    let word = expected[..same].rfind([' ', '(', '<', '{']).map_or(0, |at| at + 1);
    let cut = |text: &str| {
        let mark = if word > 0 { ".." } else { "" };
        plain(&format!("{mark}{}", &text[word..]), SHOWN)
    };
    (cut(expected), cut(found))
}

/// Writes types as `wit/` does, but for names of parameters and types, which do not count.
struct TypeText<'a> {
    types: TypesRef<'a>,
    /// Of what is longer than any type of the contract only the beginning.
    text: String,
}

impl TypeText<'_> {
    fn function(&mut self, id: ComponentFuncTypeId) {
        let types = self.types;
        let function = &types[id];
        self.push(if function.async_ { "async func(" } else { "func(" });
        self.list(function.params.iter(), |it, (_, ty)| it.value(*ty));
        self.push(")");
        if let Some(result) = function.result {
            self.push(" -> ");
            self.value(result);
        }
    }

    fn value(&mut self, ty: ComponentValType) {
        match ty {
            _ if self.is_full() => {}
            ComponentValType::Primitive(primitive) => self.push(&primitive.to_string()),
            ComponentValType::Type(id) => self.defined(id),
        }
    }

    fn defined(&mut self, id: ComponentDefinedTypeId) {
        let types = self.types;
        match &types[id] {
            ComponentDefinedType::Primitive(primitive) => self.push(&primitive.to_string()),
            ComponentDefinedType::Record(record) => {
                self.push("record {");
                self.list(record.fields.iter(), |it, (name, ty)| {
                    it.push(name);
                    it.push(": ");
                    it.value(*ty);
                });
                self.push("}");
            }
            ComponentDefinedType::Variant(variant) => {
                self.push("variant {");
                self.list(variant.cases.iter(), |it, (name, case)| {
                    it.push(name);
                    it.payload("(", case.ty, ")");
                });
                self.push("}");
            }
            ComponentDefinedType::List { element, .. } => self.payload("list<", Some(*element), ">"),
            ComponentDefinedType::Option { ty, .. } => self.payload("option<", Some(*ty), ">"),
            ComponentDefinedType::Tuple(tuple) => {
                self.push("tuple<");
                self.list(tuple.types.iter(), |it, ty| it.value(*ty));
                self.push(">");
            }
            ComponentDefinedType::Flags(names) => self.names("flags", names.iter().map(|name| &**name)),
            ComponentDefinedType::Enum(names) => self.names("enum", names.iter().map(|name| &**name)),
            ComponentDefinedType::Result { ok, err, .. } => {
                self.push("result<");
                match ok {
                    Some(ty) => self.value(*ty),
                    None => self.push("_"),
                }
                self.payload(", ", *err, "");
                self.push(">");
            }
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => self.push("a resource"),
            ComponentDefinedType::Future { .. } => self.push("a future"),
            ComponentDefinedType::Stream { .. } => self.push("a stream"),
            ComponentDefinedType::Map { .. } => self.push("a map"),
            ComponentDefinedType::FixedLengthList { .. } => self.push("a list of fixed length"),
        }
    }

    fn payload(&mut self, before: &str, ty: Option<ComponentValType>, after: &str) {
        if let Some(ty) = ty {
            self.push(before);
            self.value(ty);
            self.push(after);
        }
    }

    fn names<'n>(&mut self, kind: &str, names: impl Iterator<Item = &'n str>) {
        self.push(kind);
        self.push(" {");
        self.list(names, |it, name| it.push(name));
        self.push("}");
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.push(", ");
            }
            write(self, item);
        }
    }

    fn push(&mut self, text: &str) {
        if !self.is_full() {
            self.text.push_str(text);
        }
    }

    fn is_full(&self) -> bool {
        self.text.len() > MAX_TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), ContractError> {
        check(&wat::parse_str(format!("(component {text})")).unwrap(), true)
    }

    /// A function of these types, lifted to the name.
    fn lifted(name: &str, types: &str, params: &str, flat: &str) -> String {
        format!(
            r#"(core module $m (memory (export "m") 1)
                 (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable)
                 (func (export "f") {flat} (result i32) unreachable))
               (core instance $i (instantiate $m))
               (alias core export $i "m" (core memory $memory)) (alias core export $i "r" (core func $realloc))
               {types}
               (func (export "{name}") {params} (result (result (error string)))
                 (canon lift (core func $i "f") (memory $memory) (realloc $realloc)))"#
        )
    }

    const CONTEXT: &str = r#"(type $c' (record (field "tenant" string) (field "upstreams" (list string))))
                             (export $c "context" (type $c'))"#;

    #[test]
    fn a_type_is_told_from_where_it_differs() {
        let old = lifted("configure", "", r#"(param "settings" string)"#, "(param i32 i32)");
        assert_eq!(
            checked(&old).unwrap_err().to_string(),
            "exports configure with another type than gauntlet:policy@1.0.0 has: expected `..string, record {tenant: string, \
             upstreams: list<string>}) -> result<_, string>`, found `..string) -> result<_, string>`"
        );
        let other = CONTEXT.replace("(list string)", "string");
        let params = r#"(param "s" string) (param "c" $c)"#;
        let other = lifted("configure", &other, params, "(param i32 i32 i32 i32 i32 i32)");
        assert!(
            checked(&other)
                .unwrap_err()
                .to_string()
                .ends_with("expected `..list<string>}) -> result<_, string>`, found `..string}) -> result<_, string>`")
        );
        let right = lifted("configure", CONTEXT, params, "(param i32 i32 i32 i32 i32 i32)");
        assert_eq!(checked(&right), Err(ContractError::NothingToDo));
    }

    #[test]
    fn what_is_beside_the_contract_is_no_fault_but_its_names_are_functions() {
        assert_eq!(checked(""), Err(ContractError::NoConfigure));
        assert_eq!(
            checked(&lifted("init", "", r#"(param "s" string)"#, "(param i32 i32)")),
            Err(ContractError::NoConfigure)
        );
        assert_eq!(
            checked(r#"(instance $i) (export "exports" (instance $i))"#),
            Err(ContractError::NoConfigure)
        );
        assert_eq!(
            checked(r#"(instance $i) (export "relabel" (instance $i))"#),
            Err(ContractError::ExportKind("relabel"))
        );
    }

    #[test]
    fn a_type_of_a_million_parts_is_cut_and_told() {
        let doubled = |n| format!(r#"(type $t{} (tuple $t{n} $t{n}))"#, n + 1);
        let types: String = (0..15).map(doubled).collect();
        let types = format!("(type $t0 (tuple string string)) {types}");
        let huge = lifted("configure", &types, r#"(param "s" $t15)"#, "(param i32)");
        let told = checked(&huge).unwrap_err().to_string();
        assert!(
            told.contains("found `tuple<tuple<") || told.contains("found `..tuple<tuple<"),
            "{told}"
        );
        assert!(told.len() < 3 * SHOWN + 100, "{told}");
    }

    #[test]
    fn what_is_no_component_is_for_compiling_to_refuse() {
        assert_eq!(check(b"\0asm\x0d\0\x01\0\xff\xff", true), Ok(()));
    }
}
