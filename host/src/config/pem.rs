//! PEM files as people join them: blocks on one line, keys with a passphrase, halves of a block.
//!
//! Takes a field that names a file, gives the file's text with each marker (`-----BEGIN X-----`) on a line of its own,
//! or notes in which line what is wrong. What stands between the markers is read elsewhere. Never loses a block in
//! silence, as a reader of lines does with `-----END X----------BEGIN X-----`, and never quotes the file.

use std::path::PathBuf;

use super::Pem;
use super::file::Value;
use super::section::{Field, quote};

const DASHES: &[u8] = b"-----";

/// The certificates in the file that `field` names.
pub(super) fn certificates(field: &Field<'_>) -> Option<(PathBuf, Pem)> {
    file(field, false)
}

/// The certificates and the private key in two files. Where secrets are left out, both are empty if there is no key: the
/// two come and go together.
pub(super) fn pair(certificate: Option<Field<'_>>, key: Option<Field<'_>>) -> Option<((PathBuf, Pem), (PathBuf, Pem))> {
    let lacks_key = key.as_ref().is_some_and(is_left_out);
    let certificate = certificate.map(|field| match lacks_key && is_left_out(&field) {
        true => nothing(&field),
        false => file(&field, false),
    });
    let key = key.map(|field| match lacks_key {
        true => nothing(&field),
        false => file(&field, true),
    });
    certificate.flatten().zip(key.flatten())
}

fn is_left_out(field: &Field<'_>) -> bool {
    let path = |text: &String| field.source.path(text);
    matches!(&field.node.value, Value::Text(text) if field.source.files.lacks_secret(&path(text)))
}

fn nothing(field: &Field<'_>) -> Option<(PathBuf, Pem)> {
    Some((field.source.path(field.text()?), Pem::from([])))
}

fn file(field: &Field<'_>, is_key: bool) -> Option<(PathBuf, Pem)> {
    let (path, bytes) = field.file()?;
    match in_lines(&bytes, is_key) {
        Ok(text) if text == *bytes => Some((path, bytes)),
        Ok(text) => Some((path, text.into())),
        Err(Fault { line, reason }) => {
            let name = field.text().map(quote).unwrap_or_default();
            field.fail(format!("line {line} of `{name}`: {reason}"));
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: usize,
    reason: String,
}

/// `-----BEGIN LABEL-----`, or the same with `END`.
struct Marker<'a> {
    begins: bool,
    label: &'a [u8],
    length: usize,
}

impl<'a> Marker<'a> {
    /// The one at the start of `text`.
    fn at(text: &'a [u8]) -> Option<Self> {
        let inner = text.strip_prefix(DASHES)?;
        let (begins, rest) = match (inner.strip_prefix(b"BEGIN "), inner.strip_prefix(b"END ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let is_label = |b: &u8| b.is_ascii_alphanumeric() || *b == b' ';
        let (label, _) = rest.split_at(rest.iter().take_while(|b| is_label(b)).count());
        rest[label.len()..].starts_with(DASHES).then_some(Self {
            begins,
            label,
            length: text.len() - rest.len() + label.len() + DASHES.len(),
        })
    }
}

/// The text with every marker on a line of its own.
fn in_lines(text: &[u8], is_key: bool) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(text.len());
    // The label of the block that is open, and the line in which it began.
    let mut open: Option<(&[u8], usize)> = None;
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let rest = &text[at..];
        let fault = |reason: &str| Fault {
            line,
            reason: reason.to_owned(),
        };
        let Some(marker) = Marker::at(rest) else {
            if rest.starts_with(b"-BEGIN ") || rest.starts_with(b"-END ") {
                return Err(fault("a block's first and last line have five dashes on each side"));
            }
            if is_key && open.is_some() && rest.starts_with(b"Proc-Type: 4,ENCRYPTED") {
                return Err(fault(PASSPHRASE));
            }
            line += usize::from(rest[0] == b'\n');
            out.push(rest[0]);
            at += 1;
            continue;
        };
        open = match (marker.begins, open) {
            (true, None) if is_key && marker.label == b"ENCRYPTED PRIVATE KEY" => return Err(fault(PASSPHRASE)),
            (true, None) => Some((marker.label, line)),
            (true, Some((_, began))) => return Err(unfinished(began)),
            (false, Some((label, _))) if label == marker.label => None,
            (false, _) => return Err(fault("a block ends here that did not begin")),
        };
        break_line(&mut out);
        out.extend_from_slice(&rest[..marker.length]);
        at += marker.length;
        if text.get(at).is_some_and(|next| !b"\r\n".contains(next)) {
            out.push(b'\n');
        }
    }
    match open {
        Some((_, began)) => Err(unfinished(began)),
        None => Ok(out),
    }
}

const PASSPHRASE: &str = "the key has a passphrase, which is not supported";

fn unfinished(line: usize) -> Fault {
    let reason = "the block that begins here has no end".to_owned();
    Fault { line, reason }
}

fn break_line(out: &mut Vec<u8>) {
    if out.last().is_some_and(|last| !b"\r\n".contains(last)) {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_key: bool) -> Result<String, String> {
        in_lines(text.as_bytes(), is_key)
            .map(|text| String::from_utf8(text).unwrap())
            .map_err(|fault| format!("{} {}", fault.line, fault.reason))
    }

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nAg==\n-----END CERTIFICATE-----";

    #[test]
    fn joined_blocks_come_apart() {
        let apart = format!("{ONE}\n{TWO}");
        for joined in [
            format!("{ONE}{TWO}"),
            format!("{ONE}\n{TWO}"),
            format!("{ONE}{TWO}").replace('\n', ""),
        ] {
            assert_eq!(read(&joined, false).as_deref(), Ok(&*apart), "{joined}");
        }
        let before = format!("the leaf: {ONE} # and its issuer\r\n{TWO}\r\n");
        let apart = format!("the leaf: \n{ONE}\n # and its issuer\r\n{TWO}\r\n");
        assert_eq!(read(&before, false), Ok(apart));
        // An editor's mark of its encoding hides the first line from a reader of lines.
        assert_eq!(read(&format!("\u{feff}{ONE}"), false), Ok(format!("\u{feff}\n{ONE}")));
        assert_eq!(read("no block at all", false).as_deref(), Ok("no block at all"));
    }

    #[test]
    fn half_blocks_are_told_with_their_line() {
        for (text, expected) in [
            (
                format!("{ONE}\n-----BEGIN CERTIFICATE-----\nAg==\n"),
                "4 the block that begins here has no end",
            ),
            (
                format!("-----BEGIN CERTIFICATE-----\nAQ==\n{TWO}"),
                "1 the block that begins here has no end",
            ),
            (
                format!("AQ==\n{}", &ONE[28..]),
                "3 a block ends here that did not begin",
            ),
            (
                ONE.replace("END CERTIFICATE", "END PRIVATE KEY"),
                "3 a block ends here that did not begin",
            ),
            (
                format!("{ONE}{}", &TWO[1..]),
                "3 a block's first and last line have five dashes on each side",
            ),
        ] {
            assert_eq!(read(&text, false), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn keys_with_a_passphrase_are_told_so() {
        let pkcs8 = "\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQ==\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAQ==\n\
                           -----END RSA PRIVATE KEY-----\n";
        for key in [pkcs8, traditional] {
            assert_eq!(read(key, true), Err(format!("2 {PASSPHRASE}")));
            // Beside certificates, in a file whose key nobody asks for.
            assert_eq!(read(key, false).as_deref(), Ok(key));
        }
        let plain = "-----BEGIN EC PARAMETERS-----\nAQ==\n-----END EC PARAMETERS-----\n\
                     -----BEGIN EC PRIVATE KEY-----\nAQ==\n-----END EC PRIVATE KEY-----\n";
        assert_eq!(read(plain, true).as_deref(), Ok(plain));
    }
}
