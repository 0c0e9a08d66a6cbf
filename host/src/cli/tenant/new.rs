//! `gauntlet tenant new`: a tenant's file, and what its sender needs.
//!
//! Takes a name and a kind of credential, writes the file and the secret, prints the block for the sender. Never writes over a
//! file, and never prints a secret.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::json;

use super::files::{NewFiles, Readers};
use crate::cli::answer::{Done, tenant_id};
use crate::config;
use crate::model::TenantId;

pub(super) const EXAMPLE: &str = r"Examples:
  gauntlet tenant new kazusa --token --dir tenants --url https://gauntlet.example.com:19291
  gauntlet tenant new kazusa --certificate --ca client-ca.crt --ca-key client-ca.key --config gauntlet.yaml";

/// Of a token or password: as much as a key has.
const SECRET_BYTES: usize = 32;
/// A secret of that size is not guessed, whatever a guess costs.
const BCRYPT_COST: u32 = 8;
const WRITE_PATH: &str = "/api/v1/receive";

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The tenant's name: 1 to 150 of the characters `A-Za-z0-9!_.*'()-`.
    #[arg(value_name = "NAME", value_parser = tenant_id)]
    name: TenantId,
    /// Its sender proves itself by a client certificate, which is made with its key.
    #[cfg(feature = "dev")]
    #[arg(long, group = "credential")]
    certificate: bool,
    /// Its sender proves itself by a bearer token, which is made. This is what happens if no other kind is asked for.
    #[arg(long, group = "credential")]
    token: bool,
    /// Its sender proves itself by a password, which is made, and the tenant's name as username.
    #[arg(long, group = "credential")]
    password: bool,
    /// The folder of tenant files, as `tenant_files` of the main file has it.
    #[arg(long, value_name = "DIR", default_value = "tenants")]
    dir: PathBuf,
    /// The folder for what the sender needs, which is made if it is not there. If this is left out, it has the tenant's name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The certificate of the authority that signs, PEM. If neither it nor its key is there, both are made.
    #[cfg(feature = "dev")]
    #[arg(long, value_name = "FILE", default_value = "client-ca.crt")]
    ca: PathBuf,
    /// The authority's key, PEM.
    #[cfg(feature = "dev")]
    #[arg(long, value_name = "FILE", default_value = "client-ca.key")]
    ca_key: PathBuf,
    /// For how many days the certificate is valid.
    #[cfg(feature = "dev")]
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
    /// An upstream that the tenant writes to; can be given more than once, the first one takes what is not routed. It may be
    /// left out if the configuration has just one.
    #[arg(long, value_name = "NAME")]
    upstream: Vec<String>,
    /// Where senders reach the gateway; it goes into the block for the sender.
    #[arg(long, value_name = "URL", default_value = "https://gauntlet.example.com:19291")]
    url: String,
    /// The main configuration file: it is checked that it reads the new file and finds nothing wrong with it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What the sender proves itself by.
struct Made {
    /// As the tenant's file has it.
    credential: String,
    /// As the sender's configuration has it.
    block: String,
    /// Flags of `gauntlet tenant try`.
    flags: String,
    /// What else the operator has to do.
    advice: Option<String>,
}

pub(super) fn run(options: &Options) -> Done {
    if !options.dir.is_dir() {
        let dir = options.dir.display();
        return Err(format!(
            "{dir} is no folder; make it, or name the folder of tenant files with --dir"
        ));
    }
    let mut files = NewFiles::default();
    let folder = options
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(options.name.as_str()));
    files.folder(&folder)?;
    let made = make(options, &folder, &mut files)?;
    let block = format!(
        "remote_write:\n  - url: {}\n{}",
        quoted(&write_url(&options.url)),
        made.block
    );
    files.write(&folder.join("remote_write.yaml"), &block, Readers::Everybody)?;
    let file = options.dir.join(format!("{}.yaml", options.name));
    files.publish(&file, &tenant_file(options, &made.credential))?;
    if let Some(config) = &options.config {
        checked(config, &options.name, &file)?;
    }
    files.keep();
    tell(options, &file, &folder, &made, &block);
    Ok(false)
}

fn make(options: &Options, folder: &Path, files: &mut NewFiles) -> Result<Made, String> {
    #[cfg(feature = "dev")]
    if options.certificate {
        return with_certificate(options, folder, files);
    }
    if options.password {
        return with_password(options, folder, files);
    }
    with_token(options, folder, files)
}

fn with_token(options: &Options, folder: &Path, files: &mut NewFiles) -> Result<Made, String> {
    let (token, path) = (secret()?, folder.join("token"));
    files.write(&path, &token, Readers::OwnerAlone)?;
    let sum = digest(&SHA256, token.as_bytes());
    Ok(Made {
        credential: format!("bearer_token_sha256: {}", HEXLOWER.encode(sum.as_ref())),
        block: "    authorization: {credentials_file: token}\n".to_owned(),
        flags: format!("--url {} --token-file {}", options.url, shown(&path)),
        advice: None,
    })
}

fn with_password(options: &Options, folder: &Path, files: &mut NewFiles) -> Result<Made, String> {
    let (password, path) = (secret()?, folder.join("password"));
    files.write(&path, &password, Readers::OwnerAlone)?;
    let hash = bcrypt::hash(&password, BCRYPT_COST).map_err(|error| format!("cannot hash a password: {error}"))?;
    let name = &options.name;
    Ok(Made {
        credential: format!(
            "basic_auth: {{username: {}, password_hash: {}}}",
            quoted(name.as_str()),
            quoted(&hash)
        ),
        block: format!(
            "    basic_auth: {{username: {}, password_file: password}}\n",
            quoted(name.as_str())
        ),
        flags: format!(
            "--url {} --username {} --password-file {}",
            options.url,
            in_shell(name.as_str()),
            shown(&path)
        ),
        advice: None,
    })
}

#[cfg(feature = "dev")]
fn with_certificate(options: &Options, folder: &Path, files: &mut NewFiles) -> Result<Made, String> {
    let uri = format!("spiffe://{}/prometheus", options.name);
    let (authority, is_new) = authority(options, files)?;
    let client = super::certificate::sign(&authority, &options.name, &uri, options.days)?;
    let (certificate, key) = (folder.join("client.crt"), folder.join("client.key"));
    files.write(&certificate, &client.certificate, Readers::Everybody)?;
    files.write(&key, &client.key, Readers::OwnerAlone)?;
    let (ca, ca_key) = (options.ca.display(), options.ca_key.display());
    let news = match is_new {
        true => format!("A new authority was made: keep {ca_key} (0600) where nobody else gets at it.\n"),
        false => String::new(),
    };
    Ok(Made {
        credential: format!("client_certificate: {{uri_san: {}}}", quoted(&uri)),
        block: "    tls_config: {cert_file: client.crt, key_file: client.key}\n".to_owned(),
        flags: format!(
            "--url {} --cert {} --key {}",
            options.url,
            shown(&certificate),
            shown(&key)
        ),
        advice: Some(format!(
            "{news}The gateway has to believe the authority: `remote_write.tls_server_config` needs `client_ca_file` with \
             what {ca} holds, and `client_auth_type: VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`."
        )),
    })
}

/// The one that is there, or a new one.
#[cfg(feature = "dev")]
fn authority(options: &Options, files: &mut NewFiles) -> Result<(super::certificate::Certified, bool), String> {
    use super::certificate::{Certified, make_authority};
    let (ca, key) = (&options.ca, &options.ca_key);
    if !ca.exists() && !key.exists() {
        let made = make_authority().map_err(|error| format!("cannot make an authority: {error}"))?;
        files.write(ca, &made.certificate, Readers::Everybody)?;
        files.write(key, &made.key, Readers::OwnerAlone)?;
        return Ok((made, true));
    }
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| format!("cannot read {}, which has to sign: {error}", path.display()))
    };
    let pair = Certified {
        certificate: read(ca)?,
        key: read(key)?,
    };
    Ok((pair, false))
}

fn secret() -> Result<String, String> {
    let mut bytes = [0; SECRET_BYTES];
    rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn tenant_file(options: &Options, credential: &str) -> String {
    let upstreams: Vec<String> = options.upstream.iter().map(|name| quoted(name)).collect();
    let upstreams = match upstreams.as_slice() {
        [] => "# upstreams: []   # needed if the configuration has more than one; the first takes what is not routed\n"
            .to_owned(),
        names => format!("upstreams: [{}]\n", names.join(", ")),
    };
    format!(
        "# Made by `gauntlet tenant new`.\ntenant: {}\ncredentials:\n  - {credential}\n{upstreams}# policies:\n#   - plugin: limits\n#     settings: \
         {{samples: {{per_second: 10000, burst: 40000}}}}\n",
        quoted(options.name.as_str())
    )
}

/// That the configuration reads the new file, and that nothing is wrong with it.
fn checked(config: &Path, name: &TenantId, file: &Path) -> Result<(), String> {
    let loaded = config::load_without_secrets(config);
    let lines = |errors: &[config::ConfigError]| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let loaded = loaded.map_err(|errors| format!("{}; nothing was written", lines(&errors)))?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    if let Some(broken) = loaded.broken.iter().find(|broken| broken.file == absolute) {
        return Err(format!("{}; nothing was written", lines(&broken.errors)));
    }
    match loaded.config.tenants.get(name) {
        Some(tenant) if tenant.file == absolute => Ok(()),
        Some(tenant) => Err(format!(
            "tenant {name} is that of {} already; nothing was written",
            tenant.file.display()
        )),
        None => Err(format!(
            "`tenant_files` of {} does not match {}; nothing was written",
            config.display(),
            file.display()
        )),
    }
}

fn tell(options: &Options, file: &Path, folder: &Path, made: &Made, block: &str) {
    println!(
        "{} is written: the gateway serves tenant {} once it has read it.",
        file.display(),
        options.name
    );
    println!(
        "{} has what its sender needs; hand it over by a way that nobody else reads.",
        folder.display()
    );
    if let Some(advice) = &made.advice {
        println!("{advice}");
    }
    println!(
        "\nFor the sender (paths are relative to its configuration; add `ca_file` to a `tls_config` if the gateway's \
              certificate is of an authority of your own):\n"
    );
    println!("{block}");
    println!(
        "Then try it:\n\n  gauntlet tenant try {} {}",
        in_shell(options.name.as_str()),
        made.flags
    );
}

fn write_url(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.trim_end_matches('/').contains('/') {
        true => url.to_owned(),
        false => format!("{}{WRITE_PATH}", url.trim_end_matches('/')),
    }
}

/// As YAML has any text.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn shown(path: &Path) -> String {
    in_shell(&path.display().to_string())
}

/// As a shell takes it for one word.
fn in_shell(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_writes_is_added_where_there_is_none() {
        for (url, whole) in [
            ("https://g:1", "https://g:1/api/v1/receive"),
            ("https://g:1/", "https://g:1/api/v1/receive"),
            ("https://g/api/v1/push", "https://g/api/v1/push"),
        ] {
            assert_eq!(write_url(url), whole);
        }
    }

    #[test]
    fn a_name_is_one_word_to_a_shell_and_one_text_to_yaml() {
        assert_eq!(in_shell("kazusa-1"), "kazusa-1");
        assert_eq!(in_shell("it's(*)"), r"'it'\''s(*)'");
        assert_eq!(quoted("123"), "\"123\"");
    }

    #[test]
    fn secrets_differ_and_are_long() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert!(one != other && one.len() == 43, "{one}");
    }
}
