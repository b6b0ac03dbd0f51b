//! Sleeping until something happens, in one word.
//!
//! ```text
//! high 32: who sleeps or is about to      low 32: how often somebody was woken (the futex)
//!
//! enter   {n, s} ──▶ {n+1, s}     the ticket is s
//! wake    {n, s} ──▶ {n-1, s+1}   then the futex; when nobody slept there: {n-1, s+1} ──▶ {0, s+2}
//! leave   {n, s} ──▶ {n-1, s}     only while the word still shows the ticket's s
//! ```
//!
//! Entering yields the number to sleep on in the same step, so whoever is woken, or
//! struck off, between that and the sleep does not fall asleep. The count is never too
//! low for those asleep; it may be too high after a sleeper was killed, and the next
//! waker, who finds nobody, sets it right.

use crate::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::arena::Shared;
use crate::crash::crash_point;
use crate::error::Result;
use crate::os;
use crate::wait::{self, Deadline, Pulse};

const ONE: u64 = 1 << 32;

/// See the head of this file.
#[repr(transparent)]
pub struct EventCount(AtomicU64);
// SAFETY: an atomic only.
unsafe impl Shared for EventCount {}

impl EventCount {
    /// Announces a sleeper; look once more before [`EventCount::sleep`].
    pub fn enter(&self) -> u32 {
        let seen = self.0.fetch_add(ONE, SeqCst);
        crash_point!("eventcount.enter: announced");
        seen as u32
    }

    /// Takes the announcement back.
    pub fn leave(&self, ticket: u32) {
        let mut seen = self.0.load(SeqCst);
        while seen as u32 == ticket && seen >= ONE {
            match self.0.compare_exchange(seen, seen - ONE, SeqCst, SeqCst) {
                Ok(_) => {
                    crash_point!("eventcount.leave: taken back");
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// One sleep, see [`wait::doze`].
    ///
    /// # Errors
    /// What `pulse` says.
    pub fn sleep(&self, ticket: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        wait::doze(self.number(), ticket, deadline, pulse)
    }

    /// The half with the number, for the kernel. It is never loaded or stored as such.
    fn number(&self) -> &AtomicU32 {
        let half = self.0.as_ptr().cast::<u32>();
        let half = half.wrapping_add(usize::from(cfg!(target_endian = "big")));
        // SAFETY: inside the word, which outlives the reference; aligned for its type.
        unsafe { AtomicU32::from_ptr(half) }
    }

    /// Whether somebody sleeps or is about to.
    #[inline]
    pub fn any(&self) -> bool {
        self.0.load(SeqCst) >= ONE
    }

    /// Wakes up to `n` sleepers. What they wait for must have been stored before with
    /// sequential consistency.
    #[inline]
    pub fn wake(&self, n: u32) {
        if self.any() {
            self.wake_slow(n);
        }
    }

    #[cold]
    fn wake_slow(&self, n: u32) {
        let mut seen = self.0.load(SeqCst);
        let woken = loop {
            let sleepers = seen >> 32;
            if sleepers == 0 {
                return;
            }
            let left = sleepers.saturating_sub(n as u64);
            let next = left << 32 | (seen as u32).wrapping_add(1) as u64;
            match self.0.compare_exchange(seen, next, SeqCst, SeqCst) {
                Ok(_) => break next,
                Err(now) => seen = now,
            }
        };
        crash_point!("eventcount.wake: struck off, not woken yet");
        if os::futex_wake(self.number(), n) == 0 {
            crash_point!("eventcount.wake: nobody was there");
            let healed = (woken as u32).wrapping_add(1) as u64;
            let _ = self.0.compare_exchange(woken, healed, SeqCst, SeqCst);
            crash_point!("eventcount.wake: nobody is announced");
        }
    }
}
