//! Every command that the documents tell people to type is one that the program takes.
//!
//! Takes the pages, and the `README.md` of each project that `plugin new` makes; gives the commands that the program would
//! refuse. Runs none of them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Cli;

/// Pages of this folder and those below it, with their text.
fn pages(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(pages_of_dir(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            pages.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    pages
}

fn pages_of_dir(folder: &Path) -> Vec<(PathBuf, String)> {
    match folder.ends_with("node_modules") || folder.ends_with("target") {
        true => Vec::new(),
        false => pages(folder),
    }
}

fn all_pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["docs", "guest-plugins/examples", "guest-plugins/templates"];
    let mut all: Vec<_> = folders.iter().flat_map(|folder| pages(&root.join(folder))).collect();
    all.extend(["README.md", "CONTRIBUTING.md"].map(|page| {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    }));
    all
}

/// The lines in fences that are commands of ours, those that go on behind `\` as one; and what stands in prose.
fn commands(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut typed, mut told, mut fenced) = (Vec::new(), Vec::new(), false);
    // The blanks that what goes on is indented by are no end of a command.
    let page: String = page.split("\\\n").map(|part| part.trim_start_matches(' ')).collect();
    for line in page.lines() {
        let line = line.trim_start();
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let command = line.strip_prefix("$ ").unwrap_or(line);
            // A project's page says behind some blanks what a command does; a measurement begins with a version.
            let command = command.split("     ").next().unwrap_or_default();
            let is_ours = command.starts_with("gauntlet ") && !command.starts_with("gauntlet 0.");
            typed.extend(is_ours.then(|| command.to_owned()));
        } else {
            let quoted = line.split('`').skip(1).step_by(2);
            told.extend(quoted.filter(|code| code.starts_with("gauntlet ")).map(str::to_owned));
        }
    }
    (typed, told)
}

/// As a shell would, as far as the pages go: quotes, a comment, and the end of a command. `None` for what only a shell knows.
fn words(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '>' | '<') => break,
            (None | Some('"'), '$') => return None,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

fn refused(command: &str) -> Option<clap::Error> {
    Cli::try_parse_from(words(command)?).err()
}

#[test]
fn every_command_that_the_pages_tell_people_to_type_is_one() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in all_pages() {
        let (typed, told) = commands(&text);
        seen += typed.len();
        let whole = typed.iter().filter_map(|command| Some((command, refused(command)?)));
        // In prose one may leave out what is needed, or put a word in its place.
        let no_such =
            |error: &clap::Error| matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
        let named = told.iter().filter_map(|command| Some((command, refused(command)?)));
        let all = whole.chain(named.filter(|(_, error)| no_such(error)));
        wrong.extend(all.map(|(command, error)| format!("{}: {command}\n{error}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 30, "the pages were not understood: {seen}");
}

#[test]
fn a_command_is_read_as_a_shell_would() {
    let of = |command| words(command).unwrap_or_default();
    assert_eq!(of("a 'b c' \"d\"e # f"), ["a", "b c", "de"]);
    assert_eq!(of("a '' x#y | b"), ["a", "", "x#y"]);
    assert_eq!(words("a $(b)"), None);
    let page = "```sh\n$ gauntlet a \\\n  b\nother\n```\nsee `gauntlet c` and `d`\n";
    assert_eq!(
        commands(page),
        (vec!["gauntlet a b".to_owned()], vec!["gauntlet c".to_owned()])
    );
}
