//! Policies as text, lifted to the contract by hand: no toolchain makes a guest that means harm.
//!
//! Takes nothing, gives what every such component has behind its core instance, and some whole ones.

/// The room that a guest is asked in, from `$top` on, which only grows until the guest sets it back.
pub const REALLOC: &str = r#"
          (global $top (mut i32) (i32.const 4096))
          (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (global.get $top))
            (global.set $top (i32.add (global.get $top)
              (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
            (local.get $at))"#;

/// Behind `(core instance $i ..)` of a module that exports `memory`, `realloc`, `configure` and `relabel`.
pub const LIFTED: &str = r#"
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "realloc" (core func $realloc))
        (type $label' (record (field "name" string) (field "value" string)))
        (export $label "label" (type $label'))
        (type $budget' (record (field "name" string) (field "max-active-series" u64)))
        (export $budget "budget" (type $budget'))
        (type $edit' (record (field "labels" (option (list $label))) (field "stream" (option string))
          (field "budget" (option $budget))))
        (export $edit "edit" (type $edit'))
        (type $verdict' (variant (case "keep") (case "drop" string) (case "edit" $edit)))
        (export $verdict "verdict" (type $verdict'))
        (type $context' (record (field "tenant" string) (field "upstreams" (list string))))
        (export $context "context" (type $context'))
        (func (export "configure") (param "settings" string) (param "context" $context) (result (result (error string)))
          (canon lift (core func $i "configure") (memory $memory) (realloc $realloc)))
        (func (export "relabel") (param "series" (list (list $label))) (result (result (list $verdict) (error string)))
          (canon lift (core func $i "relabel") (memory $memory) (realloc $realloc)))
"#;

/// The export `judges`, behind any of them: `code` answers, its first bit being for series and its second for writes.
pub fn judges(code: &str) -> String {
    format!(
        r#"
        (core module $scopes (func (export "f") (result i32) {code}))
        (core instance $scoped (instantiate $scopes))
        (type $scope' (flags "series" "writes"))
        (export $scope "scope" (type $scope'))
        (func (export "judges") (result $scope) (canon lift (core func $scoped "f")))"#
    )
}

/// What a [`liar`] goes by: how often it was called, where a series stands in a call, which one came before it.
pub const BY_CALL: &str = "(i32.and (global.get $calls) (i32.const 1))";
pub const BY_PLACE: &str = "(i32.and (local.get $i) (i32.const 1))";
pub const BY_THE_ONE_BEFORE: &str = "(i32.and (global.get $last) (i32.const 1))";

/// A policy that keeps all series until it has seen `after` of them; from then on it drops some, for `lie`, by what they do
/// not say themselves.
pub fn liar(when: &str, after: usize) -> String {
    format!(
        r#"
        (core module $m
          (memory (export "memory") 8)
          (data (i32.const 32) "lie")
          {REALLOC}
          (global $calls (mut i32) (i32.const 0))
          (global $seen (mut i32) (i32.const 0))
          (global $last (mut i32) (i32.const 0))
          (func (export "configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16))
          (func (export "relabel") (param $series i32) (param $count i32) (result i32)
            (local $i i32) (local $at i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (loop $next
              (if (i32.lt_u (local.get $i) (local.get $count)) (then
                ;; A verdict has 56 bytes: its tag, and from the eighth on what it drops for.
                (local.set $at (i32.add (i32.const 327680) (i32.mul (local.get $i) (i32.const 56))))
                (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                (i32.store8 (local.get $at)
                  (i32.and (i32.gt_u (global.get $seen) (i32.const {after})) {when}))
                (i32.store offset=8 (local.get $at) (i32.const 32))
                (i32.store offset=12 (local.get $at) (i32.const 3))
                ;; How long the value of its first label is.
                (global.set $last (i32.load offset=12 (i32.load
                  (i32.add (local.get $series) (i32.shl (local.get $i) (i32.const 3))))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next))))
            ;; What it was asked lies in room that is used again.
            (global.set $top (i32.const 4096))
            (i32.store (i32.const 68) (i32.const 327680)) (i32.store (i32.const 72) (local.get $count))
            (i32.const 64)))
        (core instance $i (instantiate $m))
        {LIFTED}
        "#
    )
}

/// Where the memory of [`answering`] begins that its settings fill: the result of `relabel`, as the canonical ABI has it, and
/// all that it points to.
pub const IMAGE: u32 = 65536;

/// A policy that answers with the bytes that its settings have, as one string of hexadecimal digits: what no toolchain writes.
pub fn answering() -> String {
    format!(
        r#"
        (core module $m
          (memory (export "memory") 2)
          {REALLOC}
          (func $digit (param i32) (result i32)
            (select (i32.sub (local.get 0) (i32.const 87)) (i32.sub (local.get 0) (i32.const 48))
              (i32.gt_u (local.get 0) (i32.const 57))))
          ;; The digits of a byte, behind the quote that the string begins with.
          (func $byte (param $at i32) (result i32)
            (i32.or
              (i32.shl (call $digit (i32.load8_u offset=1 (local.get $at))) (i32.const 4))
              (call $digit (i32.load8_u offset=2 (local.get $at)))))
          (func (export "configure") (param $text i32) (param $length i32) (param i32 i32 i32 i32) (result i32)
            (local $i i32)
            (loop $next
              (if (i32.lt_u (i32.add (i32.shl (local.get $i) (i32.const 1)) (i32.const 2)) (local.get $length)) (then
                (i32.store8 offset={IMAGE} (local.get $i)
                  (call $byte (i32.add (local.get $text) (i32.shl (local.get $i) (i32.const 1)))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next))))
            (i32.const 16))
          (func (export "relabel") (param i32 i32) (result i32)
            (global.set $top (i32.const 4096))
            (i32.const {IMAGE})))
        (core instance $i (instantiate $m))
        {LIFTED}
        "#
    )
}
