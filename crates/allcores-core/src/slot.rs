//! Who takes part, and who is dead.
//!
//! Each process has a slot, and holds the kernel's lock on one byte of the arena's
//! file that belongs to the slot. The lock goes when the process does, however it
//! ends, so it tells the dead from the living without trusting pids.
//!
//! ```text
//! owner, 30 bits:  generation 18 | slot 12       never 0, as generations start at 1
//! state of a slot: FREE ──▶ LIVE ──▶ (owner dies, a survivor recovers) ──▶ FREE, next generation
//!                    └─▶ FORKING ─▶ LIVE         a parent prepared it for a child
//! ```
//!
//! A dead process's slot is recovered by whoever notices: the recoverer holds the dead
//! slot's byte meanwhile, so there is one at a time, and when it dies as well, the next
//! one starts again; every step of the recovery can be repeated.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use crate::arena::{Arena, Offset, SLOTS_AT, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::os;
use crate::spin::Spin;

/// How many processes can take part at a time.
pub const SLOTS: usize = 4096;
/// Bytes of a slot.
pub const SLOT_BYTES: usize = 128;
/// The bits of an owner in a word.
pub const OWNER_MASK: u32 = (1 << 30) - 1;

/// How often those who wait look around, all together. A guess: four times in the second
/// within which memory is to be back, at a system call or two for each process.
const LOOK_NS: u64 = 250_000_000;

const SLOT_BITS: u32 = 12;
const GENERATION_MASK: u32 = (1 << 18) - 1;

const FREE: u32 = 0;
const LIVE: u32 = 1;
const FORKING: u32 = 2;

/// A process that takes part: slot and generation in 30 bits. Never 0.
pub type Owner = u32;

/// One process's place.
#[repr(C)]
pub struct Slot {
    /// `generation << 2 | state`
    word: AtomicU32,
    /// For people; liveness never depends on it.
    pub pid: AtomicU32,
    /// First block of the table of what this process holds (see [`crate::handle`]).
    pub shares: AtomicU64,
    /// Number of this slot's latest change of a reference count.
    pub ref_seq: AtomicU32,
    /// Highest such number that another process saw done before it wrote over the trace.
    pub ref_acked: AtomicU32,
    /// While FORKING: the parent.
    parent: AtomicU32,
    _pad: AtomicU32,
    /// The entry that a change of a reference count under way is about, else 0.
    pub pending: AtomicU64,
    /// An entry for what this process keeps for a moment, see [`crate::refs::visit`].
    visiting: AtomicU64,
    _reserved: [AtomicU32; 20],
}
// SAFETY: atomics only.
unsafe impl Shared for Slot {}
const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

/// This process's owner; 0 before the first use and in a new child of fork.
static ME: AtomicU32 = AtomicU32::new(0);
/// This process was forked with objects that it could not take over.
static LOST: AtomicBool = AtomicBool::new(false);
/// There was no slot left for the child that this process is about to fork, or is.
static FULL: AtomicBool = AtomicBool::new(false);
/// One thread of a process at a time claims or recovers: the kernel's byte locks do not
/// tell threads of one process apart.
static CLAIMING: Spin<()> = Spin::new(());

fn pack(index: usize, generation: u32) -> Owner {
    (generation & GENERATION_MASK) << SLOT_BITS | index as u32
}

/// Index of the slot of `owner`.
pub fn index(owner: Owner) -> usize {
    (owner & ((1 << SLOT_BITS) - 1)) as usize
}

fn generation(owner: Owner) -> u32 {
    (owner & OWNER_MASK) >> SLOT_BITS
}

fn place(index: usize) -> Offset {
    (SLOTS_AT + index * SLOT_BYTES) as Offset
}

/// Where the entry of the slot of `owner` is, see [`crate::refs::visit`].
pub fn visit_entry(owner: Owner) -> Offset {
    place(index(owner)) + std::mem::offset_of!(Slot, visiting) as Offset
}

/// The slot with this index; its page has to be committed.
fn slot_at(arena: &Arena, index: usize) -> Result<&'static Slot> {
    arena.at::<Slot>(place(index))
}

/// The slot of a process that takes part or did.
///
/// # Errors
/// [`Error::Corrupt`] when `owner` was never given out.
pub fn slot(owner: Owner) -> Result<&'static Slot> {
    let arena = arena()?;
    if index(owner) as u64 >= arena.header().slots_used.load(SeqCst) {
        return Err(Error::Corrupt { what: "an owner" });
    }
    slot_at(arena, index(owner))
}

/// The slot with this index.
///
/// # Errors
/// [`Error::Corrupt`] when it was never used.
pub fn by_index(index: usize) -> Result<&'static Slot> {
    slot(index as Owner)
}

/// The index of a slot.
///
/// # Errors
/// When there is no arena.
pub fn index_of(slot: &Slot) -> Result<usize> {
    let first: *const Slot = slot_at(arena()?, 0)?;
    Ok(((slot as *const Slot).addr() - first.addr()) / SLOT_BYTES)
}

/// This process, which joins on its first call.
///
/// # Errors
/// When all slots are taken or the system refuses memory.
#[inline]
pub fn me() -> Result<Owner> {
    match ME.load(SeqCst) {
        0 => join(),
        me => Ok(me),
    }
}

/// This process when it has joined, else 0.
pub fn joined() -> Owner {
    ME.load(SeqCst)
}

#[cold]
fn join() -> Result<Owner> {
    if LOST.load(SeqCst) && FULL.load(SeqCst) {
        return Err(Error::TooManyProcesses);
    }
    if LOST.load(SeqCst) {
        return Err(Error::Stale {
            what: "object that this process inherited: it was stopped while being forked",
        });
    }
    let only_one = CLAIMING.lock();
    match ME.load(SeqCst) {
        0 => {}
        me => return Ok(me),
    }
    let me = claim(LIVE, 0)?;
    slot(me)?.pid.store(os::pid(), SeqCst);
    crash_point!("slot.join: pid");
    ME.store(me, SeqCst);
    drop(only_one);
    // A good moment to look for those whom nobody else has missed.
    recover_all()?;
    Ok(me)
}

/// Takes a slot and leaves it in `state`. The caller holds CLAIMING.
///
/// Slots of the dead are not taken: to bury them one has to be somebody already.
fn claim(state: u32, parent: Owner) -> Result<Owner> {
    let arena = arena()?;
    let header = arena.header();
    let used = (header.slots_used.load(SeqCst) as usize).min(SLOTS);
    for i in 0..used {
        if slot_at(arena, i)?.word.load(SeqCst) & 3 == FREE
            && let Some(owner) = claim_at(arena, i, state, parent)?
        {
            return Ok(owner);
        }
    }
    for i in used..SLOTS {
        // Two processes may both commit the page; the second time nothing happens.
        arena.commit(place(i), SLOT_BYTES)?;
        crash_point!("slot.claim: page there");
        header.slots_used.fetch_max(i as u64 + 1, SeqCst);
        crash_point!("slot.claim: one more may be used");
        if let Some(owner) = claim_at(arena, i, state, parent)? {
            return Ok(owner);
        }
    }
    Err(Error::TooManyProcesses)
}

/// Takes one slot if it is free.
fn claim_at(arena: &Arena, i: usize, state: u32, parent: Owner) -> Result<Option<Owner>> {
    if !os::byte_lock_try(arena.fd(), place(i))? {
        return Ok(None);
    }
    // The byte is ours: no other process takes this slot from here on. Others will ask who
    // holds it, and so shall we; where that question is refused no death could be noticed.
    if let Err(error) = os::byte_lock_holder(arena.fd(), place(i)) {
        os::byte_unlock(arena.fd(), place(i));
        return Err(error);
    }
    crash_point!("slot.claim: byte locked");
    let slot = slot_at(arena, i)?;
    let word = slot.word.load(SeqCst);
    if word & 3 != FREE {
        os::byte_unlock(arena.fd(), place(i));
        return Ok(None);
    }
    let generation = (word >> 2).wrapping_add(1) & GENERATION_MASK;
    let generation = generation.max(1);
    slot.shares.store(0, SeqCst);
    crash_point!("slot.claim: no shares");
    slot.pending.store(0, SeqCst);
    crash_point!("slot.claim: nothing pending");
    slot.parent.store(parent, SeqCst);
    crash_point!("slot.claim: parent");
    slot.pid.store(0, SeqCst);
    crash_point!("slot.claim: no pid");
    slot.word.store(generation << 2 | state, SeqCst);
    crash_point!("slot.claim: claimed");
    if state != LIVE {
        os::byte_unlock(arena.fd(), place(i));
        crash_point!("slot.claim: byte unlocked, for a child");
    }
    Ok(Some(pack(i, generation)))
}

/// Whether the process with this owner still runs (a stopped one does).
pub fn is_alive(owner: Owner) -> bool {
    let owner = owner & OWNER_MASK;
    if owner == ME.load(SeqCst) {
        return true;
    }
    let (Ok(arena), Ok(slot)) = (arena(), slot(owner)) else {
        return false;
    };
    let word = slot.word.load(SeqCst);
    if word >> 2 != generation(owner) || word & 3 == FREE {
        return false;
    }
    if word & 3 == FORKING {
        let parent = slot.parent.load(SeqCst);
        // Who forks is LIVE itself; anything else would be a circle.
        return self::slot(parent).is_ok_and(|slot| slot.word.load(SeqCst) & 3 != FORKING)
            && is_alive(parent);
    }
    // An answer that cannot be had is not a death.
    os::byte_lock_holder(arena.fd(), place(index(owner))).map_or(true, |holder| holder.is_some())
}

/// Gives back all that a dead process held; false when it lives or another process is
/// at it already.
///
/// # Errors
/// When shared memory makes no sense; the slot is left for another try then.
pub fn recover(owner: Owner) -> Result<bool> {
    let owner = owner & OWNER_MASK;
    if owner == 0 || is_alive(owner) {
        return Ok(false);
    }
    // Before the lock: to give back what others held takes a slot of one's own.
    me()?;
    let _only_one = CLAIMING.lock();
    let arena = arena()?;
    let slot = slot(owner)?;
    let at = place(index(owner));
    let word = slot.word.load(SeqCst);
    if word >> 2 != generation(owner) || word & 3 == FREE {
        return Ok(false);
    }
    if word & 3 == FORKING && a_child_may_come(arena)? {
        return Ok(false);
    }
    if !os::byte_lock_try(arena.fd(), at)? {
        return Ok(false);
    }
    let word = slot.word.load(SeqCst);
    let mut buried = Ok(());
    crash_point!("slot.recover: byte locked");
    let dead = word >> 2 == generation(owner)
        && (word & 3 == LIVE || (word & 3 == FORKING && !is_alive(slot.parent.load(SeqCst))));
    if dead {
        buried = bury(slot, index(owner), word);
    }
    os::byte_unlock(arena.fd(), at);
    crash_point!("slot.recover: byte unlocked");
    buried.map(|()| dead)
}

/// Whether a process has the arena that has no slot: a child, perhaps, whose parent ended
/// before the child's first step, in which it takes the slot that was prepared for it.
fn a_child_may_come(arena: &Arena) -> Result<bool> {
    let with_slot = living()?;
    // Where that cannot be seen, no child is waited for.
    let with_arena = os::mapped_by(arena.fd()).unwrap_or_default();
    let me = os::pid();
    Ok(with_arena
        .iter()
        .any(|pid| *pid != me && !with_slot.iter().any(|(_, known)| known == pid)))
}

/// Looks for dead processes and recovers each; says how many there were.
///
/// # Errors
/// See [`recover`].
pub fn recover_all() -> Result<usize> {
    let Some(arena) = crate::arena::existing() else {
        return Ok(0);
    };
    crate::handle::bury_stillborn();
    let used = (arena.header().slots_used.load(SeqCst) as usize).min(SLOTS);
    let mut found = 0;
    for i in 0..used {
        let word = slot_at(arena, i)?.word.load(SeqCst);
        if word & 3 != FREE && recover(pack(i, word >> 2))? {
            found += 1;
        }
    }
    Ok(found)
}

/// For those who wait, without any lock held: looks for the dead, if nobody has for a while.
/// So what they held is back within a second also where nobody was told of a death.
pub fn look_around() {
    let Some(arena) = crate::arena::existing() else {
        return;
    };
    let looked = &arena.header().looked;
    let (last, now) = (looked.load(Relaxed), os::monotonic());
    // A clock of another kind, or nonsense, is as good as long ago.
    let recent = now.checked_sub(last).is_some_and(|ago| ago < LOOK_NS);
    if !recent && looked.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
        // An error comes out again where somebody waits for what the dead held, or needs memory.
        let _ = recover_all();
        let _ = crate::alloc::cool();
    }
}

/// Owners that live at this moment.
///
/// # Errors
/// When shared memory makes no sense.
pub fn living() -> Result<Vec<(Owner, u32)>> {
    let arena = arena()?;
    let used = (arena.header().slots_used.load(SeqCst) as usize).min(SLOTS);
    let mut found = Vec::new();
    for i in 0..used {
        let slot = slot_at(arena, i)?;
        let word = slot.word.load(SeqCst);
        let owner = pack(i, word >> 2);
        if word & 3 == LIVE && is_alive(owner) {
            found.push((owner, slot.pid.load(SeqCst)));
        }
    }
    Ok(found)
}

/// What a dead process held goes back, then its slot is free. The caller holds the byte.
fn bury(slot: &'static Slot, index: usize, word: u32) -> Result<()> {
    let owner = pack(index, word >> 2);
    crate::object::serve_survivors(owner)?;
    crate::object::sweep(owner, slot)?;
    crate::alloc::recount()?;
    crash_point!("slot.bury: swept");
    // The child of a FORKING slot may adopt it in this very moment; then it lives.
    let _ = slot
        .word
        .compare_exchange(word, word & !3 | FREE, SeqCst, SeqCst);
    crash_point!("slot.bury: FREE");
    Ok(())
}

/// Leaves: everything that this process holds goes back, and its slot is free.
///
/// For the normal end of a process; without it the next survivor does the same.
///
/// # Errors
/// When shared memory makes no sense.
pub fn leave() -> Result<()> {
    let me = ME.load(SeqCst);
    if me == 0 {
        return Ok(());
    }
    let arena = arena()?;
    let slot = slot(me)?;
    crate::supervise::end();
    crate::object::serve_survivors(me)?;
    crate::handle::forget();
    crate::object::sweep(me, slot)?;
    crash_point!("slot.leave: swept");
    let _only_one = CLAIMING.lock();
    slot.word.store(generation(me) << 2 | FREE, SeqCst);
    crash_point!("slot.leave: FREE");
    ME.store(0, SeqCst);
    os::byte_unlock(arena.fd(), place(index(me)));
    crash_point!("slot.leave: byte unlocked");
    Ok(())
}

/// In a parent about to fork: a slot for the child. Ends with CLAIMING held, which
/// [`forked_parent`] or [`forked_child`] lets go of.
pub fn fork_prepare() -> Option<Owner> {
    let me = ME.load(SeqCst);
    std::mem::forget(CLAIMING.lock());
    if me == 0 {
        return None;
    }
    let claimed = claim(FORKING, me);
    FULL.store(claimed == Err(Error::TooManyProcesses), SeqCst);
    claimed.ok()
}

/// In the parent, after fork, successful or not.
pub fn forked_parent() {
    // SAFETY: `fork_prepare` forgot the guard, in this thread.
    drop(unsafe { CLAIMING.relock() });
}

/// In the child: it is nobody now, or who the parent prepared it to be. Async-signal-safe.
///
/// Returns whether the prepared slot was adopted. A child that inherited objects
/// (`holds`) and could not adopt holds none of them, and must not touch them.
pub fn forked_child(prepared: Option<Owner>, holds: bool) -> bool {
    ME.store(0, SeqCst);
    // SAFETY: `fork_prepare` forgot the guard, in the thread that this one is a copy of.
    drop(unsafe { CLAIMING.relock() });
    let adopted = prepared.is_some_and(|owner| adopt(owner).unwrap_or(false));
    if adopted {
        ME.store(prepared.unwrap_or(0), SeqCst);
    } else if holds {
        LOST.store(true, SeqCst);
    }
    adopted
}

/// Takes the slot that the parent prepared.
fn adopt(owner: Owner) -> Result<bool> {
    let arena = arena()?;
    let slot = slot(owner)?;
    while !os::byte_lock_try(arena.fd(), place(index(owner)))? {
        // A survivor of our parent looks at the slot, and lets go of it or takes it back.
        if !is_unborn(owner) {
            return Ok(false);
        }
        std::thread::yield_now();
    }
    crash_point!("slot.adopt: byte locked");
    slot.pid.store(os::pid(), SeqCst);
    crash_point!("slot.adopt: pid");
    let word = generation(owner) << 2;
    let adopted = slot
        .word
        .compare_exchange(word | FORKING, word | LIVE, SeqCst, SeqCst)
        .is_ok();
    crash_point!("slot.adopt: LIVE");
    if !adopted {
        os::byte_unlock(arena.fd(), place(index(owner)));
    }
    Ok(adopted)
}

/// Whether a slot that was prepared for a child still waits for it.
pub fn is_unborn(prepared: Owner) -> bool {
    slot(prepared).is_ok_and(|slot| slot.word.load(SeqCst) == generation(prepared) << 2 | FORKING)
}

/// In the parent, later: takes back a slot that no child has adopted, because fork
/// failed or the child died at once. True when it was taken back.
pub fn fork_abandon(prepared: Owner) -> bool {
    let word = generation(prepared) << 2;
    // LIVE without anybody holding its byte: that is a dead process, and what it holds
    // goes back like any other's.
    let abandoned = slot(prepared).is_ok_and(|slot| {
        slot.word
            .compare_exchange(word | FORKING, word | LIVE, SeqCst, SeqCst)
            .is_ok()
    });
    crash_point!("slot.abandon: LIVE, and dead");
    abandoned && recover(prepared).unwrap_or(false)
}
