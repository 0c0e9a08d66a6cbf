//! What a second load need not parse, and what it must.

use super::*;

const TENANT: &str = "tenant: a\ncredentials: [{bearer_token_file: ../token}]\n";

fn folder() -> Folder {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    folder.write("t/a.yaml", TENANT);
    folder.write(
        "t/b.yaml",
        &format!(
            "tenant: b\ncredentials: [{{bearer_token_sha256: {}}}]\n",
            "0b".repeat(32)
        ),
    );
    folder.write("token", "one");
    folder
}

/// A load beside one that knows nothing: they must not differ. Says of each tenant whether it is what `known` held.
fn load_again(folder: &Folder, known: &mut Known, before: &Loaded) -> (Loaded, Vec<bool>) {
    let (again, inputs) = attempt(&folder.path("g.yaml"), known, &Incumbents::default());
    let (again, afresh) = (again.unwrap(), folder.load().unwrap());
    assert_eq!(again.config.tenants, afresh.config.tenants);
    assert_eq!(folder.say(&mistakes(&again)), folder.say(&mistakes(&afresh)));
    assert_eq!(again.warnings, afresh.warnings);
    assert_eq!(inputs.loaded(), afresh.inputs.loaded());
    let same = |tenant: &Arc<Tenant>| before.config.tenants.values().any(|old| Arc::ptr_eq(old, tenant));
    let same = again.config.tenants.values().map(same).collect();
    (again, same)
}

fn mistakes(loaded: &Loaded) -> Vec<ConfigError> {
    loaded.broken.iter().flat_map(|broken| broken.errors.clone()).collect()
}

#[test]
fn what_did_not_change_is_not_parsed_again() {
    let (folder, mut known) = (folder(), Known::default());
    let (first, same) = load_again(&folder, &mut known, &folder.load().unwrap());
    assert_eq!(same, [false, false]);
    let (second, same) = load_again(&folder, &mut known, &first);
    assert_eq!(same, [true, true]);

    folder.write(
        "t/b.yaml",
        &format!(
            "tenant: b\ncredentials: [{{bearer_token_sha256: {}}}]\n",
            "0c".repeat(32)
        ),
    );
    let (third, same) = load_again(&folder, &mut known, &second);
    assert_eq!(same, [true, false]);

    folder.write("token", "two");
    let (fourth, same) = load_again(&folder, &mut known, &third);
    assert_eq!(same, [false, true]);

    // May say something else to all of them.
    folder.write(
        "g.yaml",
        &format!("{PLAIN}tenant_files: ['t/*.yaml']\nover_rate: too_many_requests\n"),
    );
    let (_, same) = load_again(&folder, &mut known, &fourth);
    assert_eq!(same, [false, false]);
}

#[test]
fn a_mistake_is_told_every_time_and_gone_when_it_is_mended() {
    let (folder, mut known) = (folder(), Known::default());
    let (first, _) = load_again(&folder, &mut known, &folder.load().unwrap());
    for _ in 0..2 {
        fs::remove_file(folder.path("token")).unwrap();
        let (broken, same) = load_again(&folder, &mut known, &first);
        assert_eq!((broken.broken.len(), same), (1, vec![true]));
        folder.write("token", "one");
        assert_eq!(load_again(&folder, &mut known, &first).1, [false, true]);
    }
    // Two that are the same as before, and cannot be together with a third.
    folder.write("t/c.yaml", &TENANT.replace("tenant: a", "tenant: c"));
    for _ in 0..2 {
        let (broken, same) = load_again(&folder, &mut known, &first);
        assert_eq!((broken.broken.len(), same), (2, vec![true]));
    }
    fs::remove_file(folder.path("t/c.yaml")).unwrap();
    let (mended, _) = load_again(&folder, &mut known, &first);
    assert_eq!((mended.broken.len(), mended.config.tenants.len()), (0, 2));
}

#[test]
fn a_refused_main_file_costs_only_what_was_known() {
    let (folder, mut known) = (folder(), Known::default());
    let (first, _) = load_again(&folder, &mut known, &folder.load().unwrap());
    folder.write("g.yaml", "nonsense");
    assert!(
        attempt(&folder.path("g.yaml"), &mut known, &Incumbents::default())
            .0
            .is_err()
    );
    folder.write("g.yaml", &format!("{PLAIN}tenant_files: ['t/*.yaml']\n"));
    let (second, _) = load_again(&folder, &mut known, &first);
    assert_eq!(load_again(&folder, &mut known, &second).1, [true, true]);
}
