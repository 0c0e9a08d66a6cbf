//! A gateway without its two networks: a configuration, one of its tenants, and bodies that are judged as that tenant's.
//!
//! Takes what was loaded and a tenant's id, gives what would go on to each upstream. For benchmarks, for tests against a
//! model, and for whoever tries policies out. Everything between the sockets is what serves in earnest, the proof of a
//! credential included; no listener is bound and no receiver is asked. Whoever makes one compiles plugins in a child of
//! its own program, called with `compile`: see [`crate::cli`].

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::auth::{AuthError, Proof};
use crate::config::{Credential, Known, Loaded};
use crate::forward::delivery::Part;
use crate::model::{Peer, Protocol, TenantId};
use crate::pipeline::{Pipeline, Shared, SharedError};
use crate::reload::{Generations, ReloadError};
use crate::respond::Failure;
use crate::tenant::{Generation, Session};
use crate::traces::Recording;

mod questions;

pub use questions::Becomes;

/// One tenant of one configuration.
pub struct Lab {
    pipeline: Arc<Pipeline>,
    proof: Proof,
}

/// Why there is nothing to try.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error(transparent)]
    Generation(#[from] ReloadError),
    #[error("the configuration has no tenant {0}")]
    NoTenant(TenantId),
    /// What is wrong with the tenant's policies.
    #[error("tenant {tenant} cannot be served: {error}")]
    Broken { tenant: TenantId, error: String },
    #[error("the system gives no random bytes")]
    NoRandomness,
    #[error(transparent)]
    Proof(#[from] AuthError),
}

impl Lab {
    /// Builds all tenants of `loaded` and enters as `tenant`, with a credential that is made for it here: one that is
    /// configured is a digest, which proves nothing. Also where the tenant is disabled.
    ///
    /// # Errors
    /// See [`LabError`].
    pub async fn new(mut loaded: Loaded, tenant: &TenantId) -> Result<Self, LabError> {
        let (token, credential) = new_token().ok_or(LabError::NoRandomness)?;
        let tenants = &mut loaded.config.tenants;
        let entry = tenants.get_mut(tenant);
        let config = Arc::make_mut(entry.ok_or_else(|| LabError::NoTenant(tenant.clone()))?);
        config.enabled = true;
        config.credentials.push(credential);

        let shared = Shared::new(&loaded.config)?;
        let generations = Generations::start(std::path::Path::new(""), loaded, Known::default(), None, shared).await?;
        let broken = generations.report().broken;
        if let Some(broken) = broken.into_iter().find(|b| b.tenant.as_ref() == Some(tenant)) {
            let (tenant, error) = (tenant.clone(), broken.error);
            return Err(LabError::Broken { tenant, error });
        }
        let pipeline = generations.current();
        let header = format!("Bearer {token}").parse();
        let headers = HeaderMap::from_iter(header.ok().map(|bearer| (AUTHORIZATION, bearer)));
        let peer = Peer::new(([127, 0, 0, 1], 0).into(), None);
        let verified = &pipeline.shared.verified;
        let proof = pipeline.authenticator.authenticate(&headers, &peer, verified).await?;
        Ok(Self { pipeline, proof })
    }

    /// What serves the tenant, for who asks what would become of series.
    ///
    /// # Errors
    /// None but a bug.
    pub fn generation(&self) -> Result<&Generation, Failure> {
        let serving = self.pipeline.tenants.get(self.proof.id());
        Ok(&**serving.ok_or(Failure::Bug("the lab's tenant is gone"))?)
    }

    /// One body, compressed as a sender compresses it; gives what would go on, by upstream. What the memo knows from
    /// earlier bodies it knows here.
    ///
    /// # Errors
    /// Whatever a write is refused for.
    pub async fn process(&self, protocol: Protocol, body: &Bytes) -> Result<Vec<Part>, Failure> {
        let mut session = self.enter()?;
        let processed = self
            .pipeline
            .process(&mut session, protocol, body.clone(), &Recording::default())
            .await?;
        Ok(processed.into_parts())
    }

    fn enter(&self) -> Result<Session<'_>, Failure> {
        let proved = self.pipeline.tenants.of(self.proof.clone(), Instant::now());
        let proved = proved.ok_or(Failure::Bug("the lab's tenant is gone"))?;
        Ok(proved.ready()?.enter(&self.pipeline.shared.in_flight, false)?)
    }
}

/// A token that nobody else knows, and what a configuration would hold of it.
fn new_token() -> Option<(String, Credential)> {
    let mut token = [0; 32];
    rand::fill(&mut token).ok()?;
    let token = HEXLOWER.encode(&token);
    let digest = digest(&SHA256, token.as_bytes()).as_ref().try_into().ok()?;
    Some((token, Credential::BearerToken(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::wire::{snappy, write_series};

    const CONFIG: &str = r#"{
        "remote_write": {"insecure_http": true},
        "upstreams": {"soft": {"endpoints": ["http://127.0.0.1:1"]}},
        "tenants": [{
            "tenant": "a", "disabled": true, "upstreams": ["soft"],
            "credentials": [{"bearer_token_sha256": "SHA"}]
        }]
    }"#;

    #[tokio::test]
    async fn a_body_is_judged_as_a_configured_tenants_without_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gauntlet.yaml");
        std::fs::write(&file, CONFIG.replace("SHA", &"0a".repeat(32))).unwrap();
        let (loaded, a, b) = (
            config::load(&file).unwrap(),
            TenantId::new("a").unwrap(),
            TenantId::new("b").unwrap(),
        );
        let nobody = Lab::new(loaded.clone(), &b).await.err();
        assert!(matches!(nobody, Some(LabError::NoTenant(tenant)) if tenant == b));

        let lab = Lab::new(loaded, &a).await.unwrap();
        let (mut raw, mut body) = (Vec::new(), Vec::new());
        write_series(&mut raw, [("__name__", "up")].into_iter(), [(1.0, 1)].into_iter());
        snappy::encode(&raw, &mut body).unwrap();
        let body = Bytes::from(body);
        let parts = lab.process(Protocol::V1, &body).await.unwrap();
        assert_eq!((parts.len(), parts[0].upstream, &parts[0].body), (1, 0, &body));
        assert_eq!(parts[0].totals.samples, 1);
        // What is held while a body is judged is given back.
        assert_eq!(lab.pipeline.shared.in_flight.bytes(), 0);
        let nonsense = lab.process(Protocol::V1, &Bytes::from_static(b"nonsense")).await;
        assert!(matches!(nonsense, Err(Failure::Snappy(_))));
    }
}
