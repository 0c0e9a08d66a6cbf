//! A policy asked twice before it serves.
//!
//! Takes a policy that judged plain series; has two instances of it judge those and what its tenant sent lately, in two
//! orders. Gives the first series about which they say two things. Never serves a write.

use super::again::impurity;
use super::batch::Batch;
use super::member::Member;
use super::members::Members;
use super::outcome::Outcome;
use super::purity::Impurity;
use super::relabel::{PolicyQuestion, kept};
use crate::sandbox::{Fault, Instance};

/// Series of one call of [`try_twice`].
const TRIED_AT_ONCE: usize = 32;

/// Has two instances of a policy judge plain series and those that its tenant sent lately: in order, and from the last to
/// the first in pieces of other sizes. Gives what they say otherwise, if there is any. A call that fails says nothing.
///
/// # Errors
/// If there is no room for the second instance.
pub fn try_twice(members: &Members, member: &Member) -> Result<Option<Impurity>, Fault> {
    let (plain, lately) = (Batch::golden(), members.samples.batch());
    let of = |batch: &'_ Batch| 0..batch.labels.len();
    let all: Vec<&[u8]> = of(&plain)
        .map(|at| plain.series(at))
        .chain(of(&lately).map(|at| lately.series(at)))
        .collect();
    let in_order: Vec<usize> = (0..all.len()).collect();
    let in_order: Vec<&[usize]> = in_order.chunks(TRIED_AT_ONCE).collect();
    let backwards: Vec<usize> = (0..all.len()).rev().collect();
    let backwards = growing(&backwards);
    let engine = &members.engine;
    let first = member.ask_aside(engine, |instance| {
        judge_twice(members, member, instance, &all, &in_order)
    });
    let second = member.ask_a_fresh_one(engine, |instance| {
        judge_twice(members, member, instance, &all, &backwards)
    });
    let (first, second) = match (first, second) {
        (Ok(first), Ok(second)) => (first, second),
        (_, Err(fault @ (Fault::NoRoom | Fault::NoMemory))) => return Err(fault),
        _ => return Ok(None),
    };
    let mut both = first.iter().zip(&second).zip(&all);
    let differs = both.find(|((first, second), _)| first != second);
    Ok(differs.map(|((first, second), sent)| impurity(sent, [first, second])))
}

/// Pieces of one, two, four .. series, up to [`TRIED_AT_ONCE`].
fn growing(mut order: &[usize]) -> Vec<&[usize]> {
    let (mut pieces, mut size) = (Vec::new(), 1);
    while !order.is_empty() {
        let (piece, rest) = order.split_at(size.min(order.len()));
        pieces.push(piece);
        order = rest;
        size = (size * 2).min(TRIED_AT_ONCE);
    }
    pieces
}

/// What a policy makes of `all`, asked in `pieces`.
fn judge_twice(
    members: &Members,
    member: &Member,
    instance: &mut Instance,
    all: &[&[u8]],
    pieces: &[&[usize]],
) -> Result<Vec<Outcome>, Fault> {
    let mut outcomes = kept(all.len());
    for piece in pieces {
        let mut series = kept(piece.len());
        let asked = PolicyQuestion::alone(&series, |at| all[piece[at]]);
        let question = asked.map_err(|error| Fault::Invalid(error.to_string()))?;
        question.ask(instance, members.engine.call_allowance(), member, &mut series)?;
        for (&at, outcome) in piece.iter().zip(series) {
            outcomes[at] = outcome.unless_as(all[at]);
        }
    }
    Ok(outcomes)
}
