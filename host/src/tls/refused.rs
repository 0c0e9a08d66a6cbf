//! Whose certificate a handshake refused.
//!
//! Takes a handshake and what a verifier refuses in it; gives what the handshake gives, and the names in the certificate
//! that was refused, which an operator needs to find the sender: behind a load balancer its address says nothing. Never
//! changes what is refused.

use std::cell::RefCell;

use crate::model::PeerCertificate;

tokio::task_local! {
    static REFUSED: RefCell<Option<PeerCertificate>>;
}

/// What `handshake` gives, and the certificate that was refused in it.
pub(super) async fn naming_the_refused<T>(handshake: impl Future<Output = T>) -> (T, Option<PeerCertificate>) {
    let noted = async {
        let done = handshake.await;
        (done, REFUSED.with(RefCell::take))
    };
    REFUSED.scope(RefCell::default(), noted).await
}

/// Notes whom the handshake that this runs in refuses.
pub(super) fn note(certificate: &[u8]) {
    // Outside of a handshake of ours nobody asks.
    let _ = REFUSED.try_with(|refused| *refused.borrow_mut() = PeerCertificate::parse(certificate));
}
