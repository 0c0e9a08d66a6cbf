//! From the path of the main file to everything one generation needs.
//!
//! Takes a path, gives [`Loaded`]: the sound tenants, the broken ones with what is wrong, and the inputs to
//! watch. A mistake in the main file refuses the whole; one in a tenant file costs that tenant only. Reads files and
//! blocks, so it belongs on a blocking thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::chain::{Declared, Plugins};
use super::contested::{self, ReadTenant};
use super::file::{self, Node};
use super::incumbents::Incumbents;
use super::inputs::{Contents, Files, Inputs};
use super::resolve::{self, Main, WHOLE_FILE};
use super::room;
use super::section::{Section, Source};
use super::tenant::{self, House};
use super::{BrokenTenant, ClientAuthType, Config, ConfigError, Credential, Loaded, PluginSource, Tenant, TenantFiles};
use crate::memory::system::Bound;
use crate::model::TenantId;

const VANISHED: &str = "this pattern matched files before and matches none now, which is not taken for a wish to remove \
                        these tenants; to remove them, remove the pattern";

/// Largest YAML file: a thousand inline tenants are about 1 MB.
const MAX_TEXT_SIZE: usize = 16 << 20;

const IS_A_TENANT: &str = "this is the file of one tenant, not a main file; give the main file, which names this one \
                           in `tenant_files` and is checked together with it";
const IS_A_PLUGIN: &str = "this is a WebAssembly file, not a configuration; name it in the `plugins` of a main file, and \
                           give that one, which is checked together with it";

/// Reads the main file and everything it names.
///
/// # Errors
/// Every mistake found in the main file, in the order of its text; never empty.
pub fn load(path: &Path) -> Result<Loaded, Vec<ConfigError>> {
    attempt(path, &mut Known::default(), &Incumbents::default()).0
}

/// As [`load`], where the files with secrets may be missing: in a CI, on a laptop. Whatever is there is checked, and what
/// is not there stands for itself; nothing that was loaded so may serve.
///
/// # Errors
/// As [`load`].
pub fn load_without_secrets(path: &Path) -> Result<Loaded, Vec<ConfigError>> {
    let files = Files::without_secrets();
    read(path, &files, &mut Known::default(), &Incumbents::default())
}

/// Sound tenant files as the last load read them. What was read from the same bytes needs no parsing: a change of one
/// file among 500 takes a quarter of the time.
#[derive(Default)]
pub struct Known {
    /// Of everything read before the tenant files: these may mean something else under another main file or plugin.
    before: [u8; 32],
    tenants: HashMap<PathBuf, (Contents, tenant::Read)>,
}

/// As [`load`], and the inputs also where it failed: what is wrong may be a file that is yet to come, and a
/// watcher wants to try again when it does. What `incumbents` have, no newcomer takes from them, and what is missing of
/// theirs is told apart from what was never there.
pub fn attempt(path: &Path, known: &mut Known, incumbents: &Incumbents) -> (Result<Loaded, Vec<ConfigError>>, Inputs) {
    let files = Files::default();
    let outcome = read(path, &files, known, incumbents);
    let inputs = files.into_inputs();
    let loaded = outcome.map(|loaded| Loaded {
        inputs: inputs.clone(),
        ..loaded
    });
    (loaded, inputs)
}

/// All but the inputs.
fn read(path: &Path, files: &Files, known: &mut Known, incumbents: &Incumbents) -> Result<Loaded, Vec<ConfigError>> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let source = Source::new(path, folder_of(&absolute), files);
    let Ok(tree) = read_tree(&source, &absolute) else {
        return Err(source.finish().0);
    };
    if let Some(tenant) = tree.entry("tenant") {
        source.fail(tenant.place, "tenant", IS_A_TENANT);
        return Err(source.finish().0);
    }
    let Some(root) = Section::root(&source, &tree) else {
        return Err(source.finish().0);
    };
    let main = resolve::main(root, &source);
    let mut read = tenants_of_main(&main, &source, path, &absolute);
    inline_duplicates(&source, &main, &read);
    let (named, found) = tenant_files(&main, &source, path, &absolute, incumbents);
    let (of_files, warnings_of_files) = tenants_of_files(named, files, &main.house, known);
    read.extend(of_files);
    contested::settle(&mut read, incumbents, &found.missing);

    let Main { parts, house, .. } = main;
    let (tenants, broken) = sort_out(read);
    let unused = unused_plugins(&house, &tenants);
    if broken.is_empty() {
        warn_of_unused(&source, &tree, &unused);
    }
    let (errors, mut warnings) = source.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let config = parts.with_tenants(tenants).ok_or(errors)?;
    warnings.extend(warnings_of_files);
    warnings.extend(unused_certificates(&config));
    warnings.extend(room::warnings(&config, Bound::read().as_ref()));
    if config.tenants.is_empty() && broken.is_empty() {
        warnings.push("there is no tenant, so every write is refused".to_owned());
    }
    Ok(Loaded {
        config,
        broken,
        unused,
        plugins: unreadable(house.plugins),
        found,
        inputs: Inputs::default(),
        warnings,
    })
}

/// The tenants that the main file has inline.
fn tenants_of_main(main: &Main<'_>, source: &Source<'_>, path: &Path, absolute: &Path) -> Vec<ReadTenant> {
    let sections = main.tenants.iter().filter_map(|field| field.section());
    let tenants = sections.map(|section| ReadTenant {
        inline: true,
        ..ReadTenant::of_file(
            path.to_owned(),
            absolute.to_owned(),
            tenant::read(section, source, absolute.to_owned(), &main.house),
        )
    });
    tenants.collect()
}

/// The tenants that have files of their own, with the warnings about them. Files that are as they were when they were
/// `known` are not parsed; known from here on are those without a fault or warning.
fn tenants_of_files(
    found: Vec<(PathBuf, PathBuf)>,
    files: &Files,
    house: &House,
    known: &mut Known,
) -> (Vec<ReadTenant>, Vec<String>) {
    let mut last = std::mem::take(known);
    known.before = files.fingerprint();
    if last.before != known.before {
        last.tenants.clear();
    }
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    for (absolute, file) in found {
        // Linux lets who has begun run on for some 3 ms, whatever waits. Writes need not wait for 500 files.
        thread::yield_now();
        let same = last.tenants.remove(&absolute);
        let (contents, tenant) = match same.filter(|(contents, _)| files.hold(contents)) {
            Some((contents, tenant)) => (contents, ReadTenant::of_file(file, absolute.clone(), tenant)),
            None => {
                let ((tenant, told), contents) = files.watched(|| read_file(absolute.clone(), file, files, house));
                if !told.is_empty() || !tenant.errors.is_empty() {
                    warnings.extend(told);
                    read.push(tenant);
                    continue;
                }
                (contents, tenant)
            }
        };
        known.tenants.insert(absolute, (contents, tenant.tenant.clone()));
        read.push(tenant);
    }
    (read, warnings)
}

/// Plugins with a file that no policy names, as far as the tenants are sound.
fn unused_plugins(house: &House, tenants: &BTreeMap<TenantId, Arc<Tenant>>) -> Vec<Arc<PluginSource>> {
    let of_house = house.before.iter().chain(&house.after).map(|policy| &policy.plugin);
    let of_tenants = tenants
        .values()
        .flat_map(|tenant| &tenant.policies)
        .map(|policy| &policy.plugin);
    let used: HashSet<&str> = of_house.chain(of_tenants).map(|plugin| plugin.name.as_str()).collect();
    let read = house.plugins.values().filter_map(|plugin| match plugin {
        Declared::Read(plugin) => Some(plugin),
        Declared::Unreadable(_) | Declared::Mistaken => None,
    });
    let unused = read.filter(|plugin| plugin.file.is_some() && !used.contains(plugin.name.as_str()));
    unused.cloned().collect()
}

fn warn_of_unused(source: &Source<'_>, tree: &Node, unused: &[Arc<PluginSource>]) {
    for plugin in unused {
        let key = format!("plugins.{}", plugin.name);
        source.warn(tree.place_of(&key), &key, "no policy uses this plugin");
    }
}

fn unreadable(plugins: Plugins) -> Vec<ConfigError> {
    let faults = plugins.into_values().filter_map(|plugin| match plugin {
        Declared::Unreadable(fault) => Some(fault),
        Declared::Read(_) | Declared::Mistaken => None,
    });
    faults.collect()
}

pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// Reads and parses one YAML file, noting what is wrong; the error is the text as far as it is one.
pub(super) fn read_tree(source: &Source<'_>, absolute: &Path) -> Result<Node, String> {
    let bytes = source.files.read(absolute).map_err(|reason| {
        source.fail(WHOLE_FILE, "", format!("cannot read this file: {reason}"));
        String::new()
    })?;
    if bytes.len() > MAX_TEXT_SIZE {
        source.fail(WHOLE_FILE, "", "this file is larger than 16 MiB");
        return Err(String::new());
    }
    if bytes.starts_with(b"\0asm") {
        source.fail(WHOLE_FILE, "", IS_A_PLUGIN);
        return Err(String::new());
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        source.fail(WHOLE_FILE, "", "this file is not UTF-8");
        return Err(String::new());
    };
    // An empty file is one that is being written or whose template failed, never a wish.
    if text.trim().is_empty() {
        source.fail(WHOLE_FILE, "", "this file is empty");
        return Err(String::new());
    }
    match file::parse(text) {
        Ok(node) => Ok(node),
        Err(fault) => {
            source.fail(fault.place, "", fault.message);
            Err(text.to_owned())
        }
    }
}

/// The tenant files there are: absolute, with the name for messages, each once, in order; and what is to be known of
/// them at the next load.
fn tenant_files(
    main: &Main<'_>,
    source: &Source<'_>,
    path: &Path,
    absolute: &Path,
    incumbents: &Incumbents,
) -> (Vec<(PathBuf, PathBuf)>, TenantFiles) {
    let mut named: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut found = TenantFiles::default();
    let shown_folder = path.parent().unwrap_or(Path::new(""));
    for (field, pattern) in &main.tenant_files {
        let files = match source.files.expand(pattern) {
            Ok(files) => files,
            // Refused as a whole: to go on would be to drop every tenant, and 401 makes senders lose data.
            Err((_, error)) => {
                field.fail(format!("cannot list this folder: {}", super::inputs::reason(&error)));
                continue;
            }
        };
        match (files.is_empty(), incumbents.matched(pattern)) {
            (false, _) => drop(found.patterns.insert(pattern.clone())),
            // As a folder is that was mounted too late, or whose files are being moved.
            (true, true) => field.fail(VANISHED),
            (true, false) => {
                source.warn(field.place(), &field.path, "this pattern matches no file");
                // It did for the process before this one.
                found
                    .patterns
                    .extend(incumbents.missed_by(pattern).then(|| pattern.clone()));
            }
        }
        for file in files {
            let shown = file
                .strip_prefix(folder_of(absolute))
                .map_or_else(|_| file.clone(), |rest| shown_folder.join(rest));
            if file != absolute && found.files.insert(file.clone()) {
                named.push((file, shown));
            }
        }
    }
    found.missing = incumbents.missing_from(&found.files);
    (named, found)
}

fn read_file(absolute: PathBuf, file: PathBuf, files: &Files, house: &House) -> (ReadTenant, Vec<String>) {
    let source = Source::new(&file, folder_of(&absolute), files);
    let tenant = match read_tree(&source, &absolute) {
        Ok(tree) => match Section::root(&source, &tree) {
            Some(root) => {
                let mut read = tenant::read(root, &source, absolute.clone(), house);
                read.id = read.id.or_else(|| tenant::id_of(&tree));
                read
            }
            None => tenant::Read::nothing_of(None),
        },
        Err(text) => tenant::Read::nothing_of(tenant::probable_id(&text)),
    };
    let (errors, warnings) = source.finish();
    let read = ReadTenant::of_file(file, absolute, tenant);
    (ReadTenant { errors, ..read }, warnings)
}

/// Two tenants of the main file that claim the same id or credential are the main file's mistake.
fn inline_duplicates(source: &Source<'_>, main: &Main<'_>, read: &[ReadTenant]) {
    for (index, later) in read.iter().enumerate() {
        let Some(field) = main.tenants.get(index) else { continue };
        for earlier in &read[..index] {
            if later.tenant.id.is_some() && later.tenant.id == earlier.tenant.id {
                field.fail(format!("tenant `{}` is written twice", later.name()));
                continue;
            }
            for mine in &later.tenant.credentials {
                if earlier
                    .tenant
                    .credentials
                    .iter()
                    .any(|other| other.credential.identity() == mine.credential.identity())
                {
                    let message = format!("the same credential belongs to tenant `{}`", earlier.name());
                    source.fail(mine.place, &mine.path, message);
                }
            }
        }
    }
}

fn sort_out(read: Vec<ReadTenant>) -> (BTreeMap<TenantId, Arc<Tenant>>, Vec<BrokenTenant>) {
    let mut tenants = BTreeMap::new();
    let mut broken = Vec::new();
    for ReadTenant {
        file: _,
        absolute,
        inline: _,
        tenant:
            tenant::Read {
                id,
                tenant,
                credentials,
                credentials_known,
            },
        errors,
    } in read
    {
        match tenant {
            Some(tenant) if errors.is_empty() => {
                tenants.insert(tenant.id.clone(), tenant);
            }
            _ => {
                let credentials = credentials.into_iter().map(|written| written.credential).collect();
                broken.push(BrokenTenant {
                    file: absolute,
                    tenant: id,
                    credentials,
                    credentials_known,
                    errors,
                });
            }
        }
    }
    (tenants, broken)
}

/// Tenants that can prove themselves only by a certificate that the listener never asks for.
fn unused_certificates(config: &Config) -> Option<String> {
    let asks = config
        .remote_write
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_auth_type != ClientAuthType::NoClientCert);
    let certificate = |credential: &Credential| matches!(credential, Credential::ClientCertificate(_));
    let waiting = config
        .tenants
        .values()
        .filter(|tenant| tenant.credentials.iter().any(certificate));
    let names: Vec<String> = waiting.map(|tenant| format!("`{}`", tenant.id)).collect();
    (!asks && !names.is_empty()).then(|| {
        format!(
            "client certificates of {} are never asked for, because `client_ca_file` is not set",
            names.join(", ")
        )
    })
}
