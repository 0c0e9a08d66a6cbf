//! What flows, by tenant: rates between two readings.
//!
//! Takes readings as they come, gives a row for each tenant that serves or is broken. A counter that went down began anew
//! with its process: then what came before is forgotten. Keeps readings of a few seconds, since senders write in bursts.

use std::collections::VecDeque;
use std::time::Duration;

use super::counts::Counts;
use super::reading::Reading;
use super::seen::TenantSeen;

/// Over which rates are told: a Prometheus sends what it has at least every five seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// One tenant now; samples per second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) tenant: String,
    pub(super) received: f64,
    pub(super) kept: f64,
    pub(super) edited: f64,
    pub(super) dropped: f64,
    pub(super) rejected: f64,
    pub(super) waiting: f64,
    /// In the order of [`Rows::upstreams`]; `None` if the tenant does not write there.
    pub(super) upstreams: Vec<Option<f64>>,
    pub(super) active_series: u64,
    pub(super) max_active_series: u64,
    pub(super) p99_seconds: Option<f64>,
    pub(super) condition: Condition,
    /// Why it was refused last, and how long ago.
    pub(super) last: String,
}

/// How a tenant fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// Its newest configuration cannot be used.
    Broken,
    Losing,
    Waiting,
    #[default]
    Fine,
    Disabled,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) upstreams: Vec<String>,
    pub(super) total: Row,
}

/// The readings of the last seconds.
#[derive(Default)]
pub(super) struct Looks {
    readings: VecDeque<Reading>,
}

impl Looks {
    /// Takes the newest in.
    pub(super) fn add(&mut self, reading: Reading) {
        let began_anew = self.readings.back().is_some_and(|last| {
            let total = |reading: &Reading| reading.counts.tenants.values().map(|c| c.received).sum::<f64>();
            let of_gone: f64 = gone(last, &reading).map(|counts| counts.received).sum();
            total(&reading) < total(last) - of_gone
        });
        if began_anew {
            self.readings.clear();
        }
        // One that is older than the window stays, to measure all of it by.
        while self
            .readings
            .get(1)
            .is_some_and(|second| reading.at.duration_since(second.at) >= WINDOW)
        {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    pub(super) fn last(&self) -> Option<&Reading> {
        self.readings.back()
    }

    /// Whether there are two to compare.
    pub(super) fn has_rates(&self) -> bool {
        self.readings.len() > 1
    }

    pub(super) fn rows(&self) -> Rows {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else {
            return Rows::default();
        };
        let mut upstreams: Vec<String> = last.upstreams.iter().map(|seen| seen.upstream.clone()).collect();
        upstreams.sort();
        let broken = |tenant: &str| {
            let mut all = last.status.broken_tenants.iter();
            all.any(|broken| broken.tenant.as_deref() == Some(tenant))
        };
        let between = Between { first, last };
        let mut rows: Vec<Row> = last
            .tenants
            .iter()
            .map(|seen| row(seen, &between, &upstreams, broken(&seen.tenant)))
            .collect();
        rows.extend(unserved(last));
        Rows {
            total: total(&rows, upstreams.len()),
            rows,
            upstreams,
        }
    }
}

/// What tenants had counted that are not there any more.
fn gone<'a>(last: &'a Reading, next: &'a Reading) -> impl Iterator<Item = &'a Counts> {
    let is_gone = |(tenant, counts)| (!next.counts.tenants.contains_key(tenant)).then_some(counts);
    last.counts.tenants.iter().filter_map(is_gone)
}

/// Two readings to compare.
struct Between<'a> {
    first: &'a Reading,
    last: &'a Reading,
}

impl Between<'_> {
    /// Of what is counted of the tenant, by the second.
    fn rate(&self, tenant: &str, of: impl Fn(&Counts) -> f64) -> f64 {
        let none = Counts::default();
        let count = |reading: &Reading| of(reading.counts.tenants.get(tenant).unwrap_or(&none));
        let seconds = self.last.at.duration_since(self.first.at).as_secs_f64();
        match seconds > 0.0 {
            true => (count(self.last) - count(self.first)).max(0.0) / seconds,
            false => 0.0,
        }
    }
}

fn row(seen: &TenantSeen, between: &Between<'_>, upstreams: &[String], is_broken: bool) -> Row {
    let rate = |of: &dyn Fn(&Counts) -> f64| between.rate(&seen.tenant, of);
    let to = |name: &String| {
        let stored = |counts: &Counts| counts.forwarded.get(name).copied().unwrap_or(0.0);
        seen.upstreams.contains(name).then(|| rate(&stored))
    };
    let counts = between.last.counts.tenants.get(&seen.tenant);
    let (stored, edited) = (rate(&Counts::stored), rate(&|counts| counts.edited));
    let (rejected, waiting) = (rate(&|counts| counts.rejected), rate(&|counts| counts.waiting));
    Row {
        tenant: seen.tenant.clone(),
        received: rate(&|counts| counts.received),
        kept: (stored - edited).max(0.0),
        edited,
        dropped: rate(&|counts| counts.dropped),
        rejected,
        waiting,
        upstreams: upstreams.iter().map(to).collect(),
        active_series: seen.active_series,
        max_active_series: seen.max_active_series,
        p99_seconds: seen.p99_seconds.or_else(|| counts.and_then(Counts::p99)),
        condition: match () {
            () if is_broken => Condition::Broken,
            () if !seen.enabled => Condition::Disabled,
            () if rejected > 0.0 => Condition::Losing,
            () if waiting > 0.0 => Condition::Waiting,
            () => Condition::Fine,
        },
        last: seen
            .last()
            .map(|last| told(last.status, &last.reason, last.seconds_ago))
            .unwrap_or_default(),
    }
}

/// Tenants that nothing serves, because their first configuration cannot be used.
fn unserved(reading: &Reading) -> impl Iterator<Item = Row> {
    let names = reading
        .status
        .broken_tenants
        .iter()
        .filter_map(|broken| broken.tenant.clone());
    let unserved = names.filter(|name| !reading.tenants.iter().any(|seen| seen.tenant == *name));
    unserved.map(|tenant| Row {
        tenant,
        condition: Condition::Broken,
        last: "nothing serves it".to_owned(),
        ..Row::default()
    })
}

fn told(status: Option<u16>, reason: &str, seconds_ago: f64) -> String {
    let status = status.map(|status| format!("{status} ")).unwrap_or_default();
    format!("{status}{reason} {}", ago(seconds_ago))
}

/// `12s`, `3m`, `2h`.
pub(super) fn ago(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m", (s / 60.0).floor()),
        s => format!("{:.0}h", (s / 3600.0).floor()),
    }
}

fn total(rows: &[Row], upstreams: usize) -> Row {
    let mut total = Row {
        upstreams: vec![Some(0.0); upstreams],
        ..Row::default()
    };
    for row in rows {
        total.received += row.received;
        total.kept += row.kept;
        total.edited += row.edited;
        total.dropped += row.dropped;
        total.rejected += row.rejected;
        total.waiting += row.waiting;
        total.active_series += row.active_series;
        for (sum, one) in total.upstreams.iter_mut().zip(&row.upstreams) {
            *sum = sum.zip(one.or(Some(0.0))).map(|(a, b)| a + b);
        }
    }
    total
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::super::counts::counted;
    use super::*;

    /// Two readings, ten seconds apart: `a` writes, edits, drops and waits; `b` loses; `c` is broken; `d` disabled.
    pub(in crate::terminal) fn flow() -> Looks {
        let mut flow = Looks::default();
        let begin = Instant::now();
        for step in 0..2_u32 {
            flow.add(reading(begin, step, 1.0));
        }
        flow
    }

    pub(in crate::terminal) fn reading(begin: Instant, step: u32, times: f64) -> Reading {
        let mut text = String::new();
        for (family, labels, per_step) in [
            ("received_samples", r#"tenant="a""#, 2000.0),
            ("edited_samples", r#"tenant="a""#, 400.0),
            ("forwarded_samples", r#"tenant="a",upstream="soft""#, 1000.0),
            ("forwarded_samples", r#"tenant="a",upstream="hard""#, 500.0),
            ("dropped_samples", r#"tenant="a",policy="relabel",reason="go""#, 300.0),
            ("rejected_samples", r#"tenant="a",reason="over_rate""#, 200.0),
            ("waiting_samples", r#"tenant="a""#, 200.0),
            ("received_samples", r#"tenant="b""#, 10.0),
            ("rejected_samples", r#"tenant="b",reason="too_many_labels""#, 10.0),
        ] {
            let value = per_step * f64::from(step) * times;
            text.push_str(&format!("gauntlet_{family}_total{{{labels}}} {value}\n"));
        }
        text.push_str("gauntlet_request_duration_seconds_bucket{tenant=\"a\",le=\"0.004\"} 7\n");
        Reading {
            at: begin + Duration::from_secs(10) * step,
            counts: counted(&text),
            tenants: serde_json::from_value(json!([
                {"tenant": "a", "enabled": true, "generation": 1 + step, "active_series": 120, "max_active_series": 1000,
                 "upstreams": ["soft", "hard"]},
                {"tenant": "b", "enabled": true, "upstreams": ["soft"], "active_series": 950, "max_active_series": 1000,
                 "last_failures": [{"reason": "too_many_labels", "seconds_ago": 130.0, "text": "no"}]},
                {"tenant": "d", "enabled": false, "upstreams": ["soft"], "max_active_series": 1000},
            ]))
            .unwrap(),
            upstreams: serde_json::from_value(json!([
                {"upstream": "soft", "endpoints": [{"address": "http://10.0.0.7:19291", "healthy": true}]},
                {"upstream": "hard", "endpoints": [{"address": "http://10.0.0.8:19291", "healthy": false,
                 "last_cause": {"text": "nothing listens at its port", "look_at": "upstreams.hard.endpoints"}}]},
            ]))
            .unwrap(),
            status: serde_json::from_value(json!({
                "version": "0.1.0", "ready": true, "tenants": 3, "last_reload": {"successful": true},
                "broken_tenants": [{"tenant": "c", "file": "/etc/c.yaml", "error": "/etc/c.yaml:2:1: unknown key"}],
            }))
            .unwrap(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between_the_first_and_the_last_reading() {
        let rows = flow().rows();
        let a = &rows.rows[0];
        assert_eq!((a.received, a.kept, a.edited), (200.0, 110.0, 40.0));
        assert_eq!((a.dropped, a.rejected, a.waiting), (30.0, 0.0, 20.0));
        assert_eq!(rows.upstreams, ["hard", "soft"]);
        assert_eq!(a.upstreams, [Some(50.0), Some(100.0)]);
        assert_eq!((a.p99_seconds, a.condition), (Some(0.004), Condition::Waiting));
        let b = &rows.rows[1];
        assert_eq!(
            (b.upstreams.clone(), b.condition),
            (vec![None, Some(0.0)], Condition::Losing)
        );
        assert_eq!(b.last, "too_many_labels 2m");
        assert_eq!((rows.total.received, rows.total.waiting), (201.0, 20.0));
        let conditions: Vec<Condition> = rows.rows.iter().skip(2).map(|row| row.condition).collect();
        assert_eq!(conditions, [Condition::Disabled, Condition::Broken]);
        assert_eq!(rows.rows[3].last, "nothing serves it");
    }

    #[test]
    fn readings_outside_the_window_go_and_a_process_that_began_anew_is_no_negative_rate() {
        let mut flow = Looks::default();
        let begin = Instant::now();
        for step in 0..9 {
            flow.add(reading(begin, step, 1.0));
        }
        assert_eq!(flow.readings.len(), 2);
        flow.add(reading(begin, 9, 0.001));
        assert!(!flow.has_rates());
        assert_eq!(flow.rows().rows[0].received, 0.0);
        flow.add(reading(begin, 10, 1.0));
        assert!(flow.rows().rows[0].received > 0.0);
    }

    #[test]
    fn a_time_is_told_in_one_unit() {
        assert_eq!(
            [0.4, 59.0, 61.0, 3599.0, 7300.0].map(ago),
            ["0s", "59s", "1m", "59m", "2h"]
        );
    }
}
