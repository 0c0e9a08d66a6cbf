//! What of a write a decision depends on.
//!
//! Takes a policy's inputs and a write; gives the write as the gateway tells it to that policy. Only tests need it:
//! a policy declares its inputs rightly if it decides the same about both.

use crate::{Inputs, Totals, Write};

impl Inputs {
    /// `write` with what is not among these inputs at zero.
    pub fn told(self, write: &Write) -> Write {
        let number = |input, number| if self.contains(input) { number } else { 0 };
        let mut told = Write {
            compressed_bytes: number(Self::COMPRESSED_BYTES, write.compressed_bytes),
            decoded_bytes: number(Self::DECODED_BYTES, write.decoded_bytes),
            active_series: number(Self::ACTIVE_SERIES, write.active_series),
            new_series: number(Self::NEW_SERIES, write.new_series),
            ..write.clone()
        };
        if !self.contains(Self::TOTALS) {
            for stream in &mut told.streams {
                stream.totals = Totals {
                    series: 0,
                    samples: 0,
                    histograms: 0,
                    exemplars: 0,
                };
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamTotals;

    #[test]
    fn what_is_no_input_is_zero_and_all_else_is_as_it_was() {
        let totals = |n| Totals {
            series: n,
            samples: n,
            histograms: n,
            exemplars: n,
        };
        let written = |numbers: [u64; 5]| Write {
            tenant: "kazusa".to_owned(),
            subject: "prometheus-0".to_owned(),
            protocol: "1.0".to_owned(),
            compressed_bytes: numbers[0],
            decoded_bytes: numbers[1],
            active_series: numbers[2],
            new_series: numbers[3],
            streams: vec![StreamTotals {
                name: "kube".to_owned(),
                totals: totals(numbers[4]),
            }],
        };
        let all = [1, 2, 3, 4, 5];
        assert_eq!(Inputs::all().told(&written(all)), written(all));
        assert_eq!(Inputs::empty().told(&written(all)), written([0; 5]));
        for (at, input) in Inputs::all().iter().enumerate() {
            let mut one = [0; 5];
            one[at] = all[at];
            assert_eq!(input.told(&written(all)), written(one), "{input:?}");
        }
    }
}
