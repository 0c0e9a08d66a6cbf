//! The plugin contract as Rust types, generated from `wit/policy.wit`.
//!
//! Takes the `tenant-policy` world, which holds every function and type of the two smaller ones; gives the
//! records that cross the boundary and the trait behind `gauntlet:policy/log`. Arguments are borrowed, so
//! that judging a series copies its labels once, into the plugin's memory. Never calls a plugin: exports are
//! looked up one by one in `plugin`, because a plugin may leave some out.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "tenant-policy",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub use self::gauntlet::policy::log;
pub use self::gauntlet::policy::types;
