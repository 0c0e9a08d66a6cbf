//! What a plugin may call: a log, and the empty world that stock toolchains need.
//!
//! Takes a linker, gives it the functions. Whatever is added here must be pure or bound to the generation, since verdicts
//! are remembered. Never gives a plugin anything of the machine's.

pub mod denied;
pub mod log;
pub mod wasi;
