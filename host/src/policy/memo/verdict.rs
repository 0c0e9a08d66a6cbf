//! What becomes of a series, as policies say it, as one write sees it, and as the memo keeps it.
//!
//! Takes verdicts, gives the fates and the label bytes of one write. Of an edit it keeps what differs from what was sent.
//! Pure.

/// Names a stream within one generation of one tenant; 0 is the default stream.
pub type StreamId = u16;
/// Names a (policy, reason) pair within one generation of one tenant.
pub type DropId = u16;

/// What becomes of a series, host checks included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Keep {
        stream: StreamId,
    },
    Drop {
        reason: DropId,
    },
    /// A host check refused the series; the number is `check::Refusal`'s.
    Reject {
        refusal: u8,
    },
    /// `labels`: all its label bytes, canonical.
    Edit {
        labels: Vec<u8>,
        stream: StreamId,
    },
}

impl Verdict {
    pub(super) fn lets_through(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Edit { .. })
    }
}

/// What becomes of one series of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Ask the chain.
    Unknown,
    Keep {
        stream: StreamId,
    },
    Drop {
        reason: DropId,
    },
    Reject {
        refusal: u8,
    },
    /// With the label bytes at this place of [`Edits`].
    Edit {
        stream: StreamId,
        edit: u32,
    },
    /// Let through by the chain, but new, and the tenant has as many active series as it may have.
    OverActiveSeries,
}

/// The label bytes of one write's edited series, one behind the other.
#[derive(Debug, Default)]
pub struct Edits {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    room: usize,
}

impl Edits {
    /// Of a body of that many bytes: what its first edit makes room for, since most writes have none or all edited.
    pub fn of_body(length: usize) -> Self {
        Self {
            room: length,
            ..Self::default()
        }
    }

    pub fn get(&self, edit: u32) -> &[u8] {
        let edit = edit as usize;
        let start = edit.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(edit).copied().unwrap_or_default();
        self.bytes
            .get(start.copied().unwrap_or_default()..end)
            .unwrap_or_default()
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    pub(super) fn push(&mut self, stream: StreamId, parts: [&[u8]; 3]) -> Fate {
        self.bytes.reserve(std::mem::take(&mut self.room));
        parts.into_iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
        Fate::Edit {
            stream,
            edit: (self.ends.len() - 1) as u32,
        }
    }

    /// What `verdict` means for one series of this write.
    pub fn fate(&mut self, verdict: &Verdict) -> Fate {
        match verdict {
            Verdict::Keep { stream } => Fate::Keep { stream: *stream },
            Verdict::Drop { reason } => Fate::Drop { reason: *reason },
            Verdict::Reject { refusal } => Fate::Reject { refusal: *refusal },
            Verdict::Edit { labels, stream } => self.push(*stream, [labels, &[], &[]]),
        }
    }
}

/// What an edit costs besides the bytes it puts in: its place in the slab, and what the allocator rounds up.
pub(super) const EDIT_OVERHEAD_BYTES: usize = 24 + 16;

/// An edited series' label bytes: the first and last ones of those sent, and others in between.
#[derive(Debug)]
pub(super) struct Edited {
    middle: Box<[u8]>,
    first: u16,
    last: u16,
    pub(super) stream: StreamId,
}

impl Edited {
    pub(super) fn new(sent: &[u8], labels: &[u8], stream: StreamId) -> Self {
        let same = |limit: usize, pairs: &mut dyn Iterator<Item = (&u8, &u8)>| {
            let limit = limit.min(usize::from(u16::MAX));
            pairs.take(limit).take_while(|(a, b)| a == b).count()
        };
        let shorter = sent.len().min(labels.len());
        let first = same(shorter, &mut sent.iter().zip(labels));
        let last = same(shorter - first, &mut sent.iter().rev().zip(labels.iter().rev()));
        let middle = labels.get(first..labels.len() - last).unwrap_or_default();
        Self {
            middle: middle.into(),
            first: first as u16,
            last: last as u16,
            stream,
        }
    }

    /// The label bytes in three parts.
    pub(super) fn apply<'a>(&'a self, sent: &'a [u8]) -> Option<[&'a [u8]; 3]> {
        let (first, _) = sent.split_at_checked(self.first.into())?;
        let (_, last) = sent.split_at_checked(sent.len().checked_sub(self.last.into())?)?;
        Some([first, &self.middle, last])
    }

    pub(super) fn bytes(&self) -> usize {
        self.middle.len() + EDIT_OVERHEAD_BYTES
    }
}
