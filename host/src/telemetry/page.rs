//! Reference pages in docs/ that are made from the code.
//!
//! Takes a page's name and what the code says, fails where the page says something else. With `GAUNTLET_WRITE_PAGES`
//! set it writes the page instead. Only for tests.

use std::path::Path;

const BEGIN: &str = "<!-- made from the code: begin -->\n";
const END: &str = "<!-- made from the code: end -->\n";

/// The part of the page between the two marks must be `text`.
#[track_caller]
pub fn hold(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("GAUNTLET_WRITE_PAGES").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
        return;
    }
    let other = written.lines().zip(text.lines()).find(|(page, code)| page != code);
    assert!(
        written == text,
        "docs/{name} is not what the code says, first in {other:?}; \
         `GAUNTLET_WRITE_PAGES=1 cargo test --locked -p gauntlet --lib page` writes it"
    );
}
