//! A chain's judgement of series: one job that takes a batch through every policy.
//!
//! Takes canonical label bytes, gives what one outcome per series comes to. Where a policy fails, and its `on_failure` is
//! to refuse series, the piece is asked about again by halves (`search`), until the series it fails on are alone. Never
//! applies the host's own rules (reserved labels, name rules, limits): whoever asks hands in a function that does, which
//! runs here, after the whole chain, on the plugin thread, so no policy can skip it.
//!
//! Long because whatever is asked of a policy about series is asked here: in service, alone, in shadow and again.

use std::ops::Range;
use std::string::FromUtf8Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::again::{Again, impurity};
use super::aside::{Aside, compare};
use super::batch::Batch;
use super::labels::Unfit;
use super::member::{Function, Member, Missed};
use super::members::{CallError, Members};
use super::outcome::Outcome;
use super::pace::MOST_SERIES;
use super::search::Search;
use super::witness::Witness;
use crate::config::OnFailure;
use crate::model::{MAX_BUDGET_LENGTH, Refusal};
use crate::sandbox::types::{Edit, Verdict};
use crate::sandbox::{Arguments, Fault, Instance, Job, Step, thread_time};
use crate::wire::labels::label_bytes;

/// Label bytes of one plugin call: bounds what a plugin is made to hold. A series that has more by itself is put to none.
pub const BATCH_BYTES: usize = 512 << 10;

/// What a plugin may leave on the series of one full call: this, and as much on top as `MAX_GROWTH` times what they came
/// with. A write has up to 200 such calls' worth of series, whose edits are held together until they are forwarded; the
/// bounds on one series and on one call alone would let that be 1.6 GB.
const MAX_CALL_BYTES: u64 = 512 << 10;
const MAX_GROWTH: u64 = 4;
/// What a budget takes besides its name, until its verdict is remembered.
const BUDGET_BYTES: usize = 64;

/// Bytes of labels that a chain may leave on so many series, which came with `sent` bytes of them, in however many calls.
pub fn most_edited(series: u64, sent: u64) -> u64 {
    // Full calls end where they have enough series, or bytes.
    let calls = series.div_ceil(MOST_SERIES as u64) + sent / BATCH_BYTES as u64;
    calls * MAX_CALL_BYTES + MAX_GROWTH * sent
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
    /// Label bytes that the series which are done were sent with.
    sent: usize,
    /// Those that each policy that judges series has left on them.
    edited: Vec<usize>,
    search: Search,
    /// What policies are asked about again, once the write is answered.
    again: Again,
    witness: Option<Witness>,
    reply: Option<Reply<V>>,
}

impl<V> RelabelJob<V> {
    pub fn new(members: Arc<Members>, batch: Batch, settle: Settle<V>, reply: Reply<V>) -> Self {
        Self {
            search: Search::new(members.engine.call_allowance()),
            sent: 0,
            edited: vec![0; members.judging_series().count()],
            members,
            settle,
            done: Relabelled {
                outcomes: Vec::with_capacity(batch.labels.len()),
                cacheable: true,
            },
            batch,
            again: Again::default(),
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
        let most = self.most_series();
        while end < self.batch.labels.len() && end - start < most {
            bytes += self.batch.series(end).len();
            if bytes > BATCH_BYTES && end > start {
                break;
            }
            end += 1;
        }
        start..end
    }

    /// Of one piece: as many as the slowest policy can judge in one call.
    fn most_series(&self) -> usize {
        let paces = self.members.judging_series().map(|member| member.pace.most());
        paces.min().unwrap_or(MOST_SERIES)
    }

    fn judge_piece(&mut self) -> Result<(), CallError> {
        let most = self.most_series();
        let piece = self.search.next(most).unwrap_or_else(|| self.next_piece());
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
        let mut question = PolicyQuestion::reused();
        let sent = piece.clone().map(|index| self.batch.series(index).len());
        question.so_far = SoFar {
            series: piece.end,
            sent: self.sent + sent.sum::<usize>(),
            edited: 0,
        };
        let mut edited = self.edited.clone();
        let mut must_ask_anew = true;
        for (policy, member) in members.judging_series().enumerate() {
            let (batch, start) = (&self.batch, piece.start);
            let sent = |at: usize| batch.series(start + at);
            let aside = Aside::take(&member.shadow, &mut series, sent);
            if !aside.is_empty() {
                // A search asks about the same series again and again.
                if !self.search.is_searching() {
                    ask_in_shadow(&members, policy, &aside, &mut self.again, self.witness.as_ref(), sent)?;
                }
                must_ask_anew = true;
            }
            if must_ask_anew {
                // A scan proved that they are text: were they not, that is a bug.
                question.ask_for(&series, sent).map_err(|_| CallError::Lost)?;
            }
            if question.asked.series_count() == 0 {
                if aside.is_empty() {
                    break;
                }
                aside.put_back(&mut series);
                continue;
            }
            let picked = self.again.pick(members.watch(), &member.purity, &series, sent);
            // Of a policy that may be left out nothing must stay where it fails half-way.
            let before = (member.info.on_failure == OnFailure::Bypass).then(|| series.clone());
            question.so_far.edited = edited[policy];
            let began = thread_time();
            let answer = match self.search.suspects(policy) {
                true => question.put_in_doubt(&members, member, &mut series),
                false => question.put(&members, member, &mut series),
            };
            let left = match answer.map_err(|missed| self.spend(policy, member, &question, began, missed)) {
                Ok(left) => {
                    let (batch, start) = (&self.batch, piece.start);
                    let sent = |at: usize| batch.series(start + at);
                    self.again.keep(policy, picked, &series, sent, &members.samples);
                    left
                }
                Err(Missed::InDoubt(_)) => {
                    if piece.len() > 1 {
                        question.asked.reuse();
                        self.search.halve(piece);
                        return Ok(None);
                    }
                    self.ask_alone(policy, member, &question, &mut series, piece.start)?
                }
                Err(missed) => {
                    if let Some(witness) = &self.witness {
                        witness.failed(member, &missed, true);
                    }
                    members.left_out(member, missed)?;
                    // What is left of it may well be left out without a call.
                    self.search.abandon();
                    series = before.unwrap_or(series);
                    self.done.cacheable = false;
                    must_ask_anew = !aside.is_empty();
                    aside.put_back(&mut series);
                    continue;
                }
            };
            if let Some(witness) = &self.witness {
                witness.series(member, &series, true);
            }
            edited[policy] += left.bytes;
            must_ask_anew = left.is_new || !aside.is_empty();
            aside.put_back(&mut series);
        }
        (self.sent, self.edited) = (question.so_far.sent, edited);
        question.asked.reuse();
        Ok(Some(series))
    }

    /// Asks fresh instances about a series that the policy failed on alone, and refuses it if they fail on it as well.
    fn ask_alone(
        &mut self,
        policy: usize,
        member: &Member,
        question: &PolicyQuestion,
        series: &mut [Outcome],
        index: usize,
    ) -> Result<Left, CallError> {
        let mut last = None;
        for _ in 0..FRESH_INSTANCES {
            let began = thread_time();
            match question.put_to_a_fresh_one(&self.members, member, series) {
                Ok(left) => return Ok(left),
                Err(missed) => match self.spend(policy, member, question, began, missed) {
                    Missed::InDoubt(fault) => last = Some(fault),
                    missed => return Err(CallError::of(member, missed)),
                },
            }
        }
        let fault = last.ok_or(CallError::Lost)?;
        if !self.search.found() {
            return Err(CallError::of(member, question.give_up(member, fault)));
        }
        member.refuses(&self.batch, index, fault);
        let unfit = Unfit::of(Refusal::FailsPolicy);
        series.fill(Outcome::Reject {
            policy: member.info.name.clone(),
            unfit,
        });
        Ok(Left { is_new: true, bytes: 0 })
    }

    /// Books a failing call of a search, after which there is no doubt if there were too many.
    fn spend(
        &mut self,
        policy: usize,
        member: &Member,
        question: &PolicyQuestion,
        began: Duration,
        missed: Missed,
    ) -> Missed {
        let Missed::InDoubt(fault) = missed else { return missed };
        let took = thread_time().saturating_sub(began);
        match self.search.failed(policy, took) {
            true => Missed::InDoubt(fault),
            false => question.give_up(member, fault),
        }
    }
}

impl<V: Send> Job for RelabelJob<V> {
    fn step(&mut self) -> Step {
        // The request is gone: nobody wants the rest.
        if self.reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return Step::Done;
        }
        if self.reply.is_none() {
            ask_again(&self.members, &mut self.again);
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
            // The body is the write's, and it is not held any more.
            self.batch = Batch::default();
            // It may have gone in this moment, which is its right.
            let _ = reply.send(judged.map(|()| done));
        }
        match self.again.is_empty() {
            true => Step::Done,
            false => Step::Again,
        }
    }
}

/// Asks a policy about series of which its word does not count, and notes what it would do.
fn ask_in_shadow<'a>(
    members: &Members,
    policy: usize,
    aside: &Aside,
    again: &mut Again,
    witness: Option<&Witness>,
    sent: impl Fn(usize) -> &'a [u8] + Copy,
) -> Result<(), CallError> {
    let Some(member) = members.judging_series().nth(policy) else {
        return Ok(());
    };
    let sent_aside = |at: usize| sent(aside.series()[at].0);
    let mut series: Vec<Outcome> = aside.series().iter().map(|(_, outcome)| outcome.clone()).collect();
    let question = PolicyQuestion::alone(&series, sent_aside).map_err(|_| CallError::Lost)?;
    let picked = again.pick(members.watch(), &member.purity, &series, sent_aside);
    member.shadow.asked(series.len());
    if let Err(missed) = question.put(members, member, &mut series) {
        if let Some(witness) = witness {
            witness.failed(member, &missed, false);
        }
        member.failed_in_shadow(missed, series.len() as u64);
        return Ok(());
    }
    if let Some(witness) = witness {
        witness.series(member, &series, false);
    }
    again.keep(policy, picked, &series, sent_aside, &members.samples);
    for (at, ((_, before), after)) in aside.series().iter().zip(series).enumerate() {
        let sent = sent_aside(at);
        compare(&member.shadow, sent, before, &after.unless_as(sent));
    }
    Ok(())
}

/// Asks policies again what they said before, each on another instance.
fn ask_again(members: &Members, again: &mut Again) {
    let (engine, allowance) = (&members.engine, members.engine.call_allowance());
    for (policy, member) in members.judging_series().enumerate() {
        let answered = again.take_of(policy);
        if answered.is_empty() {
            continue;
        }
        let mut series: Vec<Outcome> = answered.iter().map(|one| one.before.clone()).collect();
        let began = thread_time();
        let said = member.ask_again(engine, |instance| {
            // One alone first, so that this instance is not called as often as the other one.
            let (one, others) = series.split_at_mut(1);
            for (first, piece) in [(0, one), (1, others)] {
                let asked = PolicyQuestion::alone(piece, |at| &answered[first + at].sent[..]);
                let question = asked.map_err(|error| Fault::Invalid(error.to_string()))?;
                if !piece.is_empty() {
                    question.ask(instance, allowance, member, piece)?;
                }
            }
            Ok(())
        });
        let took = thread_time().saturating_sub(began);
        member.purity.asked_again(answered.len(), took);
        // A call that fails says nothing of what was said before.
        if said.is_err() {
            continue;
        }
        let differs = answered.iter().zip(&series).find(|(one, again)| one.after != **again);
        if let Some((one, again)) = differs {
            member.is_impure(impurity(&one.sent, [&one.after, again]));
        }
    }
}

/// Has one policy judge plain series, for the errors it makes.
///
/// # Errors
/// As [`Member::call`].
pub fn try_out(members: &Members, member: &Member) -> Result<(), Missed> {
    let question = PolicyQuestion::plain()?;
    let mut series = kept(question.asked.series_count());
    question.put(members, member, &mut series)?;
    // What makes no series of a plain one is not for any tenant.
    match series.iter().find_map(Outcome::unfit) {
        Some(unfit) => Err(Missed::Failed(Fault::Invalid(unfit.refusal.text().to_owned()))),
        None => Ok(()),
    }
}

/// Before any policy had its say.
pub fn kept(series: usize) -> Vec<Outcome> {
    vec![Outcome::UNTOUCHED; series]
}

/// What an answer leaves.
#[derive(Clone, Copy, Default)]
pub(super) struct Left {
    /// The live series have other labels than were asked about, or are fewer.
    is_new: bool,
    /// Of labels and budgets, on those that were edited.
    bytes: usize,
}

/// What was asked of a write, to the end of this piece of it.
#[derive(Clone, Copy, Default)]
struct SoFar {
    series: usize,
    /// Label bytes as the sender sent them, whatever earlier policies made of them.
    sent: usize,
    /// Those that the policy has left on series, to the beginning of this piece.
    edited: usize,
}

/// A question about all live series of a piece.
#[derive(Default)]
pub(super) struct PolicyQuestion {
    asked: Arguments,
    /// Series of the piece, live or not.
    of: usize,
    so_far: SoFar,
}

impl PolicyQuestion {
    fn reused() -> Self {
        Self {
            asked: Arguments::reused(),
            ..Self::default()
        }
    }

    /// About these `series` and no others of a write; `sent` gives the labels they came with.
    pub fn alone<'a>(series: &[Outcome], sent: impl Fn(usize) -> &'a [u8]) -> Result<Self, FromUtf8Error> {
        let mut question = Self::default();
        question.ask_for(series, &sent)?;
        question.so_far = SoFar {
            series: series.len(),
            sent: (0..series.len()).map(|at| sent(at).len()).sum(),
            edited: 0,
        };
        Ok(question)
    }

    /// The labels that `series` have now, in place of what was asked before; `sent` gives those they came with.
    fn ask_for<'a>(&mut self, series: &[Outcome], sent: impl Fn(usize) -> &'a [u8]) -> Result<(), FromUtf8Error> {
        let live = series.iter().enumerate().filter(|(_, outcome)| outcome.is_live());
        self.of = series.len();
        self.asked.ask_for(live, |(at, outcome), push| match outcome {
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
    fn put(&self, members: &Members, member: &Member, series: &mut [Outcome]) -> Result<Left, Missed> {
        let allowance = members.engine.call_allowance();
        member.call(&members.engine, self.function(), |instance| {
            self.ask(instance, allowance, member, series)
        })
    }

    fn function(&self) -> Function {
        Function::Relabel(self.asked.series_count())
    }

    /// It is the policy that fails, and no series.
    fn give_up(&self, member: &Member, fault: Fault) -> Missed {
        member.fails_on_too_much(self.function(), &fault);
        Missed::Failed(fault)
    }

    /// The same of a policy that failed before, whatever its record.
    fn put_in_doubt(&self, members: &Members, member: &Member, series: &mut [Outcome]) -> Result<Left, Missed> {
        let (engine, allowance) = (&members.engine, members.engine.call_allowance());
        let answer = member.call_in_doubt(engine, self.function(), false, |instance| {
            self.ask(instance, allowance, member, series)
        });
        answer.map_err(|fault| member.missed(self.function(), fault, true))
    }

    /// The same of an instance that nobody has asked, but about plain series first: a policy that fails on those, here and
    /// now, is at fault itself, or the machine is.
    fn put_to_a_fresh_one(&self, members: &Members, member: &Member, series: &mut [Outcome]) -> Result<Left, Missed> {
        let (engine, allowance) = (&members.engine, members.engine.call_allowance());
        let plain = Self::plain()?;
        let mut is_sound = false;
        let answer = member.call_in_doubt(engine, self.function(), true, |instance| {
            plain.verdicts(instance, allowance, member)?;
            is_sound = true;
            self.ask(instance, allowance, member, series)
        });
        answer.map_err(|fault| member.missed(self.function(), fault, is_sound))
    }

    fn plain() -> Result<Self, Missed> {
        let plain = Batch::golden();
        let mut question = Self::default();
        let asked = question.ask_for(&kept(plain.labels.len()), |index| plain.series(index));
        asked.map_err(|error| Missed::Failed(Fault::Invalid(error.to_string())))?;
        question.so_far = SoFar {
            series: plain.labels.len(),
            sent: plain.body.len(),
            edited: 0,
        };
        Ok(question)
    }

    pub fn ask(
        &self,
        instance: &mut Instance,
        allowance: Duration,
        member: &Member,
        series: &mut [Outcome],
    ) -> Result<Left, Fault> {
        let verdicts = self.verdicts(instance, allowance, member)?;
        self.apply(verdicts, member, series)
    }

    fn verdicts(&self, instance: &mut Instance, allowance: Duration, member: &Member) -> Result<Vec<Verdict>, Fault> {
        let (answer, asked) = (instance.relabel(&self.asked, allowance), self.asked.series_count());
        // Any other failure may have come at once, and says nothing of how long its series take.
        if matches!(answer, Ok(_) | Err(Fault::Timeout(_))) {
            member.pace.judged(asked, self.of, instance.took(), allowance);
        }
        let verdicts = answer?;
        let got = verdicts.len();
        match got == asked {
            true => Ok(verdicts),
            false => Err(Fault::WrongLength { asked, got }),
        }
    }

    fn apply(&self, verdicts: Vec<Verdict>, member: &Member, series: &mut [Outcome]) -> Result<Left, Fault> {
        let mut left = Left::default();
        let live = series.iter_mut().filter(|outcome| outcome.is_live());
        for (outcome, verdict) in live.zip(verdicts) {
            if let Verdict::Edit(Edit {
                budget: Some(budget), ..
            }) = &verdict
            {
                left.bytes += budget.name.len().min(MAX_BUDGET_LENGTH) + BUDGET_BYTES;
            }
            if let Some(more) = outcome.apply(verdict, member) {
                left.is_new = true;
                left.bytes += more;
            }
        }
        let SoFar { series, sent, edited } = self.so_far;
        let all = edited + left.bytes;
        if all as u64 > most_edited(series as u64, sent as u64) {
            return Err(Fault::Invalid(format!(
                "{all} bytes of labels and budgets on {series} series, which came with {sent}"
            )));
        }
        Ok(left)
    }
}
