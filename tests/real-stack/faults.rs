//! What goes wrong while everybody writes: checks 4 and 6.
//!
//! Takes the running stack; breaks one thing at a time, waits until the break is felt and until it is healed, and
//! says what each cost. Whether anything was lost is for `compare` to say afterwards, once, for all of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use gauntlet_tests::http;

use crate::Stack;
use crate::checks::{TENANTS, expect};
use crate::gateway::{setsuna_file, standard_relabel};
use crate::wait::{now, until};

/// From a fault, or its end, to its being felt everywhere.
const FELT: Duration = Duration::from_secs(60);

type Say<'a> = &'a dyn Fn(&str, &str);

pub fn faults(stack: &mut Stack, say: Say<'_>) -> Result<()> {
    say("4 hard receivers killed", &hard_receivers(stack)?);
    say("4 soft receiver killed", &soft_receiver(stack)?);
    say("4 gauntlet restarted", &gateway(stack, true)?);
    say("4 gauntlet killed", &gateway(stack, false)?);
    say("4 broken policy", &broken_policy(stack)?);
    say("4 broken plugin", &broken_plugin(stack)?);
    say("6 hashrings rewritten", &hashrings(stack)?);
    stack.expect_alive()
}

/// Thanos 0.42.4 makes an exception for factor 2: one replica's answer is enough (`writeQuorum` in its
/// pkg/receive/handler.go). So one dead receiver of three stops nothing and leaves a gap that the other replica fills;
/// with two dead, the series whose replicas both are dead have nowhere to go and their writes must wait.
fn hard_receivers(stack: &mut Stack) -> Result<String> {
    stack.thanos.hard("kazusa-1")?.process.kill()?;
    flowing(stack, &TENANTS, now() + 3.0)?;
    let retried = stack.sender("kazusa")?.remote_storage("samples_retried_total")?;
    let refused = refusals(stack, "kazusa")?;
    stack.thanos.hard("kazusa-2")?.process.kill()?;
    let down = now();
    until("kazusa's sender sends again", FELT, || {
        Ok((stack.sender("kazusa")?.remote_storage("samples_retried_total")? > retried).then_some(()))
    })?;
    flowing(stack, &["local", "setsuna"], down + 2.0)?;
    stack.thanos.hard("kazusa-1")?.start_again()?;
    stack.thanos.hard("kazusa-2")?.start_again()?;
    let healed = caught_up(stack, &["kazusa"])?;
    let refused = refusals(stack, "kazusa")? - refused;
    ensure!(
        refused > 0.0,
        "both replicas of some series were down and no write of kazusa was answered 503"
    );
    let retried = stack.sender("kazusa")?.remote_storage("samples_retried_total")? - retried;
    Ok(format!(
        "one of kazusa's three down: all wrote on; two down: {refused} writes answered 503, {retried} samples sent \
         again, caught up {healed:.1} s after their return; local and setsuna wrote on"
    ))
}

/// The one of the two that the gateway leans to: of two endpoints that are well it may leave the slower one alone for longer
/// than anybody waits here, and its death would be no fault.
fn soft_receiver(stack: &mut Stack) -> Result<String> {
    let before = refusals(stack, "local")? + refusals(stack, "setsuna")?;
    let in_use = soft_in_use(stack)?;
    let failures = cut_off(stack)?;
    stack.thanos.soft(in_use)?.process.kill()?;
    until(&format!("a write fails at {in_use}"), FELT, || {
        Ok((cut_off(stack)? > failures).then_some(()))
    })?;
    flowing(stack, &TENANTS, now() + 3.0)?;
    let refused = refusals(stack, "local")? + refusals(stack, "setsuna")? - before;
    stack.thanos.soft(in_use)?.start_again()?;
    let page = stack.thanos.soft(in_use)?.http.clone();
    until(&format!("{in_use} takes writes again"), FELT, || {
        Ok((written(&page)? > 0.0).then_some(()))
    })?;
    Ok(format!(
        "{in_use} died, the other took over ({refused} writes answered 503); it takes writes again"
    ))
}

/// Which of the routing receivers that share the writes took three first.
fn soft_in_use(stack: &mut Stack) -> Result<&'static str> {
    let mut pages = Vec::new();
    for name in ["soft-a", "soft-b"] {
        let page = stack.thanos.soft(name)?.http.clone();
        let before = written(&page)?;
        pages.push((name, page, before));
    }
    until("a routing receiver takes writes", FELT, || {
        for (name, page, before) in &pages {
            if written(page)? >= before + 3.0 {
                return Ok(Some(*name));
            }
        }
        Ok(None)
    })
}

/// Writes that a receiver has taken, by its own count.
fn written(page: &str) -> Result<f64> {
    Ok(http::metrics(page)?.sum("http_requests_total", &[("handler", "receive"), ("code", "200")]))
}

/// Tries of the gateway that ended because no receiver was there any more.
fn cut_off(stack: &Stack) -> Result<f64> {
    let of = |outcome| {
        let labels = [("upstream", "soft-tenants"), ("outcome", outcome)];
        stack.gateway.metric("gauntlet_upstream_requests_total", &labels)
    };
    Ok(of("connect")? + of("reset")?)
}

fn gateway(stack: &mut Stack, politely: bool) -> Result<String> {
    let before = retries(stack)?;
    let mut how = "SIGKILL".to_owned();
    if politely {
        let status = stack.gateway.process.terminate()?;
        ensure!(status.success(), "gauntlet left after SIGTERM with {status}");
        how = format!("SIGTERM, left with {status}");
    } else {
        stack.gateway.process.kill()?;
    }
    until("every sender sends again", FELT, || {
        Ok(retries(stack)?
            .iter()
            .zip(&before)
            .all(|(now, then)| now > then)
            .then_some(()))
    })?;
    stack.gateway.start_again()?;
    Ok(format!(
        "{how}; every tenant caught up {:.1} s after its return",
        caught_up(stack, &TENANTS)?
    ))
}

fn broken_policy(stack: &mut Stack) -> Result<String> {
    stack.gateway.write_setsuna(&setsuna_file("go_(", "2"));
    stack.gateway.reload(false)?;
    flowing(stack, &TENANTS, now() + 2.0)?;
    let status = http::get(&stack.gateway.admin, "/api/v1/status")?.text();
    ensure!(
        status.contains("setsuna"),
        "/api/v1/status does not say whose file is broken: {status}"
    );
    let merged = stack.thanos.merged();
    expect(&merged, "count(up{tenant_id=\"setsuna\",edition=\"2\"})", 0.0)?;
    stack.gateway.write_setsuna(&setsuna_file("go_.*", "2"));
    stack.gateway.reload(true)?;
    expect(
        &merged,
        "count(up{tenant_id=\"setsuna\",edition=\"2\",job=\"node\"})",
        1.0,
    )?;
    Ok("the old policy kept serving and the status names it; the good one is in force".to_owned())
}

fn broken_plugin(stack: &mut Stack) -> Result<String> {
    stack.gateway.write_plugin(b"\0asm and then nothing");
    stack.gateway.reload(false)?;
    flowing(stack, &TENANTS, now() + 2.0)?;
    stack.gateway.write_plugin(&standard_relabel()?);
    stack.gateway.reload(true)?;
    Ok("the old plugin kept serving".to_owned())
}

fn hashrings(stack: &mut Stack) -> Result<String> {
    stack.thanos.rewrite_rings(Some("kazusa-2"))?;
    let left = now();
    flowing(stack, &["kazusa"], left + 3.0)?;
    let fresh = format!("count(timestamp(up{{tenant_id=\"kazusa\"}}) > {:.3})", left + 2.0);
    let gone = fresh.replace("\"kazusa\"}", "\"kazusa\",receiver_replica=\"kazusa-2\"}");
    let replicas = stack.thanos.replicas();
    // Three targets (itself, node, the one that is down), each on the two receivers that are left.
    expect(&replicas, &fresh, 6.0)?;
    expect(&replicas, &gone, 0.0)?;
    stack.thanos.rewrite_rings(None)?;
    let back = now();
    flowing(stack, &["kazusa"], back + 3.0)?;
    let again = "max(timestamp(node_cpu_seconds_total{tenant_id=\"kazusa\",receiver_replica=\"kazusa-2\"}))";
    until("kazusa-2 is written to again", FELT, || {
        Ok((replicas.number(again, now())? > back).then_some(()))
    })?;
    Ok("kazusa-2 left the ring and came back; both times two of three took every series".to_owned())
}

/// Waits until the querier has every target's `up` of every one of `tenants` from later than `beyond`.
fn flowing(stack: &mut Stack, tenants: &[&str], beyond: f64) -> Result<()> {
    let merged = stack.thanos.merged();
    for tenant in tenants {
        // A target's newest series counts: an edition that a policy no longer writes stays in sight for five minutes.
        let expression = format!("min(max by (job, instance) (timestamp(up{{tenant_id=\"{tenant}\"}})))");
        until(&format!("{tenant}'s writes arrive"), FELT, || {
            let newest = merged.number(&expression, now())?;
            ensure!(newest > beyond, "the newest is {:.1} s too old", beyond - newest);
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// [`flowing`] from now on; gives the seconds it took.
fn caught_up(stack: &mut Stack, tenants: &[&str]) -> Result<f64> {
    let started = Instant::now();
    flowing(stack, tenants, now())?;
    Ok(started.elapsed().as_secs_f64())
}

/// Writes of a tenant answered 503 since the gateway started.
fn refusals(stack: &Stack, tenant: &str) -> Result<f64> {
    stack
        .gateway
        .metric("gauntlet_requests_total", &[("tenant", tenant), ("code", "503")])
}

/// Samples each sender sent again.
fn retries(stack: &Stack) -> Result<Vec<f64>> {
    stack
        .senders
        .all
        .iter()
        .map(|sender| sender.remote_storage("samples_retried_total"))
        .collect()
}
