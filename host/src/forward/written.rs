//! What a receiver stored of a request.
//!
//! Takes what was sent, or the headers in which a receiver of remote write 2.0 says what it stored (specification 2.0,
//! "Required Written Response Headers"), gives numbers. A header that is missing means that nothing of its kind was stored.

use http::HeaderMap;

use crate::model::Totals;

pub(super) const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
pub(super) const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
pub(super) const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

/// What a receiver stored of a request, by its own word where there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Written {
    pub fn all(sent: &Totals) -> Self {
        Self {
            samples: sent.samples,
            histograms: sent.histograms,
            exemplars: sent.exemplars,
        }
    }

    /// None if the answer has none of the three headers.
    pub(super) fn told(headers: &HeaderMap, sent: &Totals) -> Option<Self> {
        let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let is_told = [SAMPLES, HISTOGRAMS, EXEMPLARS]
            .iter()
            .any(|name| headers.contains_key(*name));
        // Who stored more than there was has counted something else.
        is_told.then(|| Self {
            samples: count(SAMPLES).unwrap_or(0).min(sent.samples),
            histograms: count(HISTOGRAMS).unwrap_or(0).min(sent.histograms),
            exemplars: count(EXEMPLARS).unwrap_or(0).min(sent.exemplars),
        })
    }

    pub fn all_samples(&self) -> u64 {
        self.samples + self.histograms
    }

    /// As the totals of what was stored. Nobody tells how many series that were.
    pub fn totals(&self, sent: &Totals) -> Totals {
        Totals {
            series: sent.series,
            samples: self.samples,
            histograms: self.histograms,
            exemplars: self.exemplars,
        }
    }
}
