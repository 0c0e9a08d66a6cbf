//! Lines in the gateway's log.
//!
//! Takes a level and a message; gives them to the gateway, which bounds both. In a test of the policy's own, where there is no
//! gateway, they go to standard error.

pub use crate::bindings::tenant::gauntlet::policy::log::Level;

pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::tenant::gauntlet::policy::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}
