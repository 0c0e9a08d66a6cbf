//! Policies that mean harm, as text: one core module, lifted to the contract by hand.
//!
//! Takes what a guest does, gives a component. Each keeps every series.

use gauntlet_tests::guest::{LIFTED, REALLOC};

/// Fills so many bytes when it is configured.
pub fn filler(bytes: u32) -> Vec<u8> {
    let go = format!("(memory.fill (i32.const 4194304) (i32.const 0xa5) (i32.const {bytes}))");
    component(&guest("", &go, "", 64 + bytes.div_ceil(1 << 16)))
}

/// Goes in circles so many times before it judges a batch.
pub fn spinner(turns: u64) -> Vec<u8> {
    let spin = format!(
        "(local.set $turns (i64.const {turns}))
         (loop $again
           (local.set $turns (i64.sub (local.get $turns) (i64.const 1)))
           (br_if $again (i64.ne (local.get $turns) (i64.const 0))))"
    );
    component(&guest("", "", &spin, 64))
}

/// So many functions, each of which does nothing but is compiled. `mark` makes it another plugin than the last.
pub fn crowd(functions: usize, mark: u32) -> Vec<u8> {
    let mark = format!("(global $mark i32 (i32.const {mark}))");
    component(&guest(&(mark + &"(func)".repeat(functions)), "", "", 64))
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).expect("a component")
}

/// `pages` of 64 KiB. Verdicts lie in the third MiB, arguments before them: both are free again after each call.
fn guest(items: &str, configure: &str, relabel: &str, pages: u32) -> String {
    format!(
        r#"
        (core module $m
          {items}
          (memory (export "memory") {pages})
          {REALLOC}
          (func (export "configure") (param i32 i32 i32 i32 i32 i32) (result i32)
            {configure}
            (global.set $top (i32.const 4096))
            (i32.const 16))
          (func (export "relabel") (param i32 i32) (result i32) (local $turns i64)
            {relabel}
            (global.set $top (i32.const 4096))
            (i32.store (i32.const 68) (i32.const 3145728)) (i32.store (i32.const 72) (local.get 1))
            (i32.const 64)))
        (core instance $i (instantiate $m))
        {LIFTED}
        "#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_is_a_component_of_the_size_its_attack_says() {
        assert!(filler(30_000_000).starts_with(b"\0asm"));
        assert!(spinner(1_000).starts_with(b"\0asm"));
        let crowd = crowd(200_000, 7).len();
        assert!((780_000..1_200_000).contains(&crowd), "{crowd}");
    }
}
