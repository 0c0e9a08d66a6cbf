//! What a tenant may take from the process and from the receivers behind it.
//!
//! Takes sizes, counts and charges; gives permits that return themselves, or a refusal with its facts. Never waits:
//! a refused sender keeps its data and comes back, which costs this process less than holding its body would.

mod bucket;
mod in_flight;

pub use bucket::{Buckets, ChargeError, EmptyBucket, Withdrawal};
pub use in_flight::{BoundMet, Count, InFlight, Permit};
