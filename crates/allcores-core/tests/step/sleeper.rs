//! A process that waits in a structure while another one is killed there.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores_core::slot;

use crate::case::{Check, LOST, ensure};
use crate::common::Pipe;
use crate::trap::sleeps;

/// What a sleeper tells, in memory that it shares with its parent.
#[repr(C)]
struct Told {
    /// How often it was sent, and came back.
    sent: AtomicU64,
    back: AtomicU64,
    /// What it came back with the last time.
    with: AtomicU64,
}

/// A child that does the same thing, which may take long, each time it is told to.
pub struct Sleeper {
    pid: libc::pid_t,
    go: Pipe,
    told: &'static Told,
    /// How often it had been sent when [`Sleeper::was_sent`] was asked last.
    known: Cell<u64>,
}

impl Sleeper {
    /// Starts one. What `work` returns is seen by [`Sleeper::back`].
    pub fn new(work: impl Fn() -> u64) -> Sleeper {
        // SAFETY: fresh memory of at least that size, all zero, never given back.
        let told = unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Told>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            &*at.cast::<Told>()
        };
        let go = Pipe::new();
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // SAFETY: plain integers. It must not outlive the survivor.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let all = || {
                slot::me().expect("a slot");
                loop {
                    go.hear();
                    let with = work();
                    told.with.store(with, SeqCst);
                    told.back.fetch_add(1, SeqCst);
                }
            };
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
            // SAFETY: ends the process.
            unsafe { libc::_exit(101) };
        }
        Sleeper {
            pid,
            go,
            told,
            known: Cell::new(0),
        }
    }

    /// Sends it, and waits until it sleeps at its work (or is back already).
    pub fn send(&self) {
        self.told.sent.fetch_add(1, SeqCst);
        self.go.tell();
        // It sleeps on the pipe until the byte is read.
        while !(self.is_back() || self.has_heard() && sleeps(self.pid)) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn has_heard(&self) -> bool {
        let mut waiting = 0;
        // SAFETY: the call writes one integer.
        let asked = unsafe { libc::ioctl(self.go.read, libc::FIONREAD, &mut waiting) };
        asked == 0 && waiting == 0
    }

    /// Whether it was sent since this was asked last, by whomever.
    pub fn was_sent(&self) -> bool {
        let sent = self.told.sent.load(SeqCst);
        self.known.replace(sent) != sent
    }

    pub fn is_back(&self) -> bool {
        self.told.back.load(SeqCst) == self.told.sent.load(SeqCst)
    }

    /// Waits until it is either back or asleep at its work with nothing more to come; true
    /// when it is back.
    pub fn settled(&self) -> bool {
        while !self.is_back() && !sleeps(self.pid) {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.is_back()
    }

    /// Waits until it is back; what with.
    pub fn back(&self) -> Result<u64, String> {
        let begin = Instant::now();
        while !self.is_back() {
            if begin.elapsed() > LOST {
                return Err("a sleeper does not wake up".into());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(self.told.with.load(SeqCst))
    }

    /// See [`Sleeper::back`], for what it has to be.
    pub fn comes_back_with(&self, with: u64) -> Check {
        let found = self.back()?;
        ensure(found == with, || {
            format!("a sleeper came back with {found} instead of {with}")
        })
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // A victim has a copy, whose drop is not the sleeper's end; it never gets here.
        // SAFETY: our own child, not yet waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}
