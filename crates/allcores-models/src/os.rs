//! The two system calls that the protocols know.

use crate::atomic::AtomicU32;
use crate::rt;

/// Wakes up to `n` who sleep on `word`; how many there were.
#[track_caller]
pub fn futex_wake(word: &AtomicU32, n: u32) -> usize {
    rt::wake(word.as_ptr().addr(), n, std::panic::Location::caller())
}
