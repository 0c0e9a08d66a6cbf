//! The words every stage shares: tenants, peers, the protocol, labels, totals, why a series may not pass, a series as text, and
//! when to leave alone what keeps failing.
//!
//! Takes nothing, gives plain values that check themselves when made; never does I/O.

use std::fmt;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

pub mod breaker;

mod plain;
mod refusal;
mod series_text;

pub use plain::{joined, plain, plain_lines};
pub use refusal::Refusal;
pub use series_text::{TextError, TextFault, parse_exposition, parse_series, series_text};

/// A tenant id that is safe in a header, in a path and as a label.
///
/// Thanos joins it to a directory name, so `.`, `..` and `/` cannot be made.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Longest tenant id accepted, in bytes (Thanos and Mimir use the same bound).
pub const MAX_TENANT_ID_LENGTH: usize = 150;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    #[error("a tenant id must not be empty")]
    Empty,
    #[error("a tenant id has at most {MAX_TENANT_ID_LENGTH} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a tenant id must not be `.` or `..`")]
    Dots,
    #[error("a tenant id may hold only [A-Za-z0-9!_.*'()-], not {0:?}")]
    Character(char),
}

impl TenantId {
    /// Checks `text` against the rules above.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn new(text: &str) -> Result<Self, TenantIdError> {
        if text.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if text.len() > MAX_TENANT_ID_LENGTH {
            return Err(TenantIdError::TooLong(text.len()));
        }
        if text == "." || text == ".." {
            return Err(TenantIdError::Dots);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "!_.*'()-".contains(c);
        match text.chars().find(|c| !legal(*c)) {
            Some(c) => Err(TenantIdError::Character(c)),
            None => Ok(Self(Arc::from(text))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// The schema of a write, as its head claims it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Remote write 1.0, `prometheus.WriteRequest`.
    #[default]
    V1,
    /// Remote write 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

impl Protocol {
    /// What policies and people are told.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// `None` on plain HTTP, without a client certificate, and where it names nobody.
    pub certificate: Option<PeerCertificate>,
    /// Whom the first of its requests that proved a tenant proved.
    pub proved: OnceLock<TenantId>,
}

impl Peer {
    pub fn new(address: SocketAddr, certificate: Option<PeerCertificate>) -> Self {
        Self {
            address,
            certificate,
            proved: OnceLock::new(),
        }
    }
}

/// The names in a client certificate that a handshake verified. `tls` alone makes it, once per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    pub uri_sans: Vec<String>,
    pub dns_sans: Vec<String>,
    /// Only where there is exactly one: two leave open which is meant.
    pub common_name: Option<String>,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
}

/// Most names of one certificate that are shown, and most bytes of each.
const SHOWN_NAMES: usize = 4;
const SHOWN_BYTES: usize = 128;

/// For the log: the names by the keys of the configuration.
impl std::fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let uris = self.uri_sans.iter().map(|name| ("uri_san", name));
        let hosts = self.dns_sans.iter().map(|name| ("dns_san", name));
        let common = self.common_name.iter().map(|name| ("common_name", name));
        for (kind, name) in uris.chain(hosts).chain(common).take(SHOWN_NAMES) {
            let shown = &name[..name.floor_char_boundary(SHOWN_BYTES)];
            write!(f, "{kind}={} ", shown.escape_debug())?;
        }
        write!(f, "not_after={}", self.not_after)
    }
}

impl PeerCertificate {
    /// Whether it has ended since the handshake. Connections and resumed sessions may outlive it.
    pub fn has_expired(&self) -> bool {
        self.not_after < seconds_since_1970()
    }

    /// Whatever kind they are of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let sans = self.uri_sans.iter().chain(&self.dns_sans);
        sans.chain(&self.common_name).map(String::as_str)
    }
}

/// The time of day, for what is compared with certificates.
pub fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// One label of a series. Both parts are UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// Longest name of a budget, in bytes.
pub const MAX_BUDGET_LENGTH: usize = 128;

/// Against which a series counts, beside its tenant's own limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesBudget {
    /// One tenant has one budget of a name.
    pub name: Arc<str>,
    /// Where it has as many, new series are refused.
    pub max_active_series: u64,
}

/// What a write, a stream or a series holds, each kind apart: receivers and limits treat them as different things.
/// Counts, not bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    pub series: u64,
    /// Float samples, stale markers among them.
    pub samples: u64,
    /// Native histogram samples, of integers and of floats.
    pub histograms: u64,
    /// Of any series. They are no samples: accounting leaves them out.
    pub exemplars: u64,
}

impl Totals {
    /// Float and histogram samples together: the unit of accounting (I6). Each of them ends up forwarded, dropped or
    /// rejected.
    pub fn all_samples(&self) -> u64 {
        self.samples + self.histograms
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }
}

/// What went to no receiver of a write that was stored, because none takes it: no samples, and nothing that a sender is told
/// of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discarded {
    pub kind: DiscardedKind,
    pub why: WhyDiscarded,
    pub count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiscardedKind {
    /// Entries of remote write 1.0, or series of 2.0 that came with some.
    Metadata,
    StartTimestamps,
    Exemplars,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyDiscarded {
    /// The upstream's configuration does not ask for it.
    NotForwarded,
    /// The upstream's version of remote write has no place for it.
    Protocol,
    /// It is none.
    Invalid,
    /// There was too much of it in one write.
    TooMuch,
    /// The receiver said that it did not store it.
    NotWritten,
}

impl DiscardedKind {
    /// As a metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::StartTimestamps => "start_timestamps",
            Self::Exemplars => "exemplars",
        }
    }
}

impl WhyDiscarded {
    /// As a metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotForwarded => "not_forwarded",
            Self::Protocol => "protocol",
            Self::Invalid => "invalid",
            Self::TooMuch => "too_much",
            Self::NotWritten => "not_written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_that_could_leave_its_directory_cannot_be_made() {
        assert_eq!(TenantId::new("."), Err(TenantIdError::Dots));
        assert_eq!(TenantId::new(".."), Err(TenantIdError::Dots));
        assert_eq!(TenantId::new("a/b"), Err(TenantIdError::Character('/')));
        assert_eq!(TenantId::new("a\nb"), Err(TenantIdError::Character('\n')));
        assert_eq!(TenantId::new(""), Err(TenantIdError::Empty));
    }

    #[test]
    fn a_tenant_id_may_have_150_bytes_and_not_151() {
        assert!(TenantId::new(&"a".repeat(150)).is_ok());
        assert_eq!(TenantId::new(&"a".repeat(151)), Err(TenantIdError::TooLong(151)));
        assert!(TenantId::new("team-A_1.x!*'()").is_ok());
    }
}
