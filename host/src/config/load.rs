//! From the path of the main file to everything one generation needs.
//!
//! Takes a path, gives [`Loaded`]: the sound tenants, the broken ones with what is wrong, and the inputs to
//! watch. A mistake in the main file refuses the whole; one in a tenant file costs that tenant only. No
//! credential is ever left ambiguous: two tenants that claim the same one are both broken. Reads files and
//! blocks, so it belongs on a blocking thread.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::chain::{Declared, Plugins};
use super::file::{self, Node};
use super::inputs::{Contents, Files, Inputs};
use super::resolve::{self, Main, WHOLE_FILE};
use super::section::{self, Section, Source};
use super::tenant::{self, House};
use super::{BrokenTenant, ClientAuthType, Config, ConfigError, Credential, Loaded, Tenant};
use crate::model::TenantId;

/// Largest YAML file: a thousand inline tenants are about 1 MB.
const MAX_TEXT_SIZE: usize = 16 << 20;

/// Reads the main file and everything it names.
///
/// # Errors
/// Every mistake found in the main file, in the order of its text; never empty.
pub fn load(path: &Path) -> Result<Loaded, Vec<ConfigError>> {
    attempt(path, &mut Known::default()).0
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
/// watcher wants to try again when it does.
pub fn attempt(path: &Path, known: &mut Known) -> (Result<Loaded, Vec<ConfigError>>, Inputs) {
    let files = Files::default();
    let outcome = read(path, &files, known);
    let inputs = files.into_inputs();
    let loaded = outcome.map(|loaded| Loaded {
        inputs: inputs.clone(),
        ..loaded
    });
    (loaded, inputs)
}

/// All but the inputs.
fn read(path: &Path, files: &Files, known: &mut Known) -> Result<Loaded, Vec<ConfigError>> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let source = Source::new(path, folder_of(&absolute), files);
    let Ok(tree) = read_tree(&source, &absolute) else {
        return Err(source.finish().0);
    };
    let Some(root) = Section::root(&source, &tree) else {
        return Err(source.finish().0);
    };
    let main = resolve::main(root, &source);
    let mut read = tenants_of_main(&main, &source, path, &absolute);
    inline_duplicates(&source, &main, &read);
    let found = tenant_files(&main, &source, path, &absolute);
    let (of_files, warnings_of_files) = tenants_of_files(found, files, &main.house, known);
    read.extend(of_files);
    same_id_twice(&mut read);
    same_credential_twice(&mut read);

    let Main { parts, house, .. } = main;
    let (errors, mut warnings) = source.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let (tenants, broken) = sort_out(read);
    let config = parts.with_tenants(tenants).ok_or(errors)?;
    warnings.extend(warnings_of_files);
    warnings.extend(unused_certificates(&config));
    if config.tenants.is_empty() && broken.is_empty() {
        warnings.push("there is no tenant, so every write is refused".to_owned());
    }
    Ok(Loaded {
        config,
        broken,
        plugins: unreadable(house.plugins),
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

fn unreadable(plugins: Plugins) -> Vec<ConfigError> {
    let faults = plugins.into_values().filter_map(|plugin| match plugin {
        Declared::Unreadable(fault) => Some(fault),
        Declared::Read(_) | Declared::Mistaken => None,
    });
    faults.collect()
}

/// A tenant as read, sound or not, until the whole set was looked at.
struct ReadTenant {
    /// As messages name it.
    file: PathBuf,
    absolute: PathBuf,
    inline: bool,
    tenant: tenant::Read,
    errors: Vec<ConfigError>,
}

impl ReadTenant {
    fn of_file(file: PathBuf, absolute: PathBuf, tenant: tenant::Read) -> Self {
        Self {
            file,
            absolute,
            inline: false,
            tenant,
            errors: vec![],
        }
    }

    fn name(&self) -> String {
        self.tenant
            .id
            .as_ref()
            .map_or_else(|| "?".to_owned(), TenantId::to_string)
    }

    fn break_at(&mut self, place: file::Place, key: &str, message: String) {
        self.tenant.tenant = None;
        self.errors.push(section::mistake(&self.file, place, key, message));
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

/// Reads and parses one YAML file, noting what is wrong; the error is the text as far as it is one.
fn read_tree(source: &Source<'_>, absolute: &Path) -> Result<Node, String> {
    let bytes = source.files.read(absolute).map_err(|reason| {
        source.fail(WHOLE_FILE, "", format!("cannot read this file: {reason}"));
        String::new()
    })?;
    if bytes.len() > MAX_TEXT_SIZE {
        source.fail(WHOLE_FILE, "", "this file is larger than 16 MiB");
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

/// The tenant files there are: absolute, with the name for messages, each once, in order.
fn tenant_files(main: &Main<'_>, source: &Source<'_>, path: &Path, absolute: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut seen: HashSet<PathBuf> = HashSet::from([absolute.to_owned()]);
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
        if files.is_empty() {
            source.warn(field.place(), &field.path, "this pattern matches no file");
        }
        for file in files {
            let shown = file
                .strip_prefix(folder_of(absolute))
                .map_or_else(|_| file.clone(), |rest| shown_folder.join(rest));
            if seen.insert(file.clone()) {
                found.push((file, shown));
            }
        }
    }
    found
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

/// The first file to write a tenant has it: a copy left beside the original must not take it over.
fn same_id_twice(read: &mut [ReadTenant]) {
    let mut first: BTreeMap<TenantId, PathBuf> = BTreeMap::new();
    for tenant in read {
        let Some(id) = tenant.tenant.id.clone() else { continue };
        match first.get(&id) {
            None => {
                first.insert(id, tenant.file.clone());
            }
            Some(_) if tenant.inline => {}
            Some(file) => {
                let message = format!(
                    "tenant `{id}` is written in {} already, which is the one that counts",
                    file.display()
                );
                tenant.break_at(WHOLE_FILE, "tenant", message);
            }
        }
    }
}

/// A credential that two tenants claim proves neither. Both are broken: to serve the first would let a new
/// file take over another tenant's writes by repeating the name in its certificate, which is no secret.
fn same_credential_twice(read: &mut [ReadTenant]) {
    let mut claims: BTreeMap<Vec<u8>, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, tenant) in read.iter().enumerate() {
        for (nth, written) in tenant.tenant.credentials.iter().enumerate() {
            claims
                .entry(written.credential.identity())
                .or_default()
                .push((index, nth));
        }
    }
    let mut faults = Vec::new();
    for claim in claims.values().filter(|claim| claim.len() > 1) {
        for &(index, nth) in claim {
            let me = &read[index];
            // A copy of the same tenant's file is told so by its id.
            let same_tenant = |other: &ReadTenant| other.tenant.id.is_some() && other.tenant.id == me.tenant.id;
            let other = claim
                .iter()
                .map(|&(other, _)| other)
                .find(|&other| other != index && !same_tenant(&read[other]));
            let Some(other) = other.map(|other| &read[other]) else {
                continue;
            };
            let mine = &me.tenant.credentials[nth];
            let message = format!(
                "the same credential belongs to tenant `{}` ({}); neither is served until one gives it up",
                other.name(),
                other.file.display()
            );
            faults.push((index, mine.place, mine.path.clone(), message));
        }
    }
    for (index, place, path, message) in faults {
        read[index].break_at(place, &path, message);
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
