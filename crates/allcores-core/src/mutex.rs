//! Lock and RLock: the lock of [`crate::lock`] with the thread that holds it beside it.
//!
//! Who holds the lock is only in its word. `holder` and `depth` are notes of whoever has
//! it, written after taking and cleared before letting go, and they count only together
//! with the word. So a process can die between any two of these stores: the next owner
//! writes all of them anew.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::lock::{self, DIED};
use crate::object::Kind;
use crate::os;
use crate::slot::{self, OWNER_MASK, Owner};
use crate::wait::{Deadline, Pulse};

/// The block behind a Lock or RLock.
#[repr(C)]
#[derive(Debug)]
pub struct LockBlock {
    /// The lock itself.
    pub word: AtomicU32,
    /// How often the holder has taken it.
    depth: AtomicU32,
    /// The thread that has it, in the form of [`here`]; 0 is none.
    holder: AtomicU64,
    /// 1 in an RLock.
    recursive: AtomicU32,
    _pad: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Shared for LockBlock {}

/// This thread, unlike any other of any process: 41 bits of the thread, the lower 23 of the
/// owner. With the owner in it, a note that a dead process left is not taken for one of
/// ours, nor one of a parent in its child of fork: that needs the same slot, 2048 uses
/// later, and a thread at the same place. (A number kept in a thread-local variable would
/// cost more than all the rest of taking a lock.)
#[inline]
fn here(me: Owner) -> u64 {
    (os::thread_id() >> 6) << 23 | (me & 0x7f_ffff) as u64
}

/// A lock of a program, in this process.
#[derive(Debug, Clone)]
pub struct Mutex {
    handle: Handle,
    block: &'static LockBlock,
}

/// Why a lock could not be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReleased {
    /// Nobody holds it; for an RLock, this thread doesn't.
    NotHeld,
    /// The core failed.
    Failed(Error),
}

impl From<Error> for NotReleased {
    fn from(error: Error) -> NotReleased {
        NotReleased::Failed(error)
    }
}

impl LockBlock {
    /// Makes an RLock of one that is part of a larger block of zeros, before that is
    /// published.
    pub(crate) fn begin_recursive(&self) {
        self.recursive.store(1, Relaxed);
        crash_point!("mutex.begin_recursive: of its sort");
    }

    /// Whether another thread, of this process or any other, has it just now.
    #[inline]
    pub(crate) fn keeps_out(&self) -> bool {
        let owner = self.word.load(Acquire) & OWNER_MASK;
        owner != 0 && self.is_anothers(owner)
    }

    #[cold]
    fn is_anothers(&self, owner: Owner) -> bool {
        let me = slot::me();
        let mine = me.is_ok_and(|me| owner == me && self.holder.load(Relaxed) == here(me));
        !mine
    }
}

impl Mutex {
    /// A new one that nobody holds.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(recursive: bool) -> Result<Mutex> {
        let offset = alloc::reserve(Kind::Lock, size_of::<LockBlock>(), true)?;
        let block: &LockBlock = arena()?.at(offset)?;
        block.recursive.store(u32::from(recursive), Relaxed);
        crash_point!("mutex.new: of its sort");
        Ok(Mutex {
            handle: Handle::publish(offset)?,
            block,
        })
    }

    /// The one that another process's handle names.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone or of the other sort.
    pub fn open(session: u64, offset: Offset, generation: u32, recursive: bool) -> Result<Mutex> {
        let handle = Handle::open(session, offset, generation, Kind::Lock)?;
        let block: &LockBlock = arena()?.at(offset)?;
        if block.recursive.load(Relaxed) != u32::from(recursive) {
            return Err(Error::Stale {
                what: if recursive { "RLock" } else { "Lock" },
            });
        }
        Ok(Mutex { handle, block })
    }

    /// The one that is part of the block behind `handle`.
    pub(crate) fn within(handle: Handle, block: &'static LockBlock) -> Mutex {
        Mutex { handle, block }
    }

    /// Its handle; that of the whole where it is part of a larger block.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether it is an RLock.
    pub fn is_recursive(&self) -> bool {
        self.block.recursive.load(Relaxed) != 0
    }

    /// Takes it if that needs no waiting and no system call; a false means: use
    /// [`Mutex::acquire`].
    ///
    /// # Errors
    /// When this process cannot take part in the arena.
    #[inline]
    pub fn acquire_fast(&self, recursive: bool) -> Result<bool> {
        let me = slot::me()?;
        if lock::try_fast(&self.block.word, me) {
            self.note(here(me), 1);
            return Ok(true);
        }
        Ok(recursive && self.again(me))
    }

    /// Takes it, waiting until `deadline`; false when that passed first.
    ///
    /// # Errors
    /// What `pulse` says, or when this process cannot take part in the arena.
    pub fn acquire(&self, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        let me = slot::me()?;
        if self.is_recursive() && self.again(me) {
            return Ok(true);
        }
        let taken = lock::lock(&self.block.word, deadline, pulse)?;
        if taken {
            self.note(here(me), 1);
        }
        Ok(taken)
    }

    /// Takes it if that can be had without waiting.
    ///
    /// # Errors
    /// When this process cannot take part in the arena.
    pub fn try_acquire(&self) -> Result<bool> {
        let me = slot::me()?;
        if self.is_recursive() && self.again(me) {
            return Ok(true);
        }
        let taken = lock::try_lock(&self.block.word)?;
        if taken {
            self.note(here(me), 1);
        }
        Ok(taken)
    }

    #[inline]
    fn note(&self, holder: u64, depth: u32) {
        self.block.holder.store(holder, Relaxed);
        crash_point!("mutex.note: holder");
        self.block.depth.store(depth, Relaxed);
        crash_point!("mutex.note: depth");
    }

    /// Counts one more when this thread has it already.
    fn again(&self, me: Owner) -> bool {
        if !self.held_by(me) {
            return false;
        }
        // Only the holder writes this, and that is us.
        let depth = self.block.depth.load(Relaxed);
        self.block.depth.store(depth.saturating_add(1), Relaxed);
        crash_point!("mutex.again: one deeper");
        true
    }

    #[inline]
    fn held_by(&self, me: Owner) -> bool {
        self.block.holder.load(Relaxed) == here(me)
            && self.block.word.load(Relaxed) & OWNER_MASK == me
    }

    /// Lets go once: a Lock whoever holds it, an RLock only by the thread that does.
    ///
    /// # Errors
    /// [`NotReleased::NotHeld`].
    #[inline]
    pub fn release(&self, recursive: bool) -> std::result::Result<(), NotReleased> {
        if recursive {
            if !self.held_by(slot::me()?) {
                return Err(NotReleased::NotHeld);
            }
            let depth = self.block.depth.load(Relaxed);
            if depth > 1 {
                self.block.depth.store(depth - 1, Relaxed);
                crash_point!("mutex.release: less deep");
                return Ok(());
            }
        } else if self.block.word.load(Relaxed) & OWNER_MASK == 0 {
            return self.release_for_the_dead();
        }
        self.block.holder.store(0, Relaxed);
        crash_point!("mutex.release: no holder");
        lock::unlock(&self.block.word).map_err(|_| NotReleased::NotHeld)
    }

    /// Any process may release a Lock, and one may have been meant to do it for its holder, which
    /// has ended meanwhile: then that is the release of what the holder had taken. Once, and
    /// only while nobody has had the lock since: whoever has leaves no holder behind.
    fn release_for_the_dead(&self) -> std::result::Result<(), NotReleased> {
        let holder = self.block.holder.load(Acquire);
        let word = self.block.word.load(Acquire);
        let is_left = holder != 0 && word & DIED != 0 && word & OWNER_MASK == 0;
        // One that takes the lock just now notes itself, and this fails.
        if is_left
            && self
                .block
                .holder
                .compare_exchange(holder, 0, AcqRel, Relaxed)
                .is_ok()
        {
            crash_point!("mutex.release: for the dead");
            return Ok(());
        }
        Err(NotReleased::NotHeld)
    }

    /// Lets go of it however often this thread has taken it; says how often that was.
    ///
    /// # Errors
    /// [`NotReleased::NotHeld`] when this thread does not have it.
    pub fn release_all(&self) -> std::result::Result<u32, NotReleased> {
        if !self.is_mine() {
            return Err(NotReleased::NotHeld);
        }
        let depth = self.block.depth.load(Relaxed);
        self.block.holder.store(0, Relaxed);
        crash_point!("mutex.release_all: no holder");
        lock::unlock(&self.block.word)?;
        Ok(depth)
    }

    /// Undoes [`Mutex::release_all`], waiting until `deadline`; false when that passed first.
    ///
    /// # Errors
    /// What `pulse` says.
    pub fn acquire_all(&self, depth: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        let me = slot::me()?;
        let taken = lock::lock(&self.block.word, deadline, pulse)?;
        if taken {
            self.note(here(me), depth);
        }
        Ok(taken)
    }

    /// Whether this thread was the last to take it and still has it.
    pub fn is_mine(&self) -> bool {
        slot::me().is_ok_and(|me| self.held_by(me))
    }

    /// Whether some thread of this process has it.
    pub fn is_our_process(&self) -> bool {
        let owner = lock::owner(&self.block.word);
        owner != 0 && owner == slot::joined()
    }

    /// Whether somebody has it.
    pub fn is_locked(&self) -> bool {
        lock::owner(&self.block.word) != 0
    }

    /// How often the holder has taken it; 0 when nobody has.
    pub fn depth(&self) -> u32 {
        if self.is_locked() {
            self.block.depth.load(Relaxed)
        } else {
            0
        }
    }

    /// Whether an owner died while it had the lock, and nobody has said since that all is
    /// well with what the lock guards.
    pub fn owner_died(&self) -> bool {
        self.block.word.load(Relaxed) & DIED != 0
    }

    /// Says that all is well again; false when this process does not have the lock.
    pub fn mark_consistent(&self) -> bool {
        if !self.is_our_process() {
            return false;
        }
        self.block.word.fetch_and(!DIED, Relaxed);
        crash_point!("mutex: consistent again");
        true
    }
}

/// Frees the lock of a dead owner and wakes who waits for it.
///
/// # Errors
/// When `offset` is no block.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &LockBlock = arena()?.at(offset)?;
    lock::bereave(&block.word, dead);
    Ok(())
}
