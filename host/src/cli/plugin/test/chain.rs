//! Cases about all policies of a tenant, with what the host checks itself.
//!
//! Takes a configuration and a tenant, gives what becomes of each series and write there; no listener is bound and no
//! receiver is asked. The checks are made of each of the tenant's plugins by itself.

use std::path::Path;
use std::sync::Arc;

use super::super::arguments::{Configured, Confines, lines};
use super::super::outcome::Wrong;
use super::super::said::{Passed, Said};
use super::super::workshop::{self, Workshop};
use super::cases::{self, Came};
use super::checks;
use super::outcome::{FileOutcome, asked_under};
use super::watch::WatchedFiles;
use crate::chain::{Decision, Opinion};
use crate::config::{self, Loaded, Matter, Suite};
use crate::lab::{Becomes, Lab};
use crate::model::{Label, TenantId};

/// Runs the cases of `suite` as `tenant` of the configuration in `file`.
///
/// # Errors
/// If the configuration cannot be used, or has no such tenant.
pub fn test(
    suite: &Suite,
    file: &Path,
    tenant: &TenantId,
    check: bool,
    watch: &mut WatchedFiles,
) -> Result<FileOutcome, Wrong> {
    watch.note(file);
    let mut loaded = config::load_without_secrets(file).map_err(|errors| lines(&errors))?;
    loaded.inputs.files().for_each(|file| watch.note(file));
    let broken = loaded
        .broken
        .iter()
        .find(|broken| broken.tenant.as_ref() == Some(tenant));
    if let Some(broken) = broken {
        return Err(lines(&broken.errors));
    }
    // The others are not asked; nobody comes by TLS.
    loaded.config.tenants.retain(|id, _| id == tenant);
    loaded.config.remote_write.tls = None;
    loaded.config.sandbox = loaded.config.sandbox.keeping_compiled();
    if loaded.config.tenants.is_empty() {
        return Err(format!("{} has no tenant {tenant}", file.display()));
    }
    let limits = Confines {
        sandbox: loaded.config.sandbox.clone(),
        memory: loaded.config.memory_limit(),
    };
    let checks = if check {
        checks_of(suite, &loaded, tenant, &limits)?
    } else {
        Vec::new()
    };
    let runtime = workshop::runtime()?;
    let lab = match runtime.block_on(Lab::new(loaded, tenant)) {
        Ok(lab) => lab,
        Err(error) => return Ok(FileOutcome::unusable(error.to_string())),
    };
    let compared = suite.cases.iter().map(|case| {
        let came = runtime.block_on(ask(&lab, &case.question));
        cases::compare(case, came)
    });
    Ok(FileOutcome {
        compared: compared.collect(),
        checks,
        unusable: None,
    })
}

async fn ask(lab: &Lab, question: &Matter) -> Came {
    match question {
        Matter::Series(labels) => match lab.series(labels).await {
            Ok(becomes) => Came::Series(said(becomes, labels)),
            Err(failure) => Came::Nothing(format!("the write fails: {failure}")),
        },
        Matter::Write(write) => match lab.decide(cases::write_of(write)).await {
            Ok(Decision::Reject { reason, .. }) => Came::Write(Opinion::Reject(reason)),
            Ok(Decision::Admit(terms)) => Came::Write(Opinion::Admit(terms.as_ref().clone())),
            Err(failure) => Came::Nothing(format!("the write fails: {failure}")),
        },
        Matter::Settings => Came::Nothing("a tenant's policies have their settings in the configuration".to_owned()),
    }
}

fn said(becomes: Becomes, sent: &[Label]) -> Said {
    match becomes {
        Becomes::Dropped { policy, reason } => Said::Drop {
            reason: reason.to_string(),
            policy: Some(policy.to_string()),
        },
        Becomes::Refused { reason, text } => Said::Refuse { reason, text },
        Becomes::Forwarded { labels, stream } => Said::Pass(Passed {
            labels: labels.filter(|labels| labels != sent),
            stream: Some(stream.to_string()).filter(|stream| !stream.is_empty()),
            budget: None,
        }),
    }
}

/// Of each policy, with the tenant's own settings.
fn checks_of(
    suite: &Suite,
    loaded: &Loaded,
    tenant: &TenantId,
    limits: &Confines,
) -> Result<Vec<checks::Check>, Wrong> {
    let workshop = Workshop::open(limits)?;
    let mut found = Vec::new();
    let Some(config) = loaded.config.tenants.get(tenant) else {
        return Ok(found);
    };
    for policy in &config.policies {
        // What is wrong with it is told when the tenant is built.
        let Ok(plugin) = workshop.load(&policy.plugin) else {
            continue;
        };
        let context = Configured {
            settings: policy.settings.clone(),
            tenant: tenant.clone(),
            upstreams: config.upstreams.clone(),
        };
        let (series, writes) = asked_under(suite, &context.settings, &context);
        let mut checks = checks::all(&workshop.subject(Arc::clone(&plugin), context), &series, &writes);
        for finding in checks.iter_mut().flat_map(|check| &mut check.findings) {
            *finding = format!("policy {}: {finding}", policy.name);
        }
        checks::merge(&mut found, checks);
    }
    Ok(found)
}
