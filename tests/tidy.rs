//! The layering rules, checked on the source text.
