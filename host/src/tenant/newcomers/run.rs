//! Series that follow one another and are mostly alike.
//!
//! Takes label bytes that are proved, tells which labels have another value than those of the series before. What they begin
//! with alike is neither taken apart nor hashed again. Names are counted together as long as they are the same.

use crate::wire::labels::read_one;

const METRIC_NAME: &[u8] = b"__name__";
const AT_ONCE: usize = 16;

#[derive(Default)]
pub(super) struct Run<'a> {
    /// Of how many series it is that are not counted yet.
    pub(super) metric: &'a [u8],
    pub(super) of_metric: u64,
    /// How many series had the names of the last one and are not counted yet.
    pub(super) of_labels: u64,
    last: &'a [u8],
    all: Vec<Label<'a>>,
}

struct Label<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// All its bytes.
    length: usize,
}

impl<'a> Run<'a> {
    /// Of the last series, but for its metric's name.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let labels = self.all.iter().filter(|label| label.name != METRIC_NAME);
        labels.map(|label| (label.name, label.value))
    }

    pub(super) fn metric_name(&self) -> &'a [u8] {
        let named = self.all.iter().find(|label| label.name == METRIC_NAME);
        named.map_or(b"", |label| label.value)
    }

    /// With a series of other names than the last one's.
    pub(super) fn begin(&mut self, label_set: &'a [u8]) {
        (self.last, self.of_labels) = (label_set, 0);
        self.all.clear();
        let mut rest = label_set;
        while let Some((name, value, next)) = read_one(rest) {
            let length = rest.len() - next.len();
            self.all.push(Label { name, value, length });
            rest = next;
        }
    }

    /// If it has the names of the last one, of which those are told that have another value; the metric's is not. If it has
    /// not, some may have been told.
    pub(super) fn goes_on(&mut self, label_set: &'a [u8], mut other: impl FnMut(&'a [u8], &'a [u8])) -> bool {
        let (mut was, mut is) = (self.last, label_set);
        let mut at = 0;
        while at < self.all.len() {
            let mut same = alike(was, is);
            while let Some(label) = self.all.get(at).filter(|label| label.length <= same) {
                (was, is) = (&was[label.length..], &is[label.length..]);
                same -= label.length;
                at += 1;
            }
            let Some(label) = self.all.get_mut(at) else { break };
            let Some((name, value, next)) = read_one(is).filter(|(name, ..)| *name == label.name) else {
                return false;
            };
            if name != METRIC_NAME {
                other(name, value);
            }
            was = &was[label.length..];
            (label.value, label.length) = (value, is.len() - next.len());
            (is, at) = (next, at + 1);
        }
        if !is.is_empty() {
            return false;
        }
        self.last = label_set;
        self.of_labels += 1;
        true
    }
}

/// How many bytes they begin with alike.
fn alike(a: &[u8], b: &[u8]) -> usize {
    let whole = a.chunks_exact(AT_ONCE).zip(b.chunks_exact(AT_ONCE));
    let whole = whole.take_while(|(a, b)| a == b).count() * AT_ONCE;
    let rest = a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b);
    whole + rest.count()
}
