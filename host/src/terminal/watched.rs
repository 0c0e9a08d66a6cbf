//! What is watched, and how.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::operator::RunningGateway;
use super::table::Sorting;

#[derive(Clone)]
pub struct Watched {
    pub gateway: RunningGateway,
    /// Between two looks.
    pub interval: Duration,
    pub sorting: Sorting,
    /// Only tenants whose name has this in it.
    pub search: String,
    /// Lines that stay above the table.
    pub notes: Vec<String>,
    /// Ends it.
    pub stop: CancellationToken,
}
