//! Barrier: a number of parties wait for each other.
//!
//! ```text
//! word:    since 16 | count 16 | phase 29 | WAITERS 1 | state 2
//! member:  phase 32 | owner 32                     one for each process that came to wait
//!
//! FILLING ──the last arrives──▶ ACTION ──it is done──▶ FILLING, next phase
//!    │                            │                        ▲
//!    └────── timeout, abort, death of a party ──▶ BROKEN ──┘ reset
//! ```
//!
//! All that counts is in the one word. It tells how many phases have ended well since one
//! broke, so a sleeper that gets to look only phases later still knows how its own ended.
//!
//! A process becomes a member before it arrives and stays one. When it dies (an ordinary
//! exit takes it off the list), having come in this phase or the one before, the barrier
//! breaks: the others would wait for ever. Parties that never came are not known.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::object::Kind;
use crate::os;
use crate::pieces::{self, Pieces};
use crate::slot::{self, OWNER_MASK, Owner};
use crate::wait::{self, Deadline, Pulse};

/// The largest number of parties.
pub const MAX_PARTIES: u32 = 0xffff;

const FILLING: u32 = 0;
const ACTION: u32 = 1;
const BROKEN: u32 = 2;
const STATE: u32 = 3;
const WAITERS: u32 = 4;
const PHASE_SHIFT: u32 = 3;
const PHASES: u32 = 1 << 29;
/// In place of the number of phases since one broke: none ever did.
const NEVER: u32 = 0xffff;

/// Members in the block itself.
const INSIDE: usize = 56;
const MEMBERS: usize = INSIDE + pieces::WORDS;
/// Members whose life one waiter looks after each time it wakes.
const LOOK_AFTER: usize = 64;

#[repr(C)]
#[derive(Debug)]
struct BarrierBlock {
    word: AtomicU64,
    parties: AtomicU32,
    /// No member from this number on was ever used.
    used: AtomicU32,
    more: Pieces,
    _pad: [AtomicU64; 2],
    members: [AtomicU64; INSIDE],
}
// SAFETY: atomics only.
unsafe impl Shared for BarrierBlock {}

/// The word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    /// Phases that ended well since the latest that broke.
    since: u32,
    count: u32,
    phase: u32,
    waiters: bool,
    state: u32,
}

impl Word {
    fn from(word: u64) -> Word {
        let low = word as u32;
        Word {
            since: (word >> 48) as u32,
            count: (word >> 32) as u32 & 0xffff,
            phase: low >> PHASE_SHIFT,
            waiters: low & WAITERS != 0,
            state: low & STATE,
        }
    }

    fn pack(self) -> u64 {
        let low = (self.phase << PHASE_SHIFT) | (u32::from(self.waiters) * WAITERS) | self.state;
        (self.since as u64) << 48 | (self.count as u64) << 32 | low as u64
    }

    /// After the end of this phase.
    fn ended(self, broken: bool) -> Word {
        Word {
            since: match self.since {
                _ if broken => 0,
                NEVER => NEVER,
                since => (since + 1).min(NEVER - 1),
            },
            count: 0,
            phase: (self.phase + 1) % PHASES,
            waiters: false,
            state: FILLING,
        }
    }

    fn broken(self) -> Word {
        Word {
            waiters: false,
            state: BROKEN,
            ..self
        }
    }

    /// How `phase` ended; `None` when it has not.
    fn outcome(self, phase: u32) -> Option<Outcome> {
        let past = (self.phase + PHASES - phase) % PHASES;
        let broken = match past {
            0 if self.state == BROKEN => true,
            0 => return None,
            // Before the latest broken one nothing is known: an error without need is better
            // than a barrier that did not hold.
            past => self.since != NEVER && past > self.since,
        };
        Some(if broken {
            Outcome::Broken
        } else {
            Outcome::Passed
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Broken,
}

/// What [`Barrier::wait`] comes back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// All have come; this party was the how-manieth, from 0.
    Passed(u32),
    /// All have come, this one last, and the action is now its to do; then
    /// [`Barrier::action_done`] or [`Barrier::action_failed`] with this phase.
    Act {
        /// Number of this party.
        index: u32,
        /// The phase that ends with the action.
        phase: u32,
    },
    /// The barrier is broken, or was while this party waited.
    Broken,
}

/// A barrier of a program, in this process.
#[derive(Debug)]
pub struct Barrier {
    handle: Handle,
    block: &'static BarrierBlock,
    /// This process's number among the members, the last time it came.
    member: AtomicU32,
}

impl Barrier {
    /// A new one for so many parties.
    ///
    /// # Errors
    /// When there is no memory or the number makes no sense.
    pub fn new(parties: u32) -> Result<Barrier> {
        if parties == 0 || parties > MAX_PARTIES {
            return Err(Error::Invalid {
                what: "a barrier needs from 1 to 65535 parties",
            });
        }
        let offset = alloc::reserve(Kind::Barrier, size_of::<BarrierBlock>(), true)?;
        let block: &BarrierBlock = arena()?.at(offset)?;
        block.parties.store(parties, Relaxed);
        crash_point!("barrier.new: parties");
        block.word.store((NEVER as u64) << 48, Relaxed);
        crash_point!("barrier.new: word");
        Barrier::of(Handle::publish(offset)?)
    }

    /// The one that another process's handle names.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Barrier> {
        Barrier::of(Handle::open(session, offset, generation, Kind::Barrier)?)
    }

    fn of(handle: Handle) -> Result<Barrier> {
        Ok(Barrier {
            block: arena()?.at(handle.offset())?,
            handle,
            member: AtomicU32::new(0),
        })
    }

    /// Its handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How many have to come.
    pub fn parties(&self) -> u32 {
        self.block.parties.load(Relaxed)
    }

    /// How many have come in this phase.
    pub fn waiting(&self) -> u32 {
        let word = self.block.load();
        if word.state == FILLING { word.count } else { 0 }
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.block.load().state == BROKEN
    }

    /// Comes, and waits until all have. When `deadline` passes first, the barrier breaks.
    ///
    /// # Errors
    /// What `pulse` says; this party then counts as not having come.
    pub fn wait(&self, has_action: bool, deadline: &Deadline, pulse: Pulse) -> Result<Waited> {
        let block = self.block;
        let me = slot::me()?;
        let (index, phase) = loop {
            let word = block.load();
            match word.state {
                BROKEN => return Ok(Waited::Broken),
                // Full: somebody does the action. The next phase is ours.
                ACTION => {
                    block.sleep(word.phase, deadline, pulse)?;
                    if deadline.passed() && block.load() == word {
                        return Ok(Waited::Broken);
                    }
                    continue;
                }
                _ => {}
            }
            self.enrol(me, word.phase)?;
            let count = word.count + 1;
            let last = count >= self.parties();
            let next = match (last, has_action) {
                (false, _) => Word { count, ..word },
                (true, false) => word.ended(false),
                (true, true) => Word {
                    count,
                    state: ACTION,
                    ..word
                },
            };
            if block.swap(word, next) {
                let index = word.count;
                let phase = word.phase;
                match (last, has_action) {
                    (false, _) => break (index, phase),
                    (true, false) => return Ok(Waited::Passed(index)),
                    (true, true) => return Ok(Waited::Act { index, phase }),
                }
            }
        };
        match block.wait_for(phase, deadline, pulse) {
            Ok(Outcome::Passed) => Ok(Waited::Passed(index)),
            Ok(Outcome::Broken) => Ok(Waited::Broken),
            Err(error) => {
                // Gone again, unless it is too late for that.
                block.update(|word| {
                    (word.phase == phase && word.state == FILLING && word.count > 0).then(|| Word {
                        count: word.count - 1,
                        ..word
                    })
                });
                Err(error)
            }
        }
    }

    /// Lets the parties of `phase` go; false when the barrier broke or was reset meanwhile.
    pub fn action_done(&self, phase: u32) -> bool {
        self.block.update(|word| {
            (word.phase == phase && word.state == ACTION).then_some(word.ended(false))
        })
    }

    /// Breaks the barrier because the action of `phase` failed.
    pub fn action_failed(&self, phase: u32) {
        self.block
            .update(|word| (word.phase == phase && word.state == ACTION).then_some(word.broken()));
    }

    /// Breaks the barrier for those who wait and those who come.
    pub fn abort(&self) {
        self.block
            .update(|word| (word.state != BROKEN).then_some(word.broken()));
    }

    /// Makes the barrier like new; it is broken for those who wait now.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn reset(&self) -> Result<()> {
        // Otherwise the death that broke it would break it again. If we die on the way it is
        // broken: without its entry nobody would know of a party that came and is dead.
        for number in 0..self.block.used() {
            if let Some(member) = self.block.member(number)? {
                let seen = member.load(Acquire);
                if seen != 0 && !slot::is_alive(owner_of(seen)) {
                    self.block.mourn(member, seen);
                }
            }
        }
        self.block
            .update(|word| (word.state != FILLING || word.count > 0).then_some(word.ended(true)));
        Ok(())
    }

    /// Notes that this process comes in `phase`.
    fn enrol(&self, me: Owner, phase: u32) -> Result<()> {
        let block = self.block;
        let now = (phase as u64) << 32 | me as u64;
        let known = self.member.load(Relaxed) as usize;
        let used = block.used();
        let ours = |seen: u64| owner_of(seen) == me;
        let free = |seen: u64| seen == 0;
        let known = std::iter::once(known);
        // Our own entry first; else any that is free, at last a new one.
        for (numbers, fits) in [
            (known.chain(0..used), &ours as &dyn Fn(u64) -> bool),
            (std::iter::once(0).chain(0..used + 1), &free),
        ] {
            for number in numbers {
                let member = match block.member(number)? {
                    Some(member) => member,
                    // Without an entry this process's death would go unnoticed; no more.
                    None if number < INSIDE || !block.more.grow(number - INSIDE)? => return Ok(()),
                    None => continue,
                };
                let seen = member.load(Acquire);
                if !fits(seen) {
                    continue;
                }
                if seen == now {
                    return Ok(());
                }
                block.used.fetch_max(number as u32 + 1, AcqRel);
                crash_point!("barrier.enrol: may be used");
                if member.compare_exchange(seen, now, AcqRel, Relaxed).is_ok() {
                    crash_point!("barrier.enrol: member");
                    self.member.store(number as u32, Relaxed);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn owner_of(member: u64) -> Owner {
    member as u32 & OWNER_MASK
}

impl BarrierBlock {
    fn load(&self) -> Word {
        Word::from(self.word.load(Acquire))
    }

    fn used(&self) -> usize {
        (self.used.load(Acquire) as usize).min(MEMBERS)
    }

    fn member(&self, number: usize) -> Result<Option<&AtomicU64>> {
        match number.checked_sub(INSIDE) {
            None => Ok(self.members.get(number)),
            Some(beyond) => self.more.word(beyond),
        }
    }

    /// One change of the word, and the wake-ups that it takes.
    fn swap(&self, seen: Word, next: Word) -> bool {
        let swapped = self
            .word
            .compare_exchange(seen.pack(), next.pack(), AcqRel, Relaxed)
            .is_ok();
        if swapped {
            crash_point!("barrier: changed, nobody woken yet");
        }
        if swapped && seen.waiters && !next.waiters {
            os::futex_wake(self.low(), u32::MAX);
            crash_point!("barrier: changed, all woken");
        }
        swapped
    }

    /// Changes the word to what `change` says, if it says anything.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> bool {
        loop {
            let seen = self.load();
            match change(seen) {
                None => return false,
                Some(next) if self.swap(seen, next) => return true,
                Some(_) => {}
            }
        }
    }

    /// The half of the word that sleepers watch: it changes with phase and state.
    fn low(&self) -> &AtomicU32 {
        let half = if cfg!(target_endian = "little") { 0 } else { 1 };
        // SAFETY: half of a live, aligned word; only its address is used, by the kernel.
        unsafe { &*(&raw const self.word).cast::<AtomicU32>().add(half) }
    }

    /// One sleep, if `phase` still goes on; false when `deadline` has passed.
    fn sleep(&self, phase: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        let word = self.load();
        if word.outcome(phase).is_some() {
            return Ok(true);
        }
        let marked = Word {
            waiters: true,
            ..word
        };
        if !word.waiters && !self.swap(word, marked) {
            return Ok(true);
        }
        wait::doze(self.low(), marked.pack() as u32, deadline, pulse)
    }

    fn wait_for(&self, phase: u32, deadline: &Deadline, pulse: Pulse) -> Result<Outcome> {
        wait::spin(|| self.load().outcome(phase).is_some());
        let mut from = 0;
        let mut slept = false;
        loop {
            let word = self.load();
            if let Some(outcome) = word.outcome(phase) {
                return Ok(outcome);
            }
            if slept {
                from = self.look_after(from)?;
                slept = false;
                continue;
            }
            // All have come, so it is not late any more, however long the action takes.
            let until = if word.state == ACTION {
                &Deadline::NEVER
            } else {
                deadline
            };
            slept = self.sleep(phase, until, pulse)?;
            if !slept && self.swap(word, word.broken()) {
                return Ok(Outcome::Broken);
            }
        }
    }

    /// Looks whether some members still live; says where to go on the next time.
    fn look_after(&self, from: usize) -> Result<usize> {
        let used = self.used();
        for step in 0..used.min(LOOK_AFTER) {
            let Some(member) = self.member((from + step) % used)? else {
                continue;
            };
            let seen = member.load(Acquire);
            if seen != 0 && !slot::is_alive(owner_of(seen)) {
                self.mourn(member, seen);
            }
        }
        Ok(if used == 0 {
            0
        } else {
            (from + LOOK_AFTER) % used
        })
    }

    /// Strikes out a dead member; the barrier breaks when it counted on it.
    fn mourn(&self, member: &AtomicU64, seen: u64) {
        let came = (seen >> 32) as u32;
        self.update(|word| {
            let recent = word.phase.wrapping_sub(came) % PHASES <= 1;
            (recent && word.state != BROKEN).then_some(word.broken())
        });
        let _ = member.compare_exchange(seen, 0, AcqRel, Relaxed);
        crash_point!("barrier.mourn: struck out");
    }
}

/// Strikes out a process that died, which may break the barrier, or that ends in the
/// ordinary way, which doesn't. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &BarrierBlock = arena()?.at(offset)?;
    for number in 0..block.used() {
        let Some(member) = block.member(number)? else {
            continue;
        };
        let seen = member.load(Acquire);
        if owner_of(seen) != dead {
            continue;
        }
        if dead == slot::joined() {
            let _ = member.compare_exchange(seen, 0, AcqRel, Relaxed);
            crash_point!("barrier.bereave: off the list");
        } else {
            block.mourn(member, seen);
        }
    }
    Ok(())
}

/// Lets go of what the block owns. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    arena()?.at::<BarrierBlock>(offset)?.more.tear_down()
}
