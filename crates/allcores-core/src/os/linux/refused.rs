//! What this system refuses to do, and what is done instead.
//!
//! Sandboxes forbid system calls one by one (seccomp answers EPERM or ENOSYS, whatever the
//! kernel could do), and file systems lack some. Each call that there is another way for
//! notes here that the other way is taken: for the next time, and for people.

use std::io::Error as IoError;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A call that there is another way for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    Memfd,
    Seal,
    Fallocate,
    PunchHole,
    Futex,
    Pidfd,
    Eventfd,
    Random,
}

use Call::*;

const ALL: [(Call, &str, &str); 8] = [
    (Memfd, "memfd_create", ""),
    (
        Seal,
        "fcntl(F_ADD_SEALS)",
        "the file gets its full length at once, without memory behind it",
    ),
    (
        Fallocate,
        "fallocate",
        "each page is touched by the kernel instead",
    ),
    (
        PunchHole,
        "fallocate(FALLOC_FL_PUNCH_HOLE)",
        "memory goes back by madvise, or is kept and zeroed",
    ),
    (Futex, "futex", "waiting looks every millisecond"),
    (
        Pidfd,
        "pidfd_open",
        "deaths of children are looked for every quarter of a second",
    ),
    (Eventfd, "eventfd", "a pipe"),
    (Random, "getrandom", "/dev/urandom"),
];

static REFUSED: AtomicU32 = AtomicU32::new(0);
/// Where the file lies that stands in for the memfd.
pub static PLACE: OnceLock<String> = OnceLock::new();

/// Whether `call` was refused before.
#[inline]
pub fn is_known(call: Call) -> bool {
    REFUSED.load(Relaxed) & 1 << call as u32 != 0
}

/// Notes that `call` is refused.
#[cold]
pub fn note(call: Call) {
    REFUSED.fetch_or(1 << call as u32, Relaxed);
}

/// Whether the call that just failed failed for good: it isn't allowed, or isn't there.
pub fn for_good() -> bool {
    matches!(
        IoError::last_os_error().raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP)
    )
}

/// The calls refused so far, each with what is done instead.
pub fn fallbacks() -> Vec<(&'static str, String)> {
    ALL.iter()
        .filter(|(call, ..)| is_known(*call))
        .map(|&(call, name, instead)| {
            let instead = match call {
                Memfd => PLACE.get().cloned().unwrap_or_default(),
                _ => instead.into(),
            };
            (name, instead)
        })
        .collect()
}
