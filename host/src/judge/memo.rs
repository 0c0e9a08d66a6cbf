//! The verdict memo: what the whole chain said about a series, remembered by the hash of its labels.
//!
//! Takes hashes, gives verdicts; takes verdicts, gives nothing back but a smaller bill next time. One memo per
//! tenant, bounded in bytes. It outlives a reload because its recently-seen set is the tenant's active series;
//! verdicts carry the generation that made them and are worth nothing to another one. Never calls a plugin,
//! never looks at a label.
//!
//! Invariants the data path relies on:
//! * only the hashes of label bytes that a scan has proved are stored (there is no other [`ProvedHash`]): whoever is
//!   found here needs no second proof;
//! * a verdict is given out only under the generation that stored it;
//! * `counts` holds exactly the entries with `ACTIVE` set whose tick is inside the window;
//! * an entry lies in the shard that the last bits of its hash say;
//! * an edit's slot is freed when its entry goes or changes, so `bytes` is what is held.
//!
//! Long because those invariants hold over all of it: to check one, the whole structure has to be read.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashTable;

use super::verdict::{BlameId, DropId, Edited, Edits, Fate, StreamId, Verdict};
use crate::model::Refusal;
use crate::wire::{AsIs, Asked, Met, ProvedHash, Question, SeriesHash};

/// A series counts as active for this long after it was last sent.
pub const ACTIVE_WINDOW: Duration = Duration::from_secs(WINDOW_TICKS as u64 * TICK_SECONDS);
/// Resolution of "last sent".
pub const TICK_SECONDS: u64 = 60;
const WINDOW_TICKS: u16 = 20;
/// Ring of counts by tick; longer than the window so that a slot is empty when it is used again.
const RING: usize = 32;
/// Small tables that grow one by one: growing one table of a million entries would hold the lock for 20 ms. But a memo
/// begins as one, for a tenant of few series then has all of them on few pages: with ten thousand such tenants every
/// look-up of a memo waits for memory. Where it has this many entries a shard, each is split into sixteen, in 60 us,
/// and in 0.6 ms the second time, which is the last.
const SPLIT_ENTRIES: usize = 1024;
const SPLIT: usize = 16;
const MOST_SHARDS: usize = SPLIT * SPLIT;
/// Series looked up under one lock: some 5 us.
const LOOK_UPS_PER_LOCK: usize = 512;
/// What one entry costs at the least favourable load of its table: 24 bytes and a control byte, 7/16 full.
pub const ENTRY_BYTES: usize = 58;

/// The bounds one look-up works under.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub generation: u16,
    /// Minutes since any fixed moment, wrapping.
    pub tick: u16,
    pub max_active_series: u64,
}

/// Series that this write lets through and that were not active before it. They become active when the write is
/// admitted, not sooner: a write refused for its new series must meet the same refusal when it is sent again.
#[derive(Debug, Default)]
pub struct NewSeries(HashSet<ProvedHash, AsIs>);

impl NewSeries {
    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A verdict to be remembered, with the label bytes its series was sent with.
#[derive(Debug)]
pub struct NewVerdict<'a> {
    pub hash: ProvedHash,
    pub sent: &'a [u8],
    pub verdict: Verdict,
}

/// Where look-ups put what they find.
pub struct Found<'a> {
    pub fates: &'a mut Vec<Fate>,
    pub edits: &'a mut Edits,
}

/// Counts for metrics and the admin API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoStats {
    pub entries: u64,
    pub bytes: u64,
    pub active_series: u64,
}

/// One tenant's memo.
#[derive(Debug)]
pub struct Memo {
    table: Mutex<Table>,
}

impl Memo {
    pub fn new() -> Self {
        Self {
            table: Mutex::new(Table::new()),
        }
    }

    /// Looks up what is asked about, and shows what it knows.
    ///
    /// Marks what it finds as seen. Hits that are let through but not active are put in `new`, or are
    /// [`Fate::OverActiveSeries`].
    pub fn look_up(&self, asked: &mut Asked<'_>, bounds: &Bounds, new: &mut NewSeries, found: &mut Found<'_>) {
        let all = asked.left();
        // The lock is taken per slice so that other connections of the tenant wait microseconds, not a whole body.
        for slice in 0..all.div_ceil(LOOK_UPS_PER_LOCK) {
            let mut table = self.lock();
            table.advance(bounds.tick);
            if slice == 0 {
                table.read_through(all);
            }
            asked.answer(LOOK_UPS_PER_LOCK, |series| {
                let (fate, met) = table.look_up(&series, bounds, new, found.edits).unzip();
                found.fates.push(fate.unwrap_or(Fate::Unknown));
                met
            });
        }
    }

    /// Remembers what the chain said of some series, `cacheable` permitting, and hands to `each`, in order, whether it may
    /// pass: false where the tenant has as many active series as it may have.
    ///
    /// Few at a time: all are done under one lock.
    pub fn store(
        &self,
        series: &[NewVerdict<'_>],
        cacheable: bool,
        bounds: &Bounds,
        budget: usize,
        new: &mut NewSeries,
        mut each: impl FnMut(&Verdict, bool),
    ) {
        let mut table = self.lock();
        table.advance(bounds.tick);
        if cacheable {
            // Looked at all together first, so that memory is waited for once and not once for each.
            std::hint::black_box(series.iter().filter(|one| table.is_known(one.hash)).count());
        }
        for one in series {
            let is_active = match cacheable {
                true => table.store(one.hash, one.sent, &one.verdict, bounds.generation),
                false => table.is_active(one.hash),
            };
            if cacheable {
                table.shrink_to(budget);
            }
            let may_pass = is_active || !one.verdict.lets_through() || table.has_room_for(one.hash, bounds, new);
            each(&one.verdict, may_pass);
        }
    }

    /// Makes the new series of an admitted write active, and gives back those that have no room any more: other
    /// writes, judged at the same time, may have taken it since.
    pub fn activate(&self, new: &NewSeries, tick: u16, max_active_series: u64) -> HashSet<ProvedHash, AsIs> {
        if new.is_empty() {
            return HashSet::default();
        }
        let mut table = self.lock();
        table.advance(tick);
        let all = new.0.iter().copied();
        all.filter(|hash| !table.activate(*hash, max_active_series)).collect()
    }

    /// Forgets every verdict and keeps what was seen. Called when a generation is replaced, so that a number can
    /// come round again.
    pub fn forget_verdicts(&self) {
        self.lock().forget_verdicts();
    }

    pub fn stats(&self, tick: u16) -> MemoStats {
        let mut table = self.lock();
        table.advance(tick);
        MemoStats {
            entries: table.entries as u64,
            bytes: table.bytes() as u64,
            active_series: table.active,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic under the lock would be a bug; the table is still a table, and other tenants' writes go on.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memo {
    fn default() -> Self {
        Self::new()
    }
}

/// 24 bytes: a verdict packed into 32 bits, and when and for whom.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: ProvedHash,
    /// Kind in the top three bits, stream, reason, refusal or slot below.
    packed: u32,
    seen: u16,
    /// Generation in the low fifteen bits, [`ACTIVE`] above.
    tag: u16,
}

impl Entry {
    /// Where it lies in its shard.
    fn slot(&self) -> u64 {
        self.hash.hash().low()
    }

    fn is_active(&self, tick: u16) -> bool {
        self.tag & ACTIVE != 0 && tick.wrapping_sub(self.seen) < WINDOW_TICKS
    }
}

const ACTIVE: u16 = 0x8000;
const GENERATION: u16 = 0x7fff;

const KIND_SHIFT: u32 = 29;
const PAYLOAD: u32 = (1 << KIND_SHIFT) - 1;
const NONE: u32 = 0;
const KEEP: u32 = 1;
const DROP: u32 = 2;
const REJECT: u32 = 3;
const EDIT: u32 = 4;

#[derive(Debug)]
struct Table {
    /// 1, 16 or 256.
    shards: Vec<HashTable<Entry>>,
    entries: usize,
    edits: Vec<Option<Edited>>,
    free: Vec<u32>,
    edit_bytes: usize,
    counts: [u64; RING],
    active: u64,
    tick: u16,
    /// The next shard to be rid of what left the window, and how many are still to do since the tick changed.
    sweep: usize,
    to_sweep: usize,
}

impl Table {
    fn new() -> Self {
        Self {
            shards: vec![HashTable::new()],
            entries: 0,
            edits: Vec::new(),
            free: Vec::new(),
            edit_bytes: 0,
            counts: [0; RING],
            active: 0,
            tick: 0,
            sweep: 0,
            to_sweep: 0,
        }
    }

    fn shard(&self, hash: SeriesHash) -> usize {
        // A mask, not a shift: the width of a shift is a byte, and the rest of that register would have to be waited for,
        // which is from the look-up before, so that look-ups would wait for memory one after the other.
        hash.high() as usize & (self.shards.len() - 1)
    }

    /// Of a hash that is not there.
    fn insert(&mut self, entry: Entry) {
        if self.entries >= SPLIT_ENTRIES * self.shards.len() && self.shards.len() < MOST_SHARDS {
            self.split();
        }
        let shard = self.shard(entry.hash.hash());
        self.shards[shard].insert_unique(entry.slot(), entry, Entry::slot);
        self.entries += 1;
    }

    fn split(&mut self) {
        let many = (0..self.shards.len() * SPLIT).map(|_| HashTable::new()).collect();
        for entry in std::mem::replace(&mut self.shards, many).into_iter().flatten() {
            let shard = self.shard(entry.hash.hash());
            self.shards[shard].insert_unique(entry.slot(), entry, Entry::slot);
        }
        self.to_sweep = self.shards.len();
        self.sweep = 0;
    }

    /// Reads a small table from end to end before so many look-ups in it: among ten thousand tenants it lies in no cache,
    /// and memory read in order is not waited for. Where it does, this costs a nanosecond for each of its entries.
    fn read_through(&self, look_ups: usize) {
        if let [only] = &self.shards[..]
            && only.len() <= 4 * look_ups
        {
            std::hint::black_box(only.iter().fold(0, |all, entry| all ^ entry.seen));
        }
    }

    fn bytes(&self) -> usize {
        self.entries * ENTRY_BYTES + self.edit_bytes
    }

    /// Moves the window on and sweeps a little of what left it.
    fn advance(&mut self, tick: u16) {
        let passed = tick.wrapping_sub(self.tick);
        // A tick from another thread may be one behind; half the range is "the past".
        if passed != 0 && passed < u16::MAX / 2 {
            for step in 0..passed.min(RING as u16) {
                let leaves = self.tick.wrapping_add(step).wrapping_sub(WINDOW_TICKS - 1);
                self.active -= std::mem::take(&mut self.counts[slot(leaves)]);
            }
            self.tick = tick;
            self.to_sweep = self.shards.len();
        }
        if self.to_sweep > 0 {
            self.to_sweep -= 1;
            self.sweep = (self.sweep + 1) % self.shards.len();
            let tick = self.tick;
            self.evict(self.sweep, |entry| tick.wrapping_sub(entry.seen) >= WINDOW_TICKS);
        }
    }

    /// The fate of a series, and that it is known. None where the chain has to be asked.
    fn look_up<'q>(
        &mut self,
        series: &Question<'q>,
        bounds: &Bounds,
        new: &mut NewSeries,
        edits: &mut Edits,
    ) -> Option<(Fate, Met<'q>)> {
        let tick = self.tick;
        let shard = self.shard(series.hash());
        let mut met = None;
        let entry = self.shards[shard].find_mut(series.hash().low(), |e| {
            met = series.met(&e.hash);
            met.is_some()
        })?;
        let hash = entry.hash;
        let seen = entry.seen;
        if seen != tick {
            entry.seen = tick;
            if entry.tag & ACTIVE != 0 {
                if tick.wrapping_sub(seen) < WINDOW_TICKS {
                    self.counts[slot(seen)] -= 1;
                    self.counts[slot(tick)] += 1;
                } else {
                    // Left the window and was not swept yet: it comes back as a new series.
                    entry.tag &= !ACTIVE;
                }
            }
        }
        if entry.tag & GENERATION != bounds.generation & GENERATION {
            return None;
        }
        let is_active = entry.tag & ACTIVE != 0;
        let payload = entry.packed & PAYLOAD;
        let fate = match entry.packed >> KIND_SHIFT {
            KEEP if is_active || self.has_room_for(hash, bounds, new) => Fate::Keep {
                stream: payload as StreamId,
            },
            DROP => Fate::Drop {
                reason: payload as DropId,
            },
            // A number that stands for no refusal: asked again.
            REJECT => Fate::Reject {
                refusal: Refusal::from_code((payload >> BlameId::BITS) as u8)?,
                blame: payload as BlameId,
            },
            EDIT if is_active || self.has_room_for(hash, bounds, new) => {
                let edited = self.edits.get(payload as usize)?.as_ref()?;
                edits.push(edited.stream, &edited.of(series.sent())?)
            }
            KEEP | EDIT => Fate::OverActiveSeries,
            _ => return None,
        };
        Some((fate, met?))
    }

    /// Whether a series that policies let through and that is not active may pass: it must fit under the limit.
    fn has_room_for(&self, hash: ProvedHash, bounds: &Bounds, new: &mut NewSeries) -> bool {
        if self.active + new.len() < bounds.max_active_series {
            new.0.insert(hash);
            return true;
        }
        new.0.contains(&hash)
    }

    fn find(&self, hash: ProvedHash) -> Option<&Entry> {
        self.shards[self.shard(hash.hash())].find(hash.hash().low(), |e| e.hash == hash)
    }

    fn is_known(&self, hash: ProvedHash) -> bool {
        self.find(hash).is_some()
    }

    fn is_active(&self, hash: ProvedHash) -> bool {
        self.find(hash).is_some_and(|e| e.is_active(self.tick))
    }

    /// Whether it was active before.
    fn store(&mut self, hash: ProvedHash, sent: &[u8], verdict: &Verdict, generation: u16) -> bool {
        let packed = self.pack(sent, verdict);
        let tick = self.tick;
        let (mut freed, mut is_active) = (None, false);
        let shard = self.shard(hash.hash());
        match self.shards[shard].find_mut(hash.hash().low(), |e| e.hash == hash) {
            Some(entry) => {
                freed = Some(entry.packed);
                entry.packed = packed;
                // What a new generation drops takes no place among the active series any more.
                if entry.tag & ACTIVE != 0 && !verdict.lets_through() {
                    if tick.wrapping_sub(entry.seen) < WINDOW_TICKS {
                        self.counts[slot(entry.seen)] -= 1;
                        self.active -= 1;
                    }
                    entry.tag &= !ACTIVE;
                }
                entry.tag = (entry.tag & ACTIVE) | (generation & GENERATION);
                is_active = entry.is_active(tick);
            }
            None => self.insert(Entry {
                hash,
                packed,
                seen: tick,
                tag: generation & GENERATION,
            }),
        }
        if let Some(packed) = freed {
            self.free_edit(packed);
        }
        is_active
    }

    fn pack(&mut self, sent: &[u8], verdict: &Verdict) -> u32 {
        match verdict {
            Verdict::Keep { stream } => (KEEP << KIND_SHIFT) | u32::from(*stream),
            Verdict::Drop { reason } => (DROP << KIND_SHIFT) | u32::from(*reason),
            Verdict::Reject { refusal, blame } => {
                (REJECT << KIND_SHIFT) | (u32::from(refusal.code()) << BlameId::BITS) | u32::from(*blame)
            }
            Verdict::Edit { labels, stream } => {
                let edited = Edited::new(sent, labels, *stream);
                self.edit_bytes += edited.bytes();
                let at = match self.free.pop() {
                    Some(at) => {
                        self.edits[at as usize] = Some(edited);
                        at
                    }
                    None => {
                        self.edits.push(Some(edited));
                        (self.edits.len() - 1) as u32
                    }
                };
                (EDIT << KIND_SHIFT) | at
            }
        }
    }

    fn free_edit(&mut self, packed: u32) {
        if packed >> KIND_SHIFT != EDIT {
            return;
        }
        let at = packed & PAYLOAD;
        if let Some(edited) = self.edits[at as usize].take() {
            self.edit_bytes -= edited.bytes();
            self.free.push(at);
        }
    }

    /// False where it is not active and has no room to become so.
    fn activate(&mut self, hash: ProvedHash, max_active_series: u64) -> bool {
        if self.active >= max_active_series && !self.is_active(hash) {
            return false;
        }
        let tick = self.tick;
        let shard = self.shard(hash.hash());
        let Some(entry) = self.shards[shard].find_mut(hash.hash().low(), |e| e.hash == hash) else {
            // Evicted between judging and admission, or never stored: it is active all the same.
            self.insert(Entry {
                hash,
                packed: NONE << KIND_SHIFT,
                seen: tick,
                tag: ACTIVE,
            });
            self.counts[slot(tick)] += 1;
            self.active += 1;
            return true;
        };
        let counted = entry.tag & ACTIVE != 0 && tick.wrapping_sub(entry.seen) < WINDOW_TICKS;
        if counted {
            self.counts[slot(entry.seen)] -= 1;
            self.active -= 1;
        }
        entry.tag |= ACTIVE;
        entry.seen = tick;
        self.counts[slot(tick)] += 1;
        self.active += 1;
        true
    }

    fn forget_verdicts(&mut self) {
        for shard in &mut self.shards {
            for entry in shard.iter_mut() {
                entry.packed = NONE << KIND_SHIFT;
            }
        }
        self.edits = Vec::new();
        self.free = Vec::new();
        self.edit_bytes = 0;
    }

    /// Evicts the older half of one shard after the other until the memo fits.
    fn shrink_to(&mut self, budget: usize) {
        let mut tried = 0;
        while self.bytes() > budget && tried < self.shards.len() {
            tried += 1;
            self.sweep = (self.sweep + 1) % self.shards.len();
            let tick = self.tick;
            let mut ages: Vec<u16> = self.shards[self.sweep]
                .iter()
                .map(|e| tick.wrapping_sub(e.seen))
                .collect();
            if ages.is_empty() {
                continue;
            }
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            // All of one age, as when churn fills the memo within a minute: every other one goes.
            let mut every_other = false;
            self.evict(self.sweep, |entry| match tick.wrapping_sub(entry.seen).cmp(&median) {
                std::cmp::Ordering::Greater => true,
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => {
                    every_other = !every_other;
                    every_other
                }
            });
        }
    }

    fn evict(&mut self, shard: usize, mut goes: impl FnMut(&Entry) -> bool) {
        let mut gone = Vec::new();
        self.shards[shard].retain(|entry| {
            let out = goes(entry);
            if out {
                gone.push(*entry);
            }
            !out
        });
        for entry in gone {
            self.entries -= 1;
            self.free_edit(entry.packed);
            if entry.tag & ACTIVE != 0 && self.tick.wrapping_sub(entry.seen) < WINDOW_TICKS {
                self.counts[slot(entry.seen)] -= 1;
                self.active -= 1;
            }
        }
        let table = &mut self.shards[shard];
        if table.len() < table.capacity() / 4 {
            table.shrink_to(table.len() * 2, Entry::slot);
        }
    }
}

fn slot(tick: u16) -> usize {
    tick as usize % RING
}

#[cfg(test)]
mod tests;
