//! Files that change, files that attack, and files of any content.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_written_reaches_no_terminal_as_it_is() {
    let told = |text: &str| {
        let text = format!("remote_write: {{insecure_http: true}}\n{text}");
        let folder = Folder::new(&[("g.yaml", &text), ("crt", "crt")]);
        folder.say(&folder.load().unwrap_err())
    };
    for file in [
        "upstreams: {\"re\\e[31md\": {endpoints: ['http://r:1']}, b: {endpoints: ['http://r:1']}}\ntenants: [{tenant: a}]",
        "upstreams: {\"red\\e\": {endpoints: ['http://r:1']}}\ntenants: [{tenant: a, upstreams: [red]}]",
        "upstreams: {a: {endpoints: ['http://r:1']}}\nplugins: {\"red\\n\": {file: crt}}\npolicies: {before: [{plugin: red}]}",
        "\u{9b}: \u{1b}[31m",
    ] {
        let told = told(file);
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
        assert!(told.lines().all(|line| line.starts_with("g.yaml")), "{told:?}");
    }
    let many: String = (0..1000)
        .map(|n| format!("upstream{n}: {{endpoints: ['http://r:1']}}, "))
        .collect();
    let told = told(&format!("upstreams: {{{many}}}\ntenants: [{{tenant: a}}]"));
    assert!(
        told.contains("must name one or more of: upstream0, upstream1,"),
        "{told}"
    );
    assert!(told.len() < 5000, "{} bytes", told.len());
}

#[test]
fn the_fingerprint_follows_contents_and_new_files_and_not_times() {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    folder.write("v1/a.yaml", "tenant: a\ncredentials: [{bearer_token_file: ../token}]\n");
    folder.write(
        "v2/a.yaml",
        "tenant: a\ncredentials: [{bearer_token_file: ../token}]\nlegacy_names: true\n",
    );
    folder.write("token", "one");
    // As Kubernetes mounts a folder: names point through one link that is swapped.
    std::os::unix::fs::symlink("v1", folder.path("..data")).unwrap();
    fs::create_dir(folder.path("t")).unwrap();
    std::os::unix::fs::symlink("../..data/a.yaml", folder.path("t/a.yaml")).unwrap();
    let mut loaded = folder.load().unwrap();
    let inputs = &mut loaded.inputs;
    assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
    assert_eq!(inputs.look(), inputs.loaded());
    assert_eq!(inputs.files().count(), 3);
    folder.write("token", "one");
    assert_eq!(
        inputs.look(),
        inputs.loaded(),
        "the same content written again is no change"
    );

    let mut seen = vec![inputs.loaded()];
    let mut changed = |what: &str| {
        let now = inputs.look();
        assert!(!seen.contains(&now), "{what} goes unnoticed");
        seen.push(now);
    };
    std::os::unix::fs::symlink("v2", folder.path("..tmp")).unwrap();
    fs::rename(folder.path("..tmp"), folder.path("..data")).unwrap();
    changed("a swapped link");
    folder.write("t/b.yaml", "tenant: b\n");
    changed("a new tenant file");
    folder.write("token", "two");
    changed("a secret");
    fs::remove_file(folder.path("token")).unwrap();
    changed("a removed file");
    fs::remove_file(folder.path("g.yaml")).unwrap();
    changed("a removed main file");
}

#[test]
fn a_file_that_cannot_have_changed_is_not_read_and_one_that_has_is() {
    let folder = main_file("tenant_files: [a.yaml]\n");
    folder.write("a.yaml", "tenant: a\ncredentials: [{bearer_token_file: token}]\n");
    folder.write("token", "one");
    let mut inputs = folder.load().unwrap().inputs;
    let now = SystemTime::now();
    inputs.look_at(now);
    assert_eq!(
        inputs.stamped(),
        0,
        "a change in the same tick of the clock would leave the same stamp"
    );
    let later = now + Duration::from_secs(3600);
    for look in 2..40 {
        assert_eq!(inputs.look_at(later), inputs.loaded());
        assert_eq!(inputs.stamped(), 3, "after look {look}");
    }

    // Of the same length, and with the time of modification set back.
    let token = folder.path("token");
    let before = fs::metadata(&token).unwrap();
    while fs::metadata(&token).unwrap().ctime_nsec() == before.ctime_nsec() {
        folder.write("token", "two");
        let file = fs::File::options().write(true).open(&token).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }
    assert_ne!(inputs.look_at(later), inputs.loaded());
    assert_eq!(inputs.stamped(), 2);
    folder.write("token", "one");
    assert_eq!(inputs.look_at(later), inputs.loaded(), "changed back");
    assert_eq!(inputs.stamped(), 3);
    // Another file under the name, as a swapped link gives it.
    folder.write("other", "two");
    fs::rename(folder.path("other"), &token).unwrap();
    assert_ne!(inputs.look_at(later), inputs.loaded());
}

#[test]
fn a_refused_load_watches_the_file_that_was_missing() {
    let folder = Folder::new(&[(
        "g.yaml",
        "remote_write: {tls_server_config: {cert_file: crt, key_file: key}}\nupstreams: {s: {endpoints: ['http://r:1']}}\n",
    )]);
    let (outcome, mut inputs) = attempt(&folder.path("g.yaml"), &mut Known::default(), &Incumbents::default());
    assert!(outcome.is_err());
    assert_eq!(inputs.look(), inputs.loaded());
    folder.write("crt", "crt");
    folder.write("key", "key");
    assert_ne!(inputs.look(), inputs.loaded());
    assert!(folder.load().is_ok());
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let folder = main_file("plugins: {p: {file: /dev/zero}}\n");
    let errors = folder.load().unwrap().plugins;
    assert_eq!(
        folder.say(&errors),
        "g.yaml:3:21: plugins.p.file: cannot read `/dev/zero`: it is not a regular file\n"
    );
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = format!("{PLAIN}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    let folder = Folder::new(&[("g.yaml", &text)]);
    let start = Instant::now();
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].message.contains("aliases expand to too much"),
        "{}",
        errors[0]
    );
    // A tenth of a billion values would take minutes and gigabytes; the budget is a tenth of a million.
    assert!(start.elapsed() < Duration::from_secs(20));

    let deep = format!("{PLAIN}tenants: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Folder::new(&[("g.yaml", &deep)]).load().is_err());
}

#[test]
fn five_hundred_tenants_load() {
    let folder = main_file("tenant_files: ['t/*.yaml']\n");
    for n in 0..500 {
        folder.write(
            &format!("t/{n}.yaml"),
            &format!(
                "tenant: tenant-{n}\ncredentials:\n  - client_certificate: {{uri_san: 'spiffe://{n}'}}\n  - bearer_token_sha256: \"{}\"\npolicies:\n  - plugin: relabel\n    settings:\n      relabel_configs:\n        - {{action: drop, source_labels: [__name__], regex: 'go_.*'}}\n",
                hex(inputs::sha256(format!("token {n}").as_bytes()))
            ),
        );
    }
    let start = Instant::now();
    let mut loaded = folder.load().unwrap();
    let took = start.elapsed();
    assert_eq!((loaded.config.tenants.len(), loaded.broken.len()), (500, 0));
    let start = Instant::now();
    assert_eq!(loaded.inputs.look(), loaded.inputs.loaded());
    println!("500 tenant files: load {took:?}, look {:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_loading_panic(text in "(?s).{0,200}") {
        let folder = Folder::new(&[("g.yaml", &text)]);
        prop_assert!(folder.load().is_err());
    }

    #[test]
    fn no_mutation_of_a_sound_file_makes_loading_panic(at in 0usize..2000, with in "[\\PC\n\t:{}\\[\\]*&!|>'\"#-]{0,4}", cut in 0usize..8) {
        let mut text: Vec<char> = format!(
            "{PLAIN}tenants:\n  - tenant: a\n    credentials: [{{client_certificate: {{uri_san: x}}}}, {{bearer_token_sha256: '{}'}}]\n    policies: [{{plugin: relabel, settings: {{a: [1, 2.5, null]}}}}]\n    limits: {{max_body_size: 1MiB}}\n",
            "ab".repeat(32)
        ).chars().collect();
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.chars());
        let folder = Folder::new(&[("g.yaml", &text.into_iter().collect::<String>())]);
        for error in folder.load().err().unwrap_or_default() {
            prop_assert!(!error.to_string().contains("abababab"), "{error}");
        }
    }

    #[test]
    fn a_file_of_any_bytes_breaks_its_tenant_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = main_file("tenant_files: ['t/*.yaml']\n");
        folder.write("t/good.yaml", "tenant: good\n");
        fs::write(folder.path("t/bad.yaml"), bytes).unwrap();
        let loaded = folder.load().unwrap();
        prop_assert!(loaded.config.tenants.contains_key(&tenant("good")));
    }
}

#[test]
fn a_plugin_that_cannot_be_read_is_the_matter_of_those_who_name_it() {
    let folder = main_file("plugins: {p: {file: gone.wasm}}\ntenant_files: ['*.t']\n");
    folder.write("sound.t", "tenant: sound\n");
    folder.write("users.t", "tenant: users\npolicies: [{plugin: p}]\n");
    let loaded = folder.load().unwrap();
    assert!(loaded.config.tenants.contains_key(&tenant("sound")));
    assert_eq!(
        folder.say(&loaded.broken[0].errors),
        "users.t:2:21: policies[0].plugin: the file of plugin `p` cannot be used: cannot read `gone.wasm`: there is no such file\n"
    );
}

#[test]
fn a_memory_limit_under_which_a_write_or_a_plugin_could_never_have_its_place_is_refused() {
    let told = |rest: &str| {
        let folder = main_file(rest);
        folder
            .load()
            .map_err(|errors| folder.say(&errors))
            .err()
            .unwrap_or_default()
    };
    let small = |place: &str, limit, least, size| {
        format!(
            "{place}: `memory_limit` ({limit}MiB) must be at least {least}MiB, or `max_body_size` + `max_decoded_size` \
             ({size}MiB) smaller: three tenths of it are certain to be there for bodies, which must hold one of that size\n"
        )
    };
    assert_eq!(told("memory_limit: 214MiB"), "");
    assert_eq!(
        told("memory_limit: 213MiB"),
        small("g.yaml:1:1: default_limits", 213, 214, 64)
    );
    let large = "memory_limit: 214MiB\ntenants: [{tenant: a, limits: {max_body_size: 33MiB}}]";
    assert_eq!(told(large), small("g.yaml:4:31: tenants[0].limits", 214, 217, 65));
    assert_eq!(
        told("memory_limit: 214MiB\nsandbox: {memory_limit: 86MiB}"),
        "g.yaml:4:10: sandbox.memory_limit: one instance may have 86MiB, and all plugins together 85MiB of the \
         `memory_limit` (214MiB)\n"
    );
}
