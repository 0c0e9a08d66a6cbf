//! Writes a model in protobuf that is legal and as odd as can be.
//!
//! Takes a model and a seed, gives bytes that decode to that model: varints longer than needed, unknown fields and
//! groups, scalars said twice, packed fields split or unpacked, fields in any order.

use std::collections::VecDeque;

use super::model::{Count, Exemplar, Histogram, Label, TimeSeries, WriteRequest, ZeroCount};
use super::model_v2::{self, Request};

pub struct Odd(pub u64);

/// Encoded fields that have to keep their order among themselves.
type Queue = VecDeque<Vec<u8>>;

impl Odd {
    pub fn write(&mut self, write: &WriteRequest) -> Vec<u8> {
        let series = write
            .timeseries
            .iter()
            .map(|series| self.series(series))
            .collect::<Vec<_>>();
        let series = series.iter().map(|series| self.bytes(1, series)).collect();
        let metadata = write.metadata.iter().map(|metadata| self.bytes(3, metadata)).collect();
        self.merge(vec![series, metadata])
    }

    /// Symbols and series mixed; the labels in their order, since others may mean the same.
    pub fn write_v2(&mut self, request: &Request) -> Vec<u8> {
        let symbols = request.symbols.iter().map(|symbol| self.bytes(4, symbol)).collect();
        let series = request
            .timeseries
            .iter()
            .map(|series| self.series_v2(series))
            .collect::<Vec<_>>();
        let series = series.iter().map(|series| self.bytes(5, series)).collect();
        self.merge(vec![symbols, series])
    }

    fn series_v2(&mut self, series: &model_v2::TimeSeries) -> Vec<u8> {
        let references = self.references(&series.labels_refs);
        let samples = series.samples.iter().map(|sample| {
            let fields = vec![
                self.fixed(1, sample.value),
                self.integer(2, sample.timestamp as u64),
                self.integer(3, sample.start_timestamp as u64),
            ];
            let sample = self.merge(fields);
            self.bytes(2, &sample)
        });
        let samples = samples.collect();
        let histograms = series.histograms.iter().map(|histogram| self.bytes(3, histogram));
        let histograms = histograms.collect();
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let fields = vec![
                self.references(&exemplar.labels_refs),
                self.fixed(2, exemplar.value),
                self.integer(3, exemplar.timestamp as u64),
            ];
            let exemplar = self.merge(fields);
            self.bytes(4, &exemplar)
        });
        let exemplars = exemplars.collect();
        let metadata = series.metadata.iter().flat_map(|metadata| {
            // Two messages are one: what the second says counts.
            let fields = [
                vec![self.integer(1, metadata.kind as u64)],
                vec![
                    self.integer(3, metadata.help_ref.into()),
                    self.integer(4, metadata.unit_ref.into()),
                ],
            ];
            fields.map(|fields| {
                let metadata = self.merge(fields);
                self.bytes(5, &metadata)
            })
        });
        let metadata = metadata.collect();
        let created = vec![[self.key(6, 0), self.varint(7)].concat()];
        self.merge(vec![
            references,
            samples,
            histograms,
            exemplars,
            metadata,
            created.into(),
        ])
    }

    fn references(&mut self, references: &[u32]) -> Queue {
        let values = references
            .iter()
            .map(|reference| self.varint((*reference).into()))
            .collect::<Vec<_>>();
        self.repeated(1, 0, &values)
    }

    /// A number below `end` (splitmix64).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn series(&mut self, series: &TimeSeries) -> Vec<u8> {
        let mut labels = series.labels.clone();
        for i in (1..labels.len()).rev() {
            labels.swap(i, self.below(i as u64 + 1) as usize);
        }
        if self.below(3) == 0 {
            labels.push(Label {
                name: b"empty".to_vec(),
                value: Vec::new(),
            });
        }
        let labels = labels.iter().map(|label| self.label(label)).collect();
        let samples = series.samples.iter().map(|sample| {
            let fields = vec![self.fixed(1, sample.value), self.integer(2, sample.timestamp as u64)];
            let sample = self.merge(fields);
            self.bytes(2, &sample)
        });
        let samples = samples.collect();
        let exemplars = series
            .exemplars
            .iter()
            .map(|exemplar| self.exemplar(exemplar))
            .collect();
        let histograms = series
            .histograms
            .iter()
            .map(|histogram| self.histogram(histogram))
            .collect();
        self.merge(vec![labels, samples, exemplars, histograms])
    }

    fn label(&mut self, label: &Label) -> Vec<u8> {
        let mut queues = vec![];
        for (number, part) in [(1, &label.name), (2, &label.value)] {
            let mut queue = Queue::new();
            if self.below(4) == 0 {
                queue.push_back(self.bytes(number, b"overruled"));
            }
            queue.push_back(self.bytes(number, part));
            queues.push(queue);
        }
        let label = self.merge(queues);
        self.bytes(1, &label)
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> Vec<u8> {
        let labels = exemplar.labels.iter().map(|label| self.label(label)).collect();
        let fields = vec![
            labels,
            self.fixed(2, exemplar.value),
            self.integer(3, exemplar.timestamp as u64),
        ];
        let exemplar = self.merge(fields);
        self.bytes(3, &exemplar)
    }

    fn histogram(&mut self, histogram: &Histogram) -> Vec<u8> {
        let zigzag = |value: i64| ((value << 1) ^ (value >> 63)) as u64;
        let count = match histogram.count {
            Some(Count::Integer(count)) => self.alternatives(2, self.0, (1, count)),
            Some(Count::Float(bits)) => self.alternatives_fixed(1, (2, bits)),
            None => Queue::new(),
        };
        let zero_count = match histogram.zero_count {
            Some(ZeroCount::Integer(count)) => self.alternatives(7, self.0, (6, count)),
            Some(ZeroCount::Float(bits)) => self.alternatives_fixed(6, (7, bits)),
            None => Queue::new(),
        };
        let mut queues = vec![
            count,
            self.fixed(3, histogram.sum),
            self.integer(4, zigzag(histogram.schema.into())),
            self.fixed(5, histogram.zero_threshold),
            zero_count,
            self.integer(14, histogram.reset_hint as u64),
            self.integer(15, histogram.timestamp as u64),
        ];
        for (number, spans) in [(8, &histogram.negative_spans), (11, &histogram.positive_spans)] {
            let spans = spans.iter().map(|span| {
                let fields = vec![
                    self.integer(1, zigzag(span.offset.into())),
                    self.integer(2, span.length.into()),
                ];
                let span = self.merge(fields);
                self.bytes(number, &span)
            });
            queues.push(spans.collect());
        }
        for (number, deltas) in [(9, &histogram.negative_deltas), (12, &histogram.positive_deltas)] {
            let values = deltas
                .iter()
                .map(|delta| self.varint(zigzag(*delta)))
                .collect::<Vec<_>>();
            queues.push(self.repeated(number, 0, &values));
        }
        let floats = [
            (10, &histogram.negative_counts),
            (13, &histogram.positive_counts),
            (16, &histogram.custom_values),
        ];
        for (number, bits) in floats {
            let values = bits.iter().map(|bits| bits.to_le_bytes().to_vec()).collect::<Vec<_>>();
            queues.push(self.repeated(number, 1, &values));
        }
        let histogram = self.merge(queues);
        self.bytes(4, &histogram)
    }

    /// The other alternative of a oneof may come first and is then overruled.
    fn alternatives(&mut self, other: u64, bits: u64, (number, count): (u64, u64)) -> Queue {
        let mut queue = if self.below(4) == 0 {
            self.fixed(other, bits)
        } else {
            Queue::new()
        };
        queue.push_back([self.key(number, 0), self.varint(count)].concat());
        queue
    }

    fn alternatives_fixed(&mut self, other: u64, (number, bits): (u64, u64)) -> Queue {
        let mut queue = if self.below(4) == 0 {
            self.integer(other, 7)
        } else {
            Queue::new()
        };
        queue.push_back([self.key(number, 1), bits.to_le_bytes().to_vec()].concat());
        queue
    }

    fn repeated(&mut self, number: u64, wire_type: u64, values: &[Vec<u8>]) -> Queue {
        let mut queue = Queue::new();
        let mut rest = values;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + self.below(rest.len() as u64) as usize);
            if now.len() == 1 && self.below(2) == 0 {
                queue.push_back([self.key(number, wire_type), now[0].clone()].concat());
            } else {
                queue.push_back(self.bytes(number, &now.concat()));
            }
            rest = later;
        }
        queue
    }

    fn fixed(&mut self, number: u64, bits: u64) -> Queue {
        let mut queue = Queue::new();
        if self.below(4) == 0 {
            queue.push_back([self.key(number, 1), 1.5f64.to_le_bytes().to_vec()].concat());
        }
        // A zero may be said or not, unless it has to overrule.
        if bits != 0 || !queue.is_empty() || self.below(2) == 0 {
            queue.push_back([self.key(number, 1), bits.to_le_bytes().to_vec()].concat());
        }
        queue
    }

    fn integer(&mut self, number: u64, value: u64) -> Queue {
        let mut queue = Queue::new();
        if self.below(4) == 0 {
            queue.push_back([self.key(number, 0), self.varint(3)].concat());
        }
        if value != 0 || !queue.is_empty() || self.below(2) == 0 {
            queue.push_back([self.key(number, 0), self.varint(value)].concat());
        }
        queue
    }

    fn bytes(&mut self, number: u64, content: &[u8]) -> Vec<u8> {
        [self.key(number, 2), self.varint(content.len() as u64), content.to_vec()].concat()
    }

    fn key(&mut self, number: u64, wire_type: u64) -> Vec<u8> {
        self.varint(number << 3 | wire_type)
    }

    fn varint(&mut self, mut value: u64) -> Vec<u8> {
        let mut out = vec![];
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        if self.below(8) == 0 {
            for _ in 0..self.below(11 - out.len() as u64) {
                *out.last_mut().unwrap() |= 0x80;
                out.push(0);
            }
        }
        out
    }

    /// One message of all fields: queues keep their own order and mix with each other and with unknown fields.
    fn merge(&mut self, mut queues: Vec<Queue>) -> Vec<u8> {
        let mut out = vec![];
        queues.retain(|queue| !queue.is_empty());
        while !queues.is_empty() {
            let pick = self.below(queues.len() as u64) as usize;
            out.extend(queues[pick].pop_front().unwrap());
            queues.retain(|queue| !queue.is_empty());
            if self.below(10) == 0 {
                out.extend(self.unknown());
            }
        }
        out
    }

    fn unknown(&mut self) -> Vec<u8> {
        let number = 20 + self.below(1 << 20);
        match self.below(5) {
            0 => [self.key(number, 0), self.varint(self.0)].concat(),
            1 => [self.key(number, 1), vec![0xff; 8]].concat(),
            2 => self.bytes(number, b"\xffunknown"),
            3 => [self.key(number, 5), vec![0; 4]].concat(),
            _ => [self.key(number, 3), self.bytes(1, b"in a group"), self.key(number, 4)].concat(),
        }
    }
}
