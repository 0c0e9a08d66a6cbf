//! What plugins are compiled for: the same in the compiling child and in the gateway, or nothing loads.
//!
//! Takes nothing; gives the engine's configuration without a pool, and the child's engine. Never depends on a setting: an
//! artefact in the cache is good for any of them.

use wasmtime::{Config, OperatorCost, VariableOperatorCost};

/// Wasm stack. The largest known need is Python's, under half of it; a thread's own stack is 2 MiB.
const STACK: usize = 256 << 10;

/// What code is compiled for: the same in the compiling child and here, or nothing loads.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .signals_based_traps(true)
        .memory_init_cow(true)
        // A few frames help a policy's author; a deep recursion's thousands help nobody.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8))
        // Compiled in, because builds without them have bugs that abort; off, because no policy needs them.
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_shared_everything_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_stack_switching(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        // The component model's async and threading proposals, which are also not compiled in.
        .concurrency_support(false)
        .wasm_component_model_gc(false)
        .wasm_component_model_memory64(false)
        .wasm_component_model_map(false)
        .wasm_component_model_fixed_length_lists(false);
    config
}

/// The same for code that counts its instructions, which costs some of its speed: for whoever measures plugins. Left to
/// itself wasmtime counts each `local.get`, which is no machine code, and each byte of a copy, of which a processor does many
/// at once. Without those the count is near that of the processor's own instructions.
pub fn counting_config() -> Config {
    let cost = OperatorCost {
        LocalGet: 0,
        LocalSet: 0,
        LocalTee: 0,
        I32Const: 0,
        I64Const: 0,
        F32Const: 0,
        F64Const: 0,
        variable: VariableOperatorCost {
            memory_copy_per_byte: 0,
            memory_fill_per_byte: 0,
            memory_init_per_byte: 0,
            ..VariableOperatorCost::new()
        },
        ..OperatorCost::new()
    };
    let mut config = config();
    config.consume_fuel(true).operator_cost(cost);
    config
}

/// The engine of the compiling child: it only compiles, so it reserves no pool. `counts`: for [`counting_config`].
pub fn compiling(counts: bool) -> wasmtime::Result<wasmtime::Engine> {
    wasmtime::Engine::new(&if counts { counting_config() } else { config() })
}
