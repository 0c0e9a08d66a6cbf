//! What the runtimes that serve connections and operators say of themselves.
//!
//! Takes the runtimes as they start, gives their sums when somebody asks. Never counts anything itself: the
//! runtimes count in any case.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::RuntimeMetrics;

/// Those that were named, several under one name where they do the same.
#[derive(Debug, Default)]
pub(super) struct Runtimes(Mutex<Vec<(&'static str, RuntimeMetrics)>>);

/// Of all runtimes of one name.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) workers: usize,
    pub(super) tasks: usize,
    pub(super) queue: usize,
    pub(super) busy_seconds: f64,
}

impl Runtimes {
    pub(super) fn watch(&self, name: &'static str, runtime: RuntimeMetrics) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((name, runtime));
    }

    /// One for each name.
    pub(super) fn sums(&self) -> BTreeMap<&'static str, Sum> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold(BTreeMap::new(), |mut sums, (name, runtime)| {
            sums.entry(*name).or_insert_with(Sum::default).add(runtime);
            sums
        })
    }
}

impl Sum {
    fn add(&mut self, runtime: &RuntimeMetrics) {
        let workers = runtime.num_workers();
        self.workers += workers;
        self.tasks += runtime.num_alive_tasks();
        self.queue += runtime.global_queue_depth();
        let busy = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64());
        self.busy_seconds += busy.sum::<f64>();
    }
}
