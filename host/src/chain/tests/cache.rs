//! Artefacts on disk: what is believed, and that the rest is compiled again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::owned::OwnedError;
use crate::sandbox::Cache;

fn cached(folder: &Path) -> Arc<Engine> {
    engine(&config::Sandbox {
        cache_dir: Some(folder.to_owned()),
        ..sandbox()
    })
}

/// An engine that can use nothing but the cache.
fn without_compiler(folder: &Path) -> Arc<Engine> {
    let sandbox = config::Sandbox {
        cache_dir: Some(folder.to_owned()),
        ..sandbox()
    };
    let compiler = Compiler {
        program: "/nonexistent".into(),
        args: vec![],
    };
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, metrics.clone());
    Engine::new(&sandbox, compiler, &memory, metrics).unwrap()
}

async fn loads(engine: &Arc<Engine>) -> bool {
    let built = Chain::build(engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1).await;
    match built {
        Ok(_) => true,
        Err(BuildError {
            fault: BuildFault::Load(LoadError::Compile(CompileError::NotRun(_))),
            ..
        }) => false,
        Err(error) => panic!("{error}"),
    }
}

fn artefact(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|e| e == "cwasm"))
        .unwrap()
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    assert!(!loads(&without_compiler(&folder)).await);
    assert!(loads(&cached(&folder)).await);
    assert!(loads(&without_compiler(&folder)).await);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "the key and one artefact, nothing temporary: {files:?}");
    assert!(files.iter().all(|path| mode(path) == 0o600));
}

#[tokio::test]
async fn a_file_that_was_touched_is_not_believed_and_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    assert!(loads(&cached(&folder)).await);
    let path = artefact(&folder);
    let whole = std::fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let header = b"gauntlet artefact 1\n".len();
    let tampered = [
        flipped(0),
        flipped(header),
        flipped(header + 32),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
        whole[..whole.len() - 1].to_vec(),
        whole[..header + 10].to_vec(),
        vec![],
        [&whole[..], b"x"].concat(),
    ];
    for (case, bytes) in tampered.iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        assert!(!loads(&without_compiler(&folder)).await, "case {case}");
    }
    assert!(loads(&cached(&folder)).await);
    assert!(loads(&without_compiler(&folder)).await, "written anew");

    // The right bytes in the place of another plugin's.
    let other = folder.join("other");
    std::fs::rename(&path, &other).unwrap();
    let hostile = [hostile("trap", "relabel")];
    Chain::build(&cached(&folder), &tenant("t"), &hostile, 1).await.unwrap();
    std::fs::rename(&other, artefact(&folder)).unwrap();
    let error = Chain::build(&without_compiler(&folder), &tenant("t"), &hostile, 1)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error.fault,
            BuildFault::Load(LoadError::Compile(CompileError::NotRun(_)))
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_or_a_folder_that_others_can_write_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    assert!(loads(&cached(&folder)).await);
    let path = artefact(&folder);
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(&path, 0o620);
    assert!(!loads(&without_compiler(&folder)).await);
    chmod(&path, 0o600);
    assert!(loads(&without_compiler(&folder)).await);

    let real = folder.join("real");
    std::fs::rename(&path, &real).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    assert!(!loads(&without_compiler(&folder)).await, "a link is not followed");
    std::fs::rename(&real, &path).unwrap();

    chmod(&folder.join("key"), 0o640);
    assert!(matches!(Cache::open(&folder, 1 << 30), Err(OwnedError::Mode(_, 0o640))));
    chmod(&folder.join("key"), 0o600);
    chmod(&folder, 0o750);
    assert!(matches!(Cache::open(&folder, 1 << 30), Err(OwnedError::Mode(_, 0o750))));
    chmod(&folder, 0o700);
    std::fs::write(folder.join("key"), "short").unwrap();
    assert!(matches!(Cache::open(&folder, 1 << 30), Err(OwnedError::Shape(_))));
    // None of it stops the gateway.
    assert!(loads(&cached(&folder)).await);
}

#[tokio::test]
async fn another_key_believes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    assert!(loads(&cached(&folder)).await);
    std::fs::write(folder.join("key"), [7; 32]).unwrap();
    assert!(!loads(&without_compiler(&folder)).await);
}

/// How often a compiler that counts was started.
fn counting(folder: &Path) -> (Compiler, impl Fn() -> usize) {
    let (script, count) = (folder.join("compile"), folder.join("count"));
    let real = compiler();
    let text = format!(
        "#!/bin/sh\necho >>'{}'\nexec '{}' \"$@\"\n",
        count.display(),
        real.program.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let compiler = Compiler {
        program: script,
        args: real.args,
    };
    (compiler, move || std::fs::read(&count).map_or(0, |lines| lines.len()))
}

#[tokio::test]
async fn a_generation_of_500_tenants_on_one_plugin_compiles_once() {
    let folder = tempfile::tempdir().unwrap();
    let (compiler, count) = counting(folder.path());
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, metrics.clone());
    let engine = Engine::new(&sandbox(), compiler, &memory, metrics).unwrap();
    let policies = [policy(fixture("pass"), "{}")];
    let tenants: Vec<Context> = (0..500).map(|n| tenant(&format!("t{n}"))).collect();
    let build = |tenant| Chain::build(&engine, tenant, &policies, 1);
    let chains = futures_util::future::join_all(tenants.iter().map(build)).await;
    assert!(chains.iter().all(Result::is_ok));
    assert_eq!(count(), 1);
}

fn artefacts(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "cwasm"))
        .count()
}

#[tokio::test]
async fn the_folder_is_bounded_and_what_serves_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let small = || {
        engine(&config::Sandbox {
            cache_dir: Some(folder.clone()),
            // Less than any artefact.
            max_cache_size: 1,
            ..sandbox()
        })
    };
    let (engine, policies) = (small(), [policy(fixture("pass"), "{}")]);
    let serving = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap();
    // Another process, as far as the folder knows.
    let other = small();
    let traps = Chain::build(&other, &tenant("t"), &[hostile("trap", "relabel")], 1)
        .await
        .unwrap();
    assert_eq!(artefacts(&folder), 2, "both are in use");
    drop(traps);
    drop(other);
    let echo = [policy(fixture("echo"), "{}")];
    drop(Chain::build(&engine, &tenant("t"), &echo, 2).await.unwrap());
    assert_eq!(
        artefacts(&folder),
        2,
        "one that serves, and one that has just been used"
    );
    assert!(loads(&without_compiler(&folder)).await, "the one that serves is there");
    drop(serving);
    drop(engine);
    let _pruned_at_a_start = small();
    assert_eq!(artefacts(&folder), 0);
}
