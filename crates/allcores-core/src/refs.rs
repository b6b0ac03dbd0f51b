//! Who still holds a block.
//!
//! A block's count says how many *entries* refer to it. An entry is one word: in the
//! table of a process (one for each block that it holds, however many Python objects
//! share it), or in a message on its way. So the death of a process gives back exactly
//! what its entries say, and a message that nobody ever reads still lets go.
//!
//! An entry and a count are two words, and a process can die between them. Which of the
//! two changes had happened can be told afterwards, because each change of a count leaves
//! a trace in the same word:
//!
//! ```text
//! count word:  seq 20 | slot 12 | count 32        who changed it last, and its how-manieth
//! entry:       slot 12 | offset 46, 64-aligned | state (HELD, TAKING, DROPPING)
//!
//! take:  slot.ref_seq = s;  slot.pending = entry;  entry = TAKING;    count+1 with trace s;  entry = HELD
//! drop:  slot.ref_seq = s;  slot.pending = entry;  entry = DROPPING;  count-1 with trace s;  entry = 0
//! ```
//!
//! Whoever is about to write over another's trace first notes in that one's slot that it
//! was there (`ref_acked`). So a change of a dead process happened exactly if its trace
//! is still in the count, or was noted. (A detectable compare-and-swap, as in the
//! literature on persistent memory.)

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::alloc::{self, Meta};
use crate::arena::{Offset, arena};
use crate::error::{Error, Result};
use crate::object::{self, Kind};
use crate::os;
use crate::slot::{self, Owner, Slot};
use crate::wait::Spin;

const HELD: u64 = 1;
const TAKING: u64 = 2;
const DROPPING: u64 = 3;
const STATE_MASK: u64 = 63;
const OFFSET_MASK: u64 = (1 << 52) - 64;

const SEQ_MASK: u32 = (1 << 20) - 1;

/// Entries in one piece of a process's table; with the link to the next it fills 4 KiB.
const ENTRIES: usize = 511;

/// How many entries refer to a block.
pub fn count(meta: &Meta) -> u32 {
    meta.refs.load(SeqCst) as u32
}

fn trace(word: u64) -> (usize, u32) {
    ((word >> 32) as usize & 0xfff, (word >> 44) as u32)
}

/// This process's part: which blocks it holds, how often, and in which entry.
struct Table {
    held: HashMap<Offset, Local>,
    /// The pieces of the table in shared memory, in order.
    pieces: Vec<Offset>,
    /// Free entries: piece and index.
    free: Vec<(u32, u32)>,
}

struct Local {
    times: usize,
    entry: (u32, u32),
}

static LOCK: Spin = Spin::new();
static mut TABLE: Option<Table> = None;

/// Runs `work` with this process's table, one thread at a time.
///
/// Joining the arena comes first: it takes the lock of slots, and who holds that may
/// take ours.
fn with_table<R>(work: impl FnOnce(&mut Table) -> Result<R>) -> Result<R> {
    slot::me()?;
    let _one_at_a_time = LOCK.lock();
    // SAFETY: LOCK is held, and nothing else touches TABLE without it.
    let table = unsafe { &mut *(&raw mut TABLE) };
    work(table.get_or_insert_with(|| Table {
        held: HashMap::new(),
        pieces: Vec::new(),
        free: Vec::new(),
    }))
}

impl Table {
    fn entry(&self, (piece, index): (u32, u32)) -> Result<Offset> {
        let piece = self.pieces.get(piece as usize).ok_or(Error::Corrupt {
            what: "the table of references",
        })?;
        Ok(piece + 8 + 8 * index as u64)
    }

    /// A free entry; makes another piece of the table when there is none.
    fn vacancy(&mut self) -> Result<(u32, u32)> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        let piece = new_piece(slot::me()?, self.pieces.last().copied())?;
        let number = self.pieces.len() as u32;
        self.pieces.push(piece);
        self.free
            .extend((1..ENTRIES as u32).rev().map(|i| (number, i)));
        Ok((number, 0))
    }
}

/// Another piece for the table of `owner`, linked behind `last`. It stays RESERVED by its
/// owner all its life, so that the sweep gives it back.
fn new_piece(owner: Owner, last: Option<Offset>) -> Result<Offset> {
    let arena = arena()?;
    let piece = alloc::reserve(Kind::Shares, 8 * (ENTRIES + 1), true)?;
    alloc::give_to(piece, owner)?;
    match last {
        Some(last) => arena.at::<AtomicU64>(last)?.store(piece, Release),
        None => slot::slot(owner)?.shares.store(piece, Release),
    }
    Ok(piece)
}

/// The next number for a change by this process, and the place for its trace.
fn next_seq(slot: &Slot, meta: &Meta, me: Owner) -> u32 {
    let mut seq = slot.ref_seq.load(Relaxed).wrapping_add(1) & SEQ_MASK;
    // The same number from a million changes ago must not be taken for this one.
    while trace(meta.refs.load(Relaxed)) == (slot::index(me), seq) {
        seq = seq.wrapping_add(1) & SEQ_MASK;
    }
    seq
}

/// Notes in the slot of whoever changed the count last that the change was seen.
fn acknowledge(word: u64) {
    let (index, seq) = trace(word);
    let Ok(slot) = slot::by_index(index) else {
        return;
    };
    let mut seen = slot.ref_acked.load(SeqCst);
    // Only forward, on a circle of 2^20.
    while (seq.wrapping_sub(seen) & SEQ_MASK) < SEQ_MASK / 2 && seq != seen {
        match slot.ref_acked.compare_exchange(seen, seq, SeqCst, SeqCst) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

/// Changes the count of `offset` by one, leaving the trace; the new count. `None` when the
/// count is 0 and must stay so. The caller holds LOCK.
fn change(meta: &Meta, me: Owner, seq: u32, up: bool) -> Option<u32> {
    let mut word = meta.refs.load(SeqCst);
    loop {
        let count = word as u32;
        if count == 0 {
            return None;
        }
        acknowledge(word);
        let count = if up { count + 1 } else { count - 1 };
        let next = (seq as u64) << 44 | (slot::index(me) as u64) << 32 | count as u64;
        match meta.refs.compare_exchange(word, next, SeqCst, SeqCst) {
            Ok(_) => return Some(count),
            Err(now) => word = now,
        }
    }
}

fn pack(me: Owner, offset: Offset, state: u64) -> u64 {
    (slot::index(me) as u64) << 52 | offset | state
}

/// Makes the entry at `entry` refer to the block at `offset` in its use `generation`. The
/// caller holds LOCK.
fn take(entry: Offset, offset: Offset, generation: u32) -> Result<()> {
    let stale = Error::Stale {
        what: "shared object",
    };
    let me = slot::me()?;
    let slot = slot::slot(me)?;
    let meta = alloc::meta(offset).map_err(|_| stale.clone())?;
    let word: &AtomicU64 = arena()?.at(entry)?;
    let lives = || {
        let word = meta.word.load(SeqCst);
        alloc::state(word) == alloc::LIVE && alloc::generation(word) == generation
    };
    if !lives() {
        return Err(stale);
    }
    let seq = next_seq(slot, meta, me);
    slot.ref_seq.store(seq, SeqCst);
    slot.pending.store(entry, SeqCst);
    word.store(pack(me, offset, TAKING), SeqCst);
    let taken = change(meta, me, seq, true);
    let state = if taken.is_some() {
        pack(me, offset, HELD)
    } else {
        0
    };
    word.store(state, SeqCst);
    slot.pending.store(0, SeqCst);
    // The place may have been given back and used again between the look and the change.
    if taken.is_none() || !lives() {
        if taken.is_some() {
            drop_entry(entry)?;
        }
        return Err(stale);
    }
    Ok(())
}

/// Makes the entry at `entry` refer to nothing; takes the block apart when it was the last.
/// The caller holds LOCK, or is the only one to use the entry and its process's slot.
fn drop_entry(entry: Offset) -> Result<()> {
    let me = slot::me()?;
    let slot = slot::slot(me)?;
    let word: &AtomicU64 = arena()?.at(entry)?;
    let seen = word.load(SeqCst);
    if seen & STATE_MASK != HELD {
        return Ok(());
    }
    let offset = seen & OFFSET_MASK;
    let meta = alloc::meta(offset)?;
    if alloc::state(meta.word.load(SeqCst)) != alloc::LIVE {
        // Its maker died between the entry and the end of the making.
        word.store(0, SeqCst);
        return Ok(());
    }
    let seq = next_seq(slot, meta, me);
    slot.ref_seq.store(seq, SeqCst);
    slot.pending.store(entry, SeqCst);
    word.store(pack(me, offset, DROPPING), SeqCst);
    let left = change(meta, me, seq, false);
    word.store(0, SeqCst);
    slot.pending.store(0, SeqCst);
    if left == Some(0) {
        QUEUE.with_borrow_mut(|queue| queue.push(offset));
    }
    Ok(())
}

thread_local! {
    /// Blocks whose last entry this thread dropped and that it takes apart as soon as it
    /// has let go of LOCK: taking one apart may drop further entries.
    static QUEUE: std::cell::RefCell<Vec<Offset>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Takes apart what [`drop_entry`] left without a reference. Without LOCK.
fn destroy_queued() -> Result<()> {
    while let Some(offset) = QUEUE.with_borrow_mut(Vec::pop) {
        object::destroy(offset)?;
    }
    Ok(())
}

/// Finishes or undoes the change that a dead process was at.
fn settle(slot: &Slot, index: usize) -> Result<()> {
    let entry = slot.pending.load(SeqCst);
    if entry == 0 {
        return Ok(());
    }
    let word: &AtomicU64 = arena()?.at(entry)?;
    let seen = word.load(SeqCst);
    let offset = seen & OFFSET_MASK;
    if matches!(seen & STATE_MASK, TAKING | DROPPING) && (seen >> 52) as usize == index {
        let seq = slot.ref_seq.load(SeqCst) & SEQ_MASK;
        let meta = alloc::meta(offset)?;
        let happened = trace(meta.refs.load(SeqCst)) == (index, seq) && meta.refs.load(SeqCst) != 0
            || slot.ref_acked.load(SeqCst) == seq;
        let held = (seen & STATE_MASK == TAKING) == happened;
        word.store(if held { seen & !STATE_MASK | HELD } else { 0 }, SeqCst);
        // A count that is 0 now is found by the sweep's walk over all blocks.
    }
    slot.pending.store(0, SeqCst);
    Ok(())
}

/// Gives up all that a process holds: of a dead one, or of this one as it leaves.
///
/// # Errors
/// When shared memory makes no sense.
pub fn give_up(of: &Slot) -> Result<()> {
    let arena = arena()?;
    let own = slot::joined() != 0 && std::ptr::eq(slot::slot(slot::joined())?, of);
    let _one_at_a_time = LOCK.lock();
    if own {
        // SAFETY: LOCK is held, and nothing else touches TABLE without it.
        unsafe { *(&raw mut TABLE) = None };
    } else {
        settle(of, slot::index_of(of)?)?;
    }
    let mut piece = of.shares.load(SeqCst);
    // More pieces than blocks there can be would be a circle.
    for _ in 0..arena.chunks() * 16 {
        if piece == 0 {
            break;
        }
        for i in 0..ENTRIES as u64 {
            let entry = piece + 8 + 8 * i;
            let word: &AtomicU64 = arena.at(entry)?;
            let seen = word.load(SeqCst);
            if matches!(seen & STATE_MASK, TAKING | DROPPING) {
                // Somebody who swept here before us died at this entry.
                let index = (seen >> 52) as usize;
                settle(slot::by_index(index)?, index)?;
            }
            drop_entry(entry)?;
        }
        piece = arena.at::<AtomicU64>(piece)?.load(SeqCst);
    }
    of.shares.store(0, SeqCst);
    drop(_one_at_a_time);
    destroy_queued()
}

/// Makes the entry at `entry`, in a block that this process has reserved, refer to the
/// object behind `handle`: for what is sent.
///
/// # Errors
/// [`Error::Stale`] when the object is gone.
pub fn take_for(entry: Offset, offset: Offset) -> Result<()> {
    let generation = alloc::generation(alloc::meta(offset)?.word.load(SeqCst));
    let _one_at_a_time = LOCK.lock();
    take(entry, offset, generation)
}

/// Lets go of the entry at `entry` of a block that is taken apart. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn drop_for(entry: Offset) -> Result<()> {
    {
        let _one_at_a_time = LOCK.lock();
        drop_entry(entry)?;
    }
    destroy_queued()
}

/// Keeps a block alive in this process. Cheap to clone within the process; to another one
/// it goes as its three numbers, see [`Handle::numbers`].
#[derive(Debug)]
pub struct Handle {
    offset: Offset,
    generation: u32,
}

impl Handle {
    /// Ends the making of a block with this process as its first holder.
    ///
    /// # Errors
    /// When there is no memory for the entry; the block is given back then.
    pub fn publish(offset: Offset) -> Result<Handle> {
        let published = with_table(|table| {
            let place = table.vacancy()?;
            let meta = alloc::meta(offset)?;
            let generation = alloc::generation(meta.word.load(SeqCst));
            let entry: &AtomicU64 = arena()?.at(table.entry(place)?)?;
            entry.store(pack(slot::me()?, offset, HELD), SeqCst);
            alloc::publish(offset, 1)?;
            table.held.insert(
                offset,
                Local {
                    times: 1,
                    entry: place,
                },
            );
            Ok(Handle { offset, generation })
        });
        if published.is_err() {
            alloc::release(offset)?;
        }
        published
    }

    /// The block that another process's handle names, if it is still there and of `kind`.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is not.
    pub fn open(session: u64, offset: Offset, generation: u32, kind: Kind) -> Result<Handle> {
        let stale = Error::Stale {
            what: "shared object",
        };
        let Some(arena) = crate::arena::existing() else {
            return Err(stale);
        };
        if arena.session() != session {
            return Err(stale);
        }
        let meta = alloc::meta(offset).map_err(|_| stale.clone())?;
        let word = meta.word.load(SeqCst);
        if alloc::kind(word) != Some(kind) || alloc::generation(word) != generation {
            return Err(stale);
        }
        let opened = with_table(|table| {
            if let Some(local) = table.held.get_mut(&offset) {
                local.times += 1;
                return Ok(Handle { offset, generation });
            }
            let place = table.vacancy()?;
            let entry = table.entry(place)?;
            if let Err(error) = take(entry, offset, generation) {
                table.free.push(place);
                return Err(error);
            }
            table.held.insert(
                offset,
                Local {
                    times: 1,
                    entry: place,
                },
            );
            Ok(Handle { offset, generation })
        });
        destroy_queued()?;
        opened
    }

    /// Where the block is.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// What another process needs to open it: session, place, use of the place.
    ///
    /// # Errors
    /// When there is no arena any more.
    pub fn numbers(&self) -> Result<(u64, Offset, u32)> {
        Ok((arena()?.session(), self.offset, self.generation))
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        // Fails only when this process holds nothing at all any more.
        let _ = with_table(|table| {
            if let Some(local) = table.held.get_mut(&self.offset) {
                local.times += 1;
            }
            Ok(())
        });
        Handle { ..*self }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if slot::joined() == 0 {
            // This process has left, and all that it held is given back already.
            return;
        }
        // An error here means that shared memory makes no sense; then there is nothing
        // to give back to.
        let _ = with_table(|table| {
            let Some(local) = table.held.get_mut(&self.offset) else {
                return Ok(());
            };
            local.times -= 1;
            if local.times == 0 {
                let place = local.entry;
                table.held.remove(&self.offset);
                drop_entry(table.entry(place)?)?;
                table.free.push(place);
            }
            Ok(())
        });
        let _ = destroy_queued();
    }
}

/// Keeps the block at `offset`, which this process holds, until the process ends: for
/// handles that leave on ways where nobody can say when they arrive.
///
/// # Errors
/// [`Error::Stale`] when this process does not hold it.
pub fn pin(offset: Offset) -> Result<()> {
    with_table(|table| match table.held.get_mut(&offset) {
        Some(local) => {
            local.times += 1;
            Ok(())
        }
        None => Err(Error::Stale {
            what: "shared object",
        }),
    })
}

/// The child that a fork under way is going to have.
static mut PREPARED: Option<(Owner, Vec<Offset>)> = None;
/// The latest child, in case it never came to be.
static mut LATEST: Option<Owner> = None;

/// Makes every fork of this process give the child a slot and entries of its own, whoever
/// calls `fork`.
pub fn watch_forks() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| os::at_fork(before_fork, after_fork_parent, after_fork_child));
}

extern "C" fn before_fork() {
    // SAFETY: only forking threads touch LATEST, and CPython forks under its own lock;
    // at worst a slot stays taken until this process ends.
    if let Some(latest) = unsafe { (*(&raw mut LATEST)).take() } {
        slot::fork_abandon(latest);
    }
    let child = slot::fork_prepare();
    LOCK.lock_raw();
    // SAFETY: LOCK is held until after the fork; these are only touched with it.
    let (table, prepared) = unsafe { (&*(&raw const TABLE), &mut *(&raw mut PREPARED)) };
    *prepared = child.map(|child| {
        let pieces = table.as_ref().map(|table| copy_table(table, child));
        (child, pieces.and_then(Result::ok).unwrap_or_default())
    });
}

/// Makes the child's table: the same places refer to the same blocks.
fn copy_table(table: &Table, child: Owner) -> Result<Vec<Offset>> {
    let mut pieces: Vec<Offset> = Vec::with_capacity(table.pieces.len());
    for _ in &table.pieces {
        let piece = new_piece(child, pieces.last().copied())?;
        pieces.push(piece);
    }
    for (&offset, local) in &table.held {
        let (piece, index) = local.entry;
        let generation = alloc::generation(alloc::meta(offset)?.word.load(SeqCst));
        take(
            pieces[piece as usize] + 8 + 8 * index as u64,
            offset,
            generation,
        )?;
    }
    Ok(pieces)
}

extern "C" fn after_fork_parent() {
    // SAFETY: LOCK is held since before the fork.
    unsafe { LATEST = (*(&raw mut PREPARED)).take().map(|(child, _)| child) };
    slot::forked_parent();
    LOCK.unlock_raw();
}

extern "C" fn after_fork_child() {
    // SAFETY: LOCK is held since before the fork, and this is the only thread.
    let (table, prepared) = unsafe {
        LATEST = None;
        (&mut *(&raw mut TABLE), (*(&raw mut PREPARED)).take())
    };
    let adopted = slot::forked_child(prepared.as_ref().map(|(child, _)| *child));
    match (table.as_mut(), prepared) {
        (Some(table), Some((_, pieces))) if adopted && pieces.len() == table.pieces.len() => {
            table.pieces = pieces;
        }
        // Without entries of its own the child's handles hold nothing. They still work
        // while the parent holds the objects.
        _ => *table = None,
    }
    LOCK.unlock_raw();
}
