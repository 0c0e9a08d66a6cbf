//! What a balancer says first, of any content: an address or a refusal, the same in pieces of any size, within the bounds
//! of a header and the same in both versions.
#![no_main]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use gauntlet::listener::proxied::{ProxyError, source};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// A line of version 1; the start of version 2 and the rest that is taken.
const LONGEST: [usize; 2] = [107, 16 + 2048];

fuzz_target!(|data: &[u8]| {
    let mut left = data;
    let found = ready(source(&mut left));
    let taken = &data[..data.len() - left.len()];
    assert!(
        taken.len() <= LONGEST[usize::from(data.starts_with(SIGNATURE))],
        "{} bytes",
        taken.len()
    );
    assert_eq!(told(&ready(source(&mut ByteByByte(data)))), told(&found));
    match found {
        Ok(found) => {
            assert_eq!(whole(taken), found, "nothing behind it matters");
            found.iter().for_each(reads_back);
        }
        Err(ProxyError::Ended(_)) => assert!(left.is_empty(), "it ends where the connection does"),
        Err(ProxyError::Late) => panic!("nobody waits here"),
        Err(ProxyError::Missing | ProxyError::Malformed) => {}
    }
    if let Some((addresses, _)) = data.split_first_chunk::<36>() {
        agree(addresses);
    }
});

/// Of memory there is nothing to wait for.
fn ready<T>(what: impl Future<Output = T>) -> T {
    match pin!(what).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits where there is nothing to wait for"),
    }
}

fn told(found: &Result<Option<SocketAddr>, ProxyError>) -> Result<Option<SocketAddr>, String> {
    found.as_ref().copied().map_err(ToString::to_string)
}

/// What a header says that is sound and the whole of it.
fn whole(mut header: &[u8]) -> Option<SocketAddr> {
    let found = ready(source(&mut header)).expect("a sound header");
    assert!(header.is_empty(), "it is read to its end");
    found
}

/// An address that was found is found again, by its own family and by the larger one.
fn reads_back(address: &SocketAddr) {
    let port = address.port();
    let wide = match address.ip() {
        IpAddr::V4(ip) => {
            assert_eq!(whole(&line("TCP4", ip, port)), Some(*address));
            assert_eq!(whole(&binary(0x11, &ip.octets(), port)), Some(*address));
            ip.to_ipv6_mapped()
        }
        IpAddr::V6(ip) => ip,
    };
    assert_eq!(whole(&line("TCP6", wide, port)), Some(*address));
    assert_eq!(whole(&binary(0x21, &wide.octets(), port)), Some(*address));
}

/// Both versions say the same of any addresses.
fn agree(bytes: &[u8; 36]) {
    let header = [SIGNATURE, &[0x21, 0x21, 0, 36], bytes].concat();
    let found = whole(&header).expect("an address");
    let (source, rest) = bytes.split_first_chunk::<16>().unwrap();
    let (ours, ports) = rest.split_first_chunk::<16>().unwrap();
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let [source, ours] = [*source, *ours].map(std::net::Ipv6Addr::from);
    let line = format!("PROXY TCP6 {source} {ours} {} {}\r\n", port(0), port(2));
    assert_eq!(whole(line.as_bytes()), Some(found));
    reads_back(&found);
}

fn line(family: &str, source: impl ToString, port: u16) -> Vec<u8> {
    let source = source.to_string();
    format!("PROXY {family} {source} {source} {port} 19291\r\n").into_bytes()
}

fn binary(family: u8, source: &[u8], port: u16) -> Vec<u8> {
    let length = u8::try_from(2 * source.len() + 4).unwrap();
    let ports = [port.to_be_bytes(), [0x4b, 0x5b]].concat();
    [SIGNATURE, &[0x21, family, 0, length], source, source, &ports].concat()
}

struct ByteByByte<'d>(&'d [u8]);

impl AsyncRead for ByteByByte<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first().filter(|_| into.remaining() > 0) {
            into.put_slice(&[*first]);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}
