//! The network that stock toolchains' `wasi:sockets` and `wasi:http` imports get: none.
//!
//! Takes a component and its linker, gives it every function that it imports of them, each of which only says that it is not
//! permitted: as the function's own error where that has a word for it, else as a trap. Their runtimes import them and never
//! call them for a policy. Never opens a socket, nor hands out a handle that could be used.

use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};

const INTERFACES: [&str; 2] = ["wasi:sockets/", "wasi:http/"];
/// As `wasi:sockets` says it.
const ACCESS_DENIED: &str = "access-denied";

/// Stands for all their resources, of which nobody ever gets one.
struct Nothing;

pub fn has_interface(name: &str) -> bool {
    INTERFACES.iter().any(|prefix| name.starts_with(prefix))
}

/// Links what `component` imports of these interfaces.
pub fn link<S: 'static>(linker: &mut Linker<S>, component: &Component) -> wasmtime::Result<()> {
    let (engine, world) = (component.engine(), component.component_type());
    // A resource is new where it is first named; later it is another interface's, which must not be defined anew.
    let mut known = Vec::new();
    for (name, import) in world.imports(engine) {
        let ComponentItem::ComponentInstance(interface) = &import.ty else {
            continue;
        };
        let new = new_resources(interface, engine, &mut known);
        if has_interface(name) {
            let mut instance = linker.instance(name)?;
            for resource in new {
                instance.resource(&resource, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
            }
            deny(&mut instance, name, interface, engine)?;
        }
    }
    Ok(())
}

fn new_resources(
    interface: &ComponentInstance,
    engine: &wasmtime::Engine,
    known: &mut Vec<ResourceType>,
) -> Vec<String> {
    let mut new = Vec::new();
    for (name, item) in interface.exports(engine) {
        if let ComponentItem::Resource(resource) = item.ty
            && !known.contains(&resource)
        {
            known.push(resource);
            new.push(name.to_owned());
        }
    }
    new
}

fn deny<S: 'static>(
    instance: &mut LinkerInstance<'_, S>,
    interface: &str,
    functions: &ComponentInstance,
    engine: &wasmtime::Engine,
) -> wasmtime::Result<()> {
    for (name, item) in functions.exports(engine) {
        if let ComponentItem::ComponentFunc(_) = item.ty {
            let call = format!("{interface}#{name}");
            instance.func_new(name, move |_, function, _, results| {
                match (denial(&function), results) {
                    (Some(denial), [result]) => {
                        *result = denial;
                        Ok(())
                    }
                    _ => Err(wasmtime::Error::msg(format!("{call} is not permitted to a policy"))),
                }
            })?;
        }
    }
    Ok(())
}

/// The function's own error for it.
fn denial(function: &ComponentFunc) -> Option<Val> {
    let Type::Result(result) = function.results().next()? else {
        return None;
    };
    let Type::Enum(errors) = result.err()? else { return None };
    let has_word = errors.names().any(|name| name == ACCESS_DENIED);
    has_word.then(|| Val::Result(Err(Some(Box::new(Val::Enum(ACCESS_DENIED.to_owned()))))))
}
