//! The files that `deploy/kubernetes` would mount, checked by the binary that would read them.
//!
//! Takes the committed configuration and this run's certificates, laid out in a folder as the pod's volumes lay them
//! out; gives what `gauntlet check` says. Never starts a pod: that needs a cluster.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Stack;
use crate::gateway;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes");

/// Where the pod mounts its cache volume.
const CACHE: &str = "/var/cache/gauntlet";

pub fn accepted(stack: &Stack) -> Result<String> {
    let root = stack.dir.join("etc-gauntlet");
    let tenants = copy_folder(&root, "tenants")?;
    copy_folder(&root, "config")?;
    let certs = &stack.certs;
    let mounted = [
        ("tls/tls.crt", &certs.gateway.cert),
        ("tls/tls.key", &certs.gateway.key),
        ("sender-ca/ca.crt", &certs.authority),
    ];
    for (mount, file) in mounted {
        let place = root.join(mount);
        fs::create_dir_all(place.parent().context("a mount has a folder")?)?;
        fs::copy(file, place)?;
    }
    let config = root.join("config/gauntlet.yaml");
    // The pod's cache volume; checking compiles the policies.
    let text = fs::read_to_string(&config)?;
    ensure!(
        text.contains(CACHE),
        "deploy/kubernetes names no cache folder under {CACHE}"
    );
    fs::write(&config, text.replace(CACHE, &root.join("cache").display().to_string()))?;
    fs::create_dir_all(root.join("cache"))?;
    let output = Command::new(gateway::program()?)
        .arg("check")
        .arg(&config)
        .output()
        .context("running gauntlet check")?;
    ensure!(
        output.status.success(),
        "gauntlet check of deploy/kubernetes: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(format!(
        "gauntlet check accepts deploy/kubernetes with its {tenants} tenants"
    ))
}

fn copy_folder(root: &Path, name: &str) -> Result<usize> {
    fs::create_dir_all(root.join(name))?;
    let mut files = 0;
    for entry in fs::read_dir(format!("{MANIFESTS}/{name}"))? {
        let entry = entry?;
        fs::copy(entry.path(), root.join(name).join(entry.file_name()))?;
        files += 1;
    }
    Ok(files)
}
