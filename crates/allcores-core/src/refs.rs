//! Who still holds a block: entries and counts. What a process makes of them is in
//! [`crate::handle`].
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

use crate::atomic::{AtomicU64, Ordering::*};

use crate::alloc::{self, Meta};
use crate::arena::{CHUNK, Offset, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::{self, Kind};
use crate::slot::{self, Owner, Slot};
use crate::spin::Spin;

const HELD: u64 = 1;
const TAKING: u64 = 2;
const DROPPING: u64 = 3;
const STATE_MASK: u64 = 63;
const OFFSET_MASK: u64 = (1 << 52) - 64;

const SEQ_MASK: u32 = (1 << 20) - 1;

/// Entries in one piece of a process's table; with the link to the next, which comes
/// first, it fills 4 KiB.
pub const ENTRIES: usize = PIECE / 8 - 1;
/// Bytes of a piece.
const PIECE: usize = 4096;

/// One thread of a process at a time changes entries, because its slot has room for one
/// change under way. Held across fork as well. Who takes it has joined the arena: joining
/// takes the lock of slots, and who holds that may take this one.
pub static LOCK: Spin<()> = Spin::new(());

/// How many entries refer to a block.
pub fn count(meta: &Meta) -> u32 {
    meta.refs.load(SeqCst) as u32
}

fn trace(word: u64) -> (usize, u32) {
    ((word >> 32) as usize & 0xfff, (word >> 44) as u32)
}

/// The next number for a change by this process, and the place for its trace.
fn next_seq(slot: &Slot, meta: &Meta, me: Owner) -> u32 {
    let mut seq = slot.ref_seq.load(Relaxed).wrapping_add(1) & SEQ_MASK;
    // The same number from a million changes ago must not be taken for this one.
    while trace(meta.refs.load(Relaxed)) == (slot::index(me), seq)
        || slot.ref_acked.load(Relaxed) == seq
    {
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
            Ok(_) => {
                crash_point!("refs.acknowledge: noted");
                return;
            }
            Err(now) => seen = now,
        }
    }
}

/// For who takes a block apart: its trace goes, and what the last change of its count left
/// to be seen there has been seen.
pub fn end_of(meta: &Meta) {
    acknowledge(meta.refs.load(SeqCst));
}

/// Changes the count of `offset` by one, leaving the trace; the new count. `None` when the
/// count is 0 and must stay so. The caller holds LOCK.
fn change(meta: &Meta, me: Owner, seq: u32, up: bool) -> Option<u32> {
    let mut word = meta.refs.load(SeqCst);
    loop {
        let count = word as u32;
        if count == 0 || up && count == u32::MAX {
            return None;
        }
        acknowledge(word);
        let count = if up { count + 1 } else { count - 1 };
        let next = (seq as u64) << 44 | (slot::index(me) as u64) << 32 | count as u64;
        match meta.refs.compare_exchange(word, next, SeqCst, SeqCst) {
            Ok(_) => {
                crash_point!("refs.change: counted");
                return Some(count);
            }
            Err(now) => word = now,
        }
    }
}

fn pack(me: Owner, offset: Offset, state: u64) -> u64 {
    (slot::index(me) as u64) << 52 | offset | state
}

/// Makes the entry at `entry` refer to the block at `offset` in its use `generation`. The
/// caller holds [`LOCK`], and calls [`destroy_queued`] when it has let go of it.
///
/// # Errors
/// [`Error::Stale`] when that use is over.
pub fn take(entry: Offset, offset: Offset, generation: u32) -> Result<()> {
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
    crash_point!("refs.take: number");
    slot.pending.store(entry, SeqCst);
    crash_point!("refs.take: pending");
    word.store(pack(me, offset, TAKING), SeqCst);
    crash_point!("refs.take: TAKING");
    let taken = change(meta, me, seq, true);
    let state = if taken.is_some() {
        pack(me, offset, HELD)
    } else {
        0
    };
    word.store(state, SeqCst);
    crash_point!("refs.take: entry made");
    slot.pending.store(0, SeqCst);
    crash_point!("refs.take: nothing pending");
    // The place may have been given back and used again between the look and the change.
    if taken.is_none() || !lives() {
        if taken.is_some() {
            drop_entry(entry)?;
        }
        return Err(stale);
    }
    Ok(())
}

/// Makes the entry at `entry` refer to nothing. The caller holds [`LOCK`], and calls
/// [`destroy_queued`] when it has let go of it, which takes the block apart if this was
/// the last entry.
///
/// # Errors
/// When shared memory makes no sense.
pub fn drop_entry(entry: Offset) -> Result<()> {
    let me = slot::me()?;
    let slot = slot::slot(me)?;
    let word: &AtomicU64 = arena()?.at(entry)?;
    let seen = word.load(SeqCst);
    if seen & STATE_MASK != HELD {
        return Ok(());
    }
    let offset = seen & OFFSET_MASK;
    let meta = alloc::meta(offset)?;
    let live = meta.word.load(SeqCst);
    if alloc::state(live) != alloc::LIVE {
        // Its maker died between the entry and the end of the making.
        word.store(0, SeqCst);
        crash_point!("refs.drop: entry of what was never made");
        return Ok(());
    }
    let seq = next_seq(slot, meta, me);
    slot.ref_seq.store(seq, SeqCst);
    crash_point!("refs.drop: number");
    slot.pending.store(entry, SeqCst);
    crash_point!("refs.drop: pending");
    word.store(pack(me, offset, DROPPING), SeqCst);
    crash_point!("refs.drop: DROPPING");
    let left = change(meta, me, seq, false);
    word.store(0, SeqCst);
    crash_point!("refs.drop: no entry");
    slot.pending.store(0, SeqCst);
    crash_point!("refs.drop: nothing pending");
    if left == Some(0) {
        QUEUE.with_borrow_mut(|queue| queue.push((offset, live)));
    }
    Ok(())
}

thread_local! {
    /// Blocks whose last entry this thread dropped and that it takes apart as soon as it
    /// has let go of LOCK: taking one apart may drop further entries. With their words, as a
    /// sweep may be faster, and the place somebody else's by then.
    static QUEUE: std::cell::RefCell<Vec<(Offset, u64)>> = const { std::cell::RefCell::new(Vec::new()) };
    /// Whether this thread is at it.
    static BUSY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Takes apart what [`drop_entry`] left without a reference. Without [`LOCK`].
///
/// # Errors
/// When shared memory makes no sense.
pub fn destroy_queued() -> Result<()> {
    // Taking one apart may drop the last entry of the next, and so on down a long chain:
    // one after the other here, not one inside the other.
    if BUSY.replace(true) {
        return Ok(());
    }
    let mut result = Ok(());
    while let Some((offset, live)) = QUEUE.with_borrow_mut(Vec::pop) {
        result = result.and(object::destroy_seen(offset, live));
    }
    BUSY.set(false);
    result
}

/// The block that the entry at `entry` holds.
///
/// # Errors
/// When shared memory makes no sense.
pub fn target(entry: Offset) -> Result<Option<Offset>> {
    let word = arena()?.at::<AtomicU64>(entry)?.load(SeqCst);
    Ok((word & STATE_MASK == HELD).then_some(word & OFFSET_MASK))
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
        // Where the block is gone by now, its end has acknowledged what happened.
        let is_traced = alloc::meta(offset).is_ok_and(|meta| {
            let word = meta.refs.load(SeqCst);
            trace(word) == (index, seq) && word != 0
        });
        let happened = is_traced || slot.ref_acked.load(SeqCst) == seq;
        let held = (seen & STATE_MASK == TAKING) == happened;
        let settled = if held { seen & !STATE_MASK | HELD } else { 0 };
        // Another process may settle it, too, and go on from there.
        let _ = word.compare_exchange(seen, settled, SeqCst, SeqCst);
        crash_point!("refs.settle: entry");
        // A count that is 0 now is found by the sweep's walk over all blocks.
    }
    // Only what we saw: the slot may have another owner by now.
    let _ = slot.pending.compare_exchange(entry, 0, SeqCst, SeqCst);
    crash_point!("refs.settle: nothing pending");
    Ok(())
}

/// Like [`drop_entry`], for an entry that others may have been at before: somebody who
/// died while dropping it, in the course of another's recovery.
fn drop_left(entry: Offset) -> Result<()> {
    let seen = arena()?.at::<AtomicU64>(entry)?.load(SeqCst);
    if matches!(seen & STATE_MASK, TAKING | DROPPING) {
        let index = (seen >> 52) as usize;
        settle(slot::by_index(index)?, index)?;
    }
    drop_entry(entry)
}

/// Gives up all that a process holds: of a dead one, or of this one as it leaves.
///
/// # Errors
/// When shared memory makes no sense.
pub fn give_up(of: &Slot) -> Result<()> {
    let arena = arena()?;
    let _one_at_a_time = LOCK.lock();
    let index = slot::index_of(of)?;
    settle(of, index)?;
    drop_left(slot::visit_entry(index as Owner))?;
    let mut piece = of.shares.load(SeqCst);
    // More pieces than there is room for would be a circle.
    for _ in 0..arena.chunks_used() * (CHUNK / PIECE) {
        if piece == 0 {
            break;
        }
        if alloc::kind(alloc::meta(piece)?.word.load(SeqCst)) != Some(Kind::Shares) {
            return Err(Error::Corrupt {
                what: "the table of references",
            });
        }
        for i in 0..ENTRIES as u64 {
            drop_left(piece + 8 + 8 * i)?;
        }
        piece = arena.at::<AtomicU64>(piece)?.load(SeqCst);
    }
    of.shares.store(0, SeqCst);
    crash_point!("refs.give_up: no table");
    drop(_one_at_a_time);
    destroy_queued()
}

/// A block that this process keeps for a moment, in the one entry of its slot.
#[derive(Debug)]
pub struct Visit(Offset);

/// Keeps the block at `offset` in its use `generation`. One at a time in a process.
///
/// # Errors
/// [`Error::Stale`] when that use is over.
pub fn visit(offset: Offset, generation: u32) -> Result<Visit> {
    let entry = slot::visit_entry(slot::me()?);
    let taken = {
        let _one_at_a_time = LOCK.lock();
        take(entry, offset, generation)
    };
    destroy_queued()?;
    taken.map(|()| Visit(entry))
}

impl Drop for Visit {
    fn drop(&mut self) {
        // An error means that shared memory makes no sense; nothing to give back to then.
        let _ = drop_for(self.0);
    }
}

/// Makes the empty entry at `entry` hold a block that this process is about to publish
/// with one reference.
///
/// # Errors
/// When shared memory makes no sense.
pub fn adopt(entry: Offset, offset: Offset) -> Result<()> {
    let word: &AtomicU64 = arena()?.at(entry)?;
    word.store(pack(slot::me()?, offset, HELD), SeqCst);
    crash_point!("refs.adopt: HELD");
    Ok(())
}

/// Makes the entry at `entry`, in a block that this process has reserved, refer to the
/// object behind `handle`: for what is sent.
///
/// # Errors
/// [`Error::Stale`] when the object is gone.
pub fn take_for(entry: Offset, offset: Offset) -> Result<()> {
    let generation = alloc::generation(alloc::meta(offset)?.word.load(SeqCst));
    slot::me()?;
    let taken = {
        let _one_at_a_time = LOCK.lock();
        take(entry, offset, generation)
    };
    destroy_queued()?;
    taken
}

/// Lets go of the entry at `entry` of a block that is taken apart. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn drop_for(entry: Offset) -> Result<()> {
    slot::me()?;
    {
        let _one_at_a_time = LOCK.lock();
        drop_left(entry)?;
    }
    destroy_queued()
}
