//! The states of chunks: which are free, and which make a block or hold small ones.
//!
//! ```text
//! HOLE ──commit──▶ EMPTY ──▶ SMALL (class) ──▶ CLOSING ──▶ EMPTY, or HOLE without its memory
//!    └───────────────┴──▶ HEAD TAIL TAIL ... ──────────────▶ EMPTY, or HOLE
//! ```
//!
//! They are changed under one lock, with a note of the change under way.

use std::sync::atomic::Ordering::*;

use super::warm::{in_use, may_grow, may_keep};
use super::{
    FREE, Meta, RESERVED, SIZES, chunk, free_word, generation, hint, in_steps, lower, meta_in,
    pack, per_chunk, state,
};
use crate::arena::{Arena, CHUNK, Offset};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::lock::Guard;
use crate::object::Kind;
use crate::slot::Owner;

/// Chunks committed at once when the arena grows by small pieces: system calls are
/// then rare. A guess: 1 MiB.
const GROW: usize = 16;

/// State of a chunk: no memory behind it.
pub(super) const HOLE: u64 = 0;
/// State of a chunk: free, with memory.
pub(super) const EMPTY: u64 = 1;
/// State of a chunk: blocks of the class in the upper bits.
pub(super) const SMALL: u64 = 2;
/// State of a chunk: the first of a large block.
pub(super) const HEAD: u64 = 3;
/// State of a chunk: a further one of a large block.
pub(super) const TAIL: u64 = 4;
/// State of a chunk of blocks of which none is in use, perhaps about to be free.
pub(super) const CLOSING: u64 = 5;

/// Takes the lock on the states of chunks, after finishing what a dead holder began.
pub(super) fn chunk_guard(arena: &Arena) -> Result<Guard<'static>> {
    let header = arena.header();
    Guard::new(&header.chunk_lock, || {
        let first = header.chunk_intent[0].load(Acquire) as usize;
        let n = header.chunk_intent[1].load(Acquire) as usize;
        if n != 0
            && first
                .checked_add(n)
                .is_some_and(|end| end <= arena.chunks_used())
        {
            // Whether the chunks were being taken or given back: nobody has them now.
            // Their memory may or may not be there, so let it go to be certain.
            arena.give_back(arena.data_at(first), n * CHUNK)?;
            crash_point!("alloc.repair: memory given back");
            let meta = meta_in(arena, first, 0)?;
            let word = meta.word.load(Relaxed);
            if state(word) != FREE {
                meta.word
                    .store(free_word(generation(word).wrapping_add(1)), Release);
                crash_point!("alloc.repair: block FREE");
            }
            for i in first..first + n {
                chunk(arena, i)?.state.store(HOLE, Release);
                crash_point!("alloc.repair: chunk a HOLE");
            }
            header.chunk_first_free.fetch_min(first as u64, Relaxed);
            crash_point!("alloc.repair: first free");
        }
        header.chunk_intent[1].store(0, Release);
        crash_point!("alloc.repair: no intent");
        // The count of warm chunks may be off; make it right. A chunk that was being
        // closed stays in use: its blocks were not all seen to be free.
        let mut warm = 0;
        for i in 0..arena.chunks_used() {
            let chunk = chunk(arena, i)?;
            let state = chunk.state.load(Relaxed);
            warm += u64::from(state == EMPTY);
            if state & 255 == CLOSING {
                chunk.state.store(state & !255 | SMALL, SeqCst);
                crash_point!("alloc.repair: chunk SMALL again");
            }
        }
        header.chunks_warm.store(warm, Relaxed);
        crash_point!("alloc.repair: warm ones counted");
        Ok(())
    })
}

/// As [`find_chunks`], and when there is no memory left, once more without what free chunks keep.
fn take_chunks(arena: &Arena, n: usize, bytes: usize, metas: usize) -> Result<(usize, bool)> {
    match find_chunks(arena, n, bytes, metas) {
        Err(Error::OutOfMemory { .. }) if arena.header().chunks_warm.load(Relaxed) > 0 => {
            give_back(arena, usize::MAX)?;
            find_chunks(arena, n, bytes, metas)
        }
        found => found,
    }
}

/// Finds `n` free chunks in a row and notes that they are about to change; with memory behind
/// all of them, and behind the words of `metas` blocks. Says whether their content is zero. The
/// caller holds the lock.
fn find_chunks(arena: &Arena, n: usize, bytes: usize, metas: usize) -> Result<(usize, bool)> {
    let header = arena.header();
    let used = arena.chunks_used();
    let mut first_free = None;
    let mut run = 0;
    let mut found = None;
    let mut i = header.chunk_first_free.load(Relaxed) as usize;
    while i < used {
        let chunk = chunk(arena, i)?;
        match chunk.state.load(Acquire) & 255 {
            HOLE | EMPTY => {
                first_free.get_or_insert(i);
                run += 1;
                i += 1;
                if run == n {
                    found = Some(i - n);
                    break;
                }
            }
            HEAD => {
                run = 0;
                i += (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks());
            }
            _ => {
                run = 0;
                i += 1;
            }
        }
    }
    // The free chunks at the end of what is used count as well.
    let start = found.unwrap_or(used - run.min(used));
    if start + n > arena.chunks() {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    let mut cold = 0;
    for i in start..(start + n).min(used) {
        cold += usize::from(chunk(arena, i)?.state.load(Acquire) == HOLE);
    }
    let fresh = (start + n).saturating_sub(used.max(start));
    if !may_grow(((cold + fresh) * CHUNK) as u64) {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    if start + n > used {
        // More than is wanted, if it can be had.
        let mut end = (start + n.max(GROW)).min(arena.chunks());
        let more = (end - used).saturating_sub(fresh) * CHUNK;
        if !may_grow(more as u64) || commit_new(arena, used, end).is_err() {
            end = start + n;
            commit_new(arena, used, end)?;
        }
        for i in used..end {
            chunk(arena, i)?.state.store(EMPTY, Release);
            crash_point!("alloc.chunks: new one EMPTY");
        }
        header.chunks_warm.fetch_add((end - used) as u64, Relaxed);
        crash_point!("alloc.chunks: new ones counted");
        header.chunks_used.store(end as u64, Release);
        crash_point!("alloc.chunks: new ones in use");
    }
    arena.commit(arena.metas_at(start), metas * size_of::<Meta>())?;
    crash_point!("alloc.chunks: words there");
    // Noted first: if we die between here and the end of the change, the next holder
    // of the lock undoes it.
    header.chunk_intent[0].store(start as u64, Release);
    crash_point!("alloc.chunks: intent, where");
    header.chunk_intent[1].store(n as u64, Release);
    crash_point!("alloc.chunks: intent");
    if cold > 0 {
        let committed = arena.commit(arena.data_at(start), n * CHUNK);
        crash_point!("alloc.chunks: cold ones have memory");
        if let Err(error) = committed {
            arena.give_back(arena.data_at(start), n * CHUNK)?;
            crash_point!("alloc.chunks: refused, given back");
            for i in start..start + n {
                if chunk(arena, i)?.state.swap(HOLE, Release) == EMPTY {
                    lower(&header.chunks_warm, 1);
                }
                crash_point!("alloc.chunks: refused, a HOLE");
            }
            header.chunk_intent[1].store(0, Release);
            crash_point!("alloc.chunks: refused, no intent");
            return Err(error);
        }
    }
    let mut warm = 0;
    for i in start..start + n {
        warm += u64::from(chunk(arena, i)?.state.load(Acquire) == EMPTY);
    }
    let left = header.chunks_warm.load(Relaxed).saturating_sub(warm);
    header.chunks_warm.store(left, Relaxed);
    crash_point!("alloc.chunks: warm ones counted");
    if first_free == Some(start) || first_free.is_none() {
        header.chunk_first_free.store((start + n) as u64, Relaxed);
        crash_point!("alloc.chunks: first free behind");
    } else if let Some(first) = first_free {
        header.chunk_first_free.store(first as u64, Relaxed);
        crash_point!("alloc.chunks: first free before");
    }
    Ok((start, warm == 0 || start >= used))
}

/// Gets memory for chunks on new ground, and before it for what tells of them.
fn commit_new(arena: &Arena, used: usize, end: usize) -> Result<()> {
    let from = arena.chunk_at(used);
    arena.commit(from, (arena.chunk_at(end) - from) as usize)?;
    crash_point!("alloc.chunks: descriptors there");
    arena.commit(arena.data_at(used), (end - used) * CHUNK)?;
    crash_point!("alloc.chunks: memory there");
    Ok(())
}

/// Makes a chunk into one of blocks of `class`.
pub(super) fn open_chunk(arena: &Arena, class: usize) -> Result<usize> {
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
pub(super) fn close_chunk(arena: &Arena, index: usize, class: usize) -> Result<()> {
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

/// Marks chunks free, with or without their memory. The caller holds the lock.
fn free_chunks(arena: &Arena, first: usize, n: usize) -> Result<()> {
    let header = arena.header();
    intend(arena, first, n);
    let keep = may_keep(header.chunks_warm.load(Relaxed).saturating_add(n as u64));
    if !keep {
        arena.give_back(arena.data_at(first), n * CHUNK)?;
        crash_point!("alloc.free: memory given back");
    }
    for i in first..first + n {
        let state = if keep { EMPTY } else { HOLE };
        chunk(arena, i)?.state.store(state, SeqCst);
        crash_point!("alloc.free: chunk free");
    }
    if keep {
        header.chunks_warm.fetch_add(n as u64, Relaxed);
        crash_point!("alloc.free: warm ones counted");
    }
    header.chunk_first_free.fetch_min(first as u64, Relaxed);
    crash_point!("alloc.free: first free");
    header.chunk_intent[1].store(0, Release);
    crash_point!("alloc.free: no intent");
    Ok(())
}

/// Notes that chunks are about to change, which the next holder of the lock undoes if we die.
fn intend(arena: &Arena, first: usize, n: usize) {
    let intent = &arena.header().chunk_intent;
    intent[0].store(first as u64, Release);
    crash_point!("alloc.intend: where");
    intent[1].store(n as u64, Release);
    crash_point!("alloc.intend: how many");
}

/// Takes the memory of free chunks away, of at most `most` from the end on. The caller holds
/// the lock.
pub(super) fn give_back(arena: &Arena, most: usize) -> Result<()> {
    let header = arena.header();
    let is_warm = |i| Ok::<_, Error>(chunk(arena, i)?.state.load(Acquire) == EMPTY);
    let mut left = most;
    // Those in front are the next to be used.
    let mut end = arena.chunks_used();
    while left > 0 && end > 0 {
        let mut first = end;
        while first > 0 && end - first < left && is_warm(first - 1)? {
            first -= 1;
        }
        if first == end {
            end -= 1;
            continue;
        }
        let n = end - first;
        intend(arena, first, n);
        arena.give_back(arena.data_at(first), n * CHUNK)?;
        crash_point!("alloc.give_back: memory given back");
        for i in first..end {
            chunk(arena, i)?.state.store(HOLE, SeqCst);
            crash_point!("alloc.give_back: a HOLE");
        }
        let warm = header.chunks_warm.load(Relaxed).saturating_sub(n as u64);
        header.chunks_warm.store(warm, Relaxed);
        crash_point!("alloc.give_back: warm ones counted");
        header.chunk_intent[1].store(0, Release);
        crash_point!("alloc.give_back: no intent");
        left -= n;
        end = first;
    }
    Ok(())
}

pub(super) fn reserve_large(
    arena: &Arena,
    me: Owner,
    kind: Kind,
    bytes: usize,
    zeroed: bool,
) -> Result<Offset> {
    let n = bytes.div_ceil(CHUNK);
    if n > arena.chunks() {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    let (first, clean) = {
        let _guard = chunk_guard(arena)?;
        let (first, clean) = take_chunks(arena, n, bytes, 1)?;
        let meta = meta_in(arena, first, 0)?;
        for i in first + 1..first + n {
            chunk(arena, i)?.state.store(TAIL, Release);
            crash_point!("alloc.large: TAIL");
        }
        let head = chunk(arena, first)?;
        head.len.store(n as u64, Release);
        crash_point!("alloc.large: length");
        let word = meta.word.load(Relaxed);
        meta.word
            .store(pack(generation(word), me, kind, RESERVED), Release);
        crash_point!("alloc.large: RESERVED");
        head.state.store(HEAD, Release);
        crash_point!("alloc.large: HEAD");
        arena.header().chunk_intent[1].store(0, Release);
        crash_point!("alloc.large: no intent");
        (first, clean)
    };
    let offset = arena.data_at(first);
    if zeroed && !clean {
        let start = arena.bytes(offset, bytes)?;
        // SAFETY: the block was just reserved by us, nobody else may touch it.
        unsafe { start.write_bytes(0, bytes) };
        crash_point!("alloc.large: zeroed");
    }
    Ok(offset)
}

pub(super) fn release_large(arena: &Arena, first: usize, meta: &Meta) -> Result<()> {
    let _guard = chunk_guard(arena)?;
    let n = chunk(arena, first)?.len.load(Acquire) as usize;
    if n == 0 || n > arena.chunks_used().saturating_sub(first) {
        return Err(Error::Corrupt {
            what: "a block's length",
        });
    }
    // Noted first: until then a crash leaves the block to the sweep, from then on to the
    // next holder of the lock. The word goes before the chunks do, or a crash in between
    // would leave a word that the chunk's next use takes for a block of its own.
    let header = arena.header();
    header.chunk_intent[0].store(first as u64, SeqCst);
    crash_point!("alloc.release_large: intent, where");
    header.chunk_intent[1].store(n as u64, SeqCst);
    crash_point!("alloc.release_large: intent");
    meta.refs.store(0, Relaxed);
    crash_point!("alloc.release_large: count 0");
    let next = generation(meta.word.load(Relaxed)).wrapping_add(1);
    meta.word.store(free_word(next), SeqCst);
    crash_point!("alloc.release_large: FREE");
    free_chunks(arena, first, n)?;
    in_use(arena);
    Ok(())
}
