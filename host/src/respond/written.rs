//! What of a write is stored, as a sender of 2.0 is told.
//!
//! Takes counts, gives the headers of an answer. Never says anything to a sender of 1.0.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;

use crate::model::Totals;

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Says in the answer to a write of 2.0 what was written of it. "Receivers MUST send" the three of them, whether all went
/// well or not (remote write 2.0, "Required `Written` Response Headers"); a sender that finds none of them takes the
/// receiver for one that does not know 2.0.
pub fn say_written(response: &mut Response<Full<Bytes>>, written: &Totals) {
    let headers = response.headers_mut();
    for (name, count) in [
        (SAMPLES_WRITTEN, written.samples),
        (HISTOGRAMS_WRITTEN, written.histograms),
        (EXEMPLARS_WRITTEN, written.exemplars),
    ] {
        headers.insert(name, HeaderValue::from(count));
    }
}
