//! Attackers: so many connections, each of which does the same again and again, until the flood is stopped.
//!
//! Takes what one connection does, gives what was answered. Never waits for anything longer than a deadline, never obeys
//! a `Retry-After`: it means harm.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gauntlet_tests::Sender;
use gauntlet_tests::bodies::Source;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts of one connection that came to nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// How many connections of a flood shake hands at once: as many as make the gateway work, and no lottery.
const HANDSHAKES: usize = 128;

/// Runs until it is stopped or dropped.
pub struct Flood {
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
    began: Instant,
}

/// What attackers count.
#[derive(Default)]
pub struct Tally {
    answers: Mutex<BTreeMap<u16, u64>>,
    next: AtomicU64,
    /// How many connections are where their attack wants them.
    pub held: AtomicU64,
}

/// What came of a flood.
#[derive(Default)]
pub struct Harm {
    answers: BTreeMap<u16, u64>,
    took: Duration,
}

impl Flood {
    /// `act` is what a connection does once, by its number; it is done again when it ends or fails.
    pub fn of<F, Doing>(connections: usize, act: F) -> Self
    where
        F: Fn(usize, Arc<Tally>) -> Doing + Clone + Send + Sync + 'static,
        Doing: Future<Output = std::io::Result<()>> + Send,
    {
        let tally = Arc::new(Tally::default());
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let (act, tally) = (act.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                loop {
                    if act(number, Arc::clone(&tally)).await.is_err() {
                        tally.answered(0);
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        let began = Instant::now();
        Self { tasks, tally, began }
    }

    /// Kept-alive connections that write as fast as answers come, after one that was refused with such a pause.
    pub fn of_writes(senders: Vec<Sender>, source: Source, refused: Duration) -> Self {
        let senders: Arc<Vec<Sender>> = Arc::new(senders);
        Self::of(senders.len(), move |number, tally| {
            let (senders, source) = (Arc::clone(&senders), source.clone());
            async move {
                let write = source(tally.next.fetch_add(1, Ordering::Relaxed));
                let request = senders[number].request(write.body.to_vec());
                let answer = timeout(PATIENCE, request.try_send()).await;
                let status = answer.map_err(std::io::Error::other)??.status;
                tally.answered(status);
                if status != 204 {
                    sleep(refused).await;
                }
                Ok(())
            }
        })
    }

    /// Connections of which each is opened, given to `act`, and then held in silence until the gateway ends it.
    pub fn of_silence<F, Doing>(senders: Vec<Sender>, act: F) -> Self
    where
        F: Fn(Box<dyn gauntlet_tests::sender::Stream>) -> Doing + Clone + Send + Sync + 'static,
        Doing: Future<Output = std::io::Result<Box<dyn gauntlet_tests::sender::Stream>>> + Send,
    {
        let (senders, gate) = (Arc::new(senders), Arc::new(Semaphore::new(HANDSHAKES)));
        Self::of(senders.len(), move |number, tally| {
            let (senders, gate, act) = (Arc::clone(&senders), Arc::clone(&gate), act.clone());
            async move {
                let turn = gate.acquire().await.map_err(std::io::Error::other)?;
                let opened = timeout(PATIENCE, async { act(senders[number].connect().await?).await });
                let mut stream = opened.await.map_err(std::io::Error::other)??;
                drop(turn);
                let _held = Held::new(&tally);
                // Whatever comes is not looked at; what ends it is what is waited for.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                Ok(())
            }
        })
    }

    /// Waits until so many connections are held, or the time is over; says how many are.
    pub async fn holds(&self, connections: usize, patience: Duration) -> u64 {
        let began = Instant::now();
        loop {
            let held = self.tally.held.load(Ordering::Relaxed);
            if held >= connections as u64 || began.elapsed() > patience {
                return held;
            }
            sleep(PAUSE).await;
        }
    }

    /// Lets it go on for so long and gives what was answered in that time.
    pub async fn during<T>(&self, watched: impl Future<Output = T>) -> (T, Harm) {
        let before = self.tally.so_far();
        let began = Instant::now();
        let seen = watched.await;
        let mut answers = self.tally.so_far();
        for (status, count) in before {
            *answers.entry(status).or_default() -= count;
        }
        let took = began.elapsed();
        (seen, Harm { answers, took })
    }

    /// All that was answered since it began.
    pub fn so_far(&self) -> Harm {
        Harm {
            answers: self.tally.so_far(),
            took: self.began.elapsed(),
        }
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

struct Held<'a>(&'a Tally);

impl<'a> Held<'a> {
    fn new(tally: &'a Tally) -> Self {
        tally.held.fetch_add(1, Ordering::Relaxed);
        Self(tally)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    /// 0: no answer.
    pub fn answered(&self, status: u16) {
        *self
            .answers
            .lock()
            .expect("no panic under the lock")
            .entry(status)
            .or_default() += 1;
    }

    fn so_far(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().expect("no panic under the lock").clone()
    }
}

impl Harm {
    pub fn add(&mut self, other: Self) {
        self.took += other.took;
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
    }

    /// Answers of this status a second.
    pub fn per_second(&self, status: u16) -> f64 {
        self.answers.get(&status).copied().unwrap_or(0) as f64 / self.took.as_secs_f64()
    }

    pub fn text(&self) -> String {
        let answers = self.answers.iter().filter(|(_, count)| **count > 0);
        let word = |status: u16| {
            if status == 0 {
                "none".to_owned()
            } else {
                status.to_string()
            }
        };
        let texts = answers.map(|(status, _)| format!("{:.1}/s answered {}", self.per_second(*status), word(*status)));
        texts.collect::<Vec<_>>().join(", ")
    }
}

/// One of many addresses of this machine: no stranger has only one.
pub fn address(number: usize) -> Ipv4Addr {
    let [high, low] = ((number % 250) as u16 + 256).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}
