//! Taking chunks into use and making them free again.
//!
//! Their states (place.rs) are changed under one lock, with a note of the change under way.

use std::sync::atomic::Ordering::*;

use super::classes::lower;
use super::place::{CLOSING, EMPTY, HEAD, HOLE, SMALL, chunk, meta_in};
use super::warm::{give_back, may_grow, may_keep};
use super::word::{FREE, Meta, free_word, generation, state};
use crate::arena::{Arena, CHUNK};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::lock::Guard;

/// Chunks committed at once when the arena grows by small pieces: system calls are
/// then rare. A guess: 1 MiB.
const GROW: usize = 16;

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
pub(super) fn take_chunks(
    arena: &Arena,
    n: usize,
    bytes: usize,
    metas: usize,
) -> Result<(usize, bool)> {
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

/// Marks chunks free, with or without their memory. The caller holds the lock.
pub(super) fn free_chunks(arena: &Arena, first: usize, n: usize) -> Result<()> {
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
pub(super) fn intend(arena: &Arena, first: usize, n: usize) {
    let intent = &arena.header().chunk_intent;
    intent[0].store(first as u64, Release);
    crash_point!("alloc.intend: where");
    intent[1].store(n as u64, Release);
    crash_point!("alloc.intend: how many");
}
