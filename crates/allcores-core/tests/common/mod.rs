//! Helpers for tests that use several processes.

#![allow(dead_code, missing_docs)]

use std::sync::{Mutex, MutexGuard};

/// Tests of one file share an arena, and count what is in it: one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A child of fork.
pub struct Child(pub libc::pid_t);

/// Runs `work` in a child; its exit code says whether `work` returned true.
pub fn child(work: impl FnOnce() -> bool) -> Child {
    // SAFETY: the child runs `work` and ends without returning into the test harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: ends the process without running the harness's exit handlers.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    Child(pid)
}

impl Child {
    /// Waits for the child's end; its wait status.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` lives for the call.
        unsafe { libc::waitpid(self.0, &mut status, 0) };
        status
    }

    /// SIGKILL, then waits.
    pub fn kill(self) -> i32 {
        // SAFETY: our own child, not yet waited for, so the pid is its.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        self.wait()
    }
}

/// A small generator of random numbers (xorshift64*), seeded for repetition.
pub struct Random(pub u64);

impl Random {
    pub fn seeded() -> Random {
        let seed = std::env::var("ALLCORES_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| allcores_core::os::random().unwrap() | 1);
        eprintln!("ALLCORES_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

/// A pipe for a byte from one process to another: rendezvous without sleeping.
pub struct Pipe {
    pub read: i32,
    pub write: i32,
}

impl Pipe {
    pub fn new() -> Pipe {
        let mut ends = [0; 2];
        // SAFETY: two writable integers.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        Pipe {
            read: ends[0],
            write: ends[1],
        }
    }

    pub fn tell(&self) {
        // SAFETY: one readable byte.
        let sent = unsafe { libc::write(self.write, [1u8].as_ptr().cast(), 1) };
        assert_eq!(sent, 1);
    }

    pub fn hear(&self) {
        let mut byte = [0u8];
        // SAFETY: one writable byte.
        let heard = unsafe { libc::read(self.read, byte.as_mut_ptr().cast(), 1) };
        assert_eq!(heard, 1);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // SAFETY: our own descriptors.
        unsafe {
            libc::close(self.read);
            libc::close(self.write);
        }
    }
}
