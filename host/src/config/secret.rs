//! Credentials: what a tenant may prove itself with, from text and secret files to digests.
//!
//! Takes a `credentials` list, gives [`Credential`]s without a secret in clear text: tokens and passwords
//! are hashed here and wiped. Refuses what would let anybody in (an empty token) or cost too much to check
//! (an expensive bcrypt hash). Never quotes a value or a secret file's path: a token pasted under the
//! wrong key would be in the log.

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use super::file::Place;
use super::inputs::sha256;
use super::section::{Field, Section};
use super::{AdminBasicAuth, AdminToken, CertificateName, Credential, Password};

/// Dearest bcrypt cost accepted: about a second of CPU per check, and each further step doubles it. Anyone
/// who knows a username can ask for a check.
const MAX_BCRYPT_COST: u8 = 14;
/// Longest token or password. Request heads are bounded well below it.
const MAX_SECRET_LENGTH: usize = 8 * 1024;

/// A credential and where it was written.
#[derive(Clone)]
pub(super) struct WrittenCredential {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) credential: Credential,
}

/// Reads a `credentials` list.
pub(super) fn credentials(list: &Field<'_>) -> Vec<WrittenCredential> {
    let mut out: Vec<WrittenCredential> = Vec::new();
    for item in list.items() {
        let Some(section) = item.section() else { continue };
        let Some(credential) = one(section.keep_secret()) else {
            continue;
        };
        let twin = out
            .iter()
            .find(|other| other.credential.identity() == credential.identity());
        if twin.is_some_and(|twin| twin.credential != credential) {
            item.fail("this username has a password already; give each its own username");
        } else if twin.is_some() {
            item.source
                .warn(item.place(), &item.path, "the same credential is listed twice");
        } else {
            out.push(WrittenCredential {
                place: item.place(),
                path: item.path.clone(),
                credential,
            });
        }
    }
    out
}

fn one(mut section: Section<'_>) -> Option<Credential> {
    let certificate = section.field("client_certificate");
    let token_hash = section.field("bearer_token_sha256");
    let token_file = section.field("bearer_token_file");
    let basic = section.field("basic_auth");
    let credential = match (certificate, token_hash, token_file, basic) {
        (Some(field), None, None, None) => client_certificate(&field).map(Credential::ClientCertificate),
        (None, Some(field), None, None) => token_digest(&field).map(Credential::BearerToken),
        (None, None, Some(field), None) => token_from_file(&field).map(Credential::BearerToken),
        (None, None, None, Some(field)) => basic_auth(&field),
        _ => {
            section.fail(
                "a credential is exactly one of `client_certificate`, `bearer_token_sha256`, `bearer_token_file` \
                 and `basic_auth`",
            );
            None
        }
    };
    section.close();
    credential
}

/// The token of the operators' listener, spelt as tenants spell theirs. Where it is mistaken a failure is noted, so that
/// no configuration without it comes into use.
pub(super) fn admin_token(section: &mut Section<'_>) -> Option<AdminToken> {
    let hash = section.field("bearer_token_sha256");
    let file = section.field("bearer_token_file");
    let digest = match (hash, file) {
        (None, None) => None,
        (Some(field), None) => token_digest(&field),
        (None, Some(field)) => token_from_file(&field),
        (Some(_), Some(_)) => {
            section.fail("`bearer_token_sha256` and `bearer_token_file` exclude each other; remove one");
            None
        }
    };
    digest.map(AdminToken)
}

/// An operator's username and password, as [`admin_token`].
pub(super) fn admin_basic_auth(field: &Field<'_>) -> Option<AdminBasicAuth> {
    let mut section = field.section()?;
    let username = section.require("username").and_then(|field| user_name(&field));
    let hash = section.field("password_sha256");
    let file = section.field("password_file");
    let password = match (hash, file) {
        (Some(field), None) => token_digest(&field),
        (None, Some(field)) => secret_file(&field).map(|password| sha256(&password)),
        _ => {
            section.fail("basic_auth of the admin listener needs exactly one of `password_sha256` and `password_file`");
            None
        }
    };
    section.close();
    Some(AdminBasicAuth {
        username: username?,
        password: password?,
    })
}

fn client_certificate(field: &Field<'_>) -> Option<CertificateName> {
    let mut section = field.section()?;
    let uri = section.field("uri_san");
    let dns = section.field("dns_san");
    let name = section.field("common_name");
    let certificate = match (uri, dns, name) {
        (Some(field), None, None) => field.text().map(|text| CertificateName::UriSan(text.to_owned())),
        (None, Some(field), None) => field.text().map(|text| CertificateName::DnsSan(text.to_owned())),
        (None, None, Some(field)) => field.text().map(|text| CertificateName::CommonName(text.to_owned())),
        _ => {
            section.fail("a client certificate is known by exactly one of `uri_san`, `dns_san` and `common_name`");
            None
        }
    };
    section.close();
    certificate
}

fn token_digest(field: &Field<'_>) -> Option<[u8; 32]> {
    let text = field.text()?;
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let Some(digest) = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) else {
        field.fail("expected 64 hexadecimal digits: the output of `printf %s \"$TOKEN\" | sha256sum`");
        return None;
    };
    if digest == sha256(b"") {
        field.fail("this is the SHA-256 of an empty token");
        return None;
    }
    Some(digest)
}

fn token_from_file(field: &Field<'_>) -> Option<[u8; 32]> {
    let token = secret_file(field)?;
    // RFC 6750 section 2.1: a bearer token is printable ASCII without spaces; nothing else can be sent.
    if !token.iter().all(u8::is_ascii_graphic) {
        field.fail("the file holds a space, a second line or a character that no token may have");
        return None;
    }
    Some(sha256(&token))
}

fn basic_auth(field: &Field<'_>) -> Option<Credential> {
    let mut section = field.section()?;
    let username = section.require("username").and_then(|field| user_name(&field));
    let hash = section.field("password_hash");
    let file = section.field("password_file");
    let password = match (hash, file) {
        (Some(field), None) => bcrypt_hash(&field).map(Password::Bcrypt),
        (None, Some(field)) => secret_file(&field).map(|password| Password::Sha256(sha256(&password))),
        _ => {
            section.fail("basic_auth needs exactly one of `password_hash` and `password_file`");
            None
        }
    };
    section.close();
    Some(Credential::BasicAuth {
        username: username?,
        password: password?,
    })
}

fn user_name(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    // RFC 7617 section 2: the first colon ends the username.
    if text.contains(':') || text.chars().any(char::is_control) {
        field.fail("a username holds neither `:` nor control characters");
        return None;
    }
    Some(text.to_owned())
}

/// `$2y$12$` and 53 characters, as `htpasswd -B` writes it.
fn bcrypt_hash(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let mut parts = text.split('$').skip(1);
    let version = parts.next();
    let cost = parts
        .next()
        .filter(|cost| cost.len() == 2)
        .and_then(|cost| cost.parse::<u8>().ok());
    let digest = parts.next();
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    let whole = text.starts_with('$')
        && parts.next().is_none()
        && matches!(version, Some("2a" | "2b" | "2y"))
        && digest.is_some_and(|digest| digest.len() == 53 && digest.bytes().all(legal));
    match cost {
        Some(4..=MAX_BCRYPT_COST) if whole => Some(text.to_owned()),
        Some(15..=31) if whole => {
            field.fail(format!(
                "the bcrypt cost is above {MAX_BCRYPT_COST}; every login would take seconds"
            ));
            None
        }
        _ => {
            field.fail("expected a bcrypt hash such as `htpasswd -nB user` prints after the colon");
            None
        }
    }
}

/// The file's content without the blanks and line ends around it, as Prometheus reads the files of a sender's secrets;
/// not empty.
pub(super) fn secret_file(field: &Field<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let path = field.source.path(field.text()?);
    if field.source.files.lacks_secret(&path) {
        // What stands in for it is the same for the same file, and for no other.
        let stand_in = HEXLOWER_PERMISSIVE.encode(&sha256(path.as_os_str().as_encoded_bytes()));
        return Some(Zeroizing::new(stand_in.into_bytes()));
    }
    let content = match field.source.files.read_secret(&path) {
        Ok(secret) => secret,
        Err(reason) => {
            field.fail(format!("cannot read this secret's file: {reason}"));
            return None;
        }
    };
    let secret = Zeroizing::new(content.trim_ascii().to_vec());
    if secret.is_empty() {
        field.fail("this secret's file is empty");
        return None;
    }
    if secret.len() > MAX_SECRET_LENGTH {
        field.fail("this secret's file is larger than 8 KiB");
        return None;
    }
    Some(secret)
}
