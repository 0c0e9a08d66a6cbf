//! A chain's judgement of series: one job that takes a batch through every policy.
//!
//! Takes canonical label bytes, gives one outcome per series. What a plugin returned is checked like network input
//! before the next policy sees it: sorted, no empty values, no name twice, bounded. Never applies the host's own
//! rules (reserved labels, name rules, limits): those come after the whole chain, and no policy can skip them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::member::{Function, Member};
use super::{CallError, Inner};
use crate::model::Label;
use crate::sandbox::types::{Edit, Verdict};
use crate::sandbox::{Asked, Fault, Instance, Job, Step};
use crate::wire::labels::{label_bytes, labels};

/// Series of one plugin call: at 2 to 20 us a series, well inside the deadline for every toolchain.
pub const BATCH_SERIES: usize = 512;
/// Label bytes of one plugin call: bounds what a plugin is made to hold.
pub const BATCH_BYTES: usize = 512 << 10;

/// Most labels a plugin may leave on one series; the tenant's own limit is checked later and is far lower.
const MAX_LABELS: usize = 512;
/// Most bytes of names and values a plugin may leave on one series.
const MAX_LABEL_BYTES: usize = 64 << 10;
/// What a plugin may leave on the series of one call: this, and as much on top as `MAX_GROWTH` times what they came
/// with. A write has up to 200 calls' worth of series, whose edits are held together until they are forwarded; the
/// bounds on one series and on one call alone would let that be 1.6 GB.
const MAX_CALL_BYTES: usize = 512 << 10;
const MAX_GROWTH: usize = 4;
/// Longest stream name, in bytes.
pub const MAX_STREAM_LENGTH: usize = 128;
/// Different streams one policy may name in its lifetime.
const MAX_STREAMS: usize = 64;

/// Series to judge.
#[derive(Debug, Clone)]
pub struct Batch {
    pub body: Bytes,
    /// Each one series' canonical label bytes in `body`.
    pub labels: Vec<Range<u32>>,
}

impl Batch {
    fn series(&self, index: usize) -> &[u8] {
        let range = self.labels.get(index).cloned().unwrap_or_default();
        self.body
            .get(range.start as usize..range.end as usize)
            .unwrap_or_default()
    }
}

/// What the chain makes of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `stream` `None`: the default stream.
    Keep { stream: Option<Arc<str>> },
    /// `policy`: its place in the chain.
    Drop { policy: usize, reason: Arc<str> },
    /// `labels` are sorted by name, each once, none of them empty; nothing else is sure about them.
    Edit {
        labels: Vec<Label>,
        stream: Option<Arc<str>>,
    },
}

/// The outcomes of a batch, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabelled {
    pub outcomes: Vec<Outcome>,
    /// False where a failing policy was left out: such outcomes hold for this write only.
    pub cacheable: bool,
}

pub(super) type Reply = oneshot::Sender<Result<Relabelled, CallError>>;

pub(super) struct RelabelJob {
    chain: Arc<Inner>,
    batch: Batch,
    done: Relabelled,
    reply: Option<Reply>,
}

impl RelabelJob {
    pub(super) fn new(chain: Arc<Inner>, batch: Batch, reply: Reply) -> Self {
        Self {
            chain,
            done: Relabelled {
                outcomes: Vec::with_capacity(batch.labels.len()),
                cacheable: true,
            },
            batch,
            reply: Some(reply),
        }
    }

    /// The next piece that one plugin call may hold: at least one series.
    fn next_piece(&self) -> Range<usize> {
        let start = self.done.outcomes.len();
        let (mut end, mut bytes) = (start, 0);
        while end < self.batch.labels.len() && end - start < BATCH_SERIES {
            bytes += self.batch.series(end).len();
            if bytes > BATCH_BYTES && end > start {
                break;
            }
            end += 1;
        }
        start..end
    }

    fn judge_piece(&mut self) -> Result<(), CallError> {
        let piece = self.next_piece();
        let mut series: Vec<Work> = piece.map(Work::new).collect();
        let mut asked = Question::reused();
        asked.ask_for(&self.batch, &series);
        for (place, member) in self.chain.members.iter().enumerate() {
            if !member.info.judges_series {
                continue;
            }
            if asked.asked.series_count() == 0 {
                break;
            }
            let allowance = self.chain.engine.call_allowance();
            let fates = member.call(&self.chain.engine, Function::Relabel, |instance| {
                asked.ask(instance, allowance, member)
            });
            match fates {
                Ok(fates) => {
                    let as_before = fates.iter().all(Fate::leaves_labels);
                    let live = series.iter_mut().filter(|work| work.is_live());
                    live.zip(fates).for_each(|(work, fate)| work.apply(place, fate));
                    if !as_before {
                        asked.ask_for(&self.batch, &series);
                    }
                }
                Err(missed) => {
                    self.chain.left_out(place, missed)?;
                    self.done.cacheable = false;
                }
            }
        }
        asked.asked.reuse();
        for work in series {
            let outcome = work.outcome(&self.batch);
            self.done.outcomes.push(outcome);
        }
        Ok(())
    }
}

impl Job for RelabelJob {
    fn step(&mut self) -> Step {
        // The request is gone: nobody wants the rest.
        if self.reply.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return Step::Done;
        }
        let judged = self.judge_piece();
        if judged.is_ok() && self.done.outcomes.len() < self.batch.labels.len() {
            return Step::Again;
        }
        let done = Relabelled {
            outcomes: std::mem::take(&mut self.done.outcomes),
            cacheable: self.done.cacheable,
        };
        if let Some(reply) = self.reply.take() {
            // It may have gone in this moment, which is its right.
            let _ = reply.send(judged.map(|()| done));
        }
        Step::Done
    }
}

/// Has one policy judge a batch, for the errors it makes.
pub(super) fn try_out(
    batch: &Batch,
    instance: &mut Instance,
    allowance: Duration,
    member: &Member,
) -> Result<(), Fault> {
    let series: Vec<Work> = (0..batch.labels.len()).map(Work::new).collect();
    let mut asked = Question::default();
    asked.ask_for(batch, &series);
    asked.ask(instance, allowance, member).map(drop)
}

/// One series on its way through the chain.
struct Work {
    index: usize,
    labels: Option<Vec<Label>>,
    stream: Option<Arc<str>>,
    dropped: Option<(usize, Arc<str>)>,
}

impl Work {
    fn new(index: usize) -> Self {
        Self {
            index,
            labels: None,
            stream: None,
            dropped: None,
        }
    }

    fn is_live(&self) -> bool {
        self.dropped.is_none()
    }

    fn apply(&mut self, place: usize, fate: Fate) {
        match fate {
            Fate::Keep => {}
            Fate::Drop(reason) => self.dropped = Some((place, reason)),
            Fate::Edit { labels, stream } => {
                self.labels = labels.or(self.labels.take());
                if let Some(stream) = stream {
                    self.stream = stream;
                }
            }
        }
    }

    fn outcome(self, batch: &Batch) -> Outcome {
        if let Some((policy, reason)) = self.dropped {
            return Outcome::Drop { policy, reason };
        }
        let stream = self.stream;
        match self.labels {
            Some(edited) => {
                // Edited into what it was: kept, so that its bytes need not be written anew.
                let same = labels(batch.series(self.index)).eq(edited.iter().map(|l| (&*l.name, &*l.value)));
                if same {
                    Outcome::Keep { stream }
                } else {
                    Outcome::Edit { labels: edited, stream }
                }
            }
            None => Outcome::Keep { stream },
        }
    }
}

/// A question about all live series.
#[derive(Default)]
struct Question {
    asked: Asked,
    /// Label bytes as the sender sent them, whatever earlier policies made of them.
    sent: usize,
}

impl Question {
    fn reused() -> Self {
        Self {
            asked: Asked::reused(),
            sent: 0,
        }
    }

    /// The labels that `series` have now, in place of what was asked before.
    fn ask_for(&mut self, batch: &Batch, series: &[Work]) {
        let live = || series.iter().filter(|work| work.is_live());
        self.sent = live().map(|work| batch.series(work.index).len()).sum();
        self.asked.ask_for(live(), |work, push| match &work.labels {
            Some(edited) => edited.iter().for_each(|label| {
                push(label.name.as_bytes());
                push(label.value.as_bytes());
            }),
            None => label_bytes(batch.series(work.index)).for_each(|(name, value)| {
                push(name);
                push(value);
            }),
        });
    }

    fn ask(&self, instance: &mut Instance, allowance: Duration, member: &Member) -> Result<Vec<Fate>, Fault> {
        let verdicts = instance.relabel(&self.asked, allowance)?;
        if verdicts.len() != self.asked.series_count() {
            return Err(Fault::WrongLength {
                asked: self.asked.series_count(),
                got: verdicts.len(),
            });
        }
        let fates: Vec<Fate> = verdicts
            .into_iter()
            .map(|verdict| Fate::check(verdict, member))
            .collect::<Result<_, _>>()?;
        let bytes: usize = fates.iter().map(Fate::label_bytes).sum();
        if bytes > MAX_CALL_BYTES + MAX_GROWTH * self.sent {
            return Err(Fault::Invalid(format!(
                "{bytes} bytes of labels on {} series, which came with {}",
                fates.len(),
                self.sent
            )));
        }
        Ok(fates)
    }
}

/// A verdict that was checked.
enum Fate {
    Keep,
    Drop(Arc<str>),
    Edit {
        labels: Option<Vec<Label>>,
        /// `Some(None)`: back to the default stream.
        stream: Option<Option<Arc<str>>>,
    },
}

impl Fate {
    /// The next policy sees what this one saw.
    fn leaves_labels(&self) -> bool {
        matches!(self, Self::Keep | Self::Edit { labels: None, .. })
    }

    fn label_bytes(&self) -> usize {
        match self {
            Self::Edit {
                labels: Some(labels), ..
            } => bytes_of(labels),
            _ => 0,
        }
    }

    fn check(verdict: Verdict, member: &Member) -> Result<Self, Fault> {
        match verdict {
            Verdict::Keep => Ok(Self::Keep),
            Verdict::Drop(reason) => Ok(Self::Drop(member.reasons.reason(&reason))),
            Verdict::Edit(Edit { labels, stream }) => Ok(Self::Edit {
                labels: labels
                    .map(|labels| {
                        check_labels(labels.into_iter().map(|l| Label {
                            name: l.name,
                            value: l.value,
                        }))
                    })
                    .transpose()?,
                stream: stream.map(|stream| check_stream(&stream, member)).transpose()?,
            }),
        }
    }
}

fn bytes_of(labels: &[Label]) -> usize {
    labels.iter().map(|label| label.name.len() + label.value.len()).sum()
}

fn check_labels(labels: impl Iterator<Item = Label>) -> Result<Vec<Label>, Fault> {
    let mut labels: Vec<Label> = labels.filter(|label| !label.value.is_empty()).collect();
    if labels.len() > MAX_LABELS {
        return Err(Fault::Invalid(format!("{} labels on one series", labels.len())));
    }
    let bytes = bytes_of(&labels);
    if bytes > MAX_LABEL_BYTES {
        return Err(Fault::Invalid(format!("{bytes} bytes of labels on one series")));
    }
    labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if labels.first().is_some_and(|label| label.name.is_empty()) {
        return Err(Fault::Invalid("a label without a name".to_owned()));
    }
    if labels.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(Fault::Invalid("the same label twice".to_owned()));
    }
    Ok(labels)
}

fn check_stream(stream: &str, member: &Member) -> Result<Option<Arc<str>>, Fault> {
    if stream.is_empty() {
        return Ok(None);
    }
    check_name("stream", stream, MAX_STREAM_LENGTH)?;
    match member.streams.share(stream, MAX_STREAMS) {
        Some(stream) => Ok(Some(stream)),
        None => Err(Fault::Invalid(format!("more than {MAX_STREAMS} streams"))),
    }
}

/// A name that goes into logs, metrics and look-ups.
pub(super) fn check_name(what: &str, name: &str, most: usize) -> Result<(), Fault> {
    if name.len() > most {
        return Err(Fault::Invalid(format!("a {what} name of {} bytes", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(Fault::Invalid(format!("a {what} name with control characters")));
    }
    Ok(())
}
