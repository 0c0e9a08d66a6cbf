//! Where work is done, on whose account, and what is given back when nobody waits for it any more.

use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::sandbox::warm::Room;

fn threads(metrics: &Arc<Metrics>) -> Threads {
    let warm = Arc::new(Warm::new(Room {
        instances: 1,
        per_policy: 1,
    }));
    Threads::start(1, &warm, metrics).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// Ends when it is told to.
struct Blocks(mpsc::Receiver<()>);

impl Job for Blocks {
    fn step(&mut self) -> Step {
        let _ = self.0.recv();
        Step::Done
    }
}

#[test]
fn what_a_tenant_takes_is_processor_time_and_not_how_long_it_waits() {
    let metrics = Arc::new(Metrics::new());
    let threads = threads(&metrics);
    let took = |name: &str| {
        let labels = TenantLabels {
            tenant: name.to_owned(),
        };
        metrics.work_seconds.get_or_create(&labels).get()
    };
    let wait = Duration::from_millis(50);
    let sleeps = Once::new(false, move || std::thread::sleep(wait));
    let spins = Once::new(false, move || {
        let began = thread_time();
        while thread_time().saturating_sub(began) < wait {}
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(threads.work(&tenant("sleeps"), sleeps)).unwrap();
    runtime.block_on(threads.work(&tenant("spins"), spins)).unwrap();
    drop(threads);
    assert!(took("spins") >= wait.as_secs_f64(), "{}", took("spins"));
    assert!(took("sleeps") < wait.as_secs_f64() / 2.0, "{}", took("sleeps"));
}

/// Of three steps, none of which is light.
struct Steps(Vec<Option<std::thread::ThreadId>>);

impl Work for Steps {
    type Done = Vec<Option<std::thread::ThreadId>>;

    fn go_on(&mut self, effort: Effort) -> Option<Self::Done> {
        if effort == Effort::Full {
            self.0.push(Some(std::thread::current().id()));
        }
        (self.0.len() == 3).then(|| std::mem::take(&mut self.0))
    }
}

#[tokio::test]
async fn light_work_is_done_here_and_other_work_elsewhere_on_its_tenants_account() {
    let metrics = Arc::new(Metrics::new());
    let threads = threads(&metrics);
    let here = std::thread::current().id();
    let (light, heavy) = (tenant("light"), tenant("heavy"));
    let place = |is_light| Once::new(is_light, || std::thread::current().id());
    assert_eq!(threads.work(&light, place(true)).await, Ok(here));
    assert!(
        threads
            .work(&heavy, place(false))
            .await
            .is_ok_and(|there| there != here)
    );
    let steps = threads.work(&heavy, Steps(Vec::new())).await.unwrap();
    assert!(steps.iter().all(|there| *there != Some(here)), "{steps:?}");
    drop(threads);
    let text = metrics.text();
    assert!(text.contains("gauntlet_work_seconds_total{tenant=\"heavy\"}"), "{text}");
    assert!(!text.contains("tenant=\"light\""), "{text}");
}

#[tokio::test]
async fn work_that_panics_is_lost_and_its_thread_is_not() {
    let threads = threads(&Arc::new(Metrics::new()));
    let a = tenant("a");
    for _ in 0..2 * Threads::count(1) {
        let bug = threads.work(&a, Once::new(false, || panic!("a bug"))).await;
        assert_eq!(bug, Err::<(), _>(Undone::Lost));
    }
    assert_eq!(threads.work(&a, Once::new(false, || 7)).await, Ok(7));
}

/// Says that it runs, and never ends by itself.
struct Endless {
    runs: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
    _held: Arc<()>,
}

impl Work for Endless {
    type Done = ();

    fn go_on(&mut self, effort: Effort) -> Option<()> {
        if effort == Effort::Full {
            let _ = self.runs.send(());
            let _ = self.go_on.recv();
        }
        None
    }
}

#[test]
fn work_that_is_given_up_while_it_runs_gives_back_what_it_holds_with_its_step() {
    let (runs, running) = mpsc::channel();
    let (end, go_on) = mpsc::channel();
    let held = Arc::new(());
    let work = Endless {
        runs,
        go_on,
        _held: Arc::clone(&held),
    };
    let (reply, done) = oneshot::channel();
    let given = Arc::new(Mutex::new(Some(work)));
    let mut piece = Piece {
        given: Arc::clone(&given),
        reply: Some(reply),
        tenant: tenant("a"),
        shared: Weak::new(),
    };
    let thread = std::thread::spawn(move || (piece.step(), piece));
    running.recv().unwrap();
    drop(done);
    drop(GivenUp(given));
    drop(end);
    let (step, _piece) = thread.join().unwrap();
    assert_eq!((step, Arc::strong_count(&held)), (Step::Done, 1));
}

#[test]
fn work_that_nobody_waits_for_any_more_gives_back_what_it_holds_before_its_turn() {
    let threads = threads(&Arc::new(Metrics::new()));
    let a = tenant("a");
    let ends: Vec<_> = (0..Threads::of_one_tenant(1))
        .map(|_| {
            let (end, until) = mpsc::channel();
            threads.submit(&a, Rank::Begins, Box::new(Blocks(until))).unwrap();
            end
        })
        .collect();
    let held = Arc::new(());
    // Begins, so that it waits behind those that block.
    let work = Endless {
        runs: mpsc::channel().0,
        go_on: mpsc::channel().1,
        _held: Arc::clone(&held),
    };
    let mut work = Box::pin(threads.work(&a, work));
    let waits = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(waits, Poll::Pending) && Arc::strong_count(&held) == 2);
    drop(work);
    assert_eq!(Arc::strong_count(&held), 1);
    drop(ends);
}
