//! The operators' door: their connections, bounded in number and in patience.
//!
//! Takes a socket and who answers; serves until it is told to stop. Never lets one that says nothing, or says it slowly,
//! keep others out for longer than the deadlines below.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Operators;
use crate::listener::{Clock, accept, pause_after, serve_requests};
use crate::tls::{self, ServerConfig};

/// What all connections together may take, and each.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    connections: usize,
    head: Duration,
    idle: Duration,
}

/// A scraper and a kubelet keep a connection each, a browser six; further ones wait. Idle may last twice the usual time
/// between two scrapes.
pub(super) const PATIENCE: Patience = Patience {
    connections: 128,
    head: Duration::from_secs(10),
    idle: Duration::from_secs(120),
};

/// Accepts until `stop`; connections, tracked by `tasks`, finish the request they are serving and end.
pub(super) async fn serve(
    socket: TcpListener,
    tls: Arc<tls::Source>,
    operators: Operators,
    patience: Patience,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(patience.connections));
    let operators = Arc::new(operators);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // The slot comes first: without one, who comes stays in the backlog.
            accepted = async {
                let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((accept(&socket).await?, slot))
            } => accepted,
        };
        let ((stream, address), slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection of an operator could not be accepted");
                tokio::time::sleep(pause_after(&error).unwrap_or_default()).await;
                continue;
            }
        };
        let connection = connection(
            stream,
            address,
            tls.subscribe(),
            patience,
            Arc::clone(&operators),
            stop.clone(),
        );
        tasks.spawn(async move {
            let _slot = slot;
            connection.await;
        });
    }
}

/// One connection, from accepted to closed. It ends after the request that is served when another certificate comes into use.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    mut tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    patience: Patience,
    operators: Arc<Operators>,
    stop: CancellationToken,
) {
    let config = tls.borrow_and_update().clone();
    let last_call = async {
        tokio::select! {
            () = stop.cancelled() => {}
            // An error means that nothing can replace what this connection began with.
            Ok(()) = tls.changed() => {}
        }
    };
    let clock = Arc::new(Clock::new(patience.head, patience.idle));
    let answer = |request| Some(operators.answer(request, address));
    let speak = || std::future::ready(());
    let Some(config) = config else {
        serve_requests(stream, &clock, last_call, speak, answer).await;
        return;
    };
    let finished = tokio::select! {
        () = stop.cancelled() => return,
        finished = timeout(patience.head, tls::accept(config, stream)) => finished,
    };
    match finished {
        Ok(Ok((stream, _certificate))) => {
            serve_requests(stream, &clock, last_call, speak, answer).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "a TLS handshake of an operator failed"),
        Err(_elapsed) => tracing::debug!(%address, "a TLS handshake of an operator took too long"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::tests::running;
    use super::*;

    /// Long enough that only a bug waits for it.
    const DEADLINE: Duration = Duration::from_secs(20);
    const GET: &[u8] = b"GET /-/healthy HTTP/1.1\r\nhost: localhost\r\n\r\n";

    async fn end(stream: &mut TcpStream) -> String {
        let mut rest = Vec::new();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        ended.unwrap().unwrap();
        String::from_utf8(rest).unwrap()
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_head_makes_room_for_the_next() {
        let (running, _folder) = running().await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let one = Patience {
            connections: 1,
            head: Duration::from_millis(50),
            idle: Duration::from_millis(50),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let operators = Operators::new(running.gateway());
        let plain = Arc::new(tls::Source::new(None));
        let door = tokio::spawn(serve(socket, plain, operators, one, stop.clone(), tasks.clone()));
        for begun in [b"".as_slice(), b"GET /-/hea"] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(begun).await.unwrap();
            // Accepted only once the first is gone, answered, and ended for saying no more.
            let mut next = TcpStream::connect(address).await.unwrap();
            next.write_all(GET).await.unwrap();
            assert_eq!(end(&mut silent).await, "");
            let answer = end(&mut next).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        stop.cancel();
        timeout(DEADLINE, door).await.unwrap().unwrap();
        tasks.close();
        timeout(DEADLINE, tasks.wait()).await.unwrap();
        running.drain(Duration::ZERO).await;
    }
}
