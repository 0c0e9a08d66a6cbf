//! What plugins hold of the process's memory, and what becomes of them where there is none.

use super::load::{component, guest};
use super::*;
use crate::memory::{Kind, most};

const MIB: u64 = 1 << 20;
/// A pod of 1 GiB.
const POD: u64 = (1 << 30) / 100 * 80;

/// A policy whose instances have so many MiB from the start.
fn of_size(mebibytes: u64) -> config::Policy {
    let text = guest("", "").replace(
        "(memory (export \"memory\") 2)",
        &format!("(memory (export \"memory\") {})", mebibytes * 16),
    );
    policy(source("large", &component(&text)), "{}")
}

/// Leaves so many bytes of what plugins may have, whatever waits.
fn leave(memory: &Arc<Memory>, bytes: u64) -> crate::memory::Held {
    let room = memory.room(Kind::Plugins);
    memory.hold(Kind::Plugins, room - bytes).unwrap()
}

#[tokio::test]
async fn forty_policies_of_thirty_mebibytes_fit_a_small_pod_one_after_another() {
    let (engine, memory) = engine_within(&sandbox(), POD);
    let policies = [of_size(30)];
    let mut all = Vec::new();
    for n in 0..40 {
        let tenant = tenant(&format!("t{n}"));
        all.push(Chain::build(&engine, &tenant, &policies, n).await.unwrap());
        assert!(memory.held(Kind::Plugins) <= most(POD, Kind::Plugins), "{n}");
    }
    // Ten fit, and a chain is tried on two instances before it serves.
    assert!(engine.warm().len() >= 9, "{}", engine.warm().len());
    // Others need the memory: all that is more than plugins are guaranteed.
    let bodies = memory.hold(Kind::Bodies, most(POD, Kind::Bodies)).unwrap();
    let _connections = memory.hold(Kind::Connections, POD / 100 * 15).unwrap();
    assert!(engine.warm().len() <= 2, "{}", engine.warm().len());
    drop(bodies);
    for chain in &all {
        assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    }
}

#[tokio::test]
async fn a_policy_without_memory_for_its_instance_is_told_why_and_may_be_tried_again() {
    let (engine, memory) = engine_within(&sandbox(), 2 << 30);
    let policies = [of_size(30)];
    // So that it need not be compiled.
    let _compiled = engine.load(&policies[0].plugin).await.unwrap();
    let others = leave(&memory, 28 * MIB);
    let others_bytes = others.bytes();
    let refused = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap_err();
    assert_eq!(refused.fault, BuildFault::NoRoom(Fault::NoMemory));
    assert!(refused.may_pass());
    assert_eq!(
        refused.to_string(),
        "policy large: plugin large could not be tried: an instance of it found no memory: `memory_limit` leaves no room \
         for more plugins"
    );
    let before = memory.held(Kind::Plugins);
    drop(others);
    Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap();
    engine.warm().give_way(u64::MAX);
    // What was refused holds nothing on, nor does what is gone.
    assert_eq!(memory.held(Kind::Plugins), before - others_bytes);
}

#[tokio::test]
async fn an_instance_that_finds_no_memory_as_it_runs_is_not_at_fault() {
    let (engine, memory) = engine_within(&sandbox(), 2 << 30);
    let chain = Chain::build(&engine, &tenant("t"), &[hostile("grow", "relabel")], 1)
        .await
        .unwrap();
    engine.warm().give_way(u64::MAX);
    let others = leave(&memory, 8 * MIB);
    for _ in 0..20 {
        let faulty = chain.relabel(batch(&[TRIGGER])).await;
        assert!(
            matches!(
                &faulty,
                Err(CallError::Failed {
                    fault: Fault::NoMemory,
                    ..
                })
            ),
            "{faulty:?}"
        );
    }
    assert_eq!(chain.status()[0].quarantined, None);
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    drop(others);
    // Now it is: it wants more than any instance may have.
    let faulty = chain.relabel(batch(&[TRIGGER])).await;
    assert!(
        matches!(
            &faulty,
            Err(CallError::Failed {
                fault: Fault::Memory(_),
                ..
            })
        ),
        "{faulty:?}"
    );
}

#[tokio::test]
async fn machine_code_is_held_as_long_as_somebody_has_the_plugin() {
    let (engine, memory) = engine_within(&sandbox(), 4 << 30);
    let before = memory.held(Kind::Plugins);
    let plugin = engine.load(&standard("relabel")).await.unwrap();
    let code = memory.held(Kind::Plugins) - before;
    assert!((MIB / 2..8 * MIB).contains(&code), "{code}");
    assert_eq!(memory.held(Kind::Compiling), 0);
    drop(plugin);
    assert_eq!(memory.held(Kind::Plugins), before);
    let _others = leave(&memory, code - 1);
    let refused = engine.load(&standard("relabel")).await.err();
    let refused = refused.unwrap();
    assert!(refused.may_pass(), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("`memory_limit` leaves no room for more plugins"),
        "{refused}"
    );
}

#[tokio::test]
async fn compiling_takes_no_more_than_the_limit_leaves_and_says_which_limit_it_was() {
    let (engine, memory) = engine_within(&sandbox(), 600 * MIB);
    let refused = super::load::refused_by(&engine, &super::load::bomb(50_000)).await;
    let LoadError::Compile(CompileError::TooMuchOfLimit(bytes)) = refused else {
        panic!("{refused}");
    };
    assert_eq!(bytes, most(600 * MIB, Kind::Compiling) + 40 * MIB);
    assert_eq!(memory.held(Kind::Compiling), 0);
    Chain::build(&engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_thousand_waiting_instances_of_standard_policies_fit_a_small_pod() {
    let (engine, memory) = engine_within(&sandbox(), POD);
    let policies = [policy(standard("relabel"), "{}"), policy(standard("limits"), "{}")];
    let _chain = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap();
    let code = memory.held(Kind::Plugins);
    engine.warm().give_way(u64::MAX);
    let of_two = code - memory.held(Kind::Plugins);
    assert!(500 * of_two < most(POD, Kind::Plugins), "{of_two}");
}
