//! The gateway in front of one receiver, with a tenant for each sender.
//!
//! Takes the program, the receiver and what tenants are held to; gives a process that is restarted, killed and
//! reconfigured at one address.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use gauntlet_tests::deadline::until;
use gauntlet_tests::http;
use gauntlet_tests::process::{Ports, Process, start_mortal};
use gauntlet_tests::setup::{Setup, Tenant, relabel};
use serde_json::json;

use crate::compare::{Policy, unchanged};
use crate::receivers::Receiver;
use crate::senders::Plan;
use crate::storage::Labels;

const READY: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);

pub struct Gateway {
    pub process: Process,
    setup: Setup,
    pub write: String,
    admin: String,
    plans: Vec<Plan>,
}

/// What tenants are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Free,
    /// One write in ten seconds; whoever is over it is answered 503.
    OverRate,
    /// The same, answered 429.
    OverRate429,
    /// Drops `go_` and edits the rest.
    Edits,
}

impl Rule {
    fn tenant(self, plan: &Plan) -> Tenant {
        let tenant = Tenant::new(plan.id).bearer(&token(plan)).upstreams(&["receiver"]);
        let limited = |tenant: Tenant| tenant.policy("limits", json!({"requests": {"per_second": 0.1, "burst": 1}}));
        match self {
            Self::Free => tenant,
            Self::OverRate => limited(tenant),
            Self::OverRate429 => limited(tenant).set("over_rate", "too_many_requests"),
            Self::Edits => tenant.policy("relabel", relabel(edits())),
        }
    }

    /// What it makes of a series, written once more.
    pub fn policy(self) -> Policy {
        if self == Self::Edits { edited } else { unchanged }
    }
}

fn edits() -> serde_json::Value {
    json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"source_labels": ["series"], "regex": "0(.*)", "target_label": "series", "replacement": "of ${1}"},
        {"target_label": "cluster", "replacement": "edge"},
        {"action": "labeldrop", "regex": "reason"},
    ])
}

fn edited(labels: &Labels) -> Option<Labels> {
    let mut labels = labels.clone();
    if labels.get("__name__").is_some_and(|name| name.starts_with("go_")) {
        return None;
    }
    if let Some(series) = labels.get_mut("series")
        && let Some(rest) = series.strip_prefix('0')
    {
        *series = format!("of {rest}");
    }
    labels.insert("cluster".to_owned(), "edge".to_owned());
    labels.remove("reason");
    Some(labels)
}

pub fn token(plan: &Plan) -> String {
    format!("token-of-{}", plan.id)
}

impl Gateway {
    /// Starts one with a tenant for each sender and waits until it serves.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn start(
        program: &Path,
        receiver: &Receiver,
        plans: &[Plan],
        rule: Rule,
        logs: &Path,
        ports: &mut Ports,
    ) -> Result<Self> {
        let upstream = json!({
            "endpoints": [format!("http://{}", receiver.write)],
            "path": receiver.make.path(),
        });
        let mut setup = Setup::new().set("/upstreams/receiver", upstream);
        for plan in plans {
            setup.put_tenant(rule.tenant(plan));
        }
        let gateway = Self::serve(program, setup, logs, ports)?;
        Ok(Self {
            plans: plans.to_vec(),
            ..gateway
        })
    }

    /// Starts one with these tenants and upstreams and waits until it serves.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn serve(program: &Path, mut setup: Setup, logs: &Path, ports: &mut Ports) -> Result<Self> {
        let (write, admin) = (ports.address()?, ports.address()?);
        setup.put("/remote_write/listen_address", write.as_str());
        setup.put("/admin/listen_address", admin.as_str());
        setup.write();
        let argv = vec![
            program.display().to_string(),
            "serve".to_owned(),
            format!("--config.file={}", setup.main_file().display()),
            "--config.poll-interval=0s".to_owned(),
        ];
        let mut gateway = Self {
            process: start_mortal("gauntlet", logs, argv)?,
            setup,
            write,
            admin,
            plans: Vec::new(),
        };
        gateway.wait_ready()?;
        Ok(gateway)
    }

    fn wait_ready(&mut self) -> Result<()> {
        until("the gateway is ready", READY, PAUSE, || {
            self.process.expect_alive()?;
            Ok(http::ok(&self.admin, "/-/ready")?.then_some(()))
        })
    }

    /// Whom senders must believe.
    pub fn authority(&self) -> PathBuf {
        self.setup.folder().join("ca.pem")
    }

    /// # Errors
    /// If it does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.wait_ready()
    }

    /// Another certificate of the same authority.
    ///
    /// # Errors
    /// If it is not taken.
    pub fn rotate(&mut self) -> Result<()> {
        self.setup.certs.renew_server();
        self.reload()
    }

    /// # Errors
    /// If it is not taken.
    pub fn hold(&mut self, rule: Rule) -> Result<()> {
        for plan in &self.plans {
            self.setup.put_tenant(rule.tenant(plan));
        }
        self.reload()
    }

    fn reload(&self) -> Result<()> {
        self.setup.write();
        let answer = http::post(&self.admin, "/-/reload", &[], b"")?;
        ensure!(answer.status == 200, "a reload: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// Writes of a sender by the status of their answer, in words.
    ///
    /// # Errors
    /// If there are no metrics.
    pub fn answers(&self, plan: &Plan) -> Result<String> {
        let metrics = http::metrics(&self.admin)?;
        let codes = ["204", "400", "401", "415", "429", "500", "503"];
        let counted = codes.map(|code| {
            let count = metrics.sum("gauntlet_requests_total", &[("tenant", plan.id), ("code", code)]);
            (count > 0.0).then(|| format!("{count} x {code}"))
        });
        Ok(counted.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_makes_of_a_series_is_known() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        assert_eq!(edited(&labels(&[("__name__", "go_known")])), None);
        assert_eq!(
            edited(&labels(&[("__name__", "a"), ("series", "012"), ("reason", "x")])),
            Some(labels(&[("__name__", "a"), ("series", "of 12"), ("cluster", "edge")]))
        );
    }
}
