//! Requests that two readers would not agree on: each is refused with 400, and its connection ends.
//!
//! Takes the options, adds to the card how many were not.

use std::time::Duration;

use gauntlet_tests::Sender;
use gauntlet_tests::bar::{Bar, Unit};
use gauntlet_tests::sink::Sink;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::card::Card;
use crate::memory::calm;
use crate::options::Options;
use crate::siege::Siege;

const ROW: &str = "c5 framing";
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong, and the head and body that are.
const REQUESTS: [(&str, &str); 7] = [
    (
        "a length with chunks",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunks with a length",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    ),
    (
        "bare line feeds",
        "POST /api/v1/receive HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    ),
    (
        "one bare line feed",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n",
    ),
    (
        "two hosts",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    ),
    ("no host", "POST /api/v1/receive HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
];

pub async fn row(options: &Options, card: &mut Card) {
    for program in options.programs_for(ROW) {
        let siege = Siege::begin(&program, calm(&Sink::start())).await;
        let sender = siege.gateway.sender();
        let mut wrong = Vec::new();
        for (what, request) in REQUESTS {
            let answer = answer(&sender, request).await;
            if !answer.as_ref().is_some_and(|text| text.starts_with("HTTP/1.1 400 ")) {
                let first = answer.as_deref().and_then(|text| text.lines().next());
                wrong.push(format!("{what}: {}", first.unwrap_or("no end of the connection")));
            }
        }
        let bar = Bar::new(
            "not refused with 400 and ended",
            Some(wrong.len() as f64),
            Unit::Requests,
            0.0,
            None,
        );
        let remark = format!("{} requests. {}", REQUESTS.len(), wrong.join("; "));
        card.add(&program, ROW, bar.remark(remark.trim_end().to_owned()));
    }
}

/// All that is said until the connection ends; None where it does not.
async fn answer(sender: &Sender, request: &str) -> Option<String> {
    let mut stream = sender.connect().await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut text = Vec::new();
    // A connection that is cut without TLS' farewell has ended too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
