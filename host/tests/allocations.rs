//! No allocation per series: a kept write of 2000 series allocates as often as one of 200.

#![allow(clippy::expect_used)] // A test says what went wrong by panicking.

use std::process::ExitCode;

use bytes::Bytes;
use gauntlet::model::Protocol;
use gauntlet::wire::{ScanLimits, scan, snappy, splice};

#[path = "../benches/setup/mod.rs"]
mod setup;

use setup::{DROPPED, EDITED, Gateway, KEPT, as_v2, compiler, recorded};

fn main() -> ExitCode {
    if let Some(exit) = compiler() {
        return exit;
    }
    let whole = &recorded()[0];
    let tenth = first_series(whole, 200);
    for (case, policies) in [("kept", KEPT), ("dropped", DROPPED), ("edited", EDITED)] {
        let gateway = Gateway::new(policies);
        let (few, many) = (
            allocations(&gateway, Protocol::V1, &tenth),
            allocations(&gateway, Protocol::V1, whole),
        );
        println!("{case}: {few} allocations for a write of 200 series, {many} for one of 2000");
        // Kept: not one more. The others' buffers grow by doubling, which is a few more times for ten times the bytes.
        let allowed = if case == "kept" { few } else { few + 12 };
        assert!(
            many <= allowed,
            "{case}: {many} allocations for 2000 series, {few} for 200"
        );
    }
    let gateway = Gateway::new(KEPT);
    let of = |body: &Bytes| allocations(&gateway, Protocol::V2, &as_v2(body));
    let (few, many) = (of(&tenth), of(whole));
    println!("kept, as 2.0: {few} allocations for a write of 200 series, {many} for one of 2000");
    // There are more symbols as well.
    assert!(
        many <= few + 12,
        "2.0: {many} allocations for 2000 series, {few} for 200"
    );
    println!("4 passed, 0 failed");
    ExitCode::SUCCESS
}

/// Of one write whose series are all known, on the thread that serves it.
fn allocations(gateway: &Gateway, protocol: Protocol, body: &Bytes) -> u64 {
    for _ in 0..3 {
        gateway.runtime.block_on(gateway.process_as(protocol, body));
    }
    let counted = || gateway.runtime.block_on(gateway.process_as(protocol, body));
    // The least of a few: whatever else happens now and then is not the write's.
    let runs = (0..5).map(|_| allocation_counter::measure(|| drop(counted())).count_total);
    runs.min().expect("five runs")
}

fn first_series(body: &[u8], count: usize) -> Bytes {
    let decoded = snappy::decode(body, 32 << 20).expect("snappy");
    let scanned = scan(Protocol::V1, decoded, &ScanLimits::NONE).expect("a canonical body");
    let (mut some, mut compressed) = (Vec::new(), Vec::new());
    for series in &scanned.series()[..count] {
        splice::keep(&mut some, &scanned, series).expect("a series of this body");
    }
    snappy::encode(&some, &mut compressed).expect("a body");
    compressed.into()
}
