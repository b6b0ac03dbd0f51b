//! What doesn't fit into a ring that must not be full: records in a list of segments.
//!
//! ```text
//! segment: header 64 bytes | record | record | ...
//! record:  place in the ring + 1, while it is being moved | kind, length | tag | bytes
//! ```
//!
//! All of it is changed under one lock, by single stores that each leave it right:
//! a record is there when `written` has passed it and gone when `read` has. When a holder
//! of the lock died, the next one repairs first: an item whose copy had become READY in
//! the ring is not moved again.

use crate::atomic::{AtomicU64, Ordering::*};

use super::cell::{self, Cell, IN_BLOCK, INLINE, Link, PRODUCING};
use super::message::{self, Draft};
use super::{RingBlock, View};
use crate::alloc;
use crate::arena::{CHUNK, Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::lock::Guard;
use crate::object::{self, Kind};
use crate::slot;

/// Bytes of a segment: the largest block that costs no system call.
const SEGMENT: usize = 32 << 10;

#[repr(C)]
struct Header {
    /// Right only when the fields below are from this use of the block.
    check: AtomicU64,
    /// [`Link`] to the ring.
    ring: AtomicU64,
    /// [`Link`] to the next segment, or 0.
    next: AtomicU64,
    /// Records begin here; bytes from the segment's start.
    read: AtomicU64,
    /// Records end here.
    written: AtomicU64,
    _pad: [AtomicU64; 3],
}
// SAFETY: atomics only.
unsafe impl Shared for Header {}
const HEADER: usize = size_of::<Header>();

#[repr(C)]
struct Record {
    /// 0, or the position + 1 that the item is being moved to.
    spot: AtomicU64,
    /// `kind << 32 | length`
    shape: AtomicU64,
    tag: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Record {}
const RECORD: usize = size_of::<Record>();

impl Record {
    fn kind(&self) -> u8 {
        (self.shape.load(Acquire) >> 32) as u8
    }

    fn len(&self) -> usize {
        (self.shape.load(Acquire) as u32 as usize).min(INLINE)
    }

    fn size(&self) -> u64 {
        (RECORD + self.len().next_multiple_of(8)) as u64
    }
}

/// A segment whose header makes sense.
struct Segment {
    offset: Offset,
    header: &'static Header,
}

impl Segment {
    fn new(ring: Link) -> Result<Segment> {
        let offset = alloc::reserve(Kind::Spill, SEGMENT, false)?;
        let header: &Header = arena()?.at(offset)?;
        header.ring.store(ring.0, Relaxed);
        crash_point!("spill.segment: ring");
        header.next.store(0, Relaxed);
        crash_point!("spill.segment: no next");
        header.read.store(HEADER as u64, Relaxed);
        crash_point!("spill.segment: nothing read");
        header.written.store(HEADER as u64, Relaxed);
        crash_point!("spill.segment: nothing written");
        let word = alloc::meta(offset)?.word.load(Relaxed);
        header.check.store(message::check(offset, word), Release);
        crash_point!("spill.segment: checked");
        Ok(Segment { offset, header })
    }

    /// The segment at `offset`; `None` when its maker died before it was one.
    fn at(offset: Offset) -> Result<Option<Segment>> {
        let header: &Header = arena()?.at(offset)?;
        let word = alloc::meta(offset)?.word.load(Acquire);
        let fits = header.check.load(Acquire) == message::check(offset, word)
            && alloc::room(offset)? >= SEGMENT;
        Ok(fits.then_some(Segment { offset, header }))
    }

    /// The segment that `link` leads to, if there is one.
    fn behind(link: &AtomicU64) -> Result<Option<Segment>> {
        let link = Link(link.load(Acquire));
        match link.follow(Kind::Spill) {
            Ok(_) => Segment::at(link.offset()),
            Err(_) => Ok(None),
        }
    }

    /// The record at `at`, when there is one; its bytes.
    fn record(&self, at: u64) -> Result<Option<(&'static Record, &'static [u8])>> {
        let written = self.header.written.load(Acquire).min(SEGMENT as u64);
        let fits = at.saturating_add(RECORD as u64) <= written;
        if at < HEADER as u64 || !fits || !at.is_multiple_of(8) {
            return Ok(None);
        }
        let arena = arena()?;
        let record: &Record = arena.at(self.offset + at)?;
        if at + record.size() > written {
            return Ok(None);
        }
        let bytes = arena.bytes(self.offset + at + RECORD as u64, record.len())?;
        // SAFETY: inside a segment of the spill, which is only changed under its lock.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, record.len()) };
        Ok(Some((record, bytes)))
    }

    /// Calls `visit` for each record from `read` on.
    fn for_each(&self, mut visit: impl FnMut(&Record, &[u8]) -> Result<()>) -> Result<()> {
        let mut at = self.header.read.load(Acquire);
        while let Some((record, bytes)) = self.record(at)? {
            visit(record, bytes)?;
            at += record.size();
        }
        Ok(())
    }
}

fn link_in(bytes: &[u8]) -> Link {
    Link(
        bytes
            .first_chunk()
            .map_or(0, |word| u64::from_ne_bytes(*word)),
    )
}

/// More segments than there is room for would be a circle.
fn most_segments() -> Result<usize> {
    Ok(arena()?.chunks_used() * (CHUNK / SEGMENT))
}

/// Puts an item behind all others; false when there are as many as may be.
#[cold]
pub(super) fn append(
    view: &View,
    kind: u8,
    tag: u64,
    body: &[u8],
    letter: Option<&Draft>,
) -> Result<bool> {
    let body = &body[..body.len().min(INLINE)];
    let spill = &view.block.spill;
    let _guard = view.guard()?;
    if view.len() >= view.limit {
        return Ok(false);
    }
    if let Some(letter) = letter {
        letter.at(message::SPILL);
    }
    let size = (RECORD + body.len().next_multiple_of(8)) as u64;
    let segment = match Segment::behind(&spill.last)? {
        Some(last) if last.header.written.load(Acquire) <= SEGMENT as u64 - size => last,
        last => {
            let new = Segment::new(Link::to(view.offset)?)?;
            let link = Link::to(new.offset)?.0;
            match last {
                Some(last) => last.header.next.store(link, SeqCst),
                None => spill.first.store(link, SeqCst),
            }
            crash_point!("spill.append: segment linked");
            alloc::publish(new.offset, 0)?;
            spill.last.store(link, SeqCst);
            crash_point!("spill.append: last");
            new
        }
    };
    let at = segment.header.written.load(Acquire);
    let arena = arena()?;
    let record: &Record = arena.at(segment.offset + at)?;
    record.spot.store(0, Relaxed);
    crash_point!("spill.append: record without a spot");
    record
        .shape
        .store((kind as u64) << 32 | body.len() as u64, Relaxed);
    crash_point!("spill.append: shape");
    record.tag.store(tag, Relaxed);
    crash_point!("spill.append: tag");
    let bytes = arena.bytes(segment.offset + at + RECORD as u64, body.len())?;
    // SAFETY: inside the segment, behind all its records, and we hold the lock.
    unsafe { std::ptr::copy_nonoverlapping(body.as_ptr(), bytes, body.len()) };
    crash_point!("spill.append: bytes");
    segment.header.written.store(at + size, SeqCst);
    crash_point!("spill.append: part of the spill");
    if letter.is_some() {
        message::settle(link_in(body))?;
    }
    let spilled = &view.block.rare.spilled;
    spilled.store(spilled.load(Relaxed).saturating_add(1), SeqCst);
    crash_point!("spill.append: counted");
    Ok(true)
}

/// Moves items from the spill into the ring, as many as there is room for.
#[cold]
pub(super) fn refill(view: &View) -> Result<()> {
    let me = slot::me()?;
    let spill = &view.block.spill;
    let spilled = &view.block.rare.spilled;
    let _guard = view.guard()?;
    if view.tail() > view.head() {
        // Somebody was faster.
        return Ok(());
    }
    let head_seen = AtomicU64::new(view.head());
    let mut moved = 0;
    'segments: for _ in 0..most_segments()? {
        let Some(segment) = Segment::behind(&spill.first)? else {
            // Nothing there, whatever the number said.
            spilled.store(0, SeqCst);
            crash_point!("spill.refill: there is nothing");
            break;
        };
        let mut at = segment.header.read.load(Acquire);
        while let Some((record, bytes)) = segment.record(at)? {
            let cells = view.cells.len() as u64;
            let Some((position, cell)) = view.claim(me, cells, &head_seen) else {
                break 'segments;
            };
            if record.kind() & IN_BLOCK != 0 {
                message::moved(link_in(bytes), position)?;
            }
            record.spot.store(position.wrapping_add(1), SeqCst);
            crash_point!("spill.refill: where to");
            view.fill(
                position,
                cell,
                record.kind(),
                record.tag.load(Acquire),
                bytes,
            );
            at += record.size();
            segment.header.read.store(at, SeqCst);
            crash_point!("spill.refill: read");
            spilled.store(spilled.load(Relaxed).saturating_sub(1), SeqCst);
            crash_point!("spill.refill: counted");
            moved += 1;
        }
        retire(view.block, &segment)?;
    }
    if moved > 1 {
        view.block.items.wake(moved - 1);
    }
    Ok(())
}

/// Gives back the first segment, which is used up. The caller holds the lock.
fn retire(block: &RingBlock, segment: &Segment) -> Result<()> {
    if alloc::retire(segment.offset)? {
        unlink(block, segment);
        alloc::release(segment.offset)?;
    }
    Ok(())
}

/// Takes the first segment out of the list.
fn unlink(block: &RingBlock, segment: &Segment) {
    let next = segment.header.next.load(Acquire);
    block.spill.first.store(next, SeqCst);
    crash_point!("spill.unlink: first");
    if next == 0 {
        block.spill.last.store(0, SeqCst);
        crash_point!("spill.unlink: no last");
    }
}

/// Finishes what a dead holder of the lock began; repeatable. The caller holds the lock.
pub(super) fn repair(view: &View) -> Result<()> {
    let spill = &view.block.spill;
    let most = most_segments()?;
    // A segment that was on its way out.
    if let Some(first) = Segment::behind(&spill.first)? {
        let word = alloc::meta(first.offset)?.word.load(SeqCst);
        if alloc::state(word) == alloc::RETIRED {
            unlink(view.block, &first);
        }
    }
    // An item that was on its way into the ring.
    if let Some(first) = Segment::behind(&spill.first)?
        && let Some((record, _)) = first.record(first.header.read.load(Acquire))?
    {
        let spot = record.spot.load(SeqCst);
        if spot != 0 {
            let word = view.cell(spot - 1).word.load(SeqCst);
            let there = cell::lap(word) == view.lap(spot - 1) && cell::state(word) == PRODUCING;
            if there {
                record.spot.store(0, SeqCst);
                crash_point!("spill.repair: not moved");
            } else {
                let read = first.header.read.load(Acquire);
                first.header.read.store(read + record.size(), SeqCst);
                crash_point!("spill.repair: moved");
            }
        }
    }
    // What was on its way into the spill.
    let mut count = 0;
    let mut last = 0;
    let mut next = &spill.first;
    for _ in 0..most {
        let Some(segment) = Segment::behind(next)? else {
            break;
        };
        let word = alloc::meta(segment.offset)?.word.load(SeqCst);
        if alloc::state(word) == alloc::RESERVED {
            alloc::settle(segment.offset, word)?;
        }
        segment.for_each(|record, bytes| {
            count += 1;
            if record.kind() & IN_BLOCK != 0 {
                message::settle(link_in(bytes))?;
            }
            Ok(())
        })?;
        last = next.load(Acquire);
        next = &segment.header.next;
    }
    spill.last.store(last, SeqCst);
    crash_point!("spill.repair: last");
    view.block.rare.spilled.store(count, SeqCst);
    crash_point!("spill.repair: counted");
    // A segment that its maker put nothing into.
    if count == 0
        && let Some(first) = Segment::behind(&spill.first)?
    {
        retire(view.block, &first)?;
    }
    view.finish_burial();
    Ok(())
}

/// Gives back all segments of a ring that is taken apart. Repeatable.
pub(super) fn discard(view: &View) -> Result<()> {
    for _ in 0..most_segments()? {
        let Some(segment) = Segment::behind(&view.block.spill.first)? else {
            return Ok(());
        };
        object::destroy(segment.offset)?;
        let Some(again) = Segment::behind(&view.block.spill.first)? else {
            return Ok(());
        };
        if again.offset == segment.offset {
            // Being taken apart by somebody who died at it; the sweep does the rest.
            unlink(view.block, &segment);
        }
    }
    Err(Error::Corrupt {
        what: "the list of a spill",
    })
}

/// Lets go of what is in a segment that is taken apart, and of its place in the list.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    let Some(segment) = Segment::at(offset)? else {
        return Ok(());
    };
    let ring = Link(segment.header.ring.load(Acquire));
    // A ring that is taken apart may go before its segments do, when who began that died.
    let ring = ring.follow(Kind::Ring).ok().map(|(_, word)| (ring, word));
    let mut _guard: Option<Guard> = None;
    match ring {
        Some((ring, word)) if alloc::state(word) == alloc::LIVE => {
            // A used up one; the repair that comes with the lock takes it out of the list.
            _guard = Some(View::new(ring.offset())?.guard()?);
        }
        _ => segment.for_each(|record, bytes| match record.kind() & IN_BLOCK {
            0 => Ok(()),
            _ => message::throw_away(link_in(bytes)),
        })?,
    }
    if let Some((ring, _)) = ring {
        let view = View::new(ring.offset())?;
        if Link(view.block.spill.first.load(Acquire)) == Link::to(offset)? {
            unlink(view.block, &segment);
        }
    }
    Ok(())
}

/// Whether a segment of a dead owner is part of a spill. See [`crate::object`].
pub(super) fn is_reachable(offset: Offset) -> Result<bool> {
    let Some(segment) = Segment::at(offset)? else {
        return Ok(false);
    };
    let ring = Link(segment.header.ring.load(Acquire));
    let Ok((_, word)) = ring.follow(Kind::Ring) else {
        return Ok(false);
    };
    if alloc::state(word) != alloc::LIVE {
        return Ok(false);
    }
    // The repair that comes with the lock makes it LIVE when it is.
    let _guard = View::new(ring.offset())?.guard()?;
    let word = alloc::meta(offset)?.word.load(Acquire);
    Ok(alloc::state(word) == alloc::LIVE)
}

const _: () = assert!(size_of::<Cell>() == 128 && HEADER == 64);
