//! How a command ends.
//!
//! Gives two words that every command answers with; `plugin` makes an exit code of them.

/// What is wrong with the call, and not with the plugin.
pub type Wrong = String;

/// Whether there is nothing to mend.
pub type Sound = bool;
