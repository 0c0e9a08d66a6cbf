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
/// For a second answer, which must not come.
const SECOND: Duration = Duration::from_secs(2);

/// What is wrong, and the head and body that are.
const REQUESTS: [(&str, &str); 12] = [
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
    (
        "chunked twice",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
    ),
    (
        "another coding",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "one length twice",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    ),
    (
        "a bare line feed as the empty line",
        "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\n",
    ),
    (
        "a bare line feed in the first line",
        "POST /api/v1/receive HTTP/1.1\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ),
];
/// Of a tenant, whose connection is kept: a body that one reader ends at the bare line feed, with what would be a second
/// request behind it.
const HIDDEN: &str = "POST /api/v1/receive HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bystander-token\r\n\
                      Transfer-Encoding: chunked\r\n\r\n0\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";

pub async fn row(options: &Options, card: &mut Card) {
    for program in options.programs_for(ROW) {
        let siege = Siege::begin(&program, calm(&Sink::start())).await;
        let sender = siege.gateway.sender();
        let mut wrong = Vec::new();
        for (what, request) in REQUESTS {
            let (text, ended) = answers(&sender, request, PATIENCE).await;
            if !ended || !text.starts_with("HTTP/1.1 400 ") {
                let first = text.lines().next().unwrap_or("no answer");
                wrong.push(format!("{what}: {first}, the connection ended: {ended}"));
            }
        }
        let (text, _) = answers(&sender, HIDDEN, SECOND).await;
        let count = text.matches("HTTP/1.1 ").count();
        if count != 1 {
            wrong.push(format!("a request hidden in trailers: {count} answers"));
        }
        let bar = Bar::new(
            "not refused with 400 and ended",
            Some(wrong.len() as f64),
            Unit::Requests,
            0.0,
            None,
        );
        let remark = format!("{} requests. {}", REQUESTS.len() + 1, wrong.join("; "));
        card.add(&program, ROW, bar.remark(remark.trim_end().to_owned()));
    }
}

/// All that is said until the connection ends or the time is over, and whether it ended.
pub async fn answers(sender: &Sender, request: &str, time: Duration) -> (String, bool) {
    let mut text = Vec::new();
    let talk = async {
        let mut stream = sender.connect().await?;
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        while stream.read_buf(&mut text).await? > 0 {}
        std::io::Result::Ok(())
    };
    // A connection that is cut without TLS' farewell has ended too.
    let ended = timeout(time, talk).await.is_ok();
    (String::from_utf8_lossy(&text).into_owned(), ended)
}
