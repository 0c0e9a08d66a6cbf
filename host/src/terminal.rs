//! A running gateway as whoever sits at a terminal sees it: asked on its admin listener, shown as a table and in words.
//!
//! Takes the address of an admin listener, gives what flows and what is wrong. Never changes what it asks, and never
//! shows a secret. `gauntlet top`, `status`, `explain` and `tenant list` are made of it, and so is the table of `gauntlet dev`.
//!
//! Its files, each of which uses only those before it: `operator` (how a gateway is asked), `seen` (what it answers),
//! `counts` (its counters), `reading` (all of it at one moment), `rows` (rates between two), `alarms` (what is wrong), `news` (what
//! changed), `table` (columns, sorted and searched), `watched` (what is shown, of whom), `printed` (as text), `screen` (on a terminal).

mod alarms;
mod counts;
mod news;
mod operator;
mod printed;
mod reading;
mod rows;
#[cfg(feature = "top")]
mod screen;
mod seen;
mod table;
mod watched;

pub use alarms::alarms;
pub use operator::{Inquirer, Operator, RunningGateway, authorization, located};
pub use printed::{follow, once};
pub use reading::look_at;
#[cfg(feature = "top")]
pub use screen::watch;
pub use seen::{CredentialSeen, PolicySeen, StatusSeen, TenantSeen, UpstreamSeen};
pub use table::{Column, Sorting};
pub use watched::Watched;
