//! Semaphore and BoundedSemaphore, which get back what a dead process took with `with`.
//!
//! ```text
//! word:   version 16 | entry 16 | WAITERS 1 | value 31       version and entry: the trace
//! entry:  version 16 | state 2 | owner 30                    one for each unit held by `with`
//!
//! enter:  FREE ─▶ TAKING    value-1 with trace    TAKING ─▶ HELD
//! leave:  HELD ─▶ GIVING    value+1 with trace    GIVING ─▶ FREE
//! ```
//!
//! A unit and its entry are two words, and only the change of the first counts: it leaves
//! the entry's number and version there. Whoever changes the word next completes the entry
//! named in it first. So a dead process's entry in TAKING or GIVING has had its effect
//! exactly if the word still names it. All units of a process are alike, so `with` ends
//! with any of its entries. The version grows at FREE ─▶ TAKING and at HELD ─▶ GIVING.
//!
//! `acquire` and `release` may come from different processes, so they leave no entry, and
//! what a dead process took with them stays taken.
//!
//! A waiter that slept in vain looks whether holders are dead and recovers them: it depends
//! on nobody else to notice.
//!
//! Sleepers set WAITERS, and it stays until a wake-up finds nobody: so as long as somebody
//! sleeps each release wakes one, and what the dead leave costs one wake-up for nobody.

use crate::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::object::Kind;
use crate::os;
use crate::pieces::{self, Pieces};
use crate::slot::{self, Owner};
use crate::wait::{self, Deadline, Pulse};

/// The largest value.
pub const MAX: u32 = (1 << 31) - 1;

const WAITERS: u32 = 1 << 31;
/// Entries in the block itself.
const INSIDE: usize = 56;
/// A trace has 16 bits for the entry, with 0 for none.
const ENTRIES: usize = if INSIDE + pieces::WORDS < 0xffff {
    INSIDE + pieces::WORDS
} else {
    0xffff
};

/// Holders that a waiter looks at between two sleeps: a system call for each. A guess.
const HOLDERS_AT_ONCE: usize = 16;

#[repr(C)]
#[derive(Debug)]
struct SemaphoreBlock {
    word: AtomicU64,
    /// The largest value that a release may lead to.
    max: AtomicU32,
    /// No entry from this number on was ever used.
    used: AtomicU32,
    more: Pieces,
    _pad: [AtomicU64; 2],
    entries: [AtomicU64; INSIDE],
}
// SAFETY: atomics only.
unsafe impl Shared for SemaphoreBlock {}

const FREE: u64 = 0;
const TAKING: u64 = 1;
const HELD: u64 = 2;
const GIVING: u64 = 3;

fn entry(owner: Owner, state: u64, version: u16) -> u64 {
    (version as u64) << 32 | state << 30 | owner as u64
}
fn owner_of(entry: u64) -> Owner {
    entry as u32 & slot::OWNER_MASK
}
fn state_of(entry: u64) -> u64 {
    (entry >> 30) & 3
}
fn version_of(entry: u64) -> u16 {
    (entry >> 32) as u16
}

fn value_of(word: u64) -> u32 {
    word as u32 & MAX
}
/// The upper half of the word after a change for this entry.
fn trace(number: usize, version: u16) -> u32 {
    (version as u32) << 16 | (number as u32 + 1)
}
fn pack(trace: u32, low: u32) -> u64 {
    (trace as u64) << 32 | low as u64
}

/// A semaphore of a program, in this process.
#[derive(Debug)]
pub struct Semaphore {
    handle: Handle,
    block: &'static SemaphoreBlock,
    /// Where this process had its latest entry.
    latest: AtomicU32,
}

/// Why a semaphore could not be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReleased {
    /// It has its largest value already.
    TooOften,
    /// The core failed.
    Failed(Error),
}

impl From<Error> for NotReleased {
    fn from(error: Error) -> NotReleased {
        NotReleased::Failed(error)
    }
}

impl Semaphore {
    /// A new one of `value`, which never gets above `max`.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(value: u32, max: u32) -> Result<Semaphore> {
        if value > max || max > MAX {
            return Err(Error::Invalid {
                what: "a semaphore's value must be from 0 to 2147483647",
            });
        }
        let offset = alloc::reserve(Kind::Semaphore, size_of::<SemaphoreBlock>(), true)?;
        let block: &SemaphoreBlock = arena()?.at(offset)?;
        block.word.store(value as u64, Relaxed);
        crash_point!("semaphore.new: value");
        block.max.store(max, Relaxed);
        crash_point!("semaphore.new: largest");
        Semaphore::of(Handle::publish(offset)?)
    }

    /// The one that another process's handle names.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Semaphore> {
        Semaphore::of(Handle::open(session, offset, generation, Kind::Semaphore)?)
    }

    fn of(handle: Handle) -> Result<Semaphore> {
        Ok(Semaphore {
            block: arena()?.at(handle.offset())?,
            handle,
            latest: AtomicU32::new(0),
        })
    }

    /// Its handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Units that can be taken now.
    pub fn value(&self) -> u32 {
        value_of(self.block.word.load(Acquire))
    }

    /// The largest value.
    pub fn max(&self) -> u32 {
        self.block.max.load(Relaxed)
    }

    /// Takes a unit if there is one.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    #[inline]
    pub fn try_acquire(&self) -> Result<bool> {
        self.block.take(0)
    }

    /// Takes a unit, waiting until `deadline`; false when that passed first.
    ///
    /// # Errors
    /// What `pulse` says.
    pub fn acquire(&self, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        self.block.wait(0, deadline, pulse)
    }

    /// Gives a unit back, whoever took it.
    ///
    /// # Errors
    /// [`NotReleased::TooOften`].
    #[inline]
    pub fn release(&self) -> std::result::Result<(), NotReleased> {
        self.block.give(0, None)
    }

    /// Takes a unit that comes back when this process dies, if there is one now.
    ///
    /// # Errors
    /// When there is no memory to note it, or shared memory makes no sense.
    #[inline]
    pub fn try_enter(&self) -> Result<bool> {
        if self.value() == 0 {
            return Ok(false);
        }
        self.enter_with(|trace| self.block.take(trace))
    }

    /// Takes a unit that comes back when this process dies, however long it takes.
    ///
    /// # Errors
    /// What `pulse` says, or as [`Semaphore::try_enter`].
    pub fn enter(&self, pulse: Pulse) -> Result<bool> {
        self.enter_with(|trace| self.block.wait(trace, &Deadline::NEVER, pulse))
    }

    fn enter_with(&self, take: impl FnOnce(u32) -> Result<bool>) -> Result<bool> {
        let block = self.block;
        let me = slot::me()?;
        let Some((number, word, version)) = block.claim(me, self.latest.load(Relaxed) as usize)?
        else {
            // More holders than can be noted: this unit is like one of `acquire`.
            return take(0);
        };
        let taken = take(trace(number, version));
        let next = match taken {
            Ok(true) => entry(me, HELD, version),
            _ => entry(0, FREE, version),
        };
        let _ = word.compare_exchange(entry(me, TAKING, version), next, AcqRel, Relaxed);
        crash_point!("semaphore.enter: HELD, or FREE again");
        self.latest.store(number as u32, Relaxed);
        taken
    }

    /// Gives back a unit of [`Semaphore::enter`].
    ///
    /// # Errors
    /// [`NotReleased::TooOften`] when others have given back more than was taken.
    pub fn leave(&self) -> std::result::Result<(), NotReleased> {
        let block = self.block;
        let me = slot::me()?;
        let used = block.used();
        let latest = self.latest.load(Relaxed) as usize;
        for number in std::iter::once(latest).chain(0..used) {
            let Some(word) = block.entry(number)? else {
                continue;
            };
            let seen = word.load(Acquire);
            if owner_of(seen) != me || state_of(seen) != HELD {
                continue;
            }
            let version = version_of(seen).wrapping_add(1);
            let giving = entry(me, GIVING, version);
            if word.compare_exchange(seen, giving, AcqRel, Relaxed).is_ok() {
                crash_point!("semaphore.leave: GIVING");
                let given = block.give(trace(number, version), None);
                let _ = word.compare_exchange(giving, entry(0, FREE, version), AcqRel, Relaxed);
                crash_point!("semaphore.leave: FREE");
                return given;
            }
        }
        // Entered before a fork, or without an entry.
        block.give(0, None)
    }
}

impl SemaphoreBlock {
    fn used(&self) -> usize {
        (self.used.load(Acquire) as usize).min(ENTRIES)
    }

    fn entry(&self, number: usize) -> Result<Option<&AtomicU64>> {
        match number.checked_sub(INSIDE) {
            None => Ok(self.entries.get(number)),
            Some(beyond) => self.more.word(beyond),
        }
    }

    /// Completes what the trace in the word tells of.
    #[inline]
    fn help(&self, word: u64) -> Result<()> {
        match (word >> 32) as u32 {
            0 => Ok(()),
            trace => self.help_slow(trace),
        }
    }

    fn help_slow(&self, trace: u32) -> Result<()> {
        let Some(word) = self.entry((trace as usize & 0xffff).wrapping_sub(1))? else {
            return Ok(());
        };
        let seen = word.load(Acquire);
        let version = (trace >> 16) as u16;
        let next = match state_of(seen) {
            _ if version_of(seen) != version => return Ok(()),
            TAKING => entry(owner_of(seen), HELD, version),
            GIVING => entry(0, FREE, version),
            _ => return Ok(()),
        };
        let _ = word.compare_exchange(seen, next, AcqRel, Relaxed);
        crash_point!("semaphore.help: completed");
        Ok(())
    }

    /// An entry in TAKING for `me`: its number, its word, its version. `None` when there
    /// are none left.
    fn claim(&self, me: Owner, from: usize) -> Result<Option<(usize, &AtomicU64, u16)>> {
        let used = self.used();
        let mut number = from.min(used);
        // The one used last, then all that were ever used, then a new one.
        let mut next = 0;
        loop {
            let word = match self.entry(number)? {
                Some(word) => word,
                None if number >= ENTRIES || !self.more.grow(number - INSIDE)? => return Ok(None),
                None => continue,
            };
            let seen = word.load(Acquire);
            if state_of(seen) == FREE {
                // Before the entry, so that recovery looks at it.
                if number >= used {
                    self.used.fetch_max(number as u32 + 1, AcqRel);
                    crash_point!("semaphore.claim: may be used");
                }
                let version = version_of(seen).wrapping_add(1);
                if word
                    .compare_exchange(seen, entry(me, TAKING, version), AcqRel, Relaxed)
                    .is_ok()
                {
                    crash_point!("semaphore.claim: TAKING");
                    return Ok(Some((number, word, version)));
                }
            }
            number = next;
            next += 1;
        }
    }

    /// Takes a unit if there is one, leaving `trace`.
    #[inline]
    fn take(&self, trace: u32) -> Result<bool> {
        let mut seen = self.word.load(Relaxed);
        while value_of(seen) > 0 {
            self.help(seen)?;
            match self
                .word
                .compare_exchange(seen, pack(trace, seen as u32 - 1), AcqRel, Relaxed)
            {
                Ok(_) => {
                    crash_point!("semaphore.take: taken");
                    return Ok(true);
                }
                Err(now) => seen = now,
            }
        }
        Ok(false)
    }

    /// The half of the word that sleepers watch.
    fn low(&self) -> &AtomicU32 {
        let half = if cfg!(target_endian = "little") { 0 } else { 1 };
        // SAFETY: half of a live, aligned word; only its address is used, by the kernel.
        unsafe { &*(&raw const self.word).cast::<AtomicU32>().add(half) }
    }

    #[cold]
    fn wait(&self, trace: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        if self.take(trace)? {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(false);
        }
        wait::spin(|| value_of(self.word.load(Relaxed)) > 0);
        let mut looked = 0;
        loop {
            if self.take(trace)? {
                return Ok(true);
            }
            let seen = self.word.load(Relaxed);
            if value_of(seen) > 0 {
                continue;
            }
            if seen as u32 & WAITERS == 0
                && self
                    .word
                    .compare_exchange(seen, seen | WAITERS as u64, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            crash_point!("semaphore.wait: marked, about to sleep");
            match wait::doze(self.low(), WAITERS, deadline, pulse) {
                Ok(true) if self.value() == 0 => looked = self.recover_holders(looked)?,
                Ok(true) => {}
                Ok(false) => {
                    let taken = self.take(trace)?;
                    if !taken {
                        self.pass_on();
                    }
                    return Ok(taken);
                }
                Err(error) => {
                    self.pass_on();
                    return Err(error);
                }
            }
        }
    }

    /// For a waiter after a sleep in vain: looks whether some of the holders, from entry
    /// `from` on, are dead, and gives back what they held. Returns where to go on next time.
    fn recover_holders(&self, from: usize) -> Result<usize> {
        let used = self.used();
        let from = if from < used { from } else { 0 };
        let next = used.min(from + HOLDERS_AT_ONCE);
        let mut last = 0;
        for number in from..next {
            let Some(word) = self.entry(number)? else {
                continue;
            };
            let owner = owner_of(word.load(Acquire));
            if owner != 0 && owner != last && !slot::is_alive(owner) {
                slot::recover(owner)?;
            }
            last = owner;
        }
        Ok(next)
    }

    /// For a waiter that gives up: a wake-up that it may have swallowed goes on.
    fn pass_on(&self) {
        if self.value() > 0 {
            os::futex_wake(self.low(), 1);
        }
    }

    fn value(&self) -> u32 {
        value_of(self.word.load(Relaxed))
    }

    /// Gives a unit back, leaving `trace`. With `unless` it is done only while that entry
    /// has that content.
    fn give(
        &self,
        trace: u32,
        unless: Option<(&AtomicU64, u64)>,
    ) -> std::result::Result<(), NotReleased> {
        let mut seen = self.word.load(Acquire);
        let next = loop {
            self.help(seen)?;
            if unless.is_some_and(|(entry, content)| entry.load(Acquire) != content) {
                return Ok(());
            }
            if value_of(seen) >= self.max.load(Relaxed).min(MAX) {
                return Err(NotReleased::TooOften);
            }
            let next = pack(trace, seen as u32 + 1);
            match self.word.compare_exchange(seen, next, AcqRel, Acquire) {
                Ok(_) => break next,
                Err(now) => seen = now,
            }
        };
        crash_point!("semaphore.give: given, nobody woken yet");
        if next as u32 & WAITERS != 0 && os::futex_wake(self.low(), 1) == 0 {
            // Nobody sleeps. Who wants to meanwhile sees the new value first, so the mark
            // may go, unless something has happened since.
            let _ = self
                .word
                .compare_exchange(next, next & !(WAITERS as u64), Relaxed, Relaxed);
            crash_point!("semaphore.give: no mark");
        }
        Ok(())
    }
}

/// Gives back what a dead process took with `with`. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &SemaphoreBlock = arena()?.at(offset)?;
    for number in 0..block.used() {
        let Some(word) = block.entry(number)? else {
            continue;
        };
        // At most: complete TAKING to HELD, begin GIVING, end it.
        for _ in 0..4 {
            // The word first: its trace is written over only after the entry is complete.
            block.help(block.word.load(Acquire))?;
            let seen = word.load(Acquire);
            if owner_of(seen) != dead {
                break;
            }
            let version = version_of(seen);
            match state_of(seen) {
                HELD => {
                    let giving = entry(dead, GIVING, version.wrapping_add(1));
                    let _ = word.compare_exchange(seen, giving, AcqRel, Relaxed);
                    crash_point!("semaphore.bereave: GIVING");
                }
                GIVING => match block.give(trace(number, version), Some((word, seen))) {
                    Err(NotReleased::Failed(error)) => return Err(error),
                    // Others gave back more than they took; there is nothing to add.
                    Ok(()) | Err(NotReleased::TooOften) => {
                        let free = entry(0, FREE, version);
                        let _ = word.compare_exchange(seen, free, AcqRel, Relaxed);
                        crash_point!("semaphore.bereave: FREE, given back");
                    }
                },
                _ => {
                    // Its effect was not had, and the dead can't have it any more.
                    let free = entry(0, FREE, version);
                    let _ = word.compare_exchange(seen, free, AcqRel, Relaxed);
                    crash_point!("semaphore.bereave: FREE, never taken");
                }
            }
        }
    }
    Ok(())
}

/// Lets go of what the block owns. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    arena()?.at::<SemaphoreBlock>(offset)?.more.tear_down()
}
