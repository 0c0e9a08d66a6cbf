//! Buckets, with the time passed in.

use proptest::prelude::*;

use super::*;

fn charge(bucket: &str, tokens: u64, per_second: f64, burst: u64) -> Withdrawal<'_> {
    Withdrawal {
        policy: "limits",
        bucket,
        tokens,
        per_second,
        burst,
    }
}

struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn after(&mut self, seconds: f64) -> Instant {
        self.0 += Duration::from_secs_f64(seconds);
        self.0
    }
}

/// How long the refused sender is told to wait, to the microsecond.
fn wait(result: Result<(), ChargeError>) -> Duration {
    match result {
        Err(ChargeError::Empty(over)) => Duration::from_micros(over.retry_after.as_micros() as u64),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_would_be_said_to_a_charge_is_told_and_nothing_is_taken() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    let ten = [charge("samples", 10, 5.0, 10)];
    for _ in 0..3 {
        assert_eq!(buckets.would_charge(&ten, clock.0), Ok(()));
    }
    assert!(buckets.is_empty());
    assert_eq!(buckets.charge(&ten, clock.0), Ok(()));
    for _ in 0..3 {
        assert_eq!(wait(buckets.would_charge(&ten, clock.0)), Duration::from_secs(2));
    }
}

#[test]
fn a_burst_passes_one_token_more_does_not_and_time_refills() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    for _ in 0..10 {
        assert_eq!(buckets.charge(&[charge("samples", 10, 5.0, 100)], clock.0), Ok(()));
    }
    let refused = buckets.charge(&[charge("samples", 1, 5.0, 100)], clock.0);
    assert_eq!(wait(refused), Duration::from_millis(200));
    assert_eq!(
        buckets.charge(&[charge("samples", 5, 5.0, 100)], clock.after(1.0)),
        Ok(())
    );
    assert!(
        buckets
            .charge(&[charge("samples", 1, 5.0, 100)], clock.after(0.1))
            .is_err()
    );
}

#[test]
fn a_bucket_never_holds_more_than_its_burst() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    buckets.charge(&[charge("b", 1, 1000.0, 10)], clock.0).unwrap();
    clock.after(3600.0);
    assert_eq!(buckets.charge(&[charge("b", 10, 1000.0, 10)], clock.0), Ok(()));
    assert!(buckets.charge(&[charge("b", 1, 1000.0, 10)], clock.0).is_err());
}

#[test]
fn a_refused_write_takes_nothing_from_any_bucket() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    let write = [charge("narrow", 1, 0.0, 10), charge("wide", 100, 1.0, 100)];
    buckets.charge(&write, clock.0).unwrap();
    for _ in 0..50 {
        let refused = buckets.charge(&write, clock.0).unwrap_err();
        assert!(matches!(refused, ChargeError::Empty(over) if over.bucket == "wide" && over.policy == "limits"));
    }
    // Of ten, one is gone: the refused ones gave theirs back.
    assert_eq!(buckets.charge(&[charge("narrow", 9, 0.0, 10)], clock.0), Ok(()));
    assert!(buckets.charge(&[charge("narrow", 1, 0.0, 10)], clock.0).is_err());
}

#[test]
fn one_bucket_charged_twice_by_a_write_pays_twice_or_not_at_all() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    let twice = [charge("b", 6, 0.0, 10), charge("b", 6, 0.0, 10)];
    assert!(buckets.charge(&twice, clock.0).is_err());
    assert_eq!(buckets.charge(&[charge("b", 10, 0.0, 10)], clock.0), Ok(()));
}

#[test]
fn a_write_above_the_burst_waits_for_a_full_bucket_and_passes() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    let big = [charge("b", 1_000_000, 10.0, 100)];
    assert_eq!(buckets.charge(&big, clock.0), Ok(()));
    assert_eq!(wait(buckets.charge(&big, clock.0)), Duration::from_secs(10));
    assert!(buckets.charge(&big, clock.after(9.9)).is_err());
    assert_eq!(buckets.charge(&big, clock.after(0.1)), Ok(()));
}

#[test]
fn those_who_wait_together_are_told_to_come_when_the_bucket_can_pay_for_one_after_the_other() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    let write = [charge("b", 500, 1000.0, 1000)];
    buckets.charge(&[charge("b", 1000, 1000.0, 1000)], clock.0).unwrap();
    let mut told: Vec<Duration> = (0..20).map(|_| wait(buckets.charge(&write, clock.0))).collect();
    let halves: Vec<u128> = told.iter().map(|told| told.as_millis() / 500).collect();
    assert_eq!(halves[..10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert!(told[10..].iter().all(|told| *told == LONGEST_FOR_OTHERS), "{told:?}");
    // The first ten, who wait as long as they were told, are let in at the first attempt.
    told.truncate(10);
    let mut before = Duration::ZERO;
    for told in told {
        let now = clock.after((told - before).as_secs_f64() + 1e-5);
        assert_eq!(buckets.charge(&write, now), Ok(()), "{told:?}");
        before = told;
    }
}

#[test]
fn who_comes_too_early_again_and_again_keeps_nobody_waiting_for_long() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    let write = [charge("b", 10, 10.0, 10)];
    buckets.charge(&write, clock.0).unwrap();
    for _ in 0..1000 {
        let _ = buckets.charge(&write, clock.after(1e-5));
    }
    assert!(wait(buckets.charge(&write, clock.0)) <= LONGEST_FOR_OTHERS);
    // A bucket that takes longer than that for one takes as long for all.
    let slow = [charge("slow", 10, 0.5, 10)];
    buckets.charge(&slow, clock.0).unwrap();
    for _ in 0..3 {
        assert_eq!(wait(buckets.charge(&slow, clock.0)), Duration::from_secs(20));
    }
}

#[test]
fn a_write_that_two_buckets_refuse_waits_for_the_slower_one() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    let write = [charge("fast", 10, 10.0, 10), charge("slow", 10, 1.0, 10)];
    buckets.charge(&write, clock.0).unwrap();
    let ChargeError::Empty(refused) = buckets.charge(&write, clock.0).unwrap_err() else {
        panic!("a bucket is empty");
    };
    assert_eq!((refused.bucket.as_str(), refused.retry_after.as_secs()), ("slow", 10));
}

#[test]
fn new_rates_hold_at_once_and_refill_nothing() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    buckets.charge(&[charge("b", 100, 1.0, 100)], clock.0).unwrap();
    // Ten times the burst: the bucket is as empty as it was.
    let refused = buckets.charge(&[charge("b", 10, 100.0, 1000)], clock.0);
    assert_eq!(wait(refused), Duration::from_millis(100));
    // The second before the change is paid at the rate of then.
    assert_eq!(buckets.charge(&[charge("b", 50, 1.0, 1000)], clock.after(0.5)), Ok(()));
    assert!(buckets.charge(&[charge("b", 1, 1.0, 1000)], clock.0).is_err());
    // A smaller burst takes what does not fit.
    buckets.charge(&[charge("b", 0, 1000.0, 1000)], clock.0).unwrap();
    buckets.charge(&[charge("b", 0, 0.0, 5)], clock.after(1.0)).unwrap();
    assert_eq!(buckets.charge(&[charge("b", 5, 0.0, 1000)], clock.0), Ok(()));
    assert!(buckets.charge(&[charge("b", 1, 0.0, 1000)], clock.0).is_err());
}

#[test]
fn tenants_policies_and_buckets_of_one_name_are_apart() {
    let (a, b, clock) = (Buckets::default(), Buckets::default(), Clock::new());
    let mine = charge("b", 1, 0.0, 1);
    let other_policy = Withdrawal { policy: "mine", ..mine };
    for (buckets, charges) in [(&a, [mine]), (&b, [mine]), (&a, [other_policy])] {
        assert_eq!(buckets.charge(&charges, clock.0), Ok(()));
        assert!(buckets.charge(&charges, clock.0).is_err());
    }
}

#[test]
fn a_bucket_that_never_refills_advises_a_bounded_wait() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    for charges in [[charge("b", 1, 0.0, 1)], [charge("slow", 1, 1e-300, 1)]] {
        buckets.charge(&charges, clock.0).unwrap();
        assert_eq!(wait(buckets.charge(&charges, clock.after(3600.0))), MAX_RETRY_AFTER);
    }
    assert_eq!(
        wait(buckets.charge(&[charge("none", 1, 1.0, 0)], clock.0)),
        MAX_RETRY_AFTER
    );
    assert_eq!(buckets.charge(&[charge("none", 0, 1.0, 0)], clock.0), Ok(()));
}

#[test]
fn rates_that_are_no_rates_are_refused_and_nothing_is_charged() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE] {
        let charges = [charge("good", 1, 0.0, 1), charge("bad", 1, bad, 1)];
        let refused = buckets.charge(&charges, clock.0);
        assert!(matches!(refused, Err(ChargeError::Rate { bucket, .. }) if bucket == "bad"));
    }
    assert_eq!(buckets.len(), 0);
}

#[test]
fn a_tenant_has_so_many_buckets_with_names_so_long_and_no_more() {
    let (buckets, clock) = (Buckets::default(), Clock::new());
    let names: Vec<String> = (0..=MAX_BUCKETS_PER_TENANT).map(|i| format!("b{i}")).collect();
    for name in &names[..MAX_BUCKETS_PER_TENANT] {
        buckets.charge(&[charge(name, 1, 1.0, 10)], clock.0).unwrap();
    }
    let one_more = [charge(&names[MAX_BUCKETS_PER_TENANT], 1, 1.0, 10)];
    let policy = "limits".to_owned();
    assert_eq!(
        buckets.charge(&one_more, clock.0),
        Err(ChargeError::TooManyBuckets { policy: policy.clone() })
    );
    assert_eq!(Buckets::default().charge(&one_more, clock.0), Ok(()));
    // Those that were full and unused for long make room.
    assert_eq!(buckets.charge(&one_more, clock.0 + IDLE_AFTER), Ok(()));

    let long = "n".repeat(MAX_BUCKET_NAME_LENGTH + 1);
    assert_eq!(buckets.charge(&[charge(&long[1..], 1, 1.0, 10)], clock.0), Ok(()));
    let refused = buckets.charge(&[charge(&long, 1, 1.0, 10)], clock.0);
    assert_eq!(refused, Err(ChargeError::NameTooLong { policy }));
}

#[test]
fn idle_buckets_are_forgotten_when_full_and_much_later_in_any_case() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    buckets.charge(&[charge("full", 1, 1.0, 10)], clock.0).unwrap();
    buckets.charge(&[charge("spent", 1, 0.0, 10)], clock.0).unwrap();
    buckets.forget_idle(clock.after(IDLE_AFTER.as_secs_f64() - 1.0));
    assert_eq!(buckets.len(), 2);
    buckets.forget_idle(clock.after(1.0));
    assert_eq!(buckets.len(), 1);
    assert_eq!(buckets.charge(&[charge("spent", 9, 0.0, 10)], clock.0), Ok(()));
    buckets.forget_idle(clock.after(ABANDONED_AFTER.as_secs_f64() - 1.0));
    assert_eq!(buckets.len(), 1);
    buckets.forget_idle(clock.after(1.0));
    assert!(buckets.is_empty());
}

#[test]
fn an_earlier_time_than_the_last_refills_nothing_and_harms_nothing() {
    let (buckets, mut clock) = (Buckets::default(), Clock::new());
    let early = clock.0;
    let late = clock.after(1.0);
    buckets.charge(&[charge("b", 10, 1.0, 10)], late).unwrap();
    assert!(buckets.charge(&[charge("b", 1, 1.0, 10)], early).is_err());
    assert!(buckets.charge(&[charge("b", 1, 1.0, 10)], late).is_err());
    assert_eq!(buckets.charge(&[charge("b", 1, 1.0, 10)], clock.after(1.0)), Ok(()));
}

proptest! {
    /// Over any time, no more passes than the burst and what the rate gives.
    #[test]
    fn never_more_than_the_rate_allows(
        writes in proptest::collection::vec((0u64..200, 0u64..3000), 1..100),
        per_second in 0u32..200,
        burst in 1u64..300,
    ) {
        let (buckets, mut clock) = (Buckets::default(), Clock::new());
        let start = clock.0;
        let mut passed = 0.0;
        for (tokens, pause_ms) in writes {
            let now = clock.after(pause_ms as f64 / 1000.0);
            if buckets.charge(&[charge("b", tokens, f64::from(per_second), burst)], now).is_ok() {
                passed += tokens.min(burst) as f64;
            }
            let most = burst as f64 + f64::from(per_second) * (now - start).as_secs_f64();
            prop_assert!(passed <= most + 1e-3, "{passed} > {most}");
        }
    }

    /// Who waits as long as told passes.
    #[test]
    fn the_advice_is_good(
        spent in 0u64..1000,
        wanted in 1u64..2000,
        per_second in 4.0f64..10_000.0,
        burst in 1u64..1000,
    ) {
        let (buckets, clock) = (Buckets::default(), Clock::new());
        buckets.charge(&[charge("b", spent, per_second, burst)], clock.0).unwrap();
        let write = [charge("b", wanted, per_second, burst)];
        if let Err(ChargeError::Empty(over)) = buckets.charge(&write, clock.0) {
            prop_assert_eq!(buckets.charge(&write, clock.0 + over.retry_after), Ok(()));
        }
    }
}
