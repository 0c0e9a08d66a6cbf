//! Which word and which text there is for a bound that was met.
//!
//! Takes the bound, gives what metrics and logs call it and what the sender is told. Never names another tenant.

use crate::limits::BoundMet;

pub(super) const OVERLOADED: &str = "the gateway is overloaded, try again";

pub(super) fn told(bound: &BoundMet) -> (&'static str, &'static str) {
    match bound {
        BoundMet::Requests => ("overloaded_requests", OVERLOADED),
        BoundMet::Bytes => ("overloaded_bytes", OVERLOADED),
        BoundMet::TenantRequests => (
            "tenant_requests",
            "this tenant has max_concurrent_requests requests in flight, try again",
        ),
        BoundMet::TenantBytes => (
            "tenant_bytes",
            "this tenant has max_in_flight_size bytes of bodies in flight, try again",
        ),
        BoundMet::ShareOfRequests => (
            "share_of_requests",
            "the gateway is busy and this tenant has its share of the requests in flight, try again",
        ),
        BoundMet::ShareOfBytes => (
            "share_of_bytes",
            "the gateway is busy and this tenant has its share of the bytes of bodies in flight, try again",
        ),
        BoundMet::Memory(_) => ("overloaded_memory", OVERLOADED),
    }
}
