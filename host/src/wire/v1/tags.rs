//! The fields of remote write 1.0, each by the byte it begins with: its number and its wire type.
//!
//! Nothing outside of this room writes or expects one of them.

/// `WriteRequest.timeseries`: field 1, a message.
pub(in crate::wire) const SERIES: u8 = 0x0a;
/// `WriteRequest.metadata`: field 3, a message.
pub(in crate::wire) const METADATA: u8 = 0x1a;
/// `MetricMetadata.type`: field 1, a varint; `.metric_family_name`, `.help` and `.unit`: fields 2, 4 and 5, bytes.
pub(super) const METADATA_TYPE: u8 = 0x08;
pub(super) const METADATA_FAMILY: u8 = 0x12;
pub(super) const METADATA_HELP: u8 = 0x22;
pub(super) const METADATA_UNIT: u8 = 0x2a;
/// `TimeSeries.labels`: field 1, a message.
pub(in crate::wire) const LABEL: u8 = 0x0a;
/// `Label.name`: field 1, bytes.
pub(in crate::wire) const NAME: u8 = 0x0a;
/// `Label.value`: field 2, bytes.
pub(in crate::wire) const VALUE: u8 = 0x12;
/// `TimeSeries.samples`, `.exemplars`, `.histograms`: fields 2, 3 and 4, messages.
pub(in crate::wire) const SAMPLE: u8 = 0x12;
pub(in crate::wire) const EXEMPLAR: u8 = 0x1a;
pub(in crate::wire) const HISTOGRAM: u8 = 0x22;
/// `Sample.value`: field 1, eight bytes; `.timestamp`: field 2, a varint.
pub(in crate::wire) const SAMPLE_VALUE: u8 = 0x09;
pub(in crate::wire) const SAMPLE_TIMESTAMP: u8 = 0x10;
/// `Exemplar.labels`: field 1, a message; `.value`: field 2, eight bytes; `.timestamp`: field 3, a varint.
pub(in crate::wire) const EXEMPLAR_LABEL: u8 = 0x0a;
pub(in crate::wire) const EXEMPLAR_VALUE: u8 = 0x11;
pub(in crate::wire) const EXEMPLAR_TIMESTAMP: u8 = 0x18;
