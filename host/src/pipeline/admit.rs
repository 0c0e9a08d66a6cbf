//! Whether a judged write is let in, where it goes and what it costs.
//!
//! Takes a write whose every series has its fate, gives its routes. What is refused here has cost its tenant nothing; what became
//! active with what is let in is counted for operators.

use std::time::Instant;

use crate::chain::Charge;
use crate::judge::{Admission, Judged, Origin};
use crate::limits::{ChargeError, Withdrawal};
use crate::respond::Failure;
use crate::route::{self, Routes};
use crate::tenant::Session;

/// Asks the policies that judge writes, resolves their routes, and charges what they ask for.
pub(super) async fn admit(session: &Session<'_>, judged: &mut Judged, compressed: usize) -> Result<Routes, Failure> {
    let origin = Origin {
        subject: session.subject(),
        protocol: judged.scanned().protocol(),
        compressed_bytes: compressed as u64,
    };
    let admitted = match session.judge().admit(judged, &origin).await? {
        Admission::Admit(admitted) => admitted,
        Admission::Reject { reason } => {
            return Err(Failure::Refused {
                text: reason.to_string(),
            });
        }
    };
    // A write that cannot be routed costs nothing, so charging comes last.
    let routes = route::route(admitted.streams(), admitted.routes(), &session.config().upstreams)?;
    charge(session, admitted.charges())?;
    session.judge().admitted(judged)?;
    if judged.became_active().len() > 0 {
        // In a box: a write without new series is not to be larger for it.
        Box::pin(note_newcomers(session, judged)).await;
    }
    Ok(routes)
}

/// For operators who ask what makes a tenant grow. What could not be looked at is counted.
async fn note_newcomers(session: &Session<'_>, judged: &Judged) {
    let newcomers = session.newcomers();
    let noting = newcomers.noting(judged.scanned().body(), judged.became_active());
    if session.work(noting).await.is_err() {
        newcomers.missed(judged.became_active().len() as u64, Instant::now());
    }
}

fn charge(session: &Session<'_>, charges: &[Charge]) -> Result<(), Failure> {
    let withdrawals: Vec<Withdrawal<'_>> = charges.iter().map(Withdrawal::from).collect();
    session.charge(&withdrawals, Instant::now()).map_err(|error| {
        if let ChargeError::Empty(empty) = &error {
            session.counters().limited(&empty.policy);
        }
        error.into()
    })
}
