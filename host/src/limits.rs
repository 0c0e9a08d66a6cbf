//! What a tenant may take from the process and from the receivers behind it.
//!
//! Takes sizes, counts and charges; gives permits that return themselves, or a refusal with its facts. Waits for one thing
//! only, the turn of a large body: for the rest a refused sender keeps its data and comes back, which costs this process
//! less than holding its body would. From the ground up: `whole` is a bound that several share, `in_flight` what writes
//! hold, `turns` whose turn it is to hold more; `bucket` is of rates.

mod bucket;
mod in_flight;
mod turns;
mod whole;

pub use bucket::{BucketLevel, Buckets, ChargeError, EmptyBucket, Withdrawal};
pub use in_flight::{BoundMet, Count, InFlight, Need, Permit};
pub use turns::Turns;
pub use whole::{Asking, Rule, Whole};
