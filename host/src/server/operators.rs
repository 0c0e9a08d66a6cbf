//! The operators' door: their connections, bounded in number and in patience.
//!
//! Takes a socket and who answers; serves until it is told to stop. Never lets one that says nothing, or says it slowly,
//! keep others out for longer than the deadlines below.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Operators;
use crate::listener::{Clock, accept, pause_after, serve_requests};

/// What all connections together may take, and each.
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
        let clock = Arc::new(Clock::new(patience.head, patience.idle));
        let (operators, stop) = (Arc::clone(&operators), stop.clone());
        tasks.spawn(async move {
            let _slot = slot;
            let answer = |request| Some(operators.answer(request, address));
            serve_requests(stream, &clock, stop.cancelled(), || std::future::ready(()), answer).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

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
        let door = tokio::spawn(serve(socket, operators, one, stop.clone(), tasks.clone()));
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
