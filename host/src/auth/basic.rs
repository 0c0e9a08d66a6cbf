//! Basic authentication (RFC 7617), with bcrypt hashes or digests of passwords.
//!
//! Takes `user:password` in base64, gives the tenant they belong to. Never runs bcrypt on an I/O thread, never
//! runs more of them than half the processors, never keeps a password, and takes as long for a user who does not
//! exist as for a wrong password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::claims::{AuthError, Holder};
use crate::config::Password;

/// bcrypt looks at no more. Bytes. Longer passwords are cut here rather than there, so that all that are equal to
/// bcrypt are one entry in the cache.
const BCRYPT_PASSWORD: usize = 72;
/// A password once verified is remembered until it was not used for this long. A sender at work never meets
/// bcrypt again, so a flood of wrong passwords cannot get in its way.
const REMEMBER: Duration = Duration::from_secs(60 * 60);
/// A wrong one, for less: a misconfigured sender repeats the same few at its scrape interval.
const REMEMBER_WRONG: Duration = Duration::from_secs(60);
/// Entries remembered of each kind: several times the credentials of 500 tenants, at about 100 bytes each.
const REMEMBERED: usize = 8192;
/// How long a request waits for its turn before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a sender claims.
pub struct Pair {
    pub username: String,
    password: Zeroizing<Vec<u8>>,
}

impl Pair {
    /// `None` if it is not base64, not UTF-8 in the name, without a colon or password, or with a control
    /// character, which RFC 7617 section 2 forbids (and NUL means something else to bcrypt).
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let clear = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        if clear.iter().any(u8::is_ascii_control) {
            return None;
        }
        let colon = clear.iter().position(|byte| *byte == b':')?;
        let (username, rest) = clear.split_at(colon);
        // A password file that was empty must not open the door.
        let password = rest.get(1..).filter(|password| !password.is_empty())?;
        Some(Self {
            username: std::str::from_utf8(username).ok()?.to_owned(),
            password: Zeroizing::new(password.to_vec()),
        })
    }

    pub fn password(&self) -> &[u8] {
        &self.password
    }
}

/// One password that a user may have, and whose it is. `None` is nobody's.
#[derive(Clone)]
struct Candidate {
    password: Password,
    owner: Option<Holder>,
}

/// A username and everything that may go with it: several passwords while one is being replaced.
struct User {
    candidates: Arc<[Candidate]>,
    /// Whether bcrypt is needed to tell.
    slow: bool,
    /// Changes with any of the passwords, so that what was remembered about the old ones is never found again.
    fingerprint: [u8; 32],
    /// One bcrypt at a time per user, so that strangers who guess at one name wait for each other.
    lane: Arc<Semaphore>,
}

impl User {
    fn new(candidates: Vec<Candidate>) -> Self {
        let mut all = Vec::new();
        for candidate in &candidates {
            match &candidate.password {
                Password::Bcrypt(hash) => {
                    all.extend_from_slice(&(hash.len() as u64).to_le_bytes());
                    all.extend_from_slice(hash.as_bytes());
                }
                Password::Sha256(sha256) => {
                    all.extend_from_slice(&u64::MAX.to_le_bytes());
                    all.extend_from_slice(sha256);
                }
            }
        }
        Self {
            slow: candidates.iter().any(|c| matches!(c.password, Password::Bcrypt(_))),
            fingerprint: sha256(&all),
            candidates: candidates.into(),
            lane: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Users of one configuration generation.
pub(super) struct Users {
    known: HashMap<String, User>,
    /// Stands in for every username there is not.
    nobody: User,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({})", self.known.len())
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Users {
    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub(super) fn new(passwords: Vec<(String, Password, Holder)>) -> Self {
        let mut cost = None;
        let mut candidates: HashMap<String, Vec<Candidate>> = HashMap::new();
        for (username, password, owner) in passwords {
            if let Password::Bcrypt(hash) = &password {
                cost = cost.max(cost_of(hash));
            }
            candidates.entry(username).or_default().push(Candidate {
                password,
                owner: Some(owner),
            });
        }
        Self {
            known: candidates
                .into_iter()
                .map(|(name, candidates)| (name, User::new(candidates)))
                .collect(),
            nobody: User::new(cost.map(dummy).into_iter().collect()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// # Errors
    /// `WrongCredential`, or `Overloaded` where bcrypt's turn did not come in time.
    pub(super) async fn owner(&self, pair: &Pair, verified: &VerifiedPasswords) -> Result<Holder, AuthError> {
        let user = self.known.get(&pair.username).unwrap_or(&self.nobody);
        let matched = if user.slow {
            verified.check(user, pair).await?
        } else {
            matching(&user.candidates, &pair.password)
        };
        matched
            .and_then(|index| user.candidates.get(index)?.owner)
            .ok_or(AuthError::WrongCredential)
    }
}

/// `$2y$10$...`: the two digits.
fn cost_of(hash: &str) -> Option<u32> {
    hash.get(4..6)?.parse().ok()
}

/// A hash that costs what the dearest real one does and that no password has: it was not computed from any.
fn dummy(cost: u32) -> Candidate {
    Candidate {
        password: Password::Bcrypt(format!("$2b${cost:02}${}", "e".repeat(53))),
        owner: None,
    }
}

/// The place of the candidate that `password` belongs to, or `None` if it is wrong or several tenants'.
///
/// Every candidate is tried, so that the time does not tell which one it was. Blocks for as long as bcrypt takes.
fn matching(candidates: &[Candidate], password: &[u8]) -> Option<usize> {
    let sha256 = sha256(password);
    let mut found: Option<usize> = None;
    let mut contested = false;
    for (index, candidate) in candidates.iter().enumerate() {
        let matches = match &candidate.password {
            Password::Sha256(expected) => verify_slices_are_equal(expected, &sha256).is_ok(),
            Password::Bcrypt(hash) => {
                let seen = password.get(..BCRYPT_PASSWORD).unwrap_or(password);
                // The configuration refuses a hash that bcrypt cannot read; if one got here, it matches nothing.
                bcrypt::verify(seen, hash).unwrap_or(false)
            }
        };
        if matches {
            let other = found.and_then(|index| candidates.get(index));
            // Whoever is not sound stands last and takes only what nobody before has.
            let yields = candidate.owner.is_some_and(|owner| !owner.is_sound());
            contested |= !yields && other.is_some_and(|other| other.owner != candidate.owner);
            found = found.or(Some(index));
        }
    }
    found.filter(|_| !contested)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// What bcrypt said before, kept across reloads: a bcrypt costs 50 ms and more, a sender asks many times a second.
///
/// Keyed by an HMAC, under a key of this process alone, over the name, the password and all of the user's
/// configured hashes: memory never holds a password or a digest of one, and a changed hash is simply never found.
pub struct VerifiedPasswords {
    key: hmac::Key,
    /// To the place of the candidate that matched. Only true credentials get in, so it is as small as the
    /// configuration.
    right: Mutex<Remembered>,
    wrong: Mutex<Remembered>,
    /// At most this many bcrypts at once. They compete with the I/O threads for processors.
    running: Arc<Semaphore>,
}

impl std::fmt::Debug for VerifiedPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VerifiedPasswords(..)")
    }
}

impl Default for VerifiedPasswords {
    fn default() -> Self {
        Self::new()
    }
}

impl VerifiedPasswords {
    /// One per process.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_turns((processors / 2).max(1))
    }

    fn with_turns(turns: usize) -> Self {
        let mut secret = [0; 32];
        // Without randomness the key is known, and all that is lost is that a reader of this process's memory
        // could test guesses; such a reader sees passwords arrive anyway.
        let _ = rand::fill(&mut secret);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            right: Mutex::default(),
            wrong: Mutex::default(),
            running: Arc::new(Semaphore::new(turns)),
        }
    }

    async fn check(&self, user: &User, pair: &Pair) -> Result<Option<usize>, AuthError> {
        let key = self.entry_key(user, pair);
        if let Some(known) = self.recall(&key) {
            return Ok(known);
        }
        let turn = async {
            let lane = Arc::clone(&user.lane).acquire_owned().await.ok()?;
            // The connections of one sender arrive together; the first has answered for the others by now.
            if let Some(known) = self.recall(&key) {
                return Some(Turn::Known(known));
            }
            let slot = Arc::clone(&self.running).acquire_owned().await.ok()?;
            Some(Turn::Ours((lane, slot)))
        };
        let permits = match timeout(PATIENCE, turn).await {
            Ok(Some(Turn::Known(known))) => return Ok(known),
            Ok(Some(Turn::Ours(permits))) => permits,
            Ok(None) | Err(_) => return Err(AuthError::Overloaded),
        };
        let candidates = Arc::clone(&user.candidates);
        let password = pair.password.clone();
        let work = tokio::task::spawn_blocking(move || {
            let matched = matching(&candidates, &password);
            // Held to the end even where the sender has gone, since the work goes on.
            drop(permits);
            matched
        });
        let matched = work.await.map_err(|_| AuthError::Overloaded)?;
        match matched {
            Some(index) => lock(&self.right).insert(key, index, REMEMBER),
            None => lock(&self.wrong).insert(key, 0, REMEMBER_WRONG),
        }
        Ok(matched)
    }

    fn entry_key(&self, user: &User, pair: &Pair) -> [u8; 32] {
        // A password that only digests are compared with must not be cut; bcrypt users' may carry both kinds.
        let all_bcrypt = user
            .candidates
            .iter()
            .all(|c| matches!(c.password, Password::Bcrypt(_)));
        let password = match pair.password.get(..BCRYPT_PASSWORD) {
            Some(seen) if all_bcrypt => seen,
            _ => &pair.password,
        };
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&user.fingerprint);
        context.update(&(pair.username.len() as u64).to_le_bytes());
        context.update(pair.username.as_bytes());
        context.update(password);
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// `None`: not known. `Some(None)`: known to be wrong.
    fn recall(&self, key: &[u8; 32]) -> Option<Option<usize>> {
        if let Some(index) = lock(&self.right).recall(key, Some(REMEMBER)) {
            return Some(Some(index));
        }
        lock(&self.wrong).recall(key, None).map(|_| None)
    }
}

enum Turn<P> {
    Known(Option<usize>),
    Ours(P),
}

fn lock(remembered: &Mutex<Remembered>) -> std::sync::MutexGuard<'_, Remembered> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Facts with an end, bounded in number.
#[derive(Default)]
struct Remembered {
    entries: HashMap<[u8; 32], (usize, Instant)>,
}

impl Remembered {
    fn insert(&mut self, key: [u8; 32], value: usize, keep: Duration) {
        let now = Instant::now();
        if self.entries.len() >= REMEMBERED {
            self.entries.retain(|_, (_, end)| *end > now);
        }
        if self.entries.len() >= REMEMBERED {
            // Wrong ones only, in practice; to forget them all is cheaper than to order them by age.
            self.entries.clear();
        }
        self.entries.insert(key, (value, now + keep));
    }

    /// `prolong`: how much longer an entry lives for being used.
    fn recall(&mut self, key: &[u8; 32], prolong: Option<Duration>) -> Option<usize> {
        let now = Instant::now();
        let (value, end) = self.entries.get_mut(key).filter(|(_, end)| *end > now)?;
        if let Some(keep) = prolong {
            *end = now + keep;
        }
        Some(*value)
    }
}

#[cfg(test)]
mod tests;
