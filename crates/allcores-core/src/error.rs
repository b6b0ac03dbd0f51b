//! What can go wrong below Python.

use std::fmt;

/// The result of a core operation.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the core. The binding turns each into a Python exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Neither the reservation nor the system has this much memory left.
    OutOfMemory {
        /// Bytes that were asked for.
        wanted: usize,
    },
    /// A handle names an object that is gone or belongs to another program.
    Stale {
        /// What the handle should have led to.
        what: &'static str,
    },
    /// Bytes in shared memory make no sense.
    Corrupt {
        /// Where that was noticed.
        what: &'static str,
    },
    /// More processes than slots.
    TooManyProcesses,
    /// An argument is out of its range.
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A system call failed.
    Os {
        /// Its name.
        call: &'static str,
        /// The system's error number.
        errno: i32,
    },
    /// The caller's signal handler asked to stop waiting.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::OutOfMemory { wanted } => write!(
                f,
                "no shared memory left for {wanted} bytes: the machine, its container or this \
                 program's limits (address space, file size) have no more to give; free shared \
                 objects or raise the limit"
            ),
            Error::Stale { what } => write!(
                f,
                "this handle leads to no {what}: the object was freed, or it belongs to a program \
                 that has finished; send the object itself while somebody still holds it"
            ),
            Error::Corrupt { what } => write!(
                f,
                "the shared memory holds bytes that make no sense ({what}): foreign code may have \
                 written to it; restart the program"
            ),
            Error::TooManyProcesses => write!(
                f,
                "more processes share this memory than there are slots ({}): end some first",
                crate::slot::SLOTS
            ),
            Error::Invalid { what } => f.write_str(what),
            Error::Os { call, errno } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                write!(f, "{call} failed: {reason}")?;
                match advice(*errno) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
            Error::Interrupted => f.write_str("interrupted by a signal"),
        }
    }
}

/// Why a system call may have failed, and what to do.
fn advice(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM | libc::EACCES | libc::ENOSYS => {
            "the kernel is too old for it, or a sandbox or a container's seccomp profile \
             forbids it: allow it there; `allcores doctor` shows what is refused"
        }
        libc::EMFILE => {
            "this process has as many descriptors open as it may: close some, or raise the \
             limit (ulimit -n)"
        }
        libc::ENFILE => "the machine has as many files open as it may: close some",
        libc::ENOMEM => {
            "memory or address space is short: free some, or raise the limit (ulimit -v)"
        }
        libc::ENOLCK => "the kernel has no room for locks, or the file system can't lock",
        _ => return None,
    })
}

impl std::error::Error for Error {}
