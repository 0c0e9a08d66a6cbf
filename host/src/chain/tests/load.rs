//! What may be loaded, what it may import, and what compiling may cost.

use std::time::Instant;

use gauntlet_tests::guest::{LIFTED, REALLOC};

use super::*;

async fn refused(bytes: &[u8]) -> LoadError {
    refused_by(shared(), bytes).await
}

pub(super) async fn refused_by(engine: &Arc<Engine>, bytes: &[u8]) -> LoadError {
    let policies = [policy(source("bad", bytes), "{}")];
    match Chain::build(engine, &tenant("load"), &policies, 1)
        .await
        .unwrap_err()
        .fault
    {
        BuildFault::Load(error) => error,
        other => panic!("{other}"),
    }
}

pub(super) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

pub(super) async fn contract(text: &str) -> String {
    match refused(&component(text)).await {
        LoadError::Compile(CompileError::Contract(error)) => error,
        LoadError::Contract(error) => error.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_is_no_component_is_refused_for_what_it_is() {
    let module = wat::parse_str("(module)").unwrap();
    assert_eq!(refused(&module).await, LoadError::Compile(CompileError::CoreModule));
    assert_eq!(refused(b"").await, LoadError::Compile(CompileError::NotWasm));
    assert_eq!(
        refused(b"#!/bin/sh\nexit 0\n").await,
        LoadError::Compile(CompileError::NotWasm)
    );
    let large = vec![0; compile::MAX_PLUGIN + 1];
    assert_eq!(
        refused(&large).await,
        LoadError::Compile(CompileError::TooLarge(large.len()))
    );
}

#[tokio::test]
async fn truncated_and_damaged_components_are_refused() {
    let whole = fixture("pass").bytes.clone();
    for length in [8, 9, 100, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]).await;
        assert!(
            matches!(
                error,
                LoadError::Compile(CompileError::Refused(_) | CompileError::Contract(_))
            ),
            "{length}: {error}"
        );
    }
    let mut random = whole[..8].to_vec();
    random.extend((0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    assert!(matches!(
        refused(&random).await,
        LoadError::Compile(CompileError::Refused(_))
    ));
}

#[tokio::test]
async fn an_import_beyond_the_contract_is_refused_by_its_name() {
    for name in ["wasi:keyvalue/store@0.2.0", "wasi:socket/tcp@0.2.0", "host:files/all"] {
        let text = contract(&format!(r#"(import "{name}" (instance))"#)).await;
        assert_eq!(text, format!("imports {name}, which no policy gets"));
    }
    assert_eq!(
        contract(r#"(import "f" (func))"#).await,
        "imports f, which no policy gets"
    );
    for item in ["(core module)", "(component)", "(type (sub resource))"] {
        let text = contract(&format!(r#"(import "thing" {item})"#)).await;
        assert_eq!(text, "imports thing, which is not an interface", "{item}");
    }
    let forged = r#"(import "gauntlet:policy/log@1.0.0" (instance (export "r" (type (sub resource)))))"#;
    assert!(contract(forged).await.contains("is not an interface"));
    // The right name with a function that is not there.
    let unknown = r#"(import "gauntlet:policy/log@1.0.0" (instance (export "read" (func))))"#;
    assert!(
        contract(&format!("{unknown} {}", guest("", "")))
            .await
            .starts_with("cannot be linked to gauntlet:policy@1.0.0: ")
    );
}

#[tokio::test]
async fn a_plugin_of_another_version_is_told_what_it_and_the_gateway_speak() {
    for name in [
        "gauntlet:policy/types@0.1.0",
        "gauntlet:policy/log@2.0.0",
        "gauntlet:policy/clock@1.0.0",
    ] {
        assert_eq!(
            contract(&format!(r#"(import "{name}" (instance))"#)).await,
            format!(
                "imports {name}; this gateway speaks gauntlet:policy@1.0.0, so build the plugin with that contract"
            )
        );
    }
    // What only adds to this version may be imported, if what was added is not.
    let newer = r#"(import "gauntlet:policy/log@1.7.2" (instance))"#;
    let source = source("newer", &component(&format!("{newer} {}", guest("", ""))));
    chain("newer", &[policy(source, "{}")]).await;
}

#[tokio::test]
async fn a_wrong_import_is_told_before_anything_is_compiled() {
    // A function without the result that it says it has does not compile.
    let broken = format!("(core module $b (func (result i32))) {}", guest("", ""));
    let error = refused(&component(&broken)).await;
    assert!(matches!(error, LoadError::Compile(CompileError::Refused(_))), "{error}");
    let import = r#"(import "host:files/all" (instance))"#;
    assert_eq!(
        contract(&format!("{import} {broken}")).await,
        "imports host:files/all, which no policy gets"
    );
}

#[tokio::test]
async fn exports_that_are_not_the_contracts_are_refused() {
    assert_eq!(contract("").await, "does not export configure");
    let with = |name: &str| {
        format!(
            r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
               (func (export "{name}") (canon lift (core func $i "f")))"#
        )
    };
    assert_eq!(
        contract(&with("configure")).await,
        "exports configure with another type than gauntlet:policy@1.0.0 has: expected `..string, record {tenant: string, \
         upstreams: list<string>}) -> result<_, string>`, found `..)`"
    );
    assert_eq!(contract(&with("run")).await, "does not export configure");
}

#[tokio::test]
async fn exports_beside_the_contract_are_ignored() {
    let others = r#"
        (core module $n (func (export "f")))
        (core instance $j (instantiate $n))
        (func (export "init") (canon lift (core func $j "f")))
        (type $r (resource (rep i32)))
        (export "r" (type $r))
        (instance $k)
        (export "exports" (instance $k))"#;
    let source = source("more", &component(&format!("{} {others}", guest("", ""))));
    let chain = chain("more", &[policy(source, "{}")]).await;
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
}

/// A policy in text: `core` and `with` go into its core module's body and instantiation; configure calls `$go`.
pub(super) fn guest(core: &str, with: &str) -> String {
    let go = if core.is_empty() { "(func $go)" } else { core };
    format!(
        r#"
        (core module $m
          {go}
          (memory (export "memory") 2)
          {REALLOC}
          (func (export "configure") (param i32 i32 i32 i32 i32 i32) (result i32) (call $go) (i32.const 16))
          ;; As many verdicts as series, all zero bytes, which is `keep`.
          (func (export "relabel") (param i32 i32) (result i32)
            (i32.store (i32.const 68) (i32.const 65536)) (i32.store (i32.const 72) (local.get 1))
            (i32.const 64)))
        (core instance $i (instantiate $m {with}))
        {LIFTED}
        "#
    )
}

#[tokio::test]
async fn inputs_are_the_contracts_and_of_an_admit() {
    let with = |flags: &str| {
        format!(
            r#"{}
            (core module $n (func (export "f") (result i32) (i32.const 0)))
            (core instance $j (instantiate $n))
            (type $inputs' (flags {flags}))
            (export $inputs "inputs" (type $inputs'))
            (func (export "admission-inputs") (result $inputs) (canon lift (core func $j "f")))"#,
            guest("", "")
        )
    };
    let all = r#""compressed-bytes" "decoded-bytes" "active-series" "new-series" "totals""#;
    assert_eq!(
        contract(&with(all)).await,
        "exports admission-inputs, but no admit that could have any"
    );
    for other in [r#""totals""#.to_owned(), format!(r#"{all} "weather""#)] {
        let text = contract(&with(&other)).await;
        assert!(
            text.starts_with("exports admission-inputs with another type than gauntlet:policy@1.0.0 has: "),
            "{text}"
        );
    }
}

/// 5,000, or as many as a nightly run asks for (`make canary`).
fn canary_rounds() -> u64 {
    let asked = std::env::var("GAUNTLET_CANARY_ROUNDS");
    asked.map_or(5000, |rounds| rounds.parse().unwrap())
}

#[tokio::test]
async fn no_memory_passes_from_one_tenant_to_another() {
    // All but where the guest's own arguments and verdicts lie.
    let fill = guest(
        "(func $go
           (memory.fill (i32.const 16384) (i32.const 0xa5) (i32.const 49152))
           (memory.fill (i32.const 73728) (i32.const 0xa5) (i32.const 57344)))",
        "",
    );
    let scan = guest(
        "(func $go (local $at i32) (local.set $at (i32.const 16384))
           (loop $next
             (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
             (local.set $at (i32.add (local.get $at) (i32.const 8)))
             (br_if $next (i32.lt_u (local.get $at) (i32.const 131072)))))",
        "",
    );
    let fill = policy(source("fill", &component(&fill)), "{}");
    let scan = policy(source("scan", &component(&scan)), "{}");
    let engine = engine(&sandbox());
    // Kept, so that both stay compiled; their instances are not.
    let _filled = Chain::build(&engine, &tenant("writer"), std::slice::from_ref(&fill), 0)
        .await
        .unwrap();
    let _scanned = Chain::build(&engine, &tenant("reader"), std::slice::from_ref(&scan), 0)
        .await
        .unwrap();
    for round in 1..=canary_rounds() {
        drop(
            Chain::build(&engine, &tenant("writer"), std::slice::from_ref(&fill), round)
                .await
                .unwrap(),
        );
        Chain::build(&engine, &tenant("reader"), std::slice::from_ref(&scan), round)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_declared_memory_over_the_limit_is_refused() {
    let text = guest("", "").replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 513)");
    let policies = [policy(source("large", &component(&text)), "{}")];
    let error = Chain::build(shared(), &tenant("t"), &policies, 1).await.unwrap_err();
    assert!(
        matches!(error.fault, BuildFault::Load(_) | BuildFault::Configure(_)),
        "{error}"
    );
    let text = guest("", "").replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 512)");
    chain("at-the-limit", &[policy(source("large", &component(&text)), "{}")]).await;
}

/// Functions by the thousand, each some work to compile.
pub(super) fn bomb(functions: usize) -> Vec<u8> {
    let body = "(func (param i32) (result i32) local.get 0 ".to_owned()
        + &"local.get 0 i32.mul local.get 0 i32.xor i32.popcnt ".repeat(20)
        + ")";
    component(&format!(
        "(core module $b {}) (core instance (instantiate $b)) {}",
        body.repeat(functions),
        guest("", "")
    ))
}

#[tokio::test]
async fn compiling_is_bounded_in_time_and_memory_and_harms_nobody() {
    let bomb = bomb(50_000);
    let limited = |compile_timeout, compile_memory_limit| {
        engine(&config::Sandbox {
            compile_timeout,
            compile_memory_limit,
            ..sandbox()
        })
    };
    let began = Instant::now();
    let engine = limited(Duration::from_secs(1), 2 << 30);
    let error = refused_by(&engine, &bomb).await;
    // On a machine where it has its share of the processors, and where it has not.
    let over = [
        CompileError::TooSlow(Duration::from_secs(1)),
        CompileError::TooBusy(Duration::from_secs(2)),
    ];
    assert!(over.map(LoadError::Compile).contains(&error), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());

    let engine = limited(Duration::from_secs(60), 192 << 20);
    let error = refused_by(&engine, &bomb).await;
    assert_eq!(error, LoadError::Compile(CompileError::TooMuchMemory(192 << 20)));
    Chain::build(&engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_compilation_that_others_kept_from_the_processors_may_be_tried_again() {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, metrics.clone());
    let sandbox = config::Sandbox {
        compile_timeout: Duration::from_millis(50),
        ..sandbox()
    };
    // As a child that never has its turn.
    let idle = Compiler {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "exec sleep 1000".into()],
    };
    let engine = Engine::new(&sandbox, idle, &memory, metrics).unwrap();
    let policies = [policy(fixture("pass"), "{}")];
    let error = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!(
        error.to_string(),
        "policy pass: plugin pass could not be compiled within 0.1 s because the machine is too busy, and is tried again when \
         the configuration is read the next time; `sandbox.compile_timeout` is half of that"
    );
}

#[tokio::test]
async fn deep_nesting_is_compiled_or_refused_and_kills_nothing() {
    let engine = engine(&config::Sandbox {
        compile_timeout: Duration::from_secs(5),
        ..sandbox()
    });
    let depth = 100_000;
    let text = format!(
        "(core module $b (func {} {})) {}",
        "block ".repeat(depth),
        "end ".repeat(depth),
        guest("", "")
    );
    let deep = policy(source("deep", &component(&text)), "{}");
    if let Err(error) = Chain::build(&engine, &tenant("t"), &[deep], 1).await {
        assert!(
            matches!(error.fault, BuildFault::Load(LoadError::Compile(_))),
            "{error}"
        );
    }
    Chain::build(&engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_standard_plugins_load_and_do_their_work() {
    let relabel = policy(
        standard("relabel"),
        r#"{"relabel_configs": [{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
                                {"target_label": "cluster", "replacement": "a"}]}"#,
    );
    let limits = policy(
        standard("limits"),
        r#"{"samples": {"per_second": 50000, "burst": 200000}}"#,
    );
    let route = policy(
        standard("route"),
        r#"{"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "soft-tenants"}]}"#,
    );
    let chain = chain("standard", &[relabel, limits, route]).await;
    let judged = chain
        .relabel(batch(&[UP, &[("__name__", "go_threads")], &[("__name__", "kube_pod")]]))
        .await
        .unwrap();
    let Outcome::Edit {
        labels, stream: None, ..
    } = &judged.outcomes[0]
    else {
        panic!("{judged:?}")
    };
    assert_eq!((&*labels[1].name, &*labels[1].value), ("cluster", "a"));
    assert!(
        matches!(&judged.outcomes[1], Outcome::Drop { policy, .. } if &**policy == "relabel"),
        "{judged:?}"
    );
    let Outcome::Edit {
        stream: Some(stream), ..
    } = &judged.outcomes[2]
    else {
        panic!("{judged:?}")
    };
    assert_eq!(&**stream, "kube");
    let totals = crate::model::Totals {
        series: 2,
        samples: 5,
        ..Default::default()
    };
    let told = Write {
        streams: vec![(Arc::from(""), totals), (stream.clone(), totals)],
        ..write("")
    };
    let decision = chain.admit(told).await.unwrap();
    let Decision::Admit(terms) = &decision else { panic!() };
    let charge = &terms.charges[0];
    assert_eq!((&*charge.policy, charge.tokens, charge.burst), ("limits", 10, 200_000));
    assert_eq!(terms.routes, [(Arc::from("kube"), Arc::from("soft-tenants"))]);

    let bad = policy(standard("relabel"), r#"{"relabel_configs": [{"regex": "("}]}"#);
    let error = Chain::build(shared(), &tenant("t"), &[bad], 1).await.unwrap_err();
    assert!(
        matches!(&error.fault, BuildFault::Configure(Fault::Error(_))),
        "{error}"
    );
}
