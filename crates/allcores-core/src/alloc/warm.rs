//! How much memory the arena takes, and how much of what is free it keeps.
//!
//! Fresh pages cost far more than warm ones (measured here: 1.5 against 10.5 GB/s), so free
//! chunks keep their memory for the next use: some of it always, as much as there is room for
//! during the seconds after a large block went, and no longer.

use std::sync::atomic::{AtomicU64, Ordering::*};

use super::chunks::{chunk_guard, intend};
use super::place::{EMPTY, HOLE, chunk};
use crate::arena::{Arena, CHUNK, existing};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::os;

/// Free chunks that keep their memory for good. A guess: 64 MiB.
const WARM: u64 = 1024;
/// How long the others keep it after the last one became free, in nanoseconds. A guess: a
/// program that sends large data in a row does so more often, though it has to make it in
/// between, which took 0.6 s for 1 GB here, and 9 s in memory that this machine's host had lent
/// to others.
const COOLING_NS: u64 = 5_000_000_000;
/// Chunks that lose it at a time: 64 MiB, about 10 ms, in which nobody else gets a large block.
const STEP: u64 = 1024;
/// The part of the memory left that free chunks may keep. A guess.
const KEPT_PART: u64 = 4;
/// What growth leaves to the rest of the program, which may want to fork a child. A guess.
const SPARE: u64 = 8 << 20;
/// The part of the memory left that a process may take before it asks again. A guess: others
/// take from the same.
const ALLOWED: u64 = 16;

/// What this process may grow by before it asks again, in bytes.
static ALLOWANCE: AtomicU64 = AtomicU64::new(0);
/// How much free memory this process leaves warm, in bytes: less where memory is short.
static KEPT: AtomicU64 = AtomicU64::new(WARM * CHUNK as u64);

/// Whether there is memory for `bytes` more. The kernel commits shared memory as long as it
/// can, and then kills somebody, in control groups as well: so it is asked what is left.
/// That takes a while, so an answer allows some growth without a further question.
pub(super) fn may_grow(bytes: u64) -> bool {
    if ALLOWANCE
        .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes))
        .is_ok()
    {
        return true;
    }
    let left = os::memory().1.saturating_sub(bytes);
    let spare = left.saturating_sub(SPARE);
    ALLOWANCE.store(spare / ALLOWED, Relaxed);
    KEPT.store(spare / KEPT_PART, Relaxed);
    left >= SPARE
}

/// Whether so many free chunks may keep their memory.
pub(super) fn may_keep(chunks: u64) -> bool {
    chunks.saturating_mul(CHUNK as u64) <= KEPT.load(Relaxed)
}

/// Large blocks come and go: what is free stays warm for a while from now on.
pub(super) fn in_use(arena: &Arena) {
    arena.header().warm_at.store(os::monotonic(), Relaxed);
    crash_point!("alloc.warm: when");
}

/// Gives memory back that has been free for a while: a step of it, for who has time.
///
/// # Errors
/// When shared memory makes no sense.
pub fn cool() -> Result<()> {
    let Some(arena) = existing() else {
        return Ok(());
    };
    let header = arena.header();
    let (last, now) = (header.warm_at.load(Relaxed), os::monotonic());
    // A clock of another kind, or nonsense, is as good as long ago.
    let recent = now.checked_sub(last).is_some_and(|ago| ago < COOLING_NS);
    if recent || header.chunks_warm.load(Relaxed) <= WARM {
        return Ok(());
    }
    let _guard = chunk_guard(arena)?;
    let spare = header.chunks_warm.load(Relaxed).saturating_sub(WARM);
    give_back(arena, spare.min(STEP) as usize)
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
