//! The fields of remote write 2.0, each by the byte it begins with: its number and its wire type.
//!
//! Nothing outside of this room writes or expects one of them. Samples and histograms but for their start timestamps, and
//! exemplars but for their labels, are the same in both versions.

/// `Request.symbols`: field 4, bytes.
pub(super) const SYMBOL: u8 = 0x22;
/// `Request.timeseries`: field 5, a message.
pub(super) const SERIES: u8 = 0x2a;
/// `TimeSeries.labels_refs`: field 1, packed; that of `Exemplar` as well.
pub(super) const LABELS_REFS: u8 = 0x0a;
/// `TimeSeries.samples`, `.histograms`, `.exemplars`, `.metadata`: fields 2 to 5, messages.
pub(super) const SAMPLE: u8 = 0x12;
pub(super) const HISTOGRAM: u8 = 0x1a;
pub(super) const EXEMPLAR: u8 = 0x22;
pub(super) const METADATA: u8 = 0x2a;
/// `Sample.start_timestamp`: field 3, a varint.
pub(super) const SAMPLE_START: u8 = 0x18;
/// `Histogram.start_timestamp`: field 17, a varint.
pub(super) const HISTOGRAM_START: [u8; 2] = [0x88, 0x01];
/// `Metadata.type`, `.help_ref`, `.unit_ref`: fields 1, 3 and 4, varints.
pub(super) const METADATA_TYPE: u8 = 0x08;
pub(super) const METADATA_HELP: u8 = 0x18;
pub(super) const METADATA_UNIT: u8 = 0x20;
