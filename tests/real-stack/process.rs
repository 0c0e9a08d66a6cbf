//! The processes of the stack: each dies with this program, and each has ports of its own.
//!
//! Takes and gives what the toolkit does, under the names that the stack has for it.

pub use gauntlet_tests::process::{Ports, Process, start_mortal as start};
