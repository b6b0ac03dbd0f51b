//! A walk through everything there is: what the sweep visits, and what people count.

use std::sync::atomic::Ordering::*;

use super::classes::{CLASSES, SIZES, per_chunk};
use super::place::{CLOSING, EMPTY, HEAD, HOLE, SMALL, TAIL, chunk, meta_in, room};
use super::word::{FREE, Meta, state};
use crate::arena::{CHUNK, Offset, arena};
use crate::error::Result;

/// Calls `visit` for each block that is not free: place, words.
///
/// Blocks that others take or free meanwhile may or may not be seen.
///
/// # Errors
/// What `visit` says.
pub fn for_each(mut visit: impl FnMut(Offset, &'static Meta) -> Result<()>) -> Result<()> {
    let arena = arena()?;
    let used = arena.chunks_used();
    let mut i = 0;
    while i < used {
        let chunk = chunk(arena, i)?;
        let seen = chunk.state.load(Acquire);
        let class = ((seen >> 8) as usize).min(CLASSES - 1);
        match seen & 255 {
            // One that is being closed may yet turn out to be in use.
            SMALL | CLOSING => {
                for block in 0..per_chunk(class) {
                    let meta = meta_in(arena, i, block)?;
                    if state(meta.word.load(Acquire)) != FREE {
                        visit(arena.data_at(i) + (block * SIZES[class]) as u64, meta)?;
                    }
                }
                i += 1;
            }
            HEAD => {
                let n = (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks());
                let meta = meta_in(arena, i, 0)?;
                if state(meta.word.load(Acquire)) != FREE {
                    visit(arena.data_at(i), meta)?;
                }
                i += n;
            }
            _ => i += 1,
        }
    }
    Ok(())
}

/// How much there is of what.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Bytes that the reservation has room for.
    pub capacity: u64,
    /// Bytes with memory behind them, free or not.
    pub committed: u64,
    /// Blocks in use.
    pub live_blocks: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes of free chunks that keep their memory.
    pub warm_bytes: u64,
    /// Bytes of chunks that are neither free nor have a block. Changes that others are at
    /// show here, and those that a death cut short until the next one of this kind.
    pub lost_bytes: u64,
}

/// Counts; for people and tests, as it walks through everything.
///
/// # Errors
/// When shared memory makes no sense.
pub fn stats() -> Result<Stats> {
    let arena = arena()?;
    let mut stats = Stats {
        capacity: (arena.chunks() * CHUNK) as u64,
        ..Stats::default()
    };
    let used = arena.chunks_used();
    for i in 0..used {
        let state = chunk(arena, i)?.state.load(Acquire);
        stats.committed += u64::from(state != HOLE) * CHUNK as u64;
        stats.warm_bytes += u64::from(state == EMPTY) * CHUNK as u64;
    }
    let mut i = 0;
    while i < used {
        let chunk = chunk(arena, i)?;
        let (n, lost) = match chunk.state.load(Acquire) & 255 {
            HEAD => (
                (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks()),
                state(meta_in(arena, i, 0)?.word.load(Acquire)) == FREE,
            ),
            TAIL | CLOSING => (1, true),
            _ => (1, false),
        };
        stats.lost_bytes += u64::from(lost) * (n * CHUNK) as u64;
        i += n;
    }
    for_each(|offset, _| {
        stats.live_blocks += 1;
        // It may be gone since.
        stats.live_bytes += room(offset).unwrap_or(0) as u64;
        Ok(())
    })?;
    Ok(stats)
}
