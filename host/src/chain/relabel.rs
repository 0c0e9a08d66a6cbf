//! A chain's judgement of series: one job that takes a batch through every policy.
//!
//! Takes canonical label bytes, gives what one outcome per series comes to. What a plugin returned is checked like
//! network input before the next policy sees it: sorted, no empty values, no name twice, bounded. Never applies the
//! host's own rules (reserved labels, name rules, limits): whoever asks hands in a function that does, which runs here,
//! after the whole chain, on the plugin thread, so no policy can skip it.

use std::ops::Range;
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::labels::{LabelSet, Unfit};
use super::member::{Function, Member, Missed};
use super::members::{CallError, Members};
use crate::config::OnFailure;
use crate::model::Label;
use crate::sandbox::types::{Edit, Verdict};
use crate::sandbox::{Arguments, Fault, Instance, Job, Step};
use crate::wire::labels::{label_bytes, labels};

/// Series of one plugin call: at 2 to 20 us a series, well inside the deadline for every toolchain.
pub const BATCH_SERIES: usize = 512;
/// Label bytes of one plugin call: bounds what a plugin is made to hold.
pub const BATCH_BYTES: usize = 512 << 10;

/// What a plugin may leave on the series of one call: this, and as much on top as `MAX_GROWTH` times what they came
/// with. A write has up to 200 calls' worth of series, whose edits are held together until they are forwarded; the
/// bounds on one series and on one call alone would let that be 1.6 GB.
const MAX_CALL_BYTES: usize = 512 << 10;
const MAX_GROWTH: usize = 4;

/// Series to judge.
#[derive(Debug, Clone)]
pub struct Batch {
    pub body: Bytes,
    /// Each one series' canonical label bytes in `body`.
    pub labels: Vec<Range<u32>>,
}

impl Batch {
    /// The label bytes of one series as they were sent. A range outside the body is a bug, and costs the call: judged
    /// as a series without labels it would cost the series.
    pub(super) fn series(&self, index: usize) -> &[u8] {
        let range = &self.labels[index];
        &self.body[range.start as usize..range.end as usize]
    }
}

/// What the chain makes of one series. Where a policy says what can be no series, that one is refused and the others go
/// on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `stream` `None`: the default stream.
    Keep {
        stream: Option<Arc<str>>,
    },
    /// `policy`: the name of the one that dropped it.
    Drop {
        policy: Arc<str>,
        reason: Arc<str>,
    },
    Edit {
        labels: LabelSet,
        stream: Option<Arc<str>>,
    },
    /// `policy`: the name of the one whose word cannot be done.
    Reject {
        policy: Arc<str>,
        unfit: Unfit,
    },
}

/// Makes of the label bytes that were sent, and what the chain says of them, what the caller wants to have.
pub type Settle<V> = Arc<dyn Fn(&[u8], Outcome) -> V + Send + Sync>;

/// What the outcomes of a batch came to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabelled<V> {
    pub outcomes: Vec<V>,
    /// False where a failing policy was left out: such outcomes hold for this write only.
    pub cacheable: bool,
}

type Reply<V> = oneshot::Sender<Result<Relabelled<V>, CallError>>;

pub struct RelabelJob<V> {
    members: Arc<Members>,
    batch: Batch,
    settle: Settle<V>,
    done: Relabelled<V>,
    reply: Option<Reply<V>>,
}

impl<V> RelabelJob<V> {
    pub fn new(members: Arc<Members>, batch: Batch, settle: Settle<V>, reply: Reply<V>) -> Self {
        Self {
            members,
            settle,
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
        let mut series = kept(piece.len());
        let mut question = Question::reused();
        let sent = |at: usize| self.batch.series(piece.start + at);
        let mut asked = Labelled::Anew;
        for member in self.members.judging_series() {
            if matches!(asked, Labelled::Anew) {
                // A scan proved that they are text: were they not, that is a bug.
                question.ask_for(&series, sent).map_err(|_| CallError::Lost)?;
            }
            if question.asked.series_count() == 0 {
                break;
            }
            // Of a policy that may be left out nothing must stay where it fails half-way.
            let before = (member.info.on_failure == OnFailure::Bypass).then(|| series.clone());
            asked = match question.put(&self.members, member, &mut series) {
                Ok(labelled) => labelled,
                Err(missed) => {
                    self.members.left_out(member, missed)?;
                    series = before.unwrap_or(series);
                    self.done.cacheable = false;
                    Labelled::AsBefore
                }
            };
        }
        question.asked.reuse();
        for (outcome, index) in series.into_iter().zip(piece) {
            let sent = self.batch.series(index);
            self.done.outcomes.push((self.settle)(sent, outcome.unless_as(sent)));
        }
        Ok(())
    }
}

impl<V: Send> Job for RelabelJob<V> {
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
///
/// # Errors
/// As [`Member::call`].
pub fn try_out(batch: &Batch, members: &Members, member: &Member) -> Result<(), Missed> {
    let mut series = kept(batch.labels.len());
    let mut question = Question::default();
    let asked = question.ask_for(&series, |index| batch.series(index));
    let invalid = |text: &str| Missed::Failed(Fault::Invalid(text.to_owned()));
    asked.map_err(|error| invalid(&error.to_string()))?;
    question.put(members, member, &mut series)?;
    // What makes no series of a plain one is not for any tenant.
    match series.iter().find_map(Outcome::unfit) {
        Some(unfit) => Err(invalid(unfit.refusal.text())),
        None => Ok(()),
    }
}

/// Before any policy had its say.
fn kept(series: usize) -> Vec<Outcome> {
    vec![Outcome::Keep { stream: None }; series]
}

/// Whether the live series have other labels than were asked about, or are fewer.
enum Labelled {
    AsBefore,
    Anew,
}

impl Outcome {
    fn is_live(&self) -> bool {
        !matches!(self, Self::Drop { .. } | Self::Reject { .. })
    }

    fn unfit(&self) -> Option<&Unfit> {
        match self {
            Self::Reject { unfit, .. } => Some(unfit),
            _ => None,
        }
    }

    /// Does what one policy says of this series, or refuses the series where that cannot be done. `Some` where the next
    /// policy must be asked anew: with the bytes of the labels that are left on the series.
    fn apply(&mut self, verdict: Verdict, member: &Member) -> Option<usize> {
        self.try_apply(verdict, member).unwrap_or_else(|unfit| {
            let policy = member.info.name.clone();
            *self = Self::Reject { policy, unfit };
            Some(0)
        })
    }

    fn try_apply(&mut self, verdict: Verdict, member: &Member) -> Result<Option<usize>, Unfit> {
        let (labels, stream) = match verdict {
            Verdict::Keep => return Ok(None),
            Verdict::Drop(reason) => {
                *self = Self::Drop {
                    policy: member.info.name.clone(),
                    reason: member.reasons.reason(&reason),
                };
                return Ok(Some(0));
            }
            Verdict::Edit(Edit { labels, stream }) => (labels, stream),
        };
        let labels = labels.map(|labels| {
            LabelSet::check(labels.into_iter().map(|label| Label {
                name: label.name,
                value: label.value,
            }))
        });
        let labels = labels.transpose()?;
        let (Self::Keep { stream: old } | Self::Edit { stream: old, .. }) = self else {
            return Ok(None);
        };
        if let Some(stream) = stream {
            *old = member.streams.stream(&stream)?;
        }
        let Some(labels) = labels else { return Ok(None) };
        let (bytes, stream) = (labels.bytes(), old.take());
        *self = Self::Edit { labels, stream };
        Ok(Some(bytes))
    }

    /// Edited into what it was sent as, it is kept: its bytes need not be written anew.
    fn unless_as(self, sent: &[u8]) -> Self {
        match self {
            Self::Edit { labels: edited, stream }
                if labels(sent).eq(edited.iter().map(|label| (&*label.name, &*label.value))) =>
            {
                Self::Keep { stream }
            }
            other => other,
        }
    }
}

/// A question about all live series.
#[derive(Default)]
struct Question {
    asked: Arguments,
    /// Label bytes as the sender sent them, whatever earlier policies made of them.
    sent: usize,
}

impl Question {
    fn reused() -> Self {
        Self {
            asked: Arguments::reused(),
            sent: 0,
        }
    }

    /// The labels that `series` have now, in place of what was asked before; `sent` gives those they came with.
    fn ask_for<'a>(&mut self, series: &[Outcome], sent: impl Fn(usize) -> &'a [u8]) -> Result<(), FromUtf8Error> {
        let live = || series.iter().enumerate().filter(|(_, outcome)| outcome.is_live());
        self.sent = live().map(|(at, _)| sent(at).len()).sum();
        self.asked.ask_for(live(), |(at, outcome), push| match outcome {
            Outcome::Edit { labels, .. } => labels.iter().for_each(|label| {
                push(label.name.as_bytes());
                push(label.value.as_bytes());
            }),
            _ => label_bytes(sent(at)).for_each(|(name, value)| {
                push(name);
                push(value);
            }),
        })
    }

    /// Puts it to one policy, whose answer becomes that of the live among `series`. After an error they may have it
    /// already.
    fn put(&self, members: &Members, member: &Member, series: &mut [Outcome]) -> Result<Labelled, Missed> {
        let allowance = members.engine.call_allowance();
        member.call(&members.engine, Function::Relabel, |instance| {
            let verdicts = self.verdicts(instance, allowance)?;
            self.apply(verdicts, member, series)
        })
    }

    fn verdicts(&self, instance: &mut Instance, allowance: Duration) -> Result<Vec<Verdict>, Fault> {
        let verdicts = instance.relabel(&self.asked, allowance)?;
        let (asked, got) = (self.asked.series_count(), verdicts.len());
        match got == asked {
            true => Ok(verdicts),
            false => Err(Fault::WrongLength { asked, got }),
        }
    }

    fn apply(&self, verdicts: Vec<Verdict>, member: &Member, series: &mut [Outcome]) -> Result<Labelled, Fault> {
        let (mut labelled, mut bytes) = (Labelled::AsBefore, 0);
        let live = series.iter_mut().filter(|outcome| outcome.is_live());
        for (outcome, verdict) in live.zip(verdicts) {
            if let Some(more) = outcome.apply(verdict, member) {
                labelled = Labelled::Anew;
                bytes += more;
            }
        }
        if bytes > MAX_CALL_BYTES + MAX_GROWTH * self.sent {
            return Err(Fault::Invalid(format!(
                "{bytes} bytes of labels on {} series, which came with {}",
                self.asked.series_count(),
                self.sent
            )));
        }
        Ok(labelled)
    }
}
