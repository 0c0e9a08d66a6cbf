//! An edit of every series: a label goes in front, the rest stays.
//!
//! Takes what was scanned, gives the label bytes of each series once it is edited.

use gauntlet::wire::Scanned;
use gauntlet::wire::labels::{encode_labels, labels as read};

pub fn labels(scanned: &Scanned) -> Vec<Vec<u8>> {
    let edited = |series| {
        let mut bytes = Vec::new();
        let own = read(scanned.label_bytes(series)).filter(|(name, _)| *name > "!");
        encode_labels(std::iter::once(("!", "é")).chain(own), &mut bytes);
        bytes
    };
    scanned.series().iter().map(edited).collect()
}
