//! What a recorded write of 2000 samples costs from its body to the bodies that go on, without networks.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};

mod setup;

use setup::{Churn, DROPPED, EDITED, Gateway, KEPT, compiler, recorded};

// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    if let Some(exit) = compiler() {
        return exit;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("pipeline");
    let bodies = recorded();
    group.throughput(Throughput::Elements(2000));
    for (name, policies) in [("kept", KEPT), ("dropped", DROPPED), ("edited", EDITED)] {
        let gateway = Gateway::new(policies);
        for body in &bodies {
            gateway.runtime.block_on(gateway.process(body));
        }
        let mut next = bodies.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| {
                next.next()
                    .map(|body| gateway.runtime.block_on(gateway.process(black_box(body))))
            });
        });
    }
    let gateway = Gateway::new(KEPT);
    let mut churn = Churn::new(&bodies[0]);
    group.bench_function("cold", |b| {
        let process = |body| gateway.runtime.block_on(gateway.process(&body));
        b.iter_batched(|| churn.next(), process, BatchSize::SmallInput);
    });
    group.finish();
    criterion.final_summary();
    std::process::ExitCode::SUCCESS
}
