//! Remote write on the wire.
