//! Upstreams against fake receivers.
