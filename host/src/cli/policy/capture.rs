//! Series in a file: as people and `gauntlet tap` write them, or the body of a write as it was sent.
//!
//! Takes a path, gives labels. A text has one series on each line, as Prometheus writes them; values, timestamps and
//! comments are left out. A name that ends in `.rw` is the body of a remote write 1.0 request.

use std::path::Path;

use crate::model::{Label, Protocol, parse_exposition};
use crate::pipeline::LEFT_OUT;
use crate::wire::{ScanLimits, labels, scan, snappy};

/// Largest capture read, in bytes, compressed or not.
const MAX_CAPTURE: u64 = 512 << 20;

/// What a capture holds.
pub(super) struct Capture {
    /// Each once.
    pub(super) series: Vec<Vec<Label>>,
    /// It says that label values were left out of it.
    pub(super) is_without_values: bool,
}

impl Capture {
    /// # Errors
    /// A sentence with the file, and the line.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let named = path.display();
        let cannot = |error: &dyn std::fmt::Display| format!("cannot read {named}: {error}");
        let length = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
        if length > MAX_CAPTURE {
            return Err(cannot(&format!("it has more than {} MiB", MAX_CAPTURE >> 20)));
        }
        let bytes = std::fs::read(path).map_err(|error| cannot(&error))?;
        let mut capture = match path.extension().is_some_and(|extension| extension == "rw") {
            true => of_write(&bytes).map_err(|error| cannot(&error))?,
            false => of_text(&bytes).map_err(|error| format!("{named}: {error}"))?,
        };
        capture.series.sort_unstable();
        capture.series.dedup();
        match capture.series.is_empty() {
            true => Err(format!("{named} holds no series")),
            false => Ok(capture),
        }
    }
}

fn of_text(bytes: &[u8]) -> Result<Capture, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "this is not text; the body of a write has a name that ends in `.rw`".to_owned())?;
    let series = parse_exposition(text).map(|series| series.map(|(_, labels)| labels));
    Ok(Capture {
        series: series.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
        is_without_values: text.lines().any(|line| line == LEFT_OUT),
    })
}

fn of_write(body: &[u8]) -> Result<Capture, String> {
    let decoded = snappy::decode(body, MAX_CAPTURE).map_err(|error| error.to_string())?;
    let all = ScanLimits::NONE;
    let scanned = scan(Protocol::V1, decoded, &all).map_err(|error| error.to_string())?;
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let series = scanned.series().iter();
    let labels = series.map(|series| labels::labels(scanned.label_bytes(series)).map(label).collect());
    Ok(Capture {
        series: labels.collect(),
        is_without_values: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_series;
    use crate::wire::write_series;

    fn read(name: &str, bytes: &[u8]) -> Result<Capture, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        Capture::read(&file).map_err(|error| error.replace(&*folder.path().to_string_lossy(), ""))
    }

    #[test]
    fn a_capture_is_lines_of_series_each_once() {
        let text = format!("# HELP up Is it?\n{LEFT_OUT}\nup{{job=\"a\"}} 1\nup{{job=\"a\"}} 0\n\nup\n");
        let capture = read("lines", text.as_bytes()).unwrap();
        let expected = [r#"up"#, r#"up{job="a"}"#].map(|text| parse_series(text).unwrap());
        assert_eq!(capture.series, expected);
        assert!(capture.is_without_values);
        assert!(!read("lines", b"up").unwrap().is_without_values);
    }

    #[test]
    fn a_capture_may_be_the_body_of_a_write() {
        let (mut raw, mut body) = (Vec::new(), Vec::new());
        let up = [("__name__", "up"), ("job", "a")];
        write_series(&mut raw, up.into_iter(), [(1.0, 1)].into_iter());
        snappy::encode(&raw, &mut body).unwrap();
        assert_eq!(
            read("body.rw", &body).unwrap().series,
            [parse_series(r#"up{job="a"}"#).unwrap()]
        );
    }

    #[test]
    fn what_is_no_capture_is_told_with_file_and_line() {
        let fault = |name, bytes: &[u8]| read(name, bytes).err().unwrap();
        assert_eq!(
            fault("lines", b"up\nup{"),
            "/lines: line 2, column 4: expected the name of a label, or `}`"
        );
        assert!(fault("body", b"\xff\xfe").contains("`.rw`"));
        assert!(fault("body.rw", b"nonsense").starts_with("cannot read /body.rw: "));
        assert_eq!(fault("empty", b"# nothing\n"), "/empty holds no series");
        assert!(Capture::read(Path::new("/no/such")).is_err());
    }
}
