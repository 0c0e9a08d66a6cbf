//! Where a policy was written, for whoever reads what is wrong with it long after the file was read.
//!
//! Takes what a plugin said of its settings, gives the mistake with its place. The exact place is looked up in the file
//! when it is wanted: to keep the place of every setting of every tenant would cost more than the settings. Never fails:
//! where the file is another by now, the place is the policy's.

use super::file::{self, Place};
use super::inputs::Files;
use super::section::{Field, mistake};
use super::{ConfigError, WrittenAt};

impl PartialEq for WrittenAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for WrittenAt {}

impl WrittenAt {
    pub(super) fn of(policy: &Field<'_>) -> Self {
        let (file, absolute) = policy.source.names();
        Self {
            file,
            absolute,
            key: policy.path.clone(),
            line: policy.place().line,
            column: policy.place().column,
        }
    }

    /// What is wrong with the policy as a whole.
    pub fn mistake(&self, message: String) -> ConfigError {
        mistake(&self.file, self.place(), &self.key, message)
    }

    /// What is wrong with its settings, of which the plugin `said` where. Reads the file, so it belongs on a blocking
    /// thread.
    pub fn mistake_in_settings(&self, said: &str, message: String) -> ConfigError {
        let settings = format!("{}.settings", self.key);
        // As the SDK tells a key that nobody knows.
        let said = said.strip_prefix("unknown key `").unwrap_or(said);
        let place = self
            .place_now(&format!("{settings}.{said}"))
            .unwrap_or_else(|| self.place());
        mistake(&self.file, place, &settings, message)
    }

    fn place(&self) -> Place {
        Place {
            line: self.line,
            column: self.column,
        }
    }

    fn place_now(&self, path: &str) -> Option<Place> {
        let bytes = Files::default().read(&self.absolute).ok()?;
        let tree = file::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
        Some(tree.place_of(path))
    }
}
