//! What stock toolchains import: a clock that stands still, and a network that says no.

use std::time::Instant;

use super::load::{component, guest, refused_by};
use super::*;

/// Imports of WASI's clock and poll, for [`guest`]'s core module to call.
const CLOCK: &str = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll
      (export "pollable" (type $p (sub resource)))
      (export "[method]pollable.block" (func (param "self" (borrow $p))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
      (export "pollable" (type $p (eq $pollable)))
      (export "now" (func (result u64)))
      (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core func $now (canon lower (func $clock "now")))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core instance $host
      (export "block" (func $block)) (export "now" (func $now)) (export "subscribe" (func $subscribe)))
"#;
const CLOCK_CORE: &str = r#"
    (import "host" "block" (func $block (param i32)))
    (import "host" "now" (func $now (result i64)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
"#;

fn clock_guest(go: &str) -> config::Policy {
    let text = format!(
        "{CLOCK} {}",
        guest(
            &format!("{CLOCK_CORE} (func $go {go})"),
            r#"(with "host" (instance $host))"#
        )
    );
    policy(source("clock", &component(&text)), "{}")
}

#[tokio::test]
async fn a_stock_toolchains_clock_stands_still_and_its_timers_never_wait() {
    // Waits an hour, then a clock that moved would be unreachable code.
    let waits = clock_guest(
        "(local $before i64) (local.set $before (call $now))
         (call $block (call $subscribe (i64.const 3600000000000)))
         (if (i64.ne (local.get $before) (call $now)) (then unreachable))",
    );
    let began = Instant::now();
    let chain = chain("clock", &[waits]).await;
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    assert!(began.elapsed() < Duration::from_secs(60));

    let hoards = clock_guest("(loop $again (drop (call $subscribe (i64.const 1))) (br $again))");
    let error = Chain::build(shared(), &tenant("clock"), &[hoards], 1)
        .await
        .unwrap_err();
    let BuildFault::Configure(Fault::Trap(text)) = &error.fault else {
        panic!("{error}")
    };
    assert!(text.contains("table"), "handles are bounded: {text}");
}

/// Imports of a socket and of an HTTP request as stock toolchains make them, for [`guest`]'s core module to call.
const NETWORK: &str = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type $p (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:sockets/network@0.2.6" (instance $network
      (export "network" (type (sub resource)))
      (type $e' (enum "unknown" "access-denied" "not-supported"))
      (export "error-code" (type (eq $e')))))
    (alias export $network "error-code" (type $error))
    (import "wasi:sockets/tcp@0.2.6" (instance $tcp
      (export "error-code" (type $e (eq $error)))
      (export "pollable" (type $p (eq $pollable)))
      (export "tcp-socket" (type $s (sub resource)))
      (export "[method]tcp-socket.subscribe" (func (param "self" (borrow $s)) (result (own $p))))))
    (alias export $tcp "tcp-socket" (type $socket))
    (import "wasi:sockets/tcp-create-socket@0.2.6" (instance $create
      (export "tcp-socket" (type $s (eq $socket)))
      (export "error-code" (type $e (eq $error)))
      (export "create-tcp-socket" (func (result (result (own $s) (error $e)))))))
    (import "wasi:http/types@0.2.6" (instance $http
      (export "fields" (type $f (sub resource)))
      (export "[constructor]fields" (func (result (own $f))))))
    (core module $memory
      (memory (export "m") 1)
      (func (export "answer") (param i32) (result i32) (i32.load8_u (local.get 0))))
    (core instance $memory' (instantiate $memory))
    (alias core export $memory' "answer" (core func $answer))
    (alias core export $memory' "m" (core memory $m'))
    (core func $open (canon lower (func $create "create-tcp-socket") (memory $m')))
    (core func $fields (canon lower (func $http "[constructor]fields")))
    (core instance $host (export "open" (func $open)) (export "fields" (func $fields)) (export "answer" (func $answer)))
"#;

fn network_guest(go: &str) -> config::Policy {
    let core = r#"
        (import "host" "open" (func $open (param i32)))
        (import "host" "fields" (func $fields (result i32)))
        (import "host" "answer" (func $answer (param i32) (result i32)))
    "#;
    let text = format!(
        "{NETWORK} {}",
        guest(&format!("{core} (func $go {go})"), r#"(with "host" (instance $host))"#)
    );
    policy(source("network", &component(&text)), "{}")
}

#[tokio::test]
async fn a_stock_toolchains_network_says_that_it_is_not_permitted() {
    // The socket's own error for it, the second of three; anything else would be unreachable code.
    let asks = network_guest(
        "(call $open (i32.const 0))
         (if (i32.ne (call $answer (i32.const 0)) (i32.const 1)) (then unreachable))
         (if (i32.ne (call $answer (i32.const 4)) (i32.const 1)) (then unreachable))",
    );
    chain("network", &[asks]).await;
    let sends = network_guest("(drop (call $fields))");
    let error = Chain::build(shared(), &tenant("network"), &[sends], 1)
        .await
        .unwrap_err();
    let BuildFault::Configure(Fault::Trap(text)) = &error.fault else {
        panic!("{error}")
    };
    assert!(
        text.starts_with("wasi:http/types@0.2.6#[constructor]fields is not permitted to a policy"),
        "{text}"
    );
}

#[tokio::test]
async fn wasi_is_refused_where_the_operator_turned_it_off() {
    let engine = engine(&config::Sandbox {
        wasi: false,
        ..sandbox()
    });
    let policies = [clock_guest("")];
    let error = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap_err();
    assert!(
        error.to_string().ends_with("which `sandbox.wasi: deny` turns off") && error.to_string().contains("wasi:"),
        "{error}"
    );
    Chain::build(&engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn guests_of_a_real_toolchain_load_or_are_refused_by_name() {
    chain("stock", &[policy(fixture("wasi"), "{}")]).await;
    for (name, why) in [
        ("extra-import", "imports acme:wants/sockets@1.0.0, which no policy gets"),
        ("missing-export", "exports neither relabel nor admit"),
    ] {
        let error = refused_by(shared(), &fixture(name).bytes).await;
        assert_eq!(error, LoadError::Compile(CompileError::Contract(why.to_owned())));
    }
}
