//! Certificates for one run, on disk: the authority's, the gateway's, one per sender, a stranger's, an impostor's.
//!
//! Takes a folder; gives PEM files in it. Never kept or reused: they die with the run's folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gauntlet_tests::certs::{Certs as Authority, ClientCertificate};

/// A certificate and its key on disk.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Everything the run presents or trusts.
pub struct Certs {
    pub authority: PathBuf,
    /// The gateway's, for 127.0.0.1 and localhost.
    pub gateway: Pair,
    /// URI SAN `spiffe://kazusa/prometheus`.
    pub kazusa: Pair,
    /// DNS SAN `prometheus.setsuna.example`.
    pub setsuna: Pair,
    /// Signed by the same authority, but no tenant's.
    pub stranger: Pair,
    /// kazusa's own name, signed by an authority that the gateway does not know.
    pub impostor: Pair,
}

impl Certs {
    pub fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (authority, unknown) = (Authority::new(), Authority::new());
        authority.write_to(folder);
        let kazusa = "spiffe://kazusa/prometheus";
        Ok(Self {
            authority: folder.join("ca.pem"),
            gateway: Pair {
                cert: folder.join("server.pem"),
                key: folder.join("server.key"),
            },
            kazusa: write(folder, "kazusa", &authority.client_uri(kazusa))?,
            setsuna: write(folder, "setsuna", &authority.client_dns("prometheus.setsuna.example"))?,
            stranger: write(
                folder,
                "stranger",
                &authority.client_uri("spiffe://stranger/prometheus"),
            )?,
            impostor: write(folder, "impostor", &unknown.client_uri(kazusa))?,
        })
    }
}

fn write(folder: &Path, name: &str, certificate: &ClientCertificate) -> Result<Pair> {
    let pair = Pair {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    std::fs::write(&pair.cert, &certificate.pem)?;
    std::fs::write(&pair.key, &certificate.key_pem)?;
    Ok(pair)
}
