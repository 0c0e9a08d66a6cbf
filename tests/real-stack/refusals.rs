//! What real receivers refuse, and what the gateway makes of it.
//!
//! Takes the running stack; writes what Thanos takes, then what it refuses, each for another reason, in a series of its own.
//! Gives what the sender was told. The texts that the gateway knows are these, word for word.

use anyhow::{Result, ensure};
use gauntlet_tests::remote_write::{T0, TimeSeries, WriteRequest, series};

use crate::Stack;
use crate::curl::Curl;
use crate::sender::LOCAL_TOKEN;
use crate::wait::now;

const HOUR: i64 = 3_600_000;

pub fn refused(stack: &mut Stack) -> Result<String> {
    let time = (now() * 1000.0) as i64 - T0;
    let one = || series("stack_refusals");
    // Of one value: the newest sample is taken again.
    let sound = (1..=3)
        .fold(one(), |one, n| one.sample(1.0, time + n))
        .exemplar("b", time + 3);
    let steps = [
        ("stored", sound.clone(), 204, "", ""),
        // The receivers take what comes out of order within ten minutes, and what they have.
        ("again", sound, 204, "", ""),
        (
            "other value",
            one().sample(2.0, time + 3),
            400,
            "1 samples: duplicate sample for timestamp",
            "upstream_duplicate",
        ),
        ("older", one().sample(1.0, time - 10).sample(1.0, time + 4), 204, "", ""),
        (
            "three hours old",
            one().sample(1.0, time - 3 * HOUR).sample(1.0, time + 5),
            400,
            "refused 1 samples and stored the others",
            "upstream_too_old",
        ),
        (
            "old exemplar",
            one().sample(1.0, time + 6).exemplar("a", time - 10),
            204,
            "",
            "",
        ),
    ];
    let mut line = Vec::new();
    for (what, write, status, told, reason) in steps {
        let text = answer(stack, what, write, status)?;
        ensure!(text.contains(told), "{what}: {text:?}, expected {told:?}");
        if !reason.is_empty() {
            let rejected = count(stack, "gauntlet_rejected_samples_total", reason)?;
            ensure!(rejected > 0.0, "{what}: nothing is counted as {reason}");
        }
        line.push(format!("{what} {status}"));
    }
    let exemplars = stack
        .gateway
        .metric("gauntlet_refused_exemplars_total", &[("tenant", "local")])?;
    ensure!(exemplars == 1.0, "{exemplars} exemplars are counted as refused, not 1");
    Ok(line.join(", "))
}

fn answer(stack: &Stack, what: &str, write: TimeSeries, status: u16) -> Result<String> {
    let reply = Curl::new(stack)
        .header(&format!("Authorization: Bearer {LOCAL_TOKEN}"))
        .post(&WriteRequest::as_given([write]).body())?;
    ensure!(reply.status == status, "{what}: {reply:?}, expected {status}");
    Ok(reply.text)
}

fn count(stack: &Stack, name: &str, reason: &str) -> Result<f64> {
    stack.gateway.metric(name, &[("tenant", "local"), ("reason", reason)])
}
