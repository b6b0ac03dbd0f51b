//! Event: a flag that many can wait for.
//!
//! ```text
//! bits 2..32  how often it was set (circular)
//! bit 1       WAITERS: somebody may sleep on the word; only while it is not set
//! bit 0       SET
//! ```
//!
//! One word, so a death leaves nothing behind. A waiter goes by the count, so that it is
//! not missed when the flag is set and cleared again before the waiter has looked. A mark
//! that a dead waiter leaves costs the next `set` one wake-up for nobody.

use std::sync::atomic::{AtomicU32, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::Result;
use crate::handle::Handle;
use crate::object::Kind;
use crate::os;
use crate::wait::{self, Deadline, Pulse};

const SET: u32 = 1;
const WAITERS: u32 = 2;
const ONE: u32 = 4;

#[repr(C)]
#[derive(Debug)]
struct EventBlock {
    word: AtomicU32,
    _pad: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Shared for EventBlock {}

/// An event of a program, in this process.
#[derive(Debug, Clone)]
pub struct Event {
    handle: Handle,
    block: &'static EventBlock,
}

impl Event {
    /// A new one that is not set.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Event> {
        let offset = alloc::reserve(Kind::Event, size_of::<EventBlock>(), true)?;
        Event::of(Handle::publish(offset)?)
    }

    /// The one that another process's handle names.
    ///
    /// # Errors
    /// [`crate::Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Event> {
        Event::of(Handle::open(session, offset, generation, Kind::Event)?)
    }

    fn of(handle: Handle) -> Result<Event> {
        let block = arena()?.at(handle.offset())?;
        Ok(Event { handle, block })
    }

    /// Its handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.block.word.load(Acquire) & SET != 0
    }

    /// Sets it and wakes all who wait.
    pub fn set(&self) {
        let word = &self.block.word;
        let mut seen = word.load(Relaxed);
        loop {
            let next = if seen & SET != 0 {
                // Written all the same: what we did before has to be seen by who looks next.
                seen
            } else {
                (seen & !WAITERS).wrapping_add(ONE) | SET
            };
            match word.compare_exchange(seen, next, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        crash_point!("event.set: set, nobody woken yet");
        if seen & WAITERS != 0 {
            os::futex_wake(word, u32::MAX);
            crash_point!("event.set: set, all woken");
        }
    }

    /// Takes the flag back.
    pub fn clear(&self) {
        self.block.word.fetch_and(!SET, AcqRel);
        crash_point!("event.clear: clear");
    }

    /// Waits until it is set, or was meanwhile; false when `deadline` passed first.
    ///
    /// # Errors
    /// What `pulse` says.
    pub fn wait(&self, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        let word = &self.block.word;
        let start = word.load(Acquire);
        let happened = |seen: u32| seen & SET != 0 || seen / ONE != start / ONE;
        if happened(start) {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(false);
        }
        if wait::spin(|| happened(word.load(Acquire))) {
            return Ok(true);
        }
        loop {
            let seen = word.load(Acquire);
            if happened(seen) {
                return Ok(true);
            }
            if seen & WAITERS == 0
                && word
                    .compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            crash_point!("event.wait: marked, about to sleep");
            if !wait::doze(word, seen | WAITERS, deadline, pulse)? {
                return Ok(happened(word.load(Acquire)));
            }
        }
    }
}
