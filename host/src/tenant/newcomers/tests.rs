//! What is counted of new series: by whom, for how long, and in how much memory.

use super::*;
use crate::memory::{Kind, Memory};
use crate::telemetry::Metrics;
use crate::wire::labels::encode_labels;

fn memory() -> Arc<Memory> {
    Memory::new(1 << 30, Arc::new(Metrics::new()))
}

fn newcomers(memory: &Arc<Memory>) -> Arc<Newcomers> {
    Newcomers::new(&PolicyWatch::new(memory).unwrap())
}

fn series(metric: &str, pod: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let labels = [("__name__", metric), ("job", "node"), ("pod", pod)];
    encode_labels(labels.into_iter(), &mut bytes);
    bytes
}

fn note(newcomers: &Newcomers, metric: &str, pods: Range<usize>, now: Instant) {
    let all: Vec<Vec<u8>> = pods.map(|pod| series(metric, &pod.to_string())).collect();
    newcomers.note(all.iter().map(Vec::as_slice), now);
}

fn counts(names: &[CountedName]) -> Vec<(&str, u64)> {
    names.iter().map(|name| (name.name.as_str(), name.new_series)).collect()
}

#[test]
fn what_makes_a_tenant_grow_is_told_by_metric_and_by_label_with_its_values() {
    let memory = memory();
    let newcomers = newcomers(&memory);
    assert_eq!(memory.held(Kind::Plugins), 0);
    let now = newcomers.began + Duration::from_secs(100);
    note(&newcomers, "http_requests_total", 0..900, now);
    note(&newcomers, "up", 0..100, now);
    let windows = newcomers.windows(now);
    assert_eq!(
        windows.iter().map(|w| w.length.as_secs()).collect::<Vec<_>>(),
        [300, 1800, 3600]
    );
    for window in &windows {
        assert_eq!(
            (window.new_series, window.error, window.covered.as_secs()),
            (1000, 0, 100)
        );
        assert_eq!(counts(&window.metrics), [("http_requests_total", 900), ("up", 100)]);
        assert_eq!(counts(&window.labels), [("job", 1000), ("pod", 1000)]);
        assert_eq!(window.metrics[0].values, None);
        assert_eq!(window.labels[0].values, Some(1));
        let pods = window.labels[1].values.unwrap();
        assert!((400..1800).contains(&pods), "{pods}");
    }
}

#[test]
fn many_new_series_are_looked_at_in_steps_and_not_where_the_connection_is() {
    let memory = memory();
    let newcomers = newcomers(&memory);
    let (mut body, mut places) = (Vec::new(), Vec::new());
    for pod in 0..2000 {
        let start = body.len() as u32;
        body.extend(series("up", &pod.to_string()));
        places.push(start..body.len() as u32);
    }
    let body = Bytes::from(body);
    let mut few = newcomers.noting(&body, places[..100].iter().cloned());
    assert_eq!(few.go_on(Effort::Light), Some(()));
    let mut many = newcomers.noting(&body, places.iter().cloned());
    assert_eq!(many.go_on(Effort::Light), None);
    let steps = (1..100).find(|_| many.go_on(Effort::Full).is_some());
    assert!(steps.is_some_and(|steps| steps > 3), "{steps:?}");
    let window = newcomers.windows(Instant::now()).remove(0);
    assert_eq!(window.new_series, 2100);
    assert_eq!(counts(&window.metrics), [("up", 2100)]);
}

#[test]
fn without_memory_nothing_is_kept_and_the_error_says_so() {
    let memory = memory();
    let most = crate::memory::most(memory.limit(), Kind::Plugins);
    let all = memory.hold(Kind::Plugins, most).unwrap();
    let newcomers = newcomers(&memory);
    note(&newcomers, "up", 0..50, newcomers.began);
    let window = newcomers.windows(newcomers.began).remove(0);
    assert_eq!((window.new_series, window.error, window.metrics.len()), (50, 50, 0));
    drop(all);
    note(&newcomers, "up", 50..60, newcomers.began);
    let window = newcomers.windows(newcomers.began).remove(0);
    assert_eq!((window.new_series, window.error), (60, 60));
    assert_eq!(counts(&window.metrics), [("up", 60)]);
    drop(newcomers);
    assert_eq!(memory.held(Kind::Plugins), 0);
}

#[test]
fn series_that_are_alike_are_counted_one_by_one_all_the_same() {
    let memory = memory();
    let newcomers = newcomers(&memory);
    let of = |labels: &[(&str, &str)]| {
        let mut bytes = Vec::new();
        encode_labels(labels.iter().copied(), &mut bytes);
        bytes
    };
    let all = [
        of(&[("__name__", "up"), ("job", "a")]),
        of(&[("__name__", "up"), ("job", "b")]),
        of(&[("__name__", "down"), ("job", "b")]),
        of(&[("__name__", "down"), ("pod", "b")]),
        of(&[("__name__", "down"), ("pod", "c")]),
        of(&[("__name__", "up"), ("job", "a"), ("pod", "b")]),
        of(&[("__name__", "up")]),
    ];
    newcomers.note(all.iter().map(Vec::as_slice), newcomers.began);
    let window = newcomers.windows(newcomers.began).remove(0);
    assert_eq!((window.new_series, window.error), (7, 0));
    assert_eq!(counts(&window.metrics), [("up", 4), ("down", 3)]);
    assert_eq!(counts(&window.labels), [("job", 4), ("pod", 3)]);
    // Two may share a register.
    let few = |label: &CountedName| label.values.is_some_and(|values| (1..=2).contains(&values));
    assert!(window.labels.iter().all(few), "{:?}", window.labels);
}

#[test]
fn what_series_have_alike_changes_no_count() {
    use std::collections::{BTreeMap, BTreeSet};
    let memory = memory();
    let newcomers = newcomers(&memory);
    let mut noise = 7_u64;
    let mut any = |of: u64| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % of
    };
    let mut counted: BTreeMap<String, (u64, BTreeSet<String>)> = BTreeMap::new();
    let mut all: Vec<Vec<u8>> = Vec::new();
    for _ in 0..5000 {
        let mut labels = BTreeMap::new();
        for name in ["A", "__name__", "le", "mode", "pod"] {
            if name == "__name__" || any(8) > 0 {
                // Some are one another's beginning, some long, and most are those of the series before.
                let value = any(3).to_string().repeat([1, 2, 20, 200][any(4) as usize]);
                labels.insert(name, if any(4) == 0 { value } else { "x".repeat(17) });
            }
        }
        for (name, value) in &labels {
            let key = if *name == "__name__" { value } else { *name };
            let (count, values) = counted.entry(key.to_owned()).or_default();
            *count += 1;
            values.insert(value.clone());
        }
        let mut bytes = Vec::new();
        encode_labels(labels.iter().map(|(name, value)| (*name, value.as_str())), &mut bytes);
        all.push(bytes);
    }
    newcomers.note(all.iter().map(Vec::as_slice), newcomers.began);
    let window = newcomers.windows(newcomers.began).remove(0);
    assert_eq!((window.new_series, window.error), (5000, 0));
    assert_eq!(window.labels.len(), 4);
    assert_eq!(window.metrics.len() + window.labels.len(), counted.len());
    for shown in window.metrics.iter().chain(&window.labels) {
        let key = counted.iter().find(|(key, _)| key[..key.len().min(128)] == *shown.name);
        let (_, (count, values)) = key.expect("a name that was sent");
        assert_eq!(shown.new_series, *count, "{}", shown.name);
        let of = values.len() as u64;
        assert!(
            shown.values.is_none_or(|values| values + 3 > of && values < of + 3),
            "{shown:?} {of}"
        );
    }
}

#[test]
fn a_window_forgets_what_lies_before_it_and_the_rest_goes_after_an_hour() {
    let memory = memory();
    let newcomers = newcomers(&memory);
    let at = |minutes: u64| newcomers.began + Duration::from_secs(60 * minutes);
    note(&newcomers, "old", 0..10, at(1));
    note(&newcomers, "new", 0..20, at(31));
    let series = |now| newcomers.windows(now).iter().map(|w| w.new_series).collect::<Vec<_>>();
    assert_eq!(series(at(31)), [20, 30, 30]);
    assert_eq!(series(at(36)), [20, 20, 30]);
    assert_eq!(series(at(41)), [0, 20, 30]);
    assert_eq!(newcomers.windows(at(36))[0].covered, Duration::from_secs(360));
    newcomers.forget_old(at(66));
    assert_eq!(series(at(66)), [0, 0, 20]);
    newcomers.forget_old(at(200));
    assert_eq!((series(at(200)), memory.held(Kind::Plugins)), (vec![0, 0, 0], 0));
}

#[test]
fn what_was_not_looked_at_is_counted_and_makes_the_rest_less_sure() {
    let memory = memory();
    let newcomers = newcomers(&memory);
    note(&newcomers, "up", 0..10, newcomers.began);
    newcomers.missed(5, newcomers.began);
    let window = newcomers.windows(newcomers.began).remove(0);
    assert_eq!((window.new_series, window.error), (15, 5));
    assert_eq!(counts(&window.metrics), [("up", 15)]);
}

#[test]
fn a_thousand_tenants_have_a_percent_of_the_memory_and_the_oldest_slots_give_way() {
    let memory = memory();
    let watch = PolicyWatch::new(&memory).unwrap();
    let one = Newcomers::new(&watch);
    let flood = |newcomers: &Newcomers, slots: u64| {
        for slot in 0..slots {
            let now = newcomers.began + SLOT * slot as u32;
            for n in 0..200 {
                let mut labels: Vec<(String, String)> = vec![("__name__".into(), format!("{n}{}", "m".repeat(200)))];
                labels.extend((0..30).map(|l| (format!("{n}_{l}{}", "l".repeat(200)), n.to_string())));
                let mut bytes = Vec::new();
                encode_labels(labels.iter().map(|(a, b)| (&**a, &**b)), &mut bytes);
                newcomers.note(std::iter::once(bytes.as_slice()), now);
            }
            let held = memory.held(Kind::Plugins);
            assert!(held <= MOST_PER_TENANT, "{held}");
        }
    };
    flood(&one, 13);
    assert!(memory.held(Kind::Plugins) > MOST_PER_TENANT / 2);
    let windows = one.windows(one.began + SLOT * 12);
    assert_eq!((windows[2].new_series, windows[0].new_series), (200 * 13, 400));
    assert_eq!(windows[0].metrics.len(), SHOWN);
    drop(one);
    assert_eq!(memory.held(Kind::Plugins), 0);
    let samples: Vec<_> = (0..1000).map(|_| crate::chain::Samples::new(&watch)).collect();
    let share = watch.share(LEAST_PER_TENANT..=MOST_PER_TENANT);
    assert!(share <= (1 << 30) / 100 / 1000 + 1, "{share}");
    let one = Newcomers::new(&watch);
    flood(&one, 3);
    assert!(memory.held(Kind::Plugins) <= share);
    drop(samples);
}
