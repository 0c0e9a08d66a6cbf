//! The end-to-end tests: the real binary between a sender and a fake receiver.
