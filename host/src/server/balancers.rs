//! What load balancers are answered on the senders' listener, if the operator switched that on.
//!
//! Takes a request's head, gives an answer to those two questions and to nothing else. Without a credential, since balancers
//! have none; so it says nothing but whether the process takes writes.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

/// An answer if it is a balancer's question. The connection is kept: who asks every second would make a handshake a second.
pub(super) fn answer<B>(request: &Request<B>, is_ready: bool) -> Option<Response<Full<Bytes>>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let (status, text) = match (request.uri().path(), is_ready) {
        ("/-/healthy", _) => (StatusCode::OK, "healthy\n"),
        ("/-/ready", true) => (StatusCode::OK, "ready\n"),
        ("/-/ready", false) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        _ => return None,
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_questions_are_answered_and_no_others() {
        let ask = |method: Method, path: &str, is_ready| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            answer(&request, is_ready).map(|response| response.status().as_u16())
        };
        assert_eq!(ask(Method::GET, "/-/healthy", false), Some(200));
        assert_eq!(ask(Method::GET, "/-/ready?x", true), Some(200));
        assert_eq!(ask(Method::HEAD, "/-/ready", false), Some(503));
        for (method, path) in [
            (Method::POST, "/-/ready"),
            (Method::GET, "/-/reload"),
            (Method::GET, "/metrics"),
            (Method::GET, "/api/v1/receive"),
        ] {
            assert_eq!(ask(method, path, true), None, "{path}");
        }
    }
}
