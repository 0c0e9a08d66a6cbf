//! Passwords: right, wrong, remembered and overdue.

use super::*;

/// The least bcrypt allows, so that tests are quick.
const COST: u32 = 4;

fn bcrypt(password: &str) -> Password {
    Password::Bcrypt(bcrypt::hash(password, COST).unwrap())
}

fn sha(password: &str) -> Password {
    Password::Sha256(sha256(password.as_bytes()))
}

fn users(entries: &[(&str, &Password, usize)]) -> Users {
    Users::new(
        entries
            .iter()
            .map(|(name, password, tenant)| ((*name).to_owned(), (*password).clone(), holder(*tenant)))
            .collect(),
    )
}

fn holder(tenant: usize) -> Holder {
    Holder::Tenant { tenant, credential: 0 }
}

fn pair(username: &str, password: &str) -> Pair {
    Pair::decode(STANDARD.encode(format!("{username}:{password}")).as_bytes()).unwrap()
}

#[test]
fn a_pair_is_split_at_the_first_colon() {
    let pair = pair("kazusa", "a:b");
    assert_eq!(pair.username, "kazusa");
    assert_eq!(*pair.password, b"a:b");
}

#[test]
fn what_is_no_pair_is_refused() {
    let decode = |clear: &[u8]| Pair::decode(STANDARD.encode(clear).as_bytes());
    assert!(decode(b"kazusa:x").is_some());
    assert!(decode(b"no colon").is_none());
    assert!(decode(b"kazusa:").is_none());
    assert!(decode(b"kazusa:a\0b").is_none());
    assert!(decode(b"kazu\nsa:ab").is_none());
    assert!(decode(b"\xff:ab").is_none());
    assert!(Pair::decode(b"!!!").is_none());
    assert!(Pair::decode(b"").is_none());
}

#[tokio::test]
async fn only_the_right_password_of_the_right_user_is_accepted() {
    let verified = VerifiedPasswords::new();
    for secret in [bcrypt("secret"), sha("secret")] {
        let users = users(&[("kazusa", &secret, 7), ("setsuna", &sha("other"), 8)]);
        // Twice: the second answer is a remembered one.
        for _ in 0..2 {
            assert_eq!(users.owner(&pair("kazusa", "secret"), &verified).await, Ok(holder(7)));
            for (name, password) in [
                ("kazusa", "secreT"),
                ("kazusa", "other"),
                ("setsuna", "secret"),
                ("touma", "secret"),
                ("Kazusa", "secret"),
            ] {
                assert_eq!(
                    users.owner(&pair(name, password), &verified).await,
                    Err(AuthError::WrongCredential),
                    "{name}:{password}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_hash_that_htpasswd_writes_is_understood() {
    let hash = bcrypt::hash_with_result("secret", COST)
        .unwrap()
        .format_for_version(bcrypt::Version::TwoY);
    assert!(hash.starts_with("$2y$"), "{hash}");
    let users = users(&[("kazusa", &Password::Bcrypt(hash), 0)]);
    let verified = VerifiedPasswords::new();
    assert_eq!(users.owner(&pair("kazusa", "secret"), &verified).await, Ok(holder(0)));
}

#[tokio::test]
async fn two_passwords_are_valid_while_one_replaces_the_other() {
    let verified = VerifiedPasswords::new();
    let users = users(&[("kazusa", &bcrypt("old"), 3), ("kazusa", &bcrypt("new"), 3)]);
    assert_eq!(users.owner(&pair("kazusa", "old"), &verified).await, Ok(holder(3)));
    assert_eq!(users.owner(&pair("kazusa", "new"), &verified).await, Ok(holder(3)));
}

#[tokio::test]
async fn a_password_that_two_tenants_share_proves_neither() {
    let verified = VerifiedPasswords::new();
    let users = users(&[("agent", &bcrypt("same"), 1), ("agent", &bcrypt("same"), 2)]);
    assert_eq!(
        users.owner(&pair("agent", "same"), &verified).await,
        Err(AuthError::WrongCredential)
    );
}

#[tokio::test]
async fn a_verified_password_is_remembered_across_generations_until_its_hash_changes() {
    // No turn is ever given, so that an answer can only be a remembered one.
    let (first, second) = (bcrypt("secret"), bcrypt("secret"));
    let verified = VerifiedPasswords::new();
    assert_eq!(
        users(&[("kazusa", &first, 1)])
            .owner(&pair("kazusa", "secret"), &verified)
            .await,
        Ok(holder(1))
    );
    let _all = Arc::clone(&verified.running)
        .acquire_many_owned(verified.running.available_permits() as u32)
        .await
        .unwrap();
    let same = users(&[("setsuna", &second, 1), ("kazusa", &first, 2)]);
    assert_eq!(same.owner(&pair("kazusa", "secret"), &verified).await, Ok(holder(2)));
    let changed = users(&[("kazusa", &second, 1)]);
    assert_eq!(
        changed.owner(&pair("kazusa", "secret"), &verified).await,
        Err(AuthError::Overloaded)
    );
}

#[tokio::test]
async fn a_wrong_password_is_never_remembered_as_right_and_does_not_spoil_the_right_one() {
    let verified = VerifiedPasswords::new();
    let users = users(&[("kazusa", &bcrypt("secret"), 1)]);
    for _ in 0..3 {
        assert_eq!(
            users.owner(&pair("kazusa", "wrong"), &verified).await,
            Err(AuthError::WrongCredential)
        );
    }
    assert_eq!(lock(&verified.right).entries.len(), 0);
    assert_eq!(lock(&verified.wrong).entries.len(), 1);
    assert_eq!(users.owner(&pair("kazusa", "secret"), &verified).await, Ok(holder(1)));
}

#[tokio::test]
async fn a_flood_on_one_name_leaves_the_others_their_turn() {
    let verified = VerifiedPasswords::with_turns(1);
    let users = users(&[("kazusa", &bcrypt("secret"), 1), ("setsuna", &bcrypt("secret"), 2)]);
    // Somebody guesses at kazusa for ever, and at names that do not exist.
    let lanes = [&users.known["kazusa"].lane, &users.nobody.lane].map(Arc::clone);
    let _flood = (lanes[0].acquire().await.unwrap(), lanes[1].acquire().await.unwrap());
    assert_eq!(users.owner(&pair("setsuna", "secret"), &verified).await, Ok(holder(2)));
    assert_eq!(
        users.owner(&pair("kazusa", "secret"), &verified).await,
        Err(AuthError::Overloaded)
    );
}

#[tokio::test]
async fn connections_of_one_sender_wait_for_one_verification() {
    let verified = VerifiedPasswords::with_turns(1);
    let users = users(&[("kazusa", &bcrypt("secret"), 1)]);
    let pair = pair("kazusa", "secret");
    let lane = Arc::clone(&users.known["kazusa"].lane).acquire_owned().await.unwrap();
    let two = async { tokio::join!(users.owner(&pair, &verified), users.owner(&pair, &verified)) };
    let release = async {
        // Both wait by now: `join!` polls in order. The turn ends with nobody having run bcrypt, and is taken
        // away, so that only what was remembered meanwhile can answer.
        let user = &users.known["kazusa"];
        let key = verified.entry_key(user, &pair);
        verified.running.close();
        lock(&verified.right).insert(key, 0, REMEMBER);
        drop(lane);
    };
    let (answers, ()) = tokio::join!(two, release);
    assert_eq!(answers, (Ok(holder(1)), Ok(holder(1))));
}

#[test]
fn a_stranger_costs_what_the_dearest_user_costs() {
    let users = users(&[("kazusa", &bcrypt("secret"), 1)]);
    let [candidate] = &users.nobody.candidates[..] else {
        panic!("one dummy")
    };
    let Password::Bcrypt(hash) = &candidate.password else {
        panic!("a bcrypt hash")
    };
    assert_eq!(cost_of(hash), Some(COST));
    // A well-formed hash: a malformed one would be refused at once, and tell.
    assert!(matches!(bcrypt::verify("secret", hash), Ok(false)));
    assert!(users.nobody.slow);
}

#[test]
fn without_bcrypt_users_a_stranger_costs_nothing() {
    assert!(!users(&[("kazusa", &sha("secret"), 1)]).nobody.slow);
}

#[tokio::test]
async fn bytes_that_bcrypt_does_not_see_make_no_second_entry() {
    let long = "x".repeat(BCRYPT_PASSWORD);
    let verified = VerifiedPasswords::new();
    let users = users(&[("kazusa", &bcrypt(&long), 1)]);
    for tail in ["", "a", "b"] {
        assert_eq!(
            users.owner(&pair("kazusa", &format!("{long}{tail}")), &verified).await,
            Ok(holder(1))
        );
    }
    assert_eq!(lock(&verified.right).entries.len(), 1);
    assert_eq!(
        users.owner(&pair("kazusa", &long[1..]), &verified).await,
        Err(AuthError::WrongCredential)
    );
}

#[test]
fn what_is_remembered_is_bounded_and_ends() {
    let mut remembered = Remembered::default();
    let key = |n: usize| sha256(&n.to_le_bytes());
    for n in 0..REMEMBERED {
        remembered.insert(key(n), n, REMEMBER);
    }
    assert_eq!(remembered.entries.len(), REMEMBERED);
    remembered.insert(key(REMEMBERED), 1, REMEMBER);
    assert!(remembered.entries.len() <= REMEMBERED);
    assert_eq!(remembered.recall(&key(REMEMBERED), None), Some(1));

    remembered.insert(key(0), 5, Duration::ZERO);
    assert_eq!(
        remembered.recall(&key(0), Some(REMEMBER)),
        None,
        "what has ended is not prolonged"
    );
}
