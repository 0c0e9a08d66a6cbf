//! The series that one tenant sends, written down for a while, for operators who want to know what a change would do to them.
//!
//! Takes proved writes, gives the distinct series among them as text. One at a time, bounded in series and in bytes, over
//! as soon as it is full or nobody waits for it. While there is none, a write pays for one look at a flag.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::model::{TenantId, series_text};
use crate::sandbox::{Effort, Work};
use crate::wire::Scanned;
use crate::wire::labels::{label_bytes, labels};

/// The line of a capture that says that its values were left out.
pub const LEFT_OUT: &str = "# Label values are left out: each is `_`.";
/// In place of a value. Not an empty one, which would be no label.
const VALUE: &str = "_";
const METRIC_NAME: &str = "__name__";

/// Series of one capture.
const MAX_SERIES: usize = 100_000;
/// Bytes of one capture's text.
const MAX_BYTES: usize = 32 << 20;
/// Series that are looked at without a pause: about 200 us, if all are new.
const PER_STEP: usize = 256;

/// One per process.
#[derive(Default)]
pub struct Tap {
    is_open: AtomicBool,
    /// Apart, so that the writes of others wait for nothing that is done here.
    whose: ArcSwapOption<TenantId>,
    taking: Mutex<Option<Taking>>,
}

/// What is taken so far.
struct Taking {
    tenant: TenantId,
    with_values: bool,
    /// Hashes of the series that are in `lines`. A series whose hash another one has is left out, which is rare and harms
    /// nobody.
    seen: HashSet<u64>,
    hasher: RandomState,
    lines: String,
    is_full: bool,
}

/// Whoever has it waits for what is taken. Ends with it.
pub struct OpenTap(Arc<Tap>);

/// A capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// A line for each series.
    pub lines: String,
    pub series: usize,
    /// There was no room for further ones.
    pub is_full: bool,
}

impl Tap {
    /// Begins to take the series of `tenant`. `None` while another does.
    pub fn open(self: &Arc<Self>, tenant: &TenantId, with_values: bool) -> Option<OpenTap> {
        let mut taking = self.lock();
        if taking.is_some() {
            return None;
        }
        *taking = Some(Taking {
            tenant: tenant.clone(),
            with_values,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            lines: String::new(),
            is_full: false,
        });
        self.whose.store(Some(Arc::new(tenant.clone())));
        self.is_open.store(true, Ordering::Relaxed);
        Some(OpenTap(Arc::clone(self)))
    }

    /// Whether anything is to be taken of anybody's writes.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// The work that a write of `tenant` is, if it is that tenant's series that are wanted.
    pub fn of(self: &Arc<Self>, tenant: &TenantId, scanned: &Scanned) -> Option<Taste> {
        let wanted = self.whose.load().as_ref().is_some_and(|whose| **whose == *tenant);
        wanted.then(|| Taste {
            tap: Arc::clone(self),
            tenant: tenant.clone(),
            body: scanned.body().clone(),
            series: scanned
                .series()
                .iter()
                .map(|series| extent(series.labels_range()))
                .collect(),
            next: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Taking>> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenTap {
    pub fn is_full(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|taking| taking.is_full)
    }

    /// Ends it.
    pub fn close(self) -> Taken {
        let mut taking = self.0.lock();
        let taken = taking.as_mut().map(|taking| Taken {
            series: taking.seen.len(),
            lines: std::mem::take(&mut taking.lines),
            is_full: taking.is_full,
        });
        taken.unwrap_or_default()
    }
}

impl Drop for OpenTap {
    fn drop(&mut self) {
        // Under the lock, for whoever opens it next.
        let mut taking = self.0.lock();
        self.0.is_open.store(false, Ordering::Relaxed);
        self.0.whose.store(None);
        *taking = None;
    }
}

/// The series of one write, on their way into a capture.
pub struct Taste {
    tap: Arc<Tap>,
    tenant: TenantId,
    body: Bytes,
    series: Vec<Range<u32>>,
    next: usize,
}

impl Work for Taste {
    type Done = ();

    fn go_on(&mut self, effort: Effort) -> Option<()> {
        if effort == Effort::Light && self.series.len() > PER_STEP {
            return None;
        }
        let mut taking = self.tap.lock();
        // Another may have been opened since.
        let Some(taking) = taking.as_mut().filter(|taking| taking.tenant == self.tenant) else {
            return Some(());
        };
        let end = self.series.len().min(self.next + PER_STEP);
        for range in &self.series[self.next..end] {
            taking.take(&self.body[range.start as usize..range.end as usize]);
        }
        if taking.is_full {
            self.tap.is_open.store(false, Ordering::Relaxed);
            return Some(());
        }
        self.next = end;
        (end == self.series.len()).then_some(())
    }
}

/// Bodies have offsets of 32 bits.
fn extent(range: Range<usize>) -> Range<u32> {
    range.start as u32..range.end as u32
}

impl Taking {
    fn take(&mut self, series: &[u8]) {
        let hash = self.hash(series);
        if self.is_full || self.seen.contains(&hash) {
            return;
        }
        let with_values = self.with_values;
        let line = series_text(
            labels(series).map(|(name, value)| match with_values || name == METRIC_NAME {
                true => (name, value),
                false => (name, VALUE),
            }),
        );
        if self.seen.len() >= MAX_SERIES || self.lines.len() + line.len() >= MAX_BYTES {
            self.is_full = true;
            return;
        }
        self.seen.insert(hash);
        self.lines.push_str(&line);
        self.lines.push('\n');
    }

    /// Of what is shown of it.
    fn hash(&self, series: &[u8]) -> u64 {
        if self.with_values {
            return self.hasher.hash_one(series);
        }
        let mut hasher = self.hasher.build_hasher();
        for (name, value) in label_bytes(series) {
            hasher.write(name);
            hasher.write_u8(0xff);
            if name == METRIC_NAME.as_bytes() {
                hasher.write(value);
                hasher.write_u8(0xff);
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;
    use crate::wire::{ScanLimits, scan, write_series};

    fn body(series: impl Iterator<Item = (String, String)>) -> Scanned {
        let mut body = Vec::new();
        for (name, job) in series {
            let labels = [("__name__", &*name), ("job", &*job)];
            write_series(&mut body, labels.into_iter(), std::iter::once((1.0, 1)));
        }
        scan(Protocol::V1, body, &ScanLimits::NONE).unwrap()
    }

    fn of(pairs: &[(&str, &str)]) -> Scanned {
        body(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())))
    }

    fn taste(tap: &Arc<Tap>, tenant: &TenantId, scanned: &Scanned) -> bool {
        let Some(mut taste) = tap.of(tenant, scanned) else {
            return false;
        };
        while taste.go_on(Effort::Full).is_none() {}
        true
    }

    #[test]
    fn each_series_of_the_tenant_is_taken_once() {
        let (tap, a, b) = (
            Arc::new(Tap::default()),
            TenantId::new("a").unwrap(),
            TenantId::new("b").unwrap(),
        );
        assert!(!tap.is_open() && !taste(&tap, &a, &of(&[("up", "1")])));
        let open = tap.open(&a, true).unwrap();
        assert!(tap.is_open() && tap.open(&b, true).is_none());
        assert!(taste(&tap, &a, &of(&[("up", "1"), ("up", "2"), ("up", "1")])));
        assert!(!taste(&tap, &b, &of(&[("other", "1")])));
        taste(&tap, &a, &of(&[("up", "2")]));
        let taken = open.close();
        assert_eq!(taken.lines, "up{job=\"1\"}\nup{job=\"2\"}\n");
        assert_eq!((taken.series, taken.is_full, tap.is_open()), (2, false, false));
    }

    #[test]
    fn without_values_there_is_a_line_for_each_set_of_names() {
        let (tap, a) = (Arc::new(Tap::default()), TenantId::new("a").unwrap());
        let open = tap.open(&a, false).unwrap();
        taste(&tap, &a, &of(&[("up", "secret"), ("up", "hidden"), ("down", "secret")]));
        assert_eq!(open.close().lines, "up{job=\"_\"}\ndown{job=\"_\"}\n");
    }

    #[test]
    fn a_capture_is_bounded_and_who_is_gone_takes_nothing() {
        let (tap, a) = (Arc::new(Tap::default()), TenantId::new("a").unwrap());
        let open = tap.open(&a, true).unwrap();
        let many = body((0..=MAX_SERIES).map(|n| ("up".to_owned(), n.to_string())));
        taste(&tap, &a, &many);
        assert!(open.is_full() && !tap.is_open());
        let taken = open.close();
        assert_eq!((taken.series, taken.is_full), (MAX_SERIES, true));
        let long = "x".repeat(MAX_BYTES / 4);
        let open = tap.open(&a, true).unwrap();
        taste(&tap, &a, &body((0..5).map(|n| (format!("m{n}"), long.clone()))));
        assert!(open.is_full() && open.0.lock().as_ref().unwrap().lines.len() < MAX_BYTES);
        let write = tap.of(&a, &of(&[("up", "1")]));
        drop(open);
        assert_eq!(write.unwrap().go_on(Effort::Light), Some(()));
        assert!(!tap.is_open() && tap.open(&a, true).is_some());
    }
}
