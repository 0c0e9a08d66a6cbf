//! The last refusals: what senders were told that nothing, or not all, of their data was taken.
//!
//! Takes the refusals that the log tells, gives them to operators: the newest of each tenant, those of nobody in particular,
//! and each as it comes to whoever listens. Bounded by number, in bytes over all of them, and by time; the log's own throttle
//! bounds how many come. Never has a secret in it, nor a label's value unless the tenant has these shown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::model::{PeerCertificate, TenantId, plain};
use crate::telemetry::Throttle;

/// Of one tenant.
const OF_A_TENANT: usize = 32;
/// Of all who proved no tenant.
const OF_STRANGERS: usize = 128;
/// Of one tenant while there are more bytes in all than `MOST_BYTES`.
const FEW: usize = 4;
/// Of texts and names, of all tenants together. 500 tenants of which each is refused for all that it sends have about 3 MB.
const MOST_BYTES: usize = 8 << 20;
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Longest text, in bytes: as much as a sender is told.
const MAX_TEXT: usize = 1024;
/// Longest identity, series or name, in bytes.
const MAX_WORD: usize = 256;
/// Names of one certificate that are kept.
const MAX_NAMES: usize = 8;

/// Who listens is told of so many a second; further ones are in the rings alone.
const TOLD: u64 = 20;
const TOLD_PER: Duration = Duration::from_secs(1);
/// What a slow listener may be behind by.
const LISTENED: usize = 64;

/// One refusal.
#[derive(Debug)]
pub struct ToldRefusal {
    /// None if nobody was proved.
    pub tenant: Option<TenantId>,
    pub at: Instant,
    /// None if there was no answer: the handshake failed.
    pub status: Option<u16>,
    /// The metric's and the log's word.
    pub reason: &'static str,
    /// What the sender saw; without values of labels, unless they may be shown.
    pub text: String,
    pub address: SocketAddr,
    /// The kind and the public name of the credential, or what was shown in its place.
    pub identity: Option<String>,
    /// Names that were claimed and not proved: a user's, or those of [`claims_of`].
    pub claims: Vec<String>,
    /// One of those that were refused, as far as it may be shown.
    pub series: Option<String>,
}

impl ToldRefusal {
    /// Of a connection that ended without an answer.
    pub fn of_connection(
        reason: &'static str,
        text: String,
        address: SocketAddr,
        certificate: Option<&PeerCertificate>,
    ) -> Self {
        Self {
            tenant: None,
            at: Instant::now(),
            status: None,
            reason,
            text,
            address,
            identity: certificate.map(ToString::to_string),
            claims: claims_of(certificate),
            series: None,
        }
    }
}

/// The names in a certificate that proved nobody.
pub fn claims_of(certificate: Option<&PeerCertificate>) -> Vec<String> {
    let names = certificate.into_iter().flat_map(PeerCertificate::names);
    names.take(MAX_NAMES).map(|name| plain(name, MAX_WORD)).collect()
}

/// The newest ones of somebody.
#[derive(Debug)]
pub struct Refusals {
    most: usize,
    /// Oldest first.
    kept: Mutex<Vec<Arc<KeptRefusal>>>,
}

/// A refusal that is counted among the bytes of all as long as anybody has it.
#[derive(Debug)]
pub struct KeptRefusal {
    refusal: ToldRefusal,
    bytes: usize,
    all: Arc<AtomicUsize>,
}

/// What all of them share. One per process.
#[derive(Debug)]
pub struct LastRefusals {
    bytes: Arc<AtomicUsize>,
    strangers: Refusals,
    pace: Throttle,
    listeners: broadcast::Sender<Arc<KeptRefusal>>,
}

impl Default for LastRefusals {
    fn default() -> Self {
        Self {
            bytes: Arc::default(),
            strangers: Refusals::new(OF_STRANGERS),
            pace: Throttle::new(TOLD, TOLD_PER),
            listeners: broadcast::Sender::new(LISTENED),
        }
    }
}

impl LastRefusals {
    /// Keeps a refusal of somebody who proved no tenant.
    pub fn stranger(&self, refusal: ToldRefusal) {
        self.keep(&self.strangers, refusal);
    }

    /// Keeps a refusal of whose newest ones `of` has.
    pub fn keep(&self, of: &Refusals, refusal: ToldRefusal) {
        let kept = Arc::new(KeptRefusal::new(refusal, &self.bytes));
        let most = match self.bytes.load(Ordering::Relaxed) > MOST_BYTES {
            true => FEW,
            false => usize::MAX,
        };
        of.push(Arc::clone(&kept), most);
        if self.listeners.receiver_count() > 0 && self.pace.due(kept.at).is_some() {
            // An error means that they are gone.
            let _ = self.listeners.send(kept);
        }
    }

    /// Those of nobody in particular, newest first.
    pub fn strangers(&self) -> Vec<Arc<KeptRefusal>> {
        self.strangers.newest()
    }

    /// Each that comes from now on, unless there are too many.
    pub fn listen(&self) -> broadcast::Receiver<Arc<KeptRefusal>> {
        self.listeners.subscribe()
    }

    pub fn forget_old(&self, now: Instant) {
        self.strangers.forget_old(now);
    }
}

impl Refusals {
    pub fn of_a_tenant() -> Self {
        Self::new(OF_A_TENANT)
    }

    fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// The oldest of the reason that there is most of makes room: a flood of one kind leaves the others.
    fn push(&self, new: Arc<KeptRefusal>, most: usize) {
        let mut kept = self.locked();
        kept.push(new);
        while kept.len() > self.most.min(most) {
            let reason = most_common(&kept);
            match kept.iter().position(|one| Some(one.reason) == reason) {
                Some(oldest) => kept.remove(oldest),
                None => return,
            };
        }
    }

    /// Newest first.
    pub fn newest(&self) -> Vec<Arc<KeptRefusal>> {
        self.locked().iter().rev().cloned().collect()
    }

    /// The newest of a reason.
    pub fn newest_of(&self, reason: &str) -> Option<Arc<KeptRefusal>> {
        self.locked().iter().rev().find(|one| one.reason == reason).cloned()
    }

    /// Those of series, of which less may be shown from now on.
    pub fn forget_series(&self) {
        self.locked().retain(|one| one.series.is_none());
    }

    pub fn forget_old(&self, now: Instant) {
        let is_new = |one: &Arc<KeptRefusal>| now.saturating_duration_since(one.at) < REMEMBERED;
        let mut kept = self.locked();
        if !kept.iter().all(is_new) {
            kept.retain(is_new);
            kept.shrink_to_fit();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Arc<KeptRefusal>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of several, any.
fn most_common(kept: &[Arc<KeptRefusal>]) -> Option<&'static str> {
    let mut counts = BTreeMap::<&'static str, usize>::new();
    kept.iter().for_each(|one| *counts.entry(one.reason).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(reason, _)| reason)
}

impl KeptRefusal {
    fn new(mut refusal: ToldRefusal, all: &Arc<AtomicUsize>) -> Self {
        refusal.text = plain(&refusal.text, MAX_TEXT);
        let word = |text: String| plain(&text, MAX_WORD);
        refusal.identity = refusal.identity.map(word);
        refusal.series = refusal.series.map(word);
        let words = refusal.claims.iter().chain(&refusal.identity).chain(&refusal.series);
        let bytes = size_of::<Self>() + refusal.text.len() + words.map(String::len).sum::<usize>();
        all.fetch_add(bytes, Ordering::Relaxed);
        Self {
            refusal,
            bytes,
            all: Arc::clone(all),
        }
    }
}

impl std::ops::Deref for KeptRefusal {
    type Target = ToldRefusal;

    fn deref(&self) -> &ToldRefusal {
        &self.refusal
    }
}

impl Drop for KeptRefusal {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: &'static str, text: &str, at: Instant) -> ToldRefusal {
        ToldRefusal {
            tenant: None,
            at,
            status: Some(400),
            reason,
            text: text.to_owned(),
            address: "192.0.2.7:1".parse().unwrap(),
            identity: Some("bearer_token".to_owned()),
            claims: Vec::new(),
            series: None,
        }
    }

    fn texts(kept: &[Arc<KeptRefusal>]) -> Vec<&str> {
        kept.iter().map(|one| one.text.as_str()).collect()
    }

    #[test]
    fn a_flood_of_one_kind_leaves_the_others() {
        let (refused, of, start) = (LastRefusals::default(), Refusals::of_a_tenant(), Instant::now());
        refused.keep(&of, refusal("snappy", "first", start));
        for n in 0..100 {
            refused.keep(&of, refusal("over_rate", &n.to_string(), start));
        }
        let newest = of.newest();
        assert_eq!(newest.len(), OF_A_TENANT);
        assert_eq!(texts(&newest)[..2], ["99", "98"]);
        assert_eq!(texts(&newest).last(), Some(&"first"));
        assert_eq!(of.newest_of("over_rate").unwrap().text, "99");
    }

    #[test]
    fn those_of_series_are_forgotten_alone() {
        let (refused, of, start) = (LastRefusals::default(), Refusals::of_a_tenant(), Instant::now());
        refused.keep(&of, refusal("snappy", "of a write", start));
        let of_series = ToldRefusal {
            series: Some("up{job=\"a\"}".to_owned()),
            ..refusal("over_budget", "of series", start)
        };
        refused.keep(&of, of_series);
        of.forget_series();
        assert_eq!(texts(&of.newest()), ["of a write"]);
    }

    #[test]
    fn all_together_are_bounded_in_bytes_and_give_them_back() {
        let (refused, start) = (LastRefusals::default(), Instant::now());
        let long = "x".repeat(2 * MAX_TEXT);
        let tenants: Vec<Refusals> = (0..500).map(|_| Refusals::of_a_tenant()).collect();
        for of in &tenants {
            (0..OF_A_TENANT).for_each(|_| refused.keep(of, refusal("snappy", &long, start)));
        }
        let bytes = || refused.bytes.load(Ordering::Relaxed);
        let one = size_of::<KeptRefusal>() + MAX_TEXT + 20;
        assert!(
            bytes() > MOST_BYTES && bytes() < MOST_BYTES + (500 * FEW + 1) * one,
            "{}",
            bytes()
        );
        assert_eq!(tenants[0].newest().len(), OF_A_TENANT);
        assert_eq!(tenants[499].newest().len(), FEW);
        assert!(tenants[0].newest()[0].text.len() <= MAX_TEXT + 3);
        tenants[0].forget_old(start + REMEMBERED);
        assert!(tenants[0].newest().is_empty());
        drop(tenants);
        assert_eq!(bytes(), 0);
    }

    #[test]
    fn who_listens_is_told_of_so_many_a_second() {
        let (refused, start) = (LastRefusals::default(), Instant::now());
        refused.stranger(refusal("wrong_credential", "before", start));
        let mut listener = refused.listen();
        (0..100).for_each(|n| refused.stranger(refusal("wrong_credential", &n.to_string(), start)));
        let told = std::iter::from_fn(|| listener.try_recv().ok()).count();
        assert_eq!(told, TOLD as usize);
        refused.stranger(refusal("wrong_credential", "later", start + TOLD_PER));
        assert_eq!(listener.try_recv().unwrap().text, "later");
        assert_eq!(refused.strangers().len(), 102);
    }
}
