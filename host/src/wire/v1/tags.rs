//! The fields of remote write 1.0, each by the byte it begins with: its number and its wire type.
//!
//! Nothing outside of this room writes or expects one of them.

/// `WriteRequest.timeseries`: field 1, a message.
pub(super) const SERIES: u8 = 0x0a;
/// `WriteRequest.metadata`: field 3, a message.
pub(super) const METADATA: u8 = 0x1a;
/// `TimeSeries.labels`: field 1, a message.
pub(super) const LABEL: u8 = 0x0a;
/// `Label.name`: field 1, bytes.
pub(super) const NAME: u8 = 0x0a;
/// `Label.value`: field 2, bytes.
pub(super) const VALUE: u8 = 0x12;
/// `TimeSeries.samples`, `.exemplars`, `.histograms`: fields 2, 3 and 4, messages.
pub(super) const SAMPLE: u8 = 0x12;
pub(super) const EXEMPLAR: u8 = 0x1a;
pub(super) const HISTOGRAM: u8 = 0x22;
/// `Sample.value`: field 1, eight bytes; `.timestamp`: field 2, a varint.
pub(super) const SAMPLE_VALUE: u8 = 0x09;
pub(super) const SAMPLE_TIMESTAMP: u8 = 0x10;
/// `Exemplar.labels`: field 1, a message; `.value`: field 2, eight bytes; `.timestamp`: field 3, a varint.
pub(super) const EXEMPLAR_LABEL: u8 = 0x0a;
pub(super) const EXEMPLAR_VALUE: u8 = 0x11;
pub(super) const EXEMPLAR_TIMESTAMP: u8 = 0x18;
