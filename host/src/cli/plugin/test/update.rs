//! What came, written into a file of cases.
//!
//! Takes the file's text and what came of its cases, gives the text with `expect` of each case that differs written anew.
//! Everything else stays as it is, comments included. A case in braces is left alone: it has no lines of its own.

use std::path::Path;

use super::super::outcome::Wrong;
use super::cases::Compared;
use crate::config::{Case, Suite};

/// Writes `file` again if a case differs; those that were written hold from here on.
///
/// # Errors
/// If the file cannot be read or written.
pub fn write(file: &Path, suite: &Suite, compared: &mut [Compared]) -> Result<(), Wrong> {
    let read = std::fs::read_to_string(file);
    let text = read.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut changed = 0;
    // From the end, so that places before stay true.
    for (case, compared) in suite.cases.iter().zip(compared).rev() {
        let Some(expect) = compared
            .differs
            .as_ref()
            .and_then(|differs| differs.as_written.as_deref())
        else {
            continue;
        };
        if replace(&mut lines, case, expect) {
            compared.differs = None;
            changed += 1;
        }
    }
    if changed > 0 {
        let text = lines.join("\n") + "\n";
        std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        println!("{}: {changed} cases were written anew", file.display());
    }
    Ok(())
}

/// Whether it could be done.
fn replace(lines: &mut Vec<String>, case: &Case, expect: &str) -> bool {
    match case.expect_place {
        Some((line, column)) => {
            let Some(before) = own_line(lines, line, column) else {
                return false;
            };
            let end = end_of(lines, line, column);
            lines.splice(line - 1..end, [format!("{before}expect: {expect}")]);
        }
        None => {
            let (line, column) = case.place;
            if own_line(lines, line, column).is_none() {
                return false;
            }
            let end = end_of(lines, line, column - 1);
            lines.insert(end, format!("{}expect: {expect}", " ".repeat(column - 1)));
        }
    }
    true
}

/// What stands before a key that begins its line: blanks, and the dash of a list.
fn own_line(lines: &[String], line: usize, column: usize) -> Option<String> {
    let before: String = lines
        .get(line.checked_sub(1)?)?
        .chars()
        .take(column.checked_sub(1)?)
        .collect();
    before.chars().all(|c| c == ' ' || c == '-').then_some(before)
}

/// How many lines there are to the end of what begins at `line`: all that follow and stand further to the right than
/// `column`.
fn end_of(lines: &[String], line: usize, column: usize) -> usize {
    let indent = |text: &String| text.chars().take_while(|c| *c == ' ').count();
    let follows = |text: &&String| text.trim().is_empty() || indent(text) >= column;
    let mut end = line + lines.iter().skip(line).take_while(follows).count();
    // Blank lines and what is said of the next case are not its own.
    while end > line && lines[end - 1].trim().is_empty() {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "policy: {plugin: relabel}
cases:
  # The first.
  - name: a
    series: up
    expect:
      edit: down

  # In braces.
  - {series: b, expect: keep}
  - series: c   # Not expected yet.
    name: c

  - expect: keep  # Old.
    series: d
";

    #[test]
    fn what_came_is_written_in_place_of_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.yaml");
        std::fs::write(&file, FILE).unwrap();
        let suite = crate::config::read_cases(&file).unwrap();
        let differs = |expect: &str| super::super::cases::Differs {
            lines: vec![],
            as_written: Some(expect.to_owned()),
        };
        let came = ["keep", "{drop: 'x'}", "{edit: 'c{a=\"1\"}'}", "{drop: 'y'}"];
        let mut compared: Vec<Compared> = came
            .iter()
            .map(|expect| Compared {
                title: String::new(),
                line: 1,
                differs: Some(differs(expect)),
            })
            .collect();
        write(&file, &suite, &mut compared).unwrap();
        let expected = FILE
            .replace("    expect:\n      edit: down\n", "    expect: keep\n")
            .replace("    name: c\n", "    name: c\n    expect: {edit: 'c{a=\"1\"}'}\n")
            .replace("  - expect: keep  # Old.\n", "  - expect: {drop: 'y'}\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        let left: Vec<bool> = compared.iter().map(|compared| compared.differs.is_some()).collect();
        assert_eq!(left, [false, true, false, false]);
        assert!(crate::config::read_cases(&file).is_ok());
    }
}
