//! Large blocks: runs of whole chunks.

use std::sync::atomic::Ordering::*;

use super::chunks::{chunk_guard, free_chunks, take_chunks};
use super::place::{HEAD, TAIL, chunk, meta_in};
use super::warm::in_use;
use super::word::{Meta, RESERVED, free_word, generation, pack};
use crate::arena::{Arena, CHUNK, Offset};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::slot::Owner;

/// Reserves a run of chunks with room for `bytes`, for `me`.
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

/// Gives back the block whose first chunk is `first`.
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
