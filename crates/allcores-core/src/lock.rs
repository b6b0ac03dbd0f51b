//! A mutex in one word, whose dead owner is noticed.
//!
//! ```text
//! bit 31      WAITERS: somebody may sleep on the word
//! bit 30      DIED: an owner died inside; stays until a holder says the data is right
//! bits 0..30  owner (see slot.rs), 0 when nobody has it
//!
//! free ──CAS──▶ mine          mine ──swap──▶ free, wakes one if WAITERS
//! dead ──CAS──▶ mine|DIED     by a waiter that found the owner dead
//! ```
//!
//! The word is the only truth, so taking and giving are one atomic step each and there
//! is nothing to repair. The state table follows `parking_lot`'s, with the owner in the
//! place of its locked bit.

use crate::atomic::{AtomicU32, Ordering::*};

use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::os;
use crate::slot::{self, OWNER_MASK, Owner};
use crate::wait::{self, Deadline, Pulse};

/// Somebody may sleep on the word.
pub const WAITERS: u32 = 1 << 31;
/// An owner died while it had the lock, and nobody has said since that all is well.
pub const DIED: u32 = 1 << 30;

/// Takes the lock if it can be had at once.
///
/// # Errors
/// When this process cannot take part in the arena.
#[inline]
pub fn try_lock(word: &AtomicU32) -> Result<bool> {
    let me = slot::me()?;
    if try_fast(word, me) {
        return Ok(true);
    }
    Ok(try_lock_slow(word, me, 0))
}

/// Takes the lock if it is free or its owner is dead; `mark` is added to the word.
#[cold]
fn try_lock_slow(word: &AtomicU32, me: Owner, mark: u32) -> bool {
    let mut seen = word.load(Relaxed);
    loop {
        let owner = seen & OWNER_MASK;
        let mut next = me | (seen & (WAITERS | DIED)) | mark;
        if owner != 0 {
            if slot::is_alive(owner) {
                return false;
            }
            next |= DIED;
        }
        match word.compare_exchange(seen, next, Acquire, Relaxed) {
            Ok(_) => {
                crash_point!("lock: taken, not at the first try");
                return true;
            }
            // Another taker, or another sleeper that marks itself: look again. Each
            // round somebody else got on, so this ends.
            Err(now) => seen = now,
        }
    }
}

/// Takes the lock if nobody has it and nothing else is to be seen to: one step, no system
/// call. A false says nothing about whether it is free.
#[inline]
pub fn try_fast(word: &AtomicU32, me: Owner) -> bool {
    let taken = word.compare_exchange(0, me, Acquire, Relaxed).is_ok();
    if taken {
        crash_point!("lock: taken");
    }
    taken
}

/// Takes the lock, waiting until `deadline`; false when that passed first.
///
/// # Errors
/// What `pulse` says, or when this process cannot take part in the arena.
#[inline]
pub fn lock(word: &AtomicU32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    let me = slot::me()?;
    if try_fast(word, me) {
        return Ok(true);
    }
    lock_slow(word, me, deadline, pulse)
}

#[cold]
fn lock_slow(word: &AtomicU32, me: Owner, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    // A holder that is about to let go is met here, without a system call.
    let mut mark = 0;
    loop {
        let taken = wait::spin(|| {
            let seen = word.load(Relaxed);
            seen & OWNER_MASK == 0
                && word
                    .compare_exchange(seen, seen | me | mark, Acquire, Relaxed)
                    .is_ok()
        });
        if taken {
            crash_point!("lock: taken while looking");
            return Ok(true);
        }
        if try_lock_slow(word, me, mark) {
            return Ok(true);
        }
        let seen = word.load(Relaxed);
        if seen & OWNER_MASK == 0 {
            continue;
        }
        if seen & WAITERS == 0
            && word
                .compare_exchange(seen, seen | WAITERS, Relaxed, Relaxed)
                .is_err()
        {
            continue;
        }
        crash_point!("lock: marked, about to sleep");
        // From here on others may sleep beside us, so whoever of us gets the lock has
        // to leave the mark for the rest.
        mark = WAITERS;
        match wait::sleep(word, seen | WAITERS, deadline, pulse) {
            Ok(true) => {}
            Ok(false) => {
                let taken = try_lock_slow(word, me, mark);
                if !taken {
                    pass_on(word);
                }
                return Ok(taken);
            }
            Err(error) => {
                pass_on(word);
                return Err(error);
            }
        }
    }
}

/// For a waiter that gives up: a wake-up that it may have swallowed goes to the next one.
fn pass_on(word: &AtomicU32) {
    // The mark may have gone with that wake-up, while others sleep on.
    let seen = word.fetch_or(WAITERS, Relaxed);
    crash_point!("lock: given up waiting, marked");
    if seen & OWNER_MASK == 0 {
        os::futex_wake(word, 1);
    }
}

/// Lets go, whoever holds it.
///
/// # Errors
/// [`Error::Invalid`] when nobody does.
#[inline]
pub fn unlock(word: &AtomicU32) -> Result<()> {
    let mut seen = word.load(Relaxed);
    loop {
        if seen & OWNER_MASK == 0 {
            return Err(Error::Invalid {
                what: "release of a lock that nobody holds",
            });
        }
        match word.compare_exchange(seen, seen & DIED, Release, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    crash_point!("lock: free, nobody woken yet");
    if seen & WAITERS != 0 {
        os::futex_wake(word, 1);
        crash_point!("lock: free, one woken");
    }
    Ok(())
}

/// Who holds the lock; 0 is nobody.
pub fn owner(word: &AtomicU32) -> Owner {
    word.load(Relaxed) & OWNER_MASK
}

/// A lock of the core itself, held for a scope. Its sections repair what a dead owner
/// left before they begin.
pub struct Guard<'a>(&'a AtomicU32);

impl<'a> Guard<'a> {
    /// Takes the lock. When an owner died in it, `repair` runs first, under the lock;
    /// it must be repeatable, as this process may die in it as well.
    ///
    /// # Errors
    /// What `repair` says, or when this process cannot take part in the arena.
    pub fn new(word: &'a AtomicU32, repair: impl FnOnce() -> Result<()>) -> Result<Guard<'a>> {
        lock(word, &Deadline::NEVER, &mut wait::no_pulse)?;
        let guard = Guard(word);
        if word.load(Relaxed) & DIED != 0 {
            crash_point!("lock: to repair");
            repair()?;
            crash_point!("lock: repaired, not said yet");
            word.fetch_and(!DIED, Relaxed);
            crash_point!("lock: repaired");
        }
        Ok(guard)
    }
}

impl<'a> Guard<'a> {
    /// For a lock that the caller has just taken; it looks at DIED itself.
    pub fn taken(word: &'a AtomicU32) -> Guard<'a> {
        Guard(word)
    }

    /// Takes the lock and leaves it to the caller to look at DIED.
    ///
    /// # Errors
    /// When this process cannot take part in the arena.
    pub fn wait(word: &'a AtomicU32) -> Result<Guard<'a>> {
        lock(word, &Deadline::NEVER, &mut wait::no_pulse)?;
        Ok(Guard(word))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // It is ours, so letting go cannot fail.
        let _ = unlock(self.0);
    }
}

/// Frees the lock of a dead owner and wakes one who waits for it.
pub fn bereave(word: &AtomicU32, dead: Owner) {
    let mut seen = word.load(Relaxed);
    // A sleeper may mark itself meanwhile; nobody else changes a dead owner's word but by
    // taking it, which ends this.
    while seen & OWNER_MASK == dead {
        match word.compare_exchange(seen, DIED | seen & WAITERS, AcqRel, Relaxed) {
            Ok(_) => {
                crash_point!("lock: taken from the dead, nobody woken yet");
                os::futex_wake(word, 1);
                return;
            }
            Err(now) => seen = now,
        }
    }
}
