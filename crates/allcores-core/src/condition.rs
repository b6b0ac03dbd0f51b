//! Condition: wait for something that somebody else changes under a lock.
//!
//! Each waiter has a node of its own, so a notifier says whom it means and never waits
//! for anybody. (That it has to is what glibc bug 21422 and the sleeping and waking counts
//! of the standard library come from.)
//!
//! ```text
//! node, word 0:  owner 32 | version 29 | state 3          its lower half is what the waiter sleeps on
//!       word 1:  ticket; the lowest waits longest
//!
//! FREE ─▶ CLAIMED ─▶ WAITING ─▶ ASLEEP          by the waiter, under the lock until WAITING
//!            ▲          └────────┴──▶ NOTIFIED   by a notifier, under the lock
//!            └──────────┴────────┘               by the waiter, when its time is over
//! ```
//!
//! A node is free again only after its waiter has the lock back. So who dies in between
//! is found as the owner of a node in NOTIFIED, and its notification goes to the next
//! waiter. That may happen twice when a rescuer dies as well: a waiter then wakes without
//! need, which conditions allow, rather than not at all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::mutex::{Mutex, NotReleased};
use crate::object::Kind;
use crate::os;
use crate::pieces::{self, Pieces};
use crate::slot::{self, OWNER_MASK, Owner};
use crate::wait::{self, Deadline, Pulse};

/// Nodes in the block itself.
const INSIDE: usize = 28;
const NODES: usize = INSIDE + pieces::WORDS / 2;

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const WAITING: u32 = 2;
const ASLEEP: u32 = 3;
const NOTIFIED: u32 = 4;
const STATE: u32 = 7;
const NEXT_VERSION: u32 = 8;

/// So many waiters that turn out to be dead are looked for one by one. A guess.
const MOST_DEAD: usize = 8;
/// How long a wait that ended with an error tries to get the lock back. A guess: sections
/// under a condition's lock are short.
const LOCK_AFTER_ERROR: Duration = Duration::from_secs(1);

#[repr(C)]
#[derive(Debug)]
struct ConditionBlock {
    /// The next waiter's ticket.
    tickets: AtomicU64,
    /// No node from this number on was ever used.
    used: AtomicU32,
    _pad: AtomicU32,
    more: Pieces,
    _spare: [AtomicU64; 2],
    nodes: [AtomicU64; 2 * INSIDE],
}
// SAFETY: atomics only.
unsafe impl Shared for ConditionBlock {}

/// Where one waiter waits.
#[derive(Clone, Copy)]
struct Node {
    word: &'static AtomicU64,
    ticket: &'static AtomicU64,
}

fn owner_of(word: u64) -> Owner {
    (word >> 32) as u32 & OWNER_MASK
}
fn state_of(word: u64) -> u32 {
    word as u32 & STATE
}
fn is_waiting(word: u64) -> bool {
    matches!(state_of(word), WAITING | ASLEEP)
}
fn with_state(word: u64, state: u32) -> u64 {
    word & !(STATE as u64) | state as u64
}
/// The word of a node that nobody has.
fn freed(word: u64) -> u64 {
    (word as u32 & !STATE | FREE) as u64
}

impl Node {
    fn load(&self) -> u64 {
        self.word.load(Acquire)
    }

    fn swap(&self, seen: u64, next: u64) -> bool {
        self.word
            .compare_exchange(seen, next, AcqRel, Relaxed)
            .is_ok()
    }

    /// The half that the waiter sleeps on.
    fn low(&self) -> &'static AtomicU32 {
        let half = if cfg!(target_endian = "little") { 0 } else { 1 };
        // SAFETY: half of a live, aligned word; only its address is used, by the kernel.
        unsafe { &*(&raw const *self.word).cast::<AtomicU32>().add(half) }
    }
}

/// A condition of a program, in this process.
#[derive(Debug)]
pub struct Condition {
    handle: Handle,
    block: &'static ConditionBlock,
    /// The node that this process used last.
    latest: AtomicU32,
}

impl Condition {
    /// A new one.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> Result<Condition> {
        let offset = alloc::reserve(Kind::Condition, size_of::<ConditionBlock>(), true)?;
        Condition::of(Handle::publish(offset)?)
    }

    /// The one that another process's handle names.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Condition> {
        Condition::of(Handle::open(session, offset, generation, Kind::Condition)?)
    }

    fn of(handle: Handle) -> Result<Condition> {
        Ok(Condition {
            block: arena()?.at(handle.offset())?,
            handle,
            latest: AtomicU32::new(0),
        })
    }

    /// Its handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Lets go of `lock`, waits until notified, and takes it again, also when the wait
    /// ends with an error. False when `deadline` passed first.
    ///
    /// After an error it gives up on the lock when that is not to be had for a second, or
    /// `pulse` has another error.
    ///
    /// # Errors
    /// [`NotReleased::NotHeld`] when this thread does not have the lock; what `pulse` says.
    pub fn wait(
        &self,
        lock: &Mutex,
        deadline: &Deadline,
        pulse: Pulse,
    ) -> std::result::Result<bool, NotReleased> {
        if !lock.is_mine() {
            return Err(NotReleased::NotHeld);
        }
        let block = self.block;
        let from = self.latest.load(Relaxed) as usize;
        let (number, node, mut seen) = block.claim(slot::me()?, from)?;
        self.latest.store(number as u32, Relaxed);
        let ticket = block.tickets.fetch_add(1, Relaxed);
        crash_point!("condition.wait: ticket drawn");
        node.ticket.store(ticket, Relaxed);
        crash_point!("condition.wait: ticket noted");
        seen = with_state(seen, WAITING);
        node.word.store(seen, Release);
        crash_point!("condition.wait: WAITING");
        let waited = match lock.release_all() {
            Ok(depth) => {
                let waited = block.sleep(node, seen, deadline, pulse);
                // An error waits for the lock as well, but not for ever: it may be Ctrl-C in a
                // program whose lock is never going to be free.
                let soon = || Deadline::after(Some(LOCK_AFTER_ERROR));
                let again = match waited {
                    Ok(_) => lock
                        .acquire_all(depth, &Deadline::NEVER, pulse)
                        .or_else(|error| lock.acquire_all(depth, &soon(), pulse).and(Err(error))),
                    Err(_) => lock.acquire_all(depth, &soon(), pulse),
                };
                waited.and_then(|notified| again.map(|_| notified))
            }
            Err(error) => {
                block.give_up(node);
                node.word.store(freed(node.load()), Release);
                crash_point!("condition.wait: not its lock, FREE");
                return Err(error);
            }
        };
        let notified = state_of(node.load()) == NOTIFIED;
        if waited.is_err() && notified {
            // Whoever called is not going to look at what it was notified of.
            block.notify(1)?;
        }
        node.word.store(freed(node.load()), Release);
        crash_point!("condition.wait: FREE");
        Ok(waited?)
    }

    /// Wakes the `n` that wait longest. The caller has the lock; what changed under it is
    /// seen by whoever wakes.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn notify(&self, n: usize) -> Result<usize> {
        self.block.notify(n)
    }

    /// How many wait.
    pub fn waiters(&self) -> usize {
        (0..self.block.used())
            .filter_map(|number| self.block.node(number).ok().flatten())
            .filter(|node| is_waiting(node.load()))
            .count()
    }
}

impl ConditionBlock {
    fn used(&'static self) -> usize {
        (self.used.load(Acquire) as usize).min(NODES)
    }

    fn node(&'static self, number: usize) -> Result<Option<Node>> {
        let words = match number.checked_sub(INSIDE) {
            None => self
                .nodes
                .get(2 * number)
                .zip(self.nodes.get(2 * number + 1)),
            // The number of words in a piece is even, so that no node is torn in two.
            Some(beyond) => self
                .more
                .word(2 * beyond)?
                .zip(self.more.word(2 * beyond + 1)?),
        };
        Ok(words.map(|(word, ticket)| Node { word, ticket }))
    }

    /// A node for `me`, and its word.
    fn claim(&'static self, me: Owner, from: usize) -> Result<(usize, Node, u64)> {
        let used = self.used();
        let mut number = from.min(used);
        // The one used last, then all that were ever used, then a new one.
        let mut next = 0;
        loop {
            let node = match self.node(number)? {
                Some(node) => node,
                None if number < NODES && self.more.grow(2 * (number - INSIDE))? => continue,
                None => {
                    return Err(Error::Invalid {
                        what: "more waiters than a Condition has room for",
                    });
                }
            };
            let seen = node.load();
            if seen >> 32 == 0 {
                // Before the node, so that notifiers and recovery look at it.
                if number >= used {
                    self.used.fetch_max(number as u32 + 1, AcqRel);
                    crash_point!("condition.claim: may be used");
                }
                let version = (seen as u32 & !STATE).wrapping_add(NEXT_VERSION);
                let mine = (me as u64) << 32 | (version | CLAIMED) as u64;
                if node.swap(seen, mine) {
                    crash_point!("condition.claim: CLAIMED");
                    return Ok((number, node, mine));
                }
            }
            number = next;
            next += 1;
        }
    }

    /// Waits at a node that is WAITING with the word `seen`.
    fn sleep(
        &'static self,
        node: Node,
        seen: u64,
        deadline: &Deadline,
        pulse: Pulse,
    ) -> Result<bool> {
        if !deadline.passed() && wait::spin(|| state_of(node.word.load(Relaxed)) == NOTIFIED) {
            return Ok(true);
        }
        let asleep = with_state(seen, ASLEEP);
        if !node.swap(seen, asleep) {
            return Ok(true);
        }
        crash_point!("condition.sleep: ASLEEP");
        loop {
            match wait::doze(node.low(), asleep as u32, deadline, pulse) {
                Ok(true) if state_of(node.load()) == NOTIFIED => return Ok(true),
                Ok(true) => self.rescue(None)?,
                // Too late to give up when somebody has notified us already.
                Ok(false) => return Ok(!self.give_up(node)),
                Err(error) => {
                    self.give_up(node);
                    return Err(error);
                }
            }
        }
    }

    /// Takes a waiter out of the line; false when it was notified before.
    fn give_up(&'static self, node: Node) -> bool {
        let mut seen = node.load();
        while is_waiting(seen) {
            if node.swap(seen, with_state(seen, CLAIMED)) {
                crash_point!("condition.give_up: CLAIMED");
                return true;
            }
            seen = node.load();
        }
        state_of(seen) != NOTIFIED
    }

    fn notify(&'static self, n: usize) -> Result<usize> {
        if n == 0 {
            return Ok(0);
        }
        // No allocation for the common case of one to wake. Only when many in a row turn out
        // to be dead the line is worth sorting.
        if n == 1 {
            for _ in 0..MOST_DEAD {
                match self.longest()? {
                    None => return Ok(0),
                    Some(node) if self.wake(node)? => return Ok(1),
                    Some(_) => {}
                }
            }
        }
        let mut line = Vec::new();
        for number in 0..self.used() {
            if let Some(node) = self.node(number)?
                && is_waiting(node.load())
            {
                line.push((node.ticket.load(Relaxed), number));
            }
        }
        line.sort_unstable();
        let mut woken = 0;
        for (_, number) in line {
            if woken == n {
                break;
            }
            if let Some(node) = self.node(number)?
                && self.wake(node)?
            {
                woken += 1;
            }
        }
        Ok(woken)
    }

    /// The node of whoever waits longest.
    fn longest(&'static self) -> Result<Option<Node>> {
        let mut found: Option<(u64, Node)> = None;
        for number in 0..self.used() {
            let Some(node) = self.node(number)? else {
                continue;
            };
            if is_waiting(node.load()) {
                let ticket = node.ticket.load(Relaxed);
                if found.is_none_or(|(lowest, _)| ticket < lowest) {
                    found = Some((ticket, node));
                }
            }
        }
        Ok(found.map(|(_, node)| node))
    }

    /// Notifies one waiter; false when it gave up meanwhile or is dead.
    fn wake(&'static self, node: Node) -> Result<bool> {
        let mut seen = node.load();
        while is_waiting(seen) {
            let notified = with_state(seen, NOTIFIED);
            if !node.swap(seen, notified) {
                seen = node.load();
                continue;
            }
            crash_point!("condition.wake: NOTIFIED, not woken yet");
            let woken = state_of(seen) == ASLEEP && os::futex_wake(node.low(), 1) > 0;
            crash_point!("condition.wake: woken, if it was asleep");
            // Who was woken just now was alive. Others may only look so.
            if woken || slot::is_alive(owner_of(seen)) {
                return Ok(true);
            }
            node.swap(notified, freed(notified));
            crash_point!("condition.wake: it was dead, FREE");
            return Ok(false);
        }
        Ok(false)
    }

    /// Takes out nodes of `dead`, and notified ones of any dead process, and lets others
    /// have their notifications. Repeatable.
    fn rescue(&'static self, dead: Option<Owner>) -> Result<()> {
        for number in 0..self.used() {
            let Some(node) = self.node(number)? else {
                continue;
            };
            let seen = node.load();
            let owner = owner_of(seen);
            if owner == 0 {
                continue;
            }
            let lost = match dead {
                Some(dead) => owner == dead,
                None => state_of(seen) == NOTIFIED && !slot::is_alive(owner),
            };
            if lost {
                if state_of(seen) == NOTIFIED {
                    self.notify(1)?;
                    crash_point!("condition.rescue: passed on");
                }
                node.swap(seen, freed(seen));
                crash_point!("condition.rescue: FREE");
            }
        }
        Ok(())
    }
}

/// Takes the waiters of a dead process out of the line. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &'static ConditionBlock = arena()?.at(offset)?;
    block.rescue(Some(dead))
}

/// Lets go of what the block owns. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    arena()?.at::<ConditionBlock>(offset)?.more.tear_down()
}
