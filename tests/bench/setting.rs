//! What all rows share: the run's folder, certificates, bodies, the sink, and what was asked for on the command line.
//!
//! Takes the arguments, gives one value that is handed from row to row.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gauntlet_tests::bodies::{self, Bodies};
use gauntlet_tests::certs::Certs;
use gauntlet_tests::sink::Sink;

use crate::gauntlet::binary;

pub struct Setting {
    folder: tempfile::TempDir,
    certs: Certs,
    pub bodies: Bodies,
    pub sink: Sink,
    pub options: Options,
}

/// The command line.
pub struct Options {
    /// Only rows whose name contains one of these; empty: all of them.
    pub words: Vec<String>,
    pub rounds: usize,
    pub run: Duration,
    /// Another gateway's program: every row of the first table that is Gauntlet's is measured with it as well.
    pub beside: Option<PathBuf>,
}

impl Options {
    /// # Errors
    /// What is wrong with the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            words: Vec::new(),
            rounds: 5,
            run: Duration::from_secs(10),
            beside: None,
        };
        let number = |name: &str, value: Option<String>| {
            let value = value.and_then(|value| value.parse().ok()).filter(|n| *n > 0);
            value.ok_or_else(|| format!("{name} wants a whole number above 0"))
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--rounds" => options.rounds = number("--rounds", arguments.next())? as usize,
                "--seconds" => options.run = Duration::from_secs(number("--seconds", arguments.next())?),
                "--beside" => options.beside = Some(arguments.next().ok_or("--beside wants a program")?.into()),
                word if !word.starts_with('-') => options.words.push(word.to_lowercase()),
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(options)
    }

    pub fn wants(&self, row: &str) -> bool {
        let row = row.to_lowercase();
        self.words.is_empty() || self.words.iter().any(|word| row.contains(word.as_str()))
    }

    /// What a row of Gauntlet's is measured with, and what it is called then.
    pub fn programs(&self, row: &str) -> Vec<(String, PathBuf)> {
        let beside = self
            .beside
            .iter()
            .map(|other| (format!("{row}, beside"), other.clone()));
        std::iter::once((row.to_owned(), binary())).chain(beside).collect()
    }

    /// Whether the tables and the picture are written: a run of some rows, a short one, or one of two programs, would put
    /// half of the truth there.
    pub fn is_whole(&self) -> bool {
        self.words.is_empty() && self.beside.is_none() && self.rounds >= 5 && self.run >= Duration::from_secs(10)
    }
}

impl Setting {
    pub fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certs = Certs::new();
        certs.write_to(folder.path());
        Self {
            folder,
            certs,
            bodies: bodies::recorded(),
            sink: Sink::start(),
            options,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A sender's TLS with the certificate of common name `bench`.
    pub fn with_certificate(&self) -> Arc<rustls::ClientConfig> {
        self.certs.client_config(Some(&self.certs.client_common_name("bench")))
    }

    /// A sender's TLS without a certificate, for tokens.
    pub fn without_certificate(&self) -> Arc<rustls::ClientConfig> {
        self.certs.client_config(None)
    }

    /// Says what runs, and under which id where somebody wants to look at it from outside.
    pub fn started(&self, name: &str, pid: u32) {
        if !self.options.words.is_empty() {
            eprintln!("{name}: pid {pid}");
        }
    }
}
