//! Takes personal data out of label values and keeps series apart: what relabelling cannot do.
//!
//! Takes `{"key": K, "pseudonyms": ["user", ...], "networks": ["client_ip", ...]}`. Each label of `pseudonyms` gets a
//! keyed hash (HMAC-SHA-256 cut to 64 bits) in place of its value: the same user is the same pseudonym in every
//! series and after every restart, and nobody without the key can try names until one fits, as one can with
//! `hashmod`. Each address in a label of `networks` is cut to its network: /24 for IPv4, /48 for IPv6.
//! Never lets a value through that it could not redact: what is no address becomes a pseudonym.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gauntlet_policy::{Context, Fate, Policy, Relabel, Series, relabel_policy, settings};
use hmac::{Hmac, Mac};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sha2::Sha256;

/// Shorter keys can be searched. Bytes.
const MIN_KEY: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    key: Option<String>,
    #[serde(default, deserialize_with = "names")]
    pseudonyms: Vec<String>,
    #[serde(default, deserialize_with = "names")]
    networks: Vec<String>,
}

/// Names of labels, none of them empty; null is none.
fn names<'de, D: Deserializer<'de>>(written: D) -> Result<Vec<String>, D::Error> {
    let names = Option::<Vec<String>>::deserialize(written).map(Option::unwrap_or_default);
    let names = names.ok().filter(|names| names.iter().all(|name| !name.is_empty()));
    names.ok_or_else(|| D::Error::custom("must be a list of label names"))
}

#[derive(Debug)]
struct Redact {
    /// Keyed, and cloned for each value.
    mac: Hmac<Sha256>,
    pseudonyms: Vec<String>,
    networks: Vec<String>,
}

impl Policy for Redact {
    fn configure(text: &str, _context: &Context) -> Result<Self, String> {
        let written: Settings = settings(text)?;
        let key = written.key.filter(|key| key.len() >= MIN_KEY);
        let key = key.ok_or_else(|| format!("key must be at least {MIN_KEY} bytes"))?;
        Ok(Self {
            mac: Hmac::new_from_slice(key.as_bytes()).map_err(|error| error.to_string())?,
            pseudonyms: written.pseudonyms,
            networks: written.networks,
        })
    }
}

impl Relabel for Redact {
    fn relabel(&self, series: &mut Series) -> Fate {
        for name in &self.pseudonyms {
            self.replace(series, name, |value| self.pseudonym(value));
        }
        for name in &self.networks {
            self.replace(series, name, |value| {
                network(value).unwrap_or_else(|| self.pseudonym(value))
            });
        }
        Fate::Keep
    }
}

impl Redact {
    fn replace(&self, series: &mut Series, name: &str, redacted: impl FnOnce(&str) -> String) {
        let value = series.value(name);
        if !value.is_empty() {
            let redacted = redacted(value);
            series.set(name, &redacted);
        }
    }

    fn pseudonym(&self, value: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(value.as_bytes());
        let digest = mac.finalize().into_bytes();
        let cut = digest
            .iter()
            .take(8)
            .fold(0u64, |cut, byte| cut << 8 | u64::from(*byte));
        format!("p-{cut:016x}")
    }
}

/// The network of an address; `None` for what is no address. A port or a zone goes.
fn network(value: &str) -> Option<String> {
    let host = match value.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None if value.matches(':').count() == 1 => value.split_once(':')?.0,
        None => value,
    };
    let address = host.split_once('%').map_or(host, |(address, _)| address).parse().ok()?;
    Some(match address {
        IpAddr::V4(v4) => format!("{}/24", Ipv4Addr::from(u32::from(v4) & !0xff)),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => format!("{}/24", Ipv4Addr::from(u32::from(v4) & !0xff)),
            None => format!("{}/48", Ipv6Addr::from(u128::from(v6) & !0u128 << 80)),
        },
    })
}

relabel_policy!(Redact);

// Which allocator a plugin has is its author's to say; this one is made for a series' many small blocks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_policy::Label;

    const SETTINGS: &str =
        r#"{"key": "correct horse battery", "pseudonyms": ["user", "mail"], "networks": ["client_ip"]}"#;

    fn context() -> Context {
        Context::new("kazusa", &["soft"])
    }

    fn redact(settings: &str, labels: &[(&str, &str)]) -> Vec<(String, String)> {
        let policy = Redact::configure(settings, &context()).unwrap();
        let label = |(name, value): &(&str, &str)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        let mut series = Series::new(labels.iter().map(label).collect());
        assert_eq!(policy.relabel(&mut series), Fate::Keep);
        series
            .labels()
            .iter()
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect()
    }

    fn one(name: &str, value: &str) -> String {
        redact(SETTINGS, &[(name, value)]).remove(0).1
    }

    #[test]
    fn pseudonyms_are_stable_distinct_and_the_keys_own() {
        // HMAC-SHA-256("correct horse battery", "ada"), first 64 bits.
        assert_eq!(one("user", "ada"), "p-86165f6966493d85");
        assert_eq!(one("mail", "ada"), one("user", "ada"), "one person, one pseudonym");
        assert_ne!(one("user", "bob"), one("user", "ada"));
        let other = SETTINGS.replace("horse", "house");
        assert_ne!(redact(&other, &[("user", "ada")])[0].1, one("user", "ada"));
    }

    #[test]
    fn addresses_are_cut_to_their_network() {
        for (address, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("192.0.2.77:5300", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("[2001:db8:1:2::9]:443", "2001:db8:1::/48"),
            ("fe80::1%eth0", "fe80::/48"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ] {
            assert_eq!(one("client_ip", address), network);
        }
    }

    #[test]
    fn what_is_no_address_is_hidden_all_the_same() {
        for value in [
            "ada@192.0.2.77",
            "192.0.2",
            "[2001:db8::1",
            "unknown",
            "192.0.2.77, 10.0.0.1",
        ] {
            assert!(one("client_ip", value).starts_with("p-"), "{value} got through");
        }
    }

    #[test]
    fn other_labels_stay_and_missing_ones_are_not_made() {
        let labels = [("__name__", "logins_total"), ("job", "ada")];
        assert_eq!(
            redact(SETTINGS, &labels),
            labels.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn settings_that_would_not_protect_are_refused() {
        for (settings, reason) in [
            (r#"{"pseudonyms": ["user"]}"#, "key must be at least 16 bytes"),
            (r#"{"key": "fifteen bytes!!"}"#, "key must be at least 16 bytes"),
            (
                r#"{"key": "sixteen bytes!!!", "pseudonym": ["user"]}"#,
                "did you mean `pseudonyms`",
            ),
            (
                r#"{"key": "sixteen bytes!!!", "networks": [1]}"#,
                "networks must be a list of label names",
            ),
        ] {
            assert!(
                Redact::configure(settings, &context()).unwrap_err().contains(reason),
                "{settings}"
            );
        }
    }
}
