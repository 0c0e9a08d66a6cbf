//! The recipes of the policy book: each is a tenant's file, and does what its cases promise.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tools::{gauntlet, text};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies/recipes")
}

/// Of the files in one of its folders, in order.
fn names(of: &str) -> Vec<String> {
    let files = fs::read_dir(folder().join(of)).unwrap();
    let name = |file: PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files.map(|entry| name(entry.unwrap().path())).collect();
    names.sort_unstable();
    names
}

#[test]
fn every_recipe_is_listed_and_has_cases_of_its_own_tenant() {
    let recipes = names("tenants");
    assert_eq!(recipes, names("tests"));
    let list = fs::read_to_string(folder().join("README.md")).unwrap();
    for recipe in &recipes {
        let name = recipe.strip_suffix(".yaml").unwrap();
        let row = format!("| [{name}](tenants/{recipe}) | [cases](tests/{recipe}) |");
        assert!(list.contains(&row), "{row}");
        let cases = fs::read_to_string(folder().join("tests").join(recipe)).unwrap();
        let policy = format!("policy: {{config: ../gauntlet.yaml, tenant: {name}}}\n");
        assert!(cases.starts_with(&policy), "{recipe}: {cases}");
    }
    assert_eq!(list.matches("](tenants/").count(), recipes.len());
}

#[test]
fn every_recipe_does_what_its_cases_promise() {
    let config = text(&folder().join("gauntlet.yaml"));
    gauntlet(&["check", &config]).with(0, &[]);
    let files: Vec<String> = names("tests")
        .iter()
        .map(|recipe| text(&folder().join("tests").join(recipe)))
        .collect();
    let mut arguments = vec!["plugin", "test", "--cases-only"];
    arguments.extend(files.iter().map(String::as_str));
    let tested = gauntlet(&arguments).with(0, &[]);
    for file in &files {
        let told = tested
            .out
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{file}: ")));
        let told = told.unwrap_or_else(|| panic!("nothing of {file} in {}", tested.out));
        let (cases, failed) = told.split_once(" cases, ").unwrap();
        assert!(cases != "0" && failed.starts_with("0 failed"), "{file}: {told}");
    }
}
