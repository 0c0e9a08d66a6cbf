//! The log of answers: where it goes and what of the stored writes is in it.
//!
//! Takes the section of the main file, gives resolved values. Never opens the file: that is for the process that serves.

use super::AccessLogSettings;
use super::section::{Section, Source};
use crate::telemetry::LogFormat;

/// Standard output, as a path.
const STANDARD_OUTPUT: &str = "-";
/// One in a hundred.
const SAMPLE: f64 = 0.01;
const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("logfmt", LogFormat::Logfmt)];

pub(super) fn access_log(mut section: Section<'_>, source: &Source<'_>) -> Option<AccessLogSettings> {
    let path = section.require("path");
    let path = path.and_then(|field| {
        field
            .text()
            .map(|text| (text != STANDARD_OUTPUT).then(|| source.path(text)))
    });
    let format = section.field("format");
    let format = format.map_or(Some(LogFormat::Json), |field| field.choice(&FORMATS));
    let sample = section.field("sample").map_or(Some(SAMPLE), |field| field.share());
    section.close();
    Some(AccessLogSettings {
        file: path?,
        format: format?,
        sample: sample?,
    })
}
