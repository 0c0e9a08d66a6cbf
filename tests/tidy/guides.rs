//! The guides for people in trouble leave out nothing that the protocol can answer.
//!
//! Takes the table of answers in docs/protocol.md, which a test holds against the code; gives the statuses that the tenant guide
//! does not explain and the reasons to wait that troubleshooting does not name. Never judges what they say of them.

use std::fs;

use super::{none, root};

/// The first two cells of the table of answers: the status, or two, and the reasons.
fn answers() -> Vec<(String, String)> {
    let page = page("protocol.md");
    let (_, table) = page.split_once("| status | reason | when |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().skip(2).map(|row| {
        let mut cells = row.split('|').skip(1).map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.next().unwrap())
    });
    rows.collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

#[test]
fn the_tenant_guide_explains_every_status() {
    let guide = page("tenants.md");
    let rows: Vec<&str> = guide.lines().filter_map(|row| row.strip_prefix("| ")).collect();
    let answers = answers();
    let statuses = answers.iter().flat_map(|(status, _)| status.split(" or "));
    let missing = statuses.filter(|status| !rows.iter().any(|row| row.starts_with(status)));
    none(
        &missing.map(str::to_owned).collect::<Vec<_>>(),
        "docs/tenants.md has a row for each status of docs/protocol.md",
    );
}

#[test]
fn troubleshooting_names_every_reason_to_wait() {
    let guide = page("troubleshooting.md");
    let answers = answers();
    let waiting = answers.iter().filter(|(status, _)| status.ends_with("503"));
    let reasons: Vec<&str> = waiting
        .flat_map(|(_, reasons)| reasons.split('`').skip(1).step_by(2))
        .collect();
    assert!(
        reasons.contains(&"over_rate"),
        "the table of answers was not understood"
    );
    let missing = reasons.iter().filter(|reason| !guide.contains(&format!("`{reason}`")));
    none(
        &missing.map(ToString::to_string).collect::<Vec<_>>(),
        "docs/troubleshooting.md names each reason that docs/protocol.md has for 503",
    );
}
