//! Write a Gauntlet policy in Rust: implement [`Policy`] with [`Relabel`], [`Admit`] or both, export it.
//!
//! Takes settings and series from the gateway; gives verdicts and decisions. Never keeps anything between
//! calls but the policy made from its settings: verdicts are remembered by the gateway, so a policy that
//! depends on more than the settings, the context and the series would be wrong half of the time.
//!
//! ```
//! use gauntlet_policy::{Context, Fate, Policy, Relabel, Series, relabel_policy, settings};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct NoGo {
//!     cluster: String,
//! }
//!
//! impl Policy for NoGo {
//!     fn configure(text: &str, _context: &Context) -> Result<Self, String> {
//!         settings(text)
//!     }
//! }
//!
//! impl Relabel for NoGo {
//!     fn relabel(&self, series: &mut Series) -> Fate {
//!         if series.value("__name__").starts_with("go_") {
//!             return Fate::drop("go_metrics");
//!         }
//!         series.set("cluster", &self.cluster);
//!         Fate::Keep
//!     }
//! }
//!
//! relabel_policy!(NoGo);
//! # fn main() {}
//! ```

// The generated code names this crate as its users do.
extern crate self as gauntlet_policy;

pub mod bindings;
mod context;
mod export;
// With threads its lists would need a lock, which is what they are there to spare.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
mod free_lists;
mod inputs;
pub mod log;
#[doc(hidden)]
pub mod panics;
mod series;
mod settings;

pub use bindings::remembered::gauntlet::policy::types::Inputs;
pub use bindings::scoped::gauntlet::policy::types::Scope;
pub use bindings::tenant::gauntlet::policy::types::{
    Admission, Budget, Charge, Context, Decision, Edit, Label, Route, StreamTotals, Totals, Verdict, Write,
};
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
pub use free_lists::FreeLists;
#[doc(hidden)]
pub use series::judge_packed;
pub use series::{Fate, Series};
pub use settings::{nearest, settings};
#[doc(hidden)]
pub use wit_bindgen;

/// Anything that is made from settings.
pub trait Policy: Sized {
    /// Makes the policy from its settings, a JSON text, for the tenant of `context`. The error is shown to the operator, and
    /// the settings are not taken into use: what can never work should be one.
    fn configure(settings: &str, context: &Context) -> Result<Self, String>;
}

/// Decides about series.
pub trait Relabel: Policy {
    /// Changes `series` in place and says what becomes of it. Must be a pure function of settings, context and series.
    fn relabel(&self, series: &mut Series) -> Fate;

    /// Whether [`relabel`](Relabel::relabel) has anything to say under these settings. If not, it is never asked, and every
    /// series is kept as far as this policy goes.
    fn judges_series(&self) -> bool {
        true
    }
}

/// Decides about writes.
pub trait Admit: Policy {
    /// Lets a write in, at a price and with routes, or refuses it for good.
    fn admit(&self, write: &Write) -> Decision;

    /// What of a write [`admit`](Admit::admit) depends on, besides tenant, subject, protocol and the names of the streams.
    /// The gateway asks once and then says nothing of the rest: what is not among these is zero in every write. It gives
    /// the same decision again to writes that differ in nothing that counts; the fewer inputs, the fewer calls.
    /// Depending on everything is always right, and always asked.
    fn inputs(&self) -> Inputs {
        Inputs::all()
    }

    /// Whether [`admit`](Admit::admit) has anything to say under these settings. If not, it is never asked, and every write is
    /// admitted without a charge as far as this policy goes.
    fn judges_writes(&self) -> bool {
        true
    }
}
