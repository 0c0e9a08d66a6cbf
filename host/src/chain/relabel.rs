//! A chain's judgement of series: one job that takes a batch through every policy.
//!
//! Takes canonical label bytes, gives what one outcome per series comes to. Where a policy fails, and its `on_failure` is
//! to refuse series, the piece is asked about again by halves (`search`), until the series it fails on are alone. Never
//! applies the host's own rules (reserved labels, name rules, limits): whoever asks hands in a function that does, which
//! runs here, after the whole chain, on the plugin thread, so no policy can skip it.

use std::ops::Range;
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::Batch;
use super::labels::Unfit;
use super::member::{Function, Member, Missed};
use super::members::{CallError, Members};
use super::outcome::Outcome;
use super::search::Search;
use super::witness::Witness;
use crate::config::OnFailure;
use crate::model::{MAX_BUDGET_LENGTH, Refusal};
use crate::sandbox::types::{Edit, Verdict};
use crate::sandbox::{Arguments, Fault, Instance, Job, Step, thread_time};
use crate::wire::labels::label_bytes;

/// Series of one plugin call: at 2 to 20 us a series, well inside the deadline for every toolchain.
pub const BATCH_SERIES: usize = 512;
/// Label bytes of one plugin call: bounds what a plugin is made to hold. A series that has more by itself is put to none.
pub const BATCH_BYTES: usize = 512 << 10;

/// What a plugin may leave on the series of one call: this, and as much on top as `MAX_GROWTH` times what they came
/// with. A write has up to 200 calls' worth of series, whose edits are held together until they are forwarded; the
/// bounds on one series and on one call alone would let that be 1.6 GB.
const MAX_CALL_BYTES: usize = 512 << 10;
const MAX_GROWTH: usize = 4;
/// What a budget takes besides its name, until its verdict is remembered.
const BUDGET_BYTES: usize = 64;

/// Bytes of labels that a chain may leave on so many series, which came with `sent` bytes of them.
pub fn most_edited(series: u64, sent: u64) -> u64 {
    // Calls end where they have enough series, or bytes.
    let calls = series.div_ceil(BATCH_SERIES as u64) + sent / BATCH_BYTES as u64;
    calls * MAX_CALL_BYTES as u64 + MAX_GROWTH as u64 * sent
}

/// Instances that must fail on a series alone before it is refused for it. One may have been at fault by what it was asked
/// before.
const FRESH_INSTANCES: usize = 2;

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
    search: Search,
    witness: Option<Witness>,
    reply: Option<Reply<V>>,
}

impl<V> RelabelJob<V> {
    pub fn new(members: Arc<Members>, batch: Batch, settle: Settle<V>, reply: Reply<V>) -> Self {
        Self {
            search: Search::new(members.engine.call_allowance()),
            members,
            settle,
            done: Relabelled {
                outcomes: Vec::with_capacity(batch.labels.len()),
                cacheable: true,
            },
            batch,
            witness: None,
            reply: Some(reply),
        }
    }

    /// The same job, of one series, seen by `witness`.
    pub fn watched(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self
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
        let piece = self.search.next().unwrap_or_else(|| self.next_piece());
        let Some(series) = self.ask_all(&piece)? else {
            return Ok(());
        };
        for (outcome, index) in series.into_iter().zip(piece) {
            let sent = self.batch.series(index);
            self.done.outcomes.push((self.settle)(sent, outcome.unless_as(sent)));
        }
        for policy in self.search.cleared() {
            if let Some(member) = self.members.judging_series().nth(policy) {
                member.cleared();
            }
        }
        Ok(())
    }

    /// What all policies make of a piece. `None` where one failed, and the halves are to be asked about.
    fn ask_all(&mut self, piece: &Range<usize>) -> Result<Option<Vec<Outcome>>, CallError> {
        if piece.len() == 1 && self.batch.series(piece.start).len() > BATCH_BYTES {
            return Ok(Some(vec![Outcome::TooLarge]));
        }
        let members = Arc::clone(&self.members);
        let mut series = kept(piece.len());
        let mut question = Question::reused();
        let mut asked = Labelled::Anew;
        for (policy, member) in members.judging_series().enumerate() {
            if matches!(asked, Labelled::Anew) {
                let sent = |at: usize| self.batch.series(piece.start + at);
                // A scan proved that they are text: were they not, that is a bug.
                question.ask_for(&series, sent).map_err(|_| CallError::Lost)?;
            }
            if question.asked.series_count() == 0 {
                break;
            }
            // Of a policy that may be left out nothing must stay where it fails half-way.
            let before = (member.info.on_failure == OnFailure::Bypass).then(|| series.clone());
            let began = thread_time();
            let answer = match self.search.suspects(policy) {
                true => question.put_in_doubt(&members, member, &mut series),
                false => question.put(&members, member, &mut series),
            };
            asked = match answer {
                Ok(labelled) => labelled,
                Err(Missed::InDoubt(fault)) => {
                    self.spend(policy, member, began, &fault)?;
                    if piece.len() > 1 {
                        self.search.halve(piece);
                        return Ok(None);
                    }
                    self.ask_alone(policy, member, &question, &mut series, piece.start)?
                }
                Err(missed) => {
                    if let Some(witness) = &self.witness {
                        witness.failed(member, &missed);
                    }
                    members.left_out(member, missed)?;
                    series = before.unwrap_or(series);
                    self.done.cacheable = false;
                    asked = Labelled::AsBefore;
                    continue;
                }
            };
            if let Some(witness) = &self.witness {
                witness.series(member, &series);
            }
        }
        question.asked.reuse();
        Ok(Some(series))
    }

    /// Asks fresh instances about a series that the policy failed on alone, and refuses it if they fail on it as well.
    fn ask_alone(
        &mut self,
        policy: usize,
        member: &Member,
        question: &Question,
        series: &mut [Outcome],
        index: usize,
    ) -> Result<Labelled, CallError> {
        let mut last = None;
        for _ in 0..FRESH_INSTANCES {
            let began = thread_time();
            match question.put_to_a_fresh_one(&self.members, member, series) {
                Ok(labelled) => return Ok(labelled),
                Err(Missed::InDoubt(fault)) => {
                    self.spend(policy, member, began, &fault)?;
                    last = Some(fault);
                }
                Err(missed) => return Err(CallError::of(member, missed)),
            }
        }
        let fault = last.ok_or(CallError::Lost)?;
        if !self.search.found() {
            return Err(give_up(member, fault));
        }
        member.refuses(&self.batch, index, fault);
        let unfit = Unfit::of(Refusal::FailsPolicy);
        series.fill(Outcome::Reject {
            policy: member.info.name.clone(),
            unfit,
        });
        Ok(Labelled::Anew)
    }

    /// Books a failing call of a search.
    ///
    /// # Errors
    /// If there were too many.
    fn spend(&mut self, policy: usize, member: &Member, began: Duration, fault: &Fault) -> Result<(), CallError> {
        let took = thread_time().saturating_sub(began);
        match self.search.failed(policy, took) {
            true => Ok(()),
            false => Err(give_up(member, fault.clone())),
        }
    }
}

/// It is the policy that fails, and no series.
fn give_up(member: &Member, fault: Fault) -> CallError {
    member.failed(&fault);
    CallError::of(member, Missed::Failed(fault))
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

/// Has one policy judge plain series, for the errors it makes.
///
/// # Errors
/// As [`Member::call`].
pub fn try_out(members: &Members, member: &Member) -> Result<(), Missed> {
    let question = Question::plain()?;
    let mut series = kept(question.asked.series_count());
    question.put(members, member, &mut series)?;
    // What makes no series of a plain one is not for any tenant.
    match series.iter().find_map(Outcome::unfit) {
        Some(unfit) => Err(Missed::Failed(Fault::Invalid(unfit.refusal.text().to_owned()))),
        None => Ok(()),
    }
}

/// What a failing call of a search means. `may_be_a_series`: nothing speaks against that but the fault.
fn doubt(member: &Member, fault: Fault, may_be_a_series: bool) -> Missed {
    if may_be_a_series && member.may_be_a_series(&fault) {
        return Missed::InDoubt(fault);
    }
    member.failed(&fault);
    Missed::Failed(fault)
}

/// Before any policy had its say.
fn kept(series: usize) -> Vec<Outcome> {
    vec![Outcome::UNTOUCHED; series]
}

/// Whether the live series have other labels than were asked about, or are fewer.
enum Labelled {
    AsBefore,
    Anew,
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
            self.ask(instance, allowance, member, series)
        })
    }

    /// The same of a policy that failed before, whatever its record.
    fn put_in_doubt(&self, members: &Members, member: &Member, series: &mut [Outcome]) -> Result<Labelled, Missed> {
        let (engine, allowance) = (&members.engine, members.engine.call_allowance());
        let answer = member.call_in_doubt(engine, false, |instance| self.ask(instance, allowance, member, series));
        answer.map_err(|fault| doubt(member, fault, true))
    }

    /// The same of an instance that nobody has asked, but about plain series first: a policy that fails on those, here and
    /// now, is at fault itself, or the machine is.
    fn put_to_a_fresh_one(
        &self,
        members: &Members,
        member: &Member,
        series: &mut [Outcome],
    ) -> Result<Labelled, Missed> {
        let (engine, allowance) = (&members.engine, members.engine.call_allowance());
        let plain = Self::plain()?;
        let mut is_sound = false;
        let answer = member.call_in_doubt(engine, true, |instance| {
            plain.verdicts(instance, allowance)?;
            is_sound = true;
            self.ask(instance, allowance, member, series)
        });
        answer.map_err(|fault| doubt(member, fault, is_sound))
    }

    fn plain() -> Result<Self, Missed> {
        let plain = Batch::golden();
        let mut question = Self::default();
        let asked = question.ask_for(&kept(plain.labels.len()), |index| plain.series(index));
        asked.map_err(|error| Missed::Failed(Fault::Invalid(error.to_string())))?;
        Ok(question)
    }

    fn ask(
        &self,
        instance: &mut Instance,
        allowance: Duration,
        member: &Member,
        series: &mut [Outcome],
    ) -> Result<Labelled, Fault> {
        let verdicts = self.verdicts(instance, allowance)?;
        self.apply(verdicts, member, series)
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
            if let Verdict::Edit(Edit {
                budget: Some(budget), ..
            }) = &verdict
            {
                bytes += budget.name.len().min(MAX_BUDGET_LENGTH) + BUDGET_BYTES;
            }
            if let Some(more) = outcome.apply(verdict, member) {
                labelled = Labelled::Anew;
                bytes += more;
            }
        }
        if bytes > MAX_CALL_BYTES + MAX_GROWTH * self.sent {
            return Err(Fault::Invalid(format!(
                "{bytes} bytes of labels and budgets on {} series, which came with {}",
                self.asked.series_count(),
                self.sent
            )));
        }
        Ok(labelled)
    }
}
