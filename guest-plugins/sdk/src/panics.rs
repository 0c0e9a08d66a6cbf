//! What a panic says, for the policy's author.
//!
//! Takes a panic; writes its text, its place and the series that was judged to the gateway's log. Never stops it: a panic is a
//! trap, which says nothing by itself.

use std::cell::Cell;
use std::panic;

use crate::log::{self, Level};
use crate::{Fate, Relabel, Series};

thread_local! {
    /// The series that is being judged.
    static JUDGED: Cell<*const Series> = const { Cell::new(std::ptr::null()) };
}

/// Has panics told from now on.
pub fn tell() {
    panic::set_hook(Box::new(|panic| {
        let judged = JUDGED.get();
        // SAFETY: `judge` took it from a reference and takes it back before that ends. Whoever changed the series is stopped:
        // after this hook nothing of the instance runs any more.
        let judging = unsafe { judged.as_ref() }.map(|series| format!(", judging {series}"));
        log::write(Level::Error, &format!("{panic}{}", judging.unwrap_or_default()));
    }));
}

/// Asks a policy about a series.
pub fn judge(policy: &impl Relabel, series: &mut Series) -> Fate {
    JUDGED.set(&raw const *series);
    let fate = policy.relabel(series);
    JUDGED.set(std::ptr::null());
    fate
}
