//! Small blocks, which come from chunks of one size class.
//!
//! Which chunk has room is only ever a hint; the words are the truth.

use std::sync::atomic::Ordering::*;

use super::chunks::{chunk_guard, free_chunks, take_chunks};
use super::classes::{
    CLASSES, LOOK, SIZES, hint, in_steps, is_edge, lower, per_chunk, spread, step,
};
use super::place::{CLOSING, Chunk, SMALL, chunk, meta_in};
use super::word::{FREE, Meta, RESERVED, free_word, generation, pack, state};
use crate::arena::{Arena, Offset, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::slot::Owner;

/// Reserves a block of a class for `me`.
pub(super) fn reserve_small(arena: &Arena, me: Owner, kind: Kind, class: usize) -> Result<Offset> {
    let look = LOOK[class].load(Relaxed);
    if look != u64::MAX
        && let Some(found) = take_from(
            arena,
            me,
            kind,
            class,
            (look >> 32) as usize,
            look as u32 as usize,
        )?
    {
        return Ok(found);
    }
    let hint = hint(arena, class).load(Relaxed) as usize;
    if (1..=arena.chunks_used()).contains(&hint)
        && let Some(found) = take_from(arena, me, kind, class, hint - 1, 0)?
    {
        return Ok(found);
    }
    // Worth a search when there are as many free blocks as new chunks would bring.
    let known = &arena.header().classes[class].free;
    let enough = in_steps(class, per_chunk(class)) * spread(arena);
    if known.load(Relaxed) as usize >= enough {
        if let Some(found) = search(arena, me, kind, class)? {
            return Ok(found);
        }
        // The hint was too high: whoever died between two counters left it so.
        known.store(0, Relaxed);
        crash_point!("alloc.reserve: class count put right");
    }
    // A new chunk may be emptied by others before we get a block, so try more than once.
    for _ in 0..64 {
        let index = match open_chunk(arena, class) {
            // Now the few that are free elsewhere are worth it, too.
            Err(full @ Error::OutOfMemory { .. }) => {
                return search(arena, me, kind, class)?.ok_or(full);
            }
            opened => opened?,
        };
        if let Some(found) = take_from(arena, me, kind, class, index, 0)? {
            return Ok(found);
        }
    }
    Err(Error::OutOfMemory {
        wanted: SIZES[class],
    })
}

/// Takes a free block of any chunk of the class that says it has one.
fn search(arena: &Arena, me: Owner, kind: Kind, class: usize) -> Result<Option<Offset>> {
    let scan = &arena.header().classes[class].scan;
    let used = arena.chunks_used();
    let start = scan.load(Relaxed) as usize % used.max(1);
    for step in 0..used {
        let index = (start + step) % used;
        let chunk = chunk(arena, index)?;
        if chunk.state.load(Acquire) == SMALL | (class as u64) << 8
            && chunk.free.load(Relaxed) > 0
            && let Some(found) = take_from(arena, me, kind, class, index, 0)?
        {
            scan.store(index as u64, Relaxed);
            crash_point!("alloc.reserve: where to scan");
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Takes a free block of one chunk, looking from block `from` on.
fn take_from(
    arena: &Arena,
    me: Owner,
    kind: Kind,
    class: usize,
    index: usize,
    from: usize,
) -> Result<Option<Offset>> {
    let chunk = chunk(arena, index)?;
    let open = SMALL | (class as u64) << 8;
    if chunk.state.load(Acquire) != open {
        return Ok(None);
    }
    let n = per_chunk(class);
    for i in 0..n {
        let block = (from + i) % n;
        let meta = meta_in(arena, index, block)?;
        let word = meta.word.load(Relaxed);
        if state(word) != FREE {
            continue;
        }
        let mine = pack(generation(word), me, kind, RESERVED);
        if meta
            .word
            .compare_exchange(word, mine, SeqCst, Relaxed)
            .is_err()
        {
            continue;
        }
        crash_point!("alloc.take: RESERVED");
        // Had the chunk been closed meanwhile, the block would no longer be one. The
        // closer stores the state, then reads the words; we did the reverse. One of us
        // sees the other.
        if chunk.state.load(SeqCst) != open {
            meta.word.store(free_word(generation(word)), SeqCst);
            crash_point!("alloc.take: put back, as the chunk is closed");
            return Ok(None);
        }
        let before = chunk.free.fetch_sub(1, Relaxed) as usize;
        crash_point!("alloc.take: chunk counts one less");
        if before == 0 {
            chunk.free.store(0, Relaxed);
            crash_point!("alloc.take: count of a chunk put right");
        } else if is_edge(class, before) {
            lower(&arena.header().classes[class].free, step(class) as u64);
            crash_point!("alloc.take: class counts less");
        }
        LOOK[class].store((index as u64) << 32 | ((block + 1) % n) as u64, Relaxed);
        return Ok(Some(arena.data_at(index) + (block * SIZES[class]) as u64));
    }
    // Full, whatever the hint says.
    chunk.free.store(0, Relaxed);
    crash_point!("alloc.take: chunk is full");
    Ok(None)
}

/// Gives back the block that begins `inside` bytes from the start of a chunk.
pub(super) fn release_small(
    arena: &Arena,
    chunk: &Chunk,
    meta: &Meta,
    class: usize,
    index: usize,
    inside: usize,
) -> Result<()> {
    let next = generation(meta.word.load(Relaxed)).wrapping_add(1);
    meta.refs.store(0, Relaxed);
    crash_point!("alloc.release: count 0");
    meta.word.store(free_word(next), Release);
    crash_point!("alloc.release: FREE");
    // A crash between here and there makes the hints too low by one, until the recovery has
    // counted anew. One that another is just setting right may be below zero for a moment.
    let free = chunk.free.fetch_add(1, Relaxed).wrapping_add(1) as usize;
    crash_point!("alloc.release: chunk counts one more");
    let all_free = &arena.header().classes[class].free;
    if is_edge(class, free) {
        all_free.fetch_add(step(class) as u64, Relaxed);
        crash_point!("alloc.release: class counts more");
    }
    // The block used last is the one in the processor's cache: take it first next time. But not
    // where others take theirs: there one looks when there is no room in the own chunk.
    let look = LOOK[class].load(Relaxed);
    let hint = hint(arena, class);
    if look >> 32 == index as u64 {
        LOOK[class].store(
            (index as u64) << 32 | (inside / SIZES[class]) as u64,
            Relaxed,
        );
    } else if look != u64::MAX && hint.load(Relaxed) != index as u64 + 1 {
        hint.store(index as u64 + 1, Relaxed);
        crash_point!("alloc.release: hint");
    }
    let n = per_chunk(class);
    if free >= n && all_free.load(Relaxed) as usize > (spread(arena) + 3) * n {
        close_chunk(arena, index, class)?;
    }
    Ok(())
}

/// Makes a chunk into one of blocks of `class`.
fn open_chunk(arena: &Arena, class: usize) -> Result<usize> {
    let header = arena.header();
    let _guard = chunk_guard(arena)?;
    let n = per_chunk(class);
    let (index, _) = take_chunks(arena, 1, SIZES[class], n)?;
    let chunk = chunk(arena, index)?;
    chunk.free.store(n as u32, Relaxed);
    crash_point!("alloc.open: chunk counts");
    // Before others can take blocks of it: repairing the intent after a crash would take
    // the chunk from under them. Without it the chunk is simply free.
    header.chunk_intent[1].store(0, SeqCst);
    crash_point!("alloc.open: no intent");
    chunk.state.store(SMALL | (class as u64) << 8, SeqCst);
    crash_point!("alloc.open: SMALL");
    let counted = in_steps(class, n) as u64;
    header.classes[class].free.fetch_add(counted, Relaxed);
    crash_point!("alloc.open: class counts");
    hint(arena, class).store(index as u64 + 1, Relaxed);
    crash_point!("alloc.open: hint");
    Ok(index)
}

/// Makes a chunk free again if none of its blocks is in use.
fn close_chunk(arena: &Arena, index: usize, class: usize) -> Result<()> {
    let header = arena.header();
    let _guard = chunk_guard(arena)?;
    let c = chunk(arena, index)?;
    let open = SMALL | (class as u64) << 8;
    let closing = CLOSING | (class as u64) << 8;
    if c.state
        .compare_exchange(open, closing, SeqCst, Relaxed)
        .is_err()
    {
        return Ok(());
    }
    crash_point!("alloc.close: CLOSING");
    let n = per_chunk(class);
    let mut free = 0;
    for block in 0..n {
        free += usize::from(state(meta_in(arena, index, block)?.word.load(SeqCst)) == FREE);
    }
    if free < n {
        c.free.store(free as u32, Relaxed);
        crash_point!("alloc.close: in use, count right");
        c.state.store(open, SeqCst);
        crash_point!("alloc.close: in use, SMALL again");
        return Ok(());
    }
    let all_free = &header.classes[class].free;
    let left = all_free
        .load(Relaxed)
        .saturating_sub(in_steps(class, n) as u64);
    all_free.store(left, Relaxed);
    crash_point!("alloc.close: class counts");
    free_chunks(arena, index, 1)
}

/// Puts right what a dead process left too low: the counts of free blocks, by which others
/// look for them. Repeatable.
///
/// They get too high when others take or free blocks meanwhile; whoever then looks in vain
/// puts them right. So they are only raised.
///
/// # Errors
/// When shared memory makes no sense.
pub fn recount() -> Result<()> {
    let arena = arena()?;
    let mut all = [0; CLASSES];
    for i in 0..arena.chunks_used() {
        let chunk = chunk(arena, i)?;
        let seen = chunk.state.load(Acquire);
        if seen & 255 != SMALL {
            continue;
        }
        let class = ((seen >> 8) as usize).min(CLASSES - 1);
        let mut free = 0;
        for block in 0..per_chunk(class) {
            let word = meta_in(arena, i, block)?.word.load(Acquire);
            free += u32::from(state(word) == FREE);
        }
        if chunk.free.load(Relaxed) < free {
            chunk.free.fetch_max(free, Relaxed);
            crash_point!("alloc.recount: chunk");
        }
        all[class] += in_steps(class, free as usize) as u64;
    }
    for (class, free) in arena.header().classes.iter().zip(all) {
        let count = &class.free;
        if count.load(Relaxed) < free {
            count.fetch_max(free, Relaxed);
            crash_point!("alloc.recount: class");
        }
    }
    Ok(())
}
