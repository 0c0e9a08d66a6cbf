//! Remote write 1.0 messages that are decoded into values, generated from `proto/remote_write_v1.proto`.

include!(concat!(env!("OUT_DIR"), "/gauntlet.wire.v1.rs"));
