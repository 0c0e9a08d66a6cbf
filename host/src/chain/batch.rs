//! Series that policies are asked about.
//!
//! Takes the body of a write and where the labels of its series lie; gives each as it was sent. Has a batch of its own, of
//! plain series, that a policy must judge before it is in use and wherever it is in doubt. Never asks a policy.

use std::ops::Range;

use bytes::Bytes;

use crate::wire::labels::encode_labels;

/// Series to judge.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub body: Bytes,
    /// Each one series' canonical label bytes in `body`.
    pub labels: Vec<Range<u32>>,
}

impl Batch {
    /// The label bytes of one series as they were sent. A range outside the body is a bug, and costs the call: judged
    /// as a series without labels it would cost the series.
    pub(super) fn series(&self, index: usize) -> &[u8] {
        let range = &self.labels[index];
        &self.body[range.start as usize..range.end as usize]
    }

    /// Plain series of every shape a policy must be able to look at: few labels, many, UTF-8 names and values.
    pub fn golden() -> Self {
        let long = "x".repeat(1024);
        let series: [&[(&str, &str)]; 5] = [
            &[
                ("__name__", "up"),
                ("instance", "localhost:9090"),
                ("job", "prometheus"),
            ],
            &[
                ("__name__", "http_request_duration_seconds_bucket"),
                ("code", "200"),
                ("handler", "/api/v1/write"),
                ("instance", "10.0.0.1:8080"),
                ("job", "api"),
                ("le", "+Inf"),
                ("method", "POST"),
            ],
            &[
                ("__name__", "kube_pod_info"),
                ("namespace", "default"),
                ("pod", "web-0"),
            ],
            &[
                ("__name__", "größe.in.bytes"),
                ("ort", "München 火"),
                ("tag with space", "1"),
            ],
            &[("__name__", "long_value"), ("value", &long)],
        ];
        let mut body = Vec::new();
        let mut ranges = Vec::new();
        for labels in series {
            let start = body.len();
            encode_labels(labels.iter().copied(), &mut body);
            ranges.push(start as u32..body.len() as u32);
        }
        Self {
            body: Bytes::from(body),
            labels: ranges,
        }
    }
}
