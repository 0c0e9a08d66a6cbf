//! Compressed bytes of any content: bounded in memory, and decoded as the snap crate does.
#![no_main]

use gauntlet::wire::{SnappyError, snappy};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    match snappy::decode(data, LIMIT) {
        Ok(out) => {
            assert!(out.len() as u64 <= LIMIT.min(data.len() as u64 * 22));
            assert_eq!(out, snap::raw::Decoder::new().decompress_vec(data).unwrap());
        }
        Err(SnappyError::TooLarge { .. } | SnappyError::Implausible { .. }) => {
            assert!(snappy::decoded_length(data, LIMIT).is_err())
        }
        Err(_) => assert!(snap::raw::Decoder::new().decompress_vec(data).is_err()),
    }
    let mut compressed = Vec::new();
    snappy::encode(data, &mut compressed).unwrap();
    assert_eq!(snappy::decode(&compressed, data.len() as u64).unwrap(), data);
});
