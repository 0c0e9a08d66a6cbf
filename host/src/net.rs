//! The way out of the process: where a peer is, how it is reached and believed, one exchange of HTTP/1.1 with it.
//!
//! Takes an address and a finished request, gives the answer's status, head and the start of its text, or the stage at
//! which there was none. Never follows a redirect, never judges an answer, and has no task of its own. It is the one
//! place to dial from: for receivers today, and for whatever else the gateway will have to ask.
//!
//! Its files, each of which uses only those before it: `address` (where a peer is), `resolver` (who is asked for names),
//! `names` (how a name becomes addresses), `tls` (who is believed, who is presented), `fault` (why there is no
//! stream), `dial` (TCP and TLS up to one), `connection` (HTTP on it, one exchange after the other), `pool` (connections that
//! wait for the next exchange).

mod address;
mod connection;
mod dial;
mod fault;
pub mod names;
mod pool;
mod resolver;
mod tls;

pub use address::{Address, AddressError};
pub use connection::{ExchangeError, HttpAnswer, TextBounds};
pub use dial::Dialer;
pub use fault::{ConnectFault, disbelieves};
pub use pool::Pool;
pub use resolver::SystemResolver;
pub use tls::{Tls, TlsFault};
