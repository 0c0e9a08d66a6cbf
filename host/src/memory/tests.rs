//! What each kind is sure of, who gives way to whom, and what makes the limit smaller.

use super::*;

const LIMIT: u64 = 10_000;

fn memory() -> Arc<Memory> {
    Memory::new(LIMIT, Arc::new(Metrics::new()))
}

#[test]
fn each_kind_gets_its_most_and_not_a_byte_more() {
    for kind in Kind::ALL {
        let memory = memory();
        let most = LIMIT / 100 * kind.share().most.min(100 - guaranteed_to_others(kind));
        let mut held = memory.hold(kind, most).unwrap();
        assert_eq!(held.grow(1), Err(Full(kind)));
        held.shrink(1);
        assert_eq!(held.grow(1), Ok(()));
        drop(held);
        assert_eq!(memory.held(kind), 0);
    }
}

fn guaranteed_to_others(kind: Kind) -> u64 {
    let others = Kind::ALL.into_iter().filter(|other| *other != kind);
    others.map(|other| other.share().guaranteed).sum()
}

#[test]
fn what_is_guaranteed_is_there_whatever_all_others_take() {
    for kind in Kind::ALL {
        let memory = memory();
        let room = |other| memory.book().room(other, false);
        let take = |other| memory.hold(other, room(other)).unwrap();
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        let _taken: Vec<Held> = others.map(take).collect();
        let guaranteed = LIMIT / 100 * kind.share().guaranteed;
        assert!(memory.room(kind) >= guaranteed, "{kind:?}");
        let _own = memory.hold(kind, guaranteed).unwrap();
        let all: u64 = Kind::ALL.into_iter().map(|kind| memory.held(kind)).sum();
        assert!(all <= LIMIT, "{all}");
    }
}

fn gives_way(held: Held) -> (Arc<Mutex<Held>>, GiveWay) {
    let held = Arc::new(Mutex::new(held));
    let giving = Arc::clone(&held);
    (held, Box::new(move |wanted| giving.lock().unwrap().shrink(wanted)))
}

#[test]
fn memos_give_way_down_to_what_they_are_guaranteed() {
    let memory = memory();
    let (memos, giving) = gives_way(memory.hold(Kind::Memos, 5_000).unwrap());
    memory.give_way_with(giving);
    let bodies = memory.hold(Kind::Bodies, 6_000).unwrap();
    let memos_left = memos.lock().unwrap().bytes();
    assert_eq!(memos_left, LIMIT - 6_000 - 1_000 - 1_000);
    assert_eq!(memory.hold(Kind::Plugins, 1_500).err(), None);
    assert_eq!(memory.hold(Kind::Plugins, 1_501).err(), Some(Full(Kind::Plugins)));
    drop(bodies);
}

#[test]
fn what_is_handed_on_is_held_once() {
    let memory = memory();
    let mut one = memory.hold(Kind::Memos, 100).unwrap();
    let mut other = memory.open(Kind::Memos);
    other.absorb(&mut one.split(30));
    assert_eq!((one.bytes(), other.bytes(), memory.held(Kind::Memos)), (70, 30, 100));
    other.absorb(&mut one.split(1000));
    drop(one);
    assert_eq!((other.bytes(), memory.held(Kind::Memos)), (100, 100));
    drop(other);
    assert_eq!(memory.held(Kind::Memos), 0);
}

#[test]
fn instances_that_wait_give_way_before_memos_and_to_plugins_that_run_altogether() {
    let memory = memory();
    let (memos, giving) = gives_way(memory.hold(Kind::Memos, 3_000).unwrap());
    memory.give_way_with(giving);
    let (waiting, giving) = gives_way(memory.hold(Kind::Plugins, 3_000).unwrap());
    memory.instances_give_way_with(giving);
    let left = || (memos.lock().unwrap().bytes(), waiting.lock().unwrap().bytes());
    let mut bodies = memory.hold(Kind::Bodies, 4_000).unwrap();
    assert_eq!(left(), (3_000, 2_000));
    bodies.grow(1_500).unwrap();
    assert_eq!(left(), (2_500, 1_000));
    // What runs takes all that waits, and no more.
    drop(bodies);
    let _running = memory.hold(Kind::Plugins, 4_000).unwrap();
    assert_eq!(left(), (2_000, 0));
    assert_eq!(memory.hold(Kind::Plugins, 1).err(), Some(Full(Kind::Plugins)));
}

#[test]
fn instances_do_not_give_way_in_vain() {
    let memory = memory();
    let (waiting, giving) = gives_way(memory.hold(Kind::Plugins, 3_000).unwrap());
    memory.instances_give_way_with(giving);
    let left = || waiting.lock().unwrap().bytes();
    let _bodies = memory.hold(Kind::Bodies, 4_500).unwrap();
    assert_eq!(memory.hold(Kind::Compiling, 2_001).err(), Some(Full(Kind::Compiling)));
    assert_eq!(left(), 3_000);
    // What the process takes beside the account leaves less.
    memory.set_excess(1_000);
    assert_eq!(memory.hold(Kind::Compiling, 2_000).err(), Some(Full(Kind::Compiling)));
    assert_eq!(left(), 3_000);
    memory.set_excess(0);
    assert_eq!(memory.hold(Kind::Compiling, 2_000).err(), None);
    assert_eq!(left(), 1_000);
}

#[test]
fn memos_make_nobody_give_way() {
    let memory = memory();
    memory.give_way_with(Box::new(|_| panic!("memos hold their own locks")));
    memory.instances_give_way_with(Box::new(|_| panic!("dropping an instance is not for who asks a memo")));
    let _plugins = memory.hold(Kind::Plugins, 4_000).unwrap();
    assert_eq!(memory.hold(Kind::Memos, 5_000).err(), Some(Full(Kind::Memos)));
    assert_eq!(memory.hold(Kind::Memos, memory.room(Kind::Memos)).err(), None);
}

#[test]
fn what_is_taken_beside_the_account_makes_the_limit_smaller_until_it_is_gone() {
    let memory = memory();
    let (memos, giving) = gives_way(memory.hold(Kind::Memos, 4_000).unwrap());
    memory.give_way_with(giving);
    let bodies = memory.hold(Kind::Bodies, 3_000).unwrap();
    memory.set_excess(5_000);
    assert_eq!(memos.lock().unwrap().bytes(), 2_000);
    assert_eq!(memory.hold(Kind::Bodies, 1).err(), Some(Full(Kind::Bodies)));
    assert_eq!(memory.refusals(), 1);
    // The process may be in want of all there is and more.
    memory.set_excess(u64::MAX);
    assert_eq!((memory.total(), memory.room(Kind::Connections)), (3_000, 0));
    memory.set_excess(0);
    drop(bodies);
    assert_eq!(memory.room(Kind::Bodies), 6_000);
}

#[test]
fn a_limit_that_is_changed_holds_at_once_and_takes_nothing_away() {
    let memory = memory();
    let bodies = memory.hold(Kind::Bodies, 6_000).unwrap();
    memory.set_limit(LIMIT / 2);
    assert_eq!((memory.held(Kind::Bodies), memory.room(Kind::Bodies)), (6_000, 0));
    drop(bodies);
    assert_eq!(
        (memory.room(Kind::Bodies), most(memory.limit(), Kind::Bodies)),
        (3_000, 3_000)
    );
}

#[test]
fn the_least_limit_that_guarantees_something_does_and_one_less_does_not() {
    for bytes in [1, 64 << 20, 1_000_001] {
        let least = limit_that_guarantees(Kind::Bodies, bytes);
        assert!(guaranteed(least, Kind::Bodies) >= bytes, "{bytes}");
        assert!(guaranteed(least - 1, Kind::Bodies) < bytes, "{bytes}");
    }
}

#[test]
fn who_is_refused_keeps_what_he_had() {
    let memory = memory();
    let mut held = memory.hold(Kind::Compiling, 10).unwrap();
    assert_eq!(held.grow(u64::MAX), Err(Full(Kind::Compiling)));
    assert_eq!((held.bytes(), memory.held(Kind::Compiling)), (10, 10));
}

#[test]
fn who_is_forestalled_asks_again() {
    let memory = memory();
    let (waiting, giving) = gives_way(memory.hold(Kind::Plugins, 4_000).unwrap());
    let (forestaller, taken) = (Arc::downgrade(&memory), Mutex::new(Vec::new()));
    memory.instances_give_way_with(Box::new(move |wanted| {
        giving(wanted);
        let mut taken = taken.lock().unwrap();
        if taken.is_empty() {
            taken.push(forestaller.upgrade().unwrap().hold(Kind::Plugins, 1_000).unwrap());
        }
    }));
    let _running = memory.hold(Kind::Plugins, 1_000).unwrap();
    assert_eq!(waiting.lock().unwrap().bytes(), 2_000);
}
