//! What becomes of one series, and of a write that is only described.
//!
//! Takes labels, gives what a tenant's chain and the host's checks make of them, word by word; takes numbers, gives what the
//! tenant's policies decide about such a write. Never charges, and makes no series active.

use std::sync::Arc;

use bytes::Bytes;

use super::Lab;
use crate::chain::{Decision, Write};
use crate::judge::verdict::{Bug, Fate};
use crate::judge::{Body, Judge, JudgeError, Judged};
use crate::model::{Label, Protocol};
use crate::respond::Failure;
use crate::route;
use crate::wire::labels::labels;
use crate::wire::{ScanLimits, snappy, write_series};

/// What becomes of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Becomes {
    Forwarded {
        /// `None`: those it came with.
        labels: Option<Vec<Label>>,
        /// Empty: the default stream.
        stream: Arc<str>,
    },
    Dropped {
        policy: Arc<str>,
        reason: Arc<str>,
    },
    Refused {
        /// The metric's word.
        reason: &'static str,
        /// What its sender is told.
        text: String,
    },
}

impl Lab {
    /// A series of these labels, with one sample.
    ///
    /// # Errors
    /// Whatever its write is refused for.
    pub async fn series(&self, sent: &[Label]) -> Result<Becomes, Failure> {
        let session = self.enter()?;
        let limits = &session.config().limits;
        let (mut raw, mut compressed) = (Vec::new(), Vec::new());
        let pairs = sent.iter().map(|label| (&*label.name, &*label.value));
        write_series(&mut raw, pairs, [(1.0, 1)].into_iter());
        snappy::encode(&raw, &mut compressed)?;
        let body = Body {
            protocol: Protocol::V1,
            decoded_size: snappy::decoded_length(&compressed, limits.max_decoded_size)?,
            compressed: Bytes::from(compressed),
            limits: ScanLimits {
                max_series: limits.max_series_per_request,
                max_decoded_size: limits.max_decoded_size,
            },
        };
        let recalled = session.judge().recall(body).await?;
        if let Some(rejected) = recalled.scanned().rejected().first() {
            let (reason, text) = (rejected.reason.word(), rejected.reason.to_string());
            return Ok(Becomes::Refused { reason, text });
        }
        let judged = session.judge().judge(recalled).await?;
        Ok(becomes(session.judge(), &judged).map_err(JudgeError::from)?)
    }

    /// About a write of which this is known.
    ///
    /// # Errors
    /// Where a policy fails, or routes to what is no upstream of the tenant.
    pub async fn decide(&self, write: Write) -> Result<Decision, Failure> {
        let session = self.enter()?;
        let streams: Vec<Arc<str>> = write.streams.iter().map(|(name, _)| Arc::clone(name)).collect();
        let decision = session.judge().chain().admit(write).await;
        let decision = decision.map_err(JudgeError::from)?;
        if let Decision::Admit(terms) = &decision {
            route::route(&streams, &terms.routes, &session.config().upstreams)?;
        }
        Ok(decision)
    }
}

/// Of the only series of a write.
fn becomes(judge: &Judge, judged: &Judged) -> Result<Becomes, Bug> {
    let fate = judged.fates().first().ok_or(Bug::NoVerdict)?;
    let (stream, labels) = match fate {
        Fate::Keep { stream } => (*stream, None),
        Fate::Edit { stream, edit } => (*stream, Some(edited(judged, *edit)?)),
        Fate::Drop { .. } => {
            let dropped = judged.tally.dropped.first().ok_or(Bug::NoReason)?;
            let (policy, reason) = (dropped.words.policy.clone(), dropped.words.reason.clone());
            return Ok(Becomes::Dropped { policy, reason });
        }
        Fate::Reject { .. } | Fate::OverActiveSeries | Fate::OverBudget { .. } | Fate::Unknown => {
            let refused = judged.tally.refused.first().ok_or(Bug::NoBlame)?;
            let label = refused.blame.label.as_ref().map(|label| format!(": {label}"));
            let policy = refused
                .blame
                .policy
                .as_ref()
                .map(|policy| format!(" (policy {policy})"));
            let (label, policy) = (label.unwrap_or_default(), policy.unwrap_or_default());
            return Ok(Becomes::Refused {
                reason: refused.refusal.reason(),
                text: format!("{}{label}{policy}", refused.refusal.text()),
            });
        }
    };
    let streams = judge.streams(judged)?;
    let stream = streams.get(usize::from(stream)).cloned().ok_or(Bug::NoStream)?;
    Ok(Becomes::Forwarded { labels, stream })
}

fn edited(judged: &Judged, edit: u32) -> Result<Vec<Label>, Bug> {
    let scanned = judged.scanned();
    let sent = scanned.label_bytes(scanned.series().first().ok_or(Bug::NoEdit)?);
    let patch = judged.edits().get(edit)?;
    let first = sent.get(..usize::from(patch.first)).ok_or(Bug::NoEdit)?;
    let last = sent
        .len()
        .checked_sub(usize::from(patch.last))
        .and_then(|from| sent.get(from..));
    let bytes = [first, patch.middle, last.ok_or(Bug::NoEdit)?].concat();
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Ok(labels(&bytes).map(label).collect())
}
