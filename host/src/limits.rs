//! What a tenant may take from the process and from the receivers behind it.
//!
//! Takes sizes, counts and charges; gives permits that return themselves, or a refusal with its facts. Never waits:
//! a refused sender keeps its data and comes back, which costs this process less than holding its body would.

pub mod bucket;
pub mod in_flight;

pub use bucket::{Buckets, Charge, ChargeError, OverRate};
pub use in_flight::{InFlight, Overloaded, Permit};
