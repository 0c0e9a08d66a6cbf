//! Who is at the other end of a load balancer, by what it says before the connection's own bytes: the PROXY protocol,
//! versions 1 and 2.
//!
//! Takes a connection of a trusted balancer; gives the sender's address, or none where the balancer speaks for itself.
//! Never reads a byte behind the header, and never more than a header may have. The caller sets the deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, its line end included.
const MAX_LINE: usize = 107;
/// Longest rest of a header of version 2 that is taken. Its addresses have at most 36 bytes; what follows them, such as the
/// names of a certificate, is passed over.
const MAX_REST: usize = 2048;

/// Why nobody knows who is at the other end.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(
        "the connection of a balancer in proxy_protocol.trusted does not begin with a header of the PROXY protocol"
    )]
    Missing,
    #[error("the header of the PROXY protocol is malformed")]
    Malformed,
    #[error("the header of the PROXY protocol was not complete in time")]
    Late,
    #[error("the connection ended inside the header of the PROXY protocol: {0}")]
    Ended(#[from] io::Error),
}

/// The address that the header names; none for the balancer's own connections and for addresses that are of no use here.
///
/// # Errors
/// If there is no header, or one that is malformed or ends too early.
pub async fn source(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    match start {
        SIGNATURE => binary(stream).await,
        // The shortest line is longer than this.
        _ if start.starts_with(b"PROXY ") => line(stream, &start).await,
        _ => Err(ProxyError::Missing),
    }
}

/// Version 1: a line of text.
async fn line(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(ProxyError::Malformed);
        }
        // One by one, since what follows is not ours to read.
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line)
        .ok()
        .and_then(|text| text.strip_suffix("\r\n"));
    text.and_then(of_line).ok_or(ProxyError::Malformed)
}

fn of_line(text: &str) -> Option<Option<SocketAddr>> {
    let words: Vec<&str> = text.split(' ').collect();
    let (source, destination, source_port, destination_port) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Some(None),
        ["PROXY", "TCP4" | "TCP6", source, destination, port, other] => (source, destination, port, other),
        _ => return None,
    };
    let address = |text: &str| match words[1] {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        _ => text.parse().ok().map(IpAddr::V6),
    };
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let _ours = (address(destination)?, port(destination_port)?);
    // A balancer with a socket of both families may write an IPv4 sender so.
    let source = address(source)?.to_canonical();
    Some(Some(SocketAddr::new(source, port(source_port)?)))
}

/// Version 2, behind its signature.
async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_REST {
        return Err(ProxyError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    of_binary(command, family, &rest).ok_or(ProxyError::Malformed)
}

fn of_binary(command: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match (command, family) {
        // LOCAL, whatever it says; then what is of no known family, and Unix sockets.
        (0x20, _) | (0x21, 0x00 | 0x31) => Some(None),
        (0x21, 0x11) => addresses::<4>(rest).map(Some),
        (0x21, 0x21) => addresses::<16>(rest).map(Some),
        _ => None,
    }
}

/// The first of two addresses, and the first of the two ports behind them.
fn addresses<const SIZE: usize>(rest: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (source, rest) = rest.split_first_chunk::<SIZE>()?;
    let (_ours, rest) = rest.split_first_chunk::<SIZE>()?;
    let (ports, _names) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(
        IpAddr::from(*source).to_canonical(),
        u16::from_be_bytes([ports[0], ports[1]]),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the header says, and what is left behind it.
    fn read(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let source = runtime.block_on(source(&mut bytes));
        (source, bytes)
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn a_header_names_the_sender_and_not_a_byte_behind_it_is_read() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x4b, 0x5b];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[15] = 7;
        six[33] = 80;
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        mapped[32..34].copy_from_slice(&40_000_u16.to_be_bytes());
        for (header, source) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 19291\r\n".to_vec(),
                address("192.0.2.7:40000"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 80 19291\r\n".to_vec(),
                address("[2001:db8::7]:80"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 80 19291\r\n".to_vec(),
                address("192.0.2.7:80"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
            (v2(0x21, 0x11, &four), address("192.0.2.7:40000")),
            (
                v2(0x21, 0x11, &[&four[..], &[4, 0, 1, 0]].concat()),
                address("192.0.2.7:40000"),
            ),
            (v2(0x21, 0x21, &six), address("[2001:db8::7]:80")),
            (v2(0x21, 0x21, &mapped), address("192.0.2.7:40000")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x21, 0x00, &[1; MAX_REST]), None),
        ] {
            let bytes = [&header[..], b"\x16\x03"].concat();
            let (found, rest) = read(&bytes);
            assert_eq!(found.unwrap(), source, "{header:?}");
            assert_eq!(rest, b"\x16\x03");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 19291 1\r\n",
            "PROXY TCP4 2001:db8::7 10.0.0.1 40000 19291\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +4000 19291\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 19291\r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 40000 19291\r\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.1 40000 19291\r\n",
        ] {
            assert!(matches!(read(line.as_bytes()).0, Err(ProxyError::Malformed)), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
        let (refused, rest) = read(long.as_bytes());
        assert!(matches!(refused, Err(ProxyError::Malformed)));
        assert_eq!(rest.len(), long.len() - MAX_LINE);
        for header in [
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x00, &[0; MAX_REST + 1]),
        ] {
            assert!(matches!(read(&header).0, Err(ProxyError::Malformed)), "{header:?}");
        }
        for other in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"[..],
            b"POST /api/v1/receive",
        ] {
            assert!(matches!(read(other).0, Err(ProxyError::Missing)));
        }
        assert!(matches!(read(b"PROXY TCP4 192.").0, Err(ProxyError::Ended(_))));
        assert!(matches!(
            read(&v2(0x21, 0x11, &[0; 12])[..20]).0,
            Err(ProxyError::Ended(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(
            start in prop_oneof![Just(&SIGNATURE[..]), Just(&b"PROXY TCP6 "[..]), Just(&b""[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(&[start, &rest].concat());
        }

        #[test]
        fn any_address_is_read_from_either_version(source: SocketAddr, other: SocketAddr) {
            prop_assume!(source.is_ipv4() == other.is_ipv4());
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {} {} {} {}\r\n", source.ip(), other.ip(), source.port(), other.port());
            let found = read(line.as_bytes()).0.unwrap().map(|found| (found.ip(), found.port()));
            prop_assert_eq!(found, Some((source.ip().to_canonical(), source.port())));
        }
    }
}
