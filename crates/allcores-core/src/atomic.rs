//! The atomics of shared memory.
//!
//! The standard library's, under a name of our own: crates/allcores-models compiles the
//! files that import them from here with atomics whose every interleaving it explores.

pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
