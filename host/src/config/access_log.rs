//! The log of answers: where it goes and what of the stored writes is in it.
//!
//! Takes the section of the main file, gives resolved values. Never opens the file: that is for the process that serves.

use super::AccessLogSettings;
use super::section::{Field, Section, Source, quote};
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
    let sample = section.field("sample").map_or(Some(SAMPLE), |field| share(&field));
    section.close();
    Some(AccessLogSettings {
        file: path?,
        format: format?,
        sample: sample?,
    })
}

/// From none, 0, to all, 1.
fn share(field: &Field<'_>) -> Option<f64> {
    let text = field.text()?;
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    if share.is_none() {
        field.fail(format!(
            "expected a share from `0` to `1`, such as `0.01`, found `{}`",
            quote(text)
        ));
    }
    share
}
