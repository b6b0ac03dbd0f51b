//! What travels through a ring when it doesn't fit into a cell.
//!
//! ```text
//! header 64 bytes | an entry (see refs.rs) for each block that travels along | the bytes
//!
//! RESERVED(producer) ─▶ (the cell is READY) ─▶ RESERVED(consumer) ─▶ gone, with its entries
//!        └─▶ LIVE, by the sweep when the producer died, or as part of a spill ──┘
//! ```
//!
//! The block names the cell that it went into, so that after its owner's death the cell
//! says whether the item had been handed over.

use crate::atomic::{AtomicU64, Ordering::*};

use super::View;
use super::cell::{self, IN_BLOCK, Link};
use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::{self, Kind};
use crate::refs;
use crate::slot::{self, Owner};

/// `spot`: not handed over yet.
const NOWHERE: u64 = u64::MAX;
/// `spot`: in the spill.
pub(super) const SPILL: u64 = u64::MAX - 1;

#[repr(C)]
struct Header {
    /// Right only when the fields below are from this use of the block.
    check: AtomicU64,
    /// [`Link`] to the ring.
    ring: AtomicU64,
    /// Position in the ring, or one of the constants above.
    spot: AtomicU64,
    /// Number of bytes.
    len: AtomicU64,
    /// Number of entries.
    entries: AtomicU64,
    tag: AtomicU64,
    _pad: [AtomicU64; 2],
}
// SAFETY: atomics only.
unsafe impl Shared for Header {}
const HEADER: usize = size_of::<Header>();

/// The word that says that the fields of a block belong to its present use.
pub(super) fn check(offset: Offset, word: u64) -> u64 {
    offset ^ (alloc::generation(word) as u64) << 38 ^ 0x5bd1_e995_71c0_ffee
}

fn bytes_at(entries: usize) -> usize {
    (HEADER + 8 * entries).next_multiple_of(64)
}

fn header(offset: Offset) -> Result<Option<&'static Header>> {
    let header: &Header = arena()?.at(offset)?;
    let word = alloc::meta(offset)?.word.load(Acquire);
    Ok((header.check.load(Acquire) == check(offset, word)).then_some(header))
}

/// A message that is being written. Given back when it isn't sent.
pub struct Draft {
    offset: Offset,
    header: &'static Header,
    start: *mut u8,
    len: usize,
}

// SAFETY: `start` points into the arena's mapping, which every thread sees alike; the
// bytes are only reached through the draft.
unsafe impl Send for Draft {}

impl Draft {
    /// Room for `len` bytes, with `refs`, blocks that this process holds, to travel along.
    ///
    /// # Errors
    /// When there is no memory or one of the blocks is gone.
    pub(super) fn new(ring: Link, refs: &[Offset], len: usize, tag: u64) -> Result<Draft> {
        let arena = arena()?;
        let at = bytes_at(refs.len());
        let all = at
            .checked_add(len)
            .ok_or(Error::OutOfMemory { wanted: len })?;
        let offset = alloc::reserve(Kind::Message, all, false)?;
        let header: &Header = arena.at(offset)?;
        header.ring.store(ring.0, Relaxed);
        crash_point!("message.new: ring");
        header.spot.store(NOWHERE, Relaxed);
        crash_point!("message.new: nowhere");
        header.len.store(len as u64, Relaxed);
        crash_point!("message.new: length");
        header.entries.store(refs.len() as u64, Relaxed);
        crash_point!("message.new: number of entries");
        header.tag.store(tag, Relaxed);
        crash_point!("message.new: tag");
        for i in 0..refs.len() {
            let entry: &AtomicU64 = arena.at(offset + (HEADER + 8 * i) as u64)?;
            entry.store(0, Relaxed);
            crash_point!("message.new: no entry yet");
        }
        let word = alloc::meta(offset)?.word.load(Relaxed);
        header.check.store(check(offset, word), Release);
        crash_point!("message.new: checked");
        let draft = Draft {
            offset,
            header,
            start: arena.bytes(offset + at as u64, len)?,
            len,
        };
        for (i, &block) in refs.iter().enumerate() {
            refs::take_for(offset + (HEADER + 8 * i) as u64, block)?;
        }
        Ok(draft)
    }

    /// Where to write the bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: inside a block that only this process uses until it is sent.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }

    /// Names the place that the message is about to be handed over at.
    pub(super) fn at(&self, spot: u64) {
        self.header.spot.store(spot, Release);
        crash_point!("message.at: spot");
    }

    pub(super) fn link(&self) -> Result<Link> {
        Link::to(self.offset)
    }

    /// It is handed over: from here on it isn't ours.
    pub(super) fn sent(self) {
        std::mem::forget(self);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // An error means that shared memory makes no sense; nothing to give back to then.
        let _ = object::discard(self.offset);
    }
}

/// A message that was taken out of a ring; it belongs to this process until dropped, and
/// so do the references that travelled with it.
pub struct Parcel {
    offset: Offset,
    owner: Owner,
    start: *const u8,
    len: usize,
}

// SAFETY: `start` points into the arena's mapping, which every thread sees alike and which
// is never removed; nobody writes there.
unsafe impl Send for Parcel {}
// SAFETY: as above.
unsafe impl Sync for Parcel {}

impl Parcel {
    /// Takes over the message behind `link`, whose cell the caller has claimed.
    pub(super) fn take(link: Link) -> Result<Parcel> {
        let owner = adopt(link)?;
        let offset = link.offset();
        // From here on it is given back whatever happens.
        let mut parcel = Parcel {
            offset,
            owner,
            start: std::ptr::dangling(),
            len: 0,
        };
        let corrupt = Error::Corrupt { what: "a message" };
        let header = header(offset)?.ok_or(corrupt.clone())?;
        let entries = header.entries.load(Acquire) as usize;
        let len = header.len.load(Acquire) as usize;
        let room = alloc::room(offset)?;
        let at = bytes_at(entries.min(room));
        if at.checked_add(len).is_none_or(|all| all > room) {
            return Err(corrupt);
        }
        parcel.start = arena()?.bytes(offset + at as u64, len)?;
        parcel.len = len;
        Ok(parcel)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: inside the mapping, and the block is ours, so nobody writes there.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        // Not when this process has left, or is a fork of the one that the message is of.
        if slot::joined() == self.owner {
            let _ = object::discard(self.offset);
        }
    }
}

/// Makes the message behind `link` this process's, whoever has it.
fn adopt(link: Link) -> Result<Owner> {
    loop {
        let (_, word) = link.follow(Kind::Message)?;
        if alloc::state(word) == alloc::RETIRED {
            return Err(Error::Corrupt { what: "a message" });
        }
        // The sweep after its owner's death may be at the same word.
        if alloc::adopt(link.offset(), word)? {
            return slot::me();
        }
    }
}

/// Gives back a message that nobody is going to take out. Repeatable.
pub(super) fn throw_away(link: Link) -> Result<()> {
    match adopt(link) {
        Ok(_) => object::discard(link.offset()),
        // Somebody who died at this very thing had come further.
        Err(Error::Stale { .. } | Error::Corrupt { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Notes where a message of the spill is about to go.
pub(super) fn moved(link: Link, spot: u64) -> Result<()> {
    link.follow(Kind::Message)?;
    if let Some(header) = header(link.offset())? {
        header.spot.store(spot, Release);
        crash_point!("message.moved: spot");
    }
    Ok(())
}

/// Makes a message that is part of the spill independent of its producer.
pub(super) fn settle(link: Link) -> Result<()> {
    if let Ok((_, word)) = link.follow(Kind::Message)
        && alloc::state(word) == alloc::RESERVED
    {
        alloc::settle(link.offset(), word)?;
    }
    Ok(())
}

/// Lets go of what travels with the message. See [`crate::object`].
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    let Some(header) = header(offset)? else {
        return Ok(());
    };
    let entries = header
        .entries
        .load(Acquire)
        .min(alloc::room(offset)? as u64 / 8 - 8);
    for i in 0..entries {
        refs::drop_for(offset + HEADER as u64 + 8 * i)?;
    }
    Ok(())
}

/// Whether a message of a dead owner is in its ring. See [`crate::object`].
///
/// # Errors
/// When shared memory makes no sense.
pub fn is_reachable(offset: Offset) -> Result<bool> {
    let Some(header) = header(offset)? else {
        return Ok(false);
    };
    let ring = Link(header.ring.load(Acquire));
    let Ok((_, word)) = ring.follow(Kind::Ring) else {
        return Ok(false);
    };
    if alloc::state(word) != alloc::LIVE {
        return Ok(false);
    }
    let view = View::new(ring.offset())?;
    match header.spot.load(Acquire) {
        NOWHERE => Ok(false),
        SPILL => {
            // Whoever takes the lock finishes what the dead began: a message that had
            // become part of the spill is LIVE then.
            let _guard = view.guard()?;
            let word = alloc::meta(offset)?.word.load(Acquire);
            Ok(alloc::state(word) == alloc::LIVE)
        }
        spot => {
            let cell = view.cell(spot);
            let word = cell.word.load(SeqCst);
            Ok(cell::lap(word) == view.lap(spot)
                && cell::state(word) >= cell::READY
                && (cell.shape.load(Acquire) >> 32) as u8 & IN_BLOCK != 0
                && cell.payload[0].load(Acquire) == Link::to(offset)?.0)
        }
    }
}
