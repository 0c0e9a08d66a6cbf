//! How much of a reactor's time a tenant has had in this turn.
//!
//! A reactor serves what is ready first come, first served: a tenant with many connections would have all others wait for
//! all of its work. Takes what a tenant's work on this reactor took, gives whether more of it may be done here and now. What
//! is a step of a write is done elsewhere if not, in an order that is fair; what is the connection itself (handshakes, heads,
//! answers) waits for the next turn, that of all who proved no tenant together, as one more tenant. A turn ends when the
//! reactor has nothing left to do, so that nobody is sent away from one that is not busy; on one that is always busy a
//! tenant keeps a small share. Threads that are no reactors have no turns: whatever is asked for is done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::model::TenantId;

/// What a tenant may do at once while others may be waiting: four usual writes, or one of 2000 series.
const BURST: Duration = Duration::from_micros(500);
/// The part of a busy reactor that a tenant keeps, one in so many: 400 usual writes a second.
const SHARE: u32 = 16;
/// How long a tenant that came with what was too much is expected to come with more of it: whatever is found out here at
/// the cost of others is found out ten times a second.
const EXPECT_MORE: Duration = Duration::from_millis(100);
/// As many of a tenant's connections go on when a turn begins, and as many again if that is all there is to do: asking ten
/// thousand of them whether they may would be much work by itself.
const GO_ON: usize = 8;

thread_local! {
    /// None on a thread that is no reactor.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// None: whoever proved no tenant.
type Whose<'t> = Option<&'t TenantId>;

#[derive(Debug, Default)]
struct Turn {
    /// Of the steps of writes.
    steps: Book,
    /// Of all that connections do, those steps included.
    connections: Book,
    waiting: Vec<Line>,
    /// Of who is the next to wait.
    ticket: u64,
}

/// Who had time of this reactor lately. Few: those of one burst of writes.
#[derive(Debug, Default)]
struct Book(Vec<Had>);

/// What one tenant had.
#[derive(Debug)]
struct Had {
    whose: Option<TenantId>,
    /// When it will have been its share.
    paid: Instant,
    /// It came with more than is done here.
    heavy: bool,
}

/// One tenant's connections that wait for its turn, in the order in which they came.
#[derive(Debug)]
struct Line {
    whose: Option<TenantId>,
    waiting: VecDeque<(u64, Waker)>,
}

impl Book {
    /// Whether there is something left of what it may have.
    fn is_open(&self, whose: Whose<'_>, now: Instant) -> bool {
        let had = self.0.iter().find(|had| had.whose.as_ref() == whose);
        had.is_none_or(|had| match had.heavy {
            true => had.paid <= now,
            false => had.paid <= now + BURST * SHARE,
        })
    }

    /// What a tenant had is paid for when so much time has passed that it was its share. `heavy`: and it was not enough.
    fn spend(&mut self, whose: Whose<'_>, took: Duration, heavy: bool, now: Instant) {
        let cost = if heavy { EXPECT_MORE } else { took * SHARE };
        if let Some(had) = self.0.iter_mut().find(|had| had.whose.as_ref() == whose) {
            had.paid = now.max(had.paid) + cost;
            had.heavy = heavy;
            return;
        }
        self.0.retain(|had| had.paid > now);
        self.0.push(Had {
            whose: whose.cloned(),
            paid: now + cost,
            heavy,
        });
    }

    /// All begin anew but those that are expected to come with too much.
    fn end(&mut self) {
        self.0.retain(|had| had.heavy);
    }
}

impl Line {
    fn first(&self) -> Option<u64> {
        self.waiting.front().map(|(number, _)| *number)
    }
}

impl Turn {
    /// Whether a connection may go on now. If not, `waker` is woken when it may, and `ticket` is its place until then.
    fn lets(&mut self, whose: Whose<'_>, ticket: &mut Option<u64>, waker: &Waker, now: Instant) -> bool {
        let line = self.waiting.iter().find(|line| line.whose.as_ref() == whose);
        let is_called = match (*ticket, line.and_then(Line::first)) {
            (Some(number), Some(first)) if number >= first => return false,
            (Some(_), _) | (None, None) => true,
            (None, Some(_)) => false,
        };
        if is_called && self.connections.is_open(whose, now) {
            *ticket = None;
            return true;
        }
        self.ticket += 1;
        *ticket = Some(self.ticket);
        let place = (self.ticket, waker.clone());
        match self.waiting.iter_mut().find(|line| line.whose.as_ref() == whose) {
            Some(line) => line.waiting.push_back(place),
            None => self.waiting.push(Line {
                whose: whose.cloned(),
                waiting: VecDeque::from([place]),
            }),
        }
        false
    }

    /// A connection went on for so long. Who may go on since its share of time has passed.
    fn went_on(&mut self, whose: Whose<'_>, took: Duration, now: Instant) -> Vec<Waker> {
        self.connections.spend(whose, took, false, now);
        let connections = &self.connections;
        let open = self
            .waiting
            .iter_mut()
            .filter(|line| connections.is_open(line.whose.as_ref(), now));
        open.filter_map(|line| Some(line.waiting.pop_front()?.1)).collect()
    }

    /// Who goes on in the next one.
    fn end(&mut self) -> Vec<Waker> {
        self.steps.end();
        self.connections.end();
        let first = |line: &mut Line| {
            let some = line.waiting.len().min(GO_ON);
            line.waiting.drain(..some).map(|(_, waker)| waker).collect::<Vec<_>>()
        };
        let next = self.waiting.iter_mut().flat_map(first).collect();
        self.waiting.retain(|line| !line.waiting.is_empty());
        next
    }
}

/// This thread is a reactor from now on.
pub fn begin() {
    TURN.set(Some(Turn::default()));
}

/// All that was ready was served.
pub fn end() {
    let next = TURN.with_borrow_mut(|turn| turn.as_mut().map(Turn::end));
    next.into_iter().flatten().for_each(Waker::wake);
}

/// Does `work` for a tenant if it is still this tenant's turn here. `work` is short, and gives nothing where there is more to
/// do than that.
pub fn take<T>(tenant: &TenantId, work: impl FnOnce() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    let whose = Some(tenant);
    let is_open = TURN.with_borrow(|turn| turn.as_ref().map(|turn| turn.steps.is_open(whose, began)));
    match is_open {
        Some(false) => return None,
        Some(true) => {}
        None => return work(),
    }
    let done = work();
    let now = Instant::now();
    TURN.with_borrow_mut(|turn| {
        if let Some(turn) = turn {
            turn.steps.spend(whose, now - began, done.is_none(), now);
        }
    });
    done
}

/// What a connection does, as far as it is the turn of the tenant that it proved; before that, of all who proved none.
pub struct ByTurns<F> {
    what: Pin<Box<F>>,
    tenant: Arc<OnceLock<TenantId>>,
    ticket: Option<u64>,
}

pub fn by_turns<F: Future>(what: Pin<Box<F>>, tenant: Arc<OnceLock<TenantId>>) -> ByTurns<F> {
    ByTurns {
        what,
        tenant,
        ticket: None,
    }
}

impl<F: Future> Future for ByTurns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let began = Instant::now();
        let lets = TURN.with_borrow_mut(|turn| {
            let turn = turn.as_mut()?;
            Some(turn.lets(this.tenant.get(), &mut this.ticket, context.waker(), began))
        });
        match lets {
            Some(true) => {}
            Some(false) => return Poll::Pending,
            None => return this.what.as_mut().poll(context),
        }
        let done = this.what.as_mut().poll(context);
        let now = Instant::now();
        let may_go_on = TURN.with_borrow_mut(|turn| {
            let turn = turn.as_mut()?;
            Some(turn.went_on(this.tenant.get(), now - began, now))
        });
        may_go_on.into_iter().flatten().for_each(Waker::wake);
        done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn who_had_a_burst_waits_for_its_share_and_others_do_not() {
        let (mut book, now) = (Book::default(), Instant::now());
        let (hog, quiet) = (tenant("hog"), tenant("quiet"));
        let (hog, quiet, strangers) = (Some(&hog), Some(&quiet), None);
        book.spend(hog, BURST, false, now);
        assert!(book.is_open(hog, now));
        book.spend(hog, BURST / 2, false, now);
        assert!(!book.is_open(hog, now) && book.is_open(quiet, now) && book.is_open(strangers, now));
        // A 16th of the time that passes is its own.
        assert!(!book.is_open(hog, now + BURST * SHARE / 2 - Duration::from_nanos(100)));
        assert!(book.is_open(hog, now + BURST * SHARE / 2));
    }

    #[test]
    fn who_came_with_too_much_is_expected_to_come_with_more_of_it() {
        let (mut book, now) = (Book::default(), Instant::now());
        let (heavy, light) = (tenant("heavy"), tenant("light"));
        let (heavy, light) = (Some(&heavy), Some(&light));
        book.spend(heavy, Duration::ZERO, true, now);
        book.spend(light, BURST * 2, false, now);
        assert!(!book.is_open(heavy, now) && !book.is_open(light, now));
        book.end();
        assert!(!book.is_open(heavy, now) && book.is_open(light, now));
        assert!(book.is_open(heavy, now + EXPECT_MORE));
        book.spend(heavy, BURST / 2, false, now + EXPECT_MORE);
        assert!(book.is_open(heavy, now + EXPECT_MORE));
    }

    #[test]
    fn tenants_of_bursts_that_are_paid_for_are_forgotten() {
        let (mut book, now) = (Book::default(), Instant::now());
        for n in 0..1000 {
            book.spend(Some(&tenant(&format!("t{n}"))), BURST, false, now + BURST * SHARE * n);
        }
        assert_eq!(book.0.len(), 1);
    }

    #[test]
    fn a_thread_that_is_no_reactor_does_whatever_is_asked_for() {
        let a = tenant("a");
        let slow = || {
            std::thread::sleep(BURST * 2);
            Some(())
        };
        assert!((0..3).all(|_| take(&a, slow).is_some()));
        begin();
        assert!(take(&a, slow).is_some() && take(&a, slow).is_none());
        end();
        assert!(take(&a, slow).is_some());
    }

    #[test]
    fn connections_of_who_had_a_burst_go_on_in_the_order_in_which_they_came() {
        let (mut turn, now) = (Turn::default(), Instant::now());
        let (hog, quiet) = (tenant("hog"), tenant("quiet"));
        let (hog, quiet) = (Some(&hog), Some(&quiet));
        let lets = |turn: &mut Turn, whose: Whose<'_>, ticket: &mut Option<u64>| {
            turn.lets(whose, ticket, noop_waker_ref(), now)
        };
        turn.connections.spend(hog, BURST * 2, false, now);
        let mut tickets = [None; 2 * GO_ON + 1];
        for _ in 0..2 {
            assert!(!tickets.iter_mut().any(|ticket| lets(&mut turn, hog, ticket)));
        }
        assert!(lets(&mut turn, quiet, &mut None));
        for called in [0..GO_ON, GO_ON..2 * GO_ON, 2 * GO_ON..2 * GO_ON + 1] {
            assert_eq!(turn.end().len(), called.len());
            let may: Vec<usize> = (0..tickets.len())
                .filter(|n| tickets[*n].is_some() && lets(&mut turn, hog, &mut tickets[*n]))
                .collect();
            assert_eq!(may, called.collect::<Vec<_>>());
        }
        assert!(turn.waiting.is_empty() && turn.end().is_empty());
    }

    #[test]
    fn on_a_reactor_that_is_always_busy_one_goes_on_when_its_share_of_time_has_passed() {
        let (mut turn, now) = (Turn::default(), Instant::now());
        let (hog, quiet) = (tenant("hog"), tenant("quiet"));
        let (hog, quiet) = (Some(&hog), Some(&quiet));
        assert!(turn.went_on(hog, BURST * 2, now).is_empty());
        let mut tickets = [None; 2];
        assert!(
            !tickets
                .iter_mut()
                .any(|ticket| turn.lets(hog, ticket, noop_waker_ref(), now))
        );
        let later = now + BURST * SHARE;
        assert!(turn.went_on(quiet, BURST / 8, now).is_empty());
        assert_eq!(turn.went_on(quiet, BURST / 8, later).len(), 1);
        let may = tickets.map(|ticket| turn.lets(hog, &mut { ticket }, noop_waker_ref(), later));
        assert_eq!(may, [true, false]);
    }

    #[test]
    fn a_connection_goes_on_when_it_is_called_and_ends() {
        let slow = |end: bool| {
            Box::pin(std::future::poll_fn(move |_| {
                std::thread::sleep(BURST * 2);
                if end { Poll::Ready(()) } else { Poll::Pending }
            }))
        };
        let whose = || Arc::new(OnceLock::from(tenant("a")));
        begin();
        let (mut first, mut second) = (by_turns(slow(false), whose()), by_turns(slow(true), whose()));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none(), "not its turn");
        end();
        assert!((&mut second).now_or_never().is_some());
    }
}
