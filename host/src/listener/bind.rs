//! Sockets to listen on.
//!
//! Takes an address as the configuration has it, gives a socket that listens there. An address without a host is every
//! address of both families; on a machine without IPv6, of the one there is. Never falls back where the address is taken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};

/// As tokio and the kernel have it where nobody says otherwise.
const BACKLOG: u32 = 1024;

/// Listens on `host:port` or `:port`.
///
/// # Errors
/// If the address is malformed, unknown or taken.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) else {
        return TcpListener::bind(address).await;
    };
    match both_families(port) {
        Err(error) if is_without_ipv6(&error) => {
            tracing::warn!(%address, "this system has no IPv6: only IPv4 is listened on");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}

fn both_families(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    // Said aloud: the system may be set to the opposite.
    sockopt::set_ipv6_v6only(&socket, false)?;
    // As `TcpListener::bind` does: a restart need not wait for the connections before it.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

/// The kernel was started without it, or it is switched off here.
fn is_without_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|off| code == Some(off.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_address_without_a_host_is_every_address() {
        let listener = bind(":0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        // Where this machine has IPv6.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            assert!(address.is_ipv6());
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).await.unwrap();
        }
        let taken = bind(&format!(":{}", address.port())).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_system_without_ipv6_is_told_from_an_address_that_is_taken() {
        let is_off = |errno: Errno| is_without_ipv6(&io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!(is_off(Errno::AFNOSUPPORT) && is_off(Errno::ADDRNOTAVAIL));
        assert!(!is_off(Errno::ADDRINUSE) && !is_off(Errno::ACCESS));
    }

    #[tokio::test]
    async fn an_address_with_a_host_is_that_one() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert!(bind(":no").await.is_err());
    }
}
