//! Blocks of shared memory, each with a word outside of it that says whose it is.
//!
//! ```text
//! FREE ──reserve──▶ RESERVED(owner) ──publish──▶ LIVE ──retire──▶ RETIRED(owner) ──▶ FREE
//!                        └────────────release───────────────────────────────────────▶ FREE
//! ```
//!
//! A block that a process has reserved or retired names that process, so that what
//! the dead leave half made or half gone is found by looking at the words; see
//! [`crate::object::sweep`]. Generations count the uses of a place: a handle to an
//! earlier use does not match. The state table follows iceoryx2's index sets.
//!
//! This file has the life of a block. From the top down, what it is made of:
//!
//! - small.rs: small blocks, which come from chunks of one size class
//! - large.rs: larger ones, which are runs of whole chunks
//! - chunks.rs: which chunks are free, and the lock under which that changes
//! - warm.rs: how long what is free keeps its memory
//! - walk.rs: a look at every block, for the sweep and for people
//! - place.rs, word.rs, classes.rs: the words of chunks, those of blocks, and the size classes

use std::sync::atomic::Ordering::*;

use crate::arena::{Offset, arena};
use crate::crash::crash_point;
use crate::error::Result;
use crate::object::Kind;
use crate::slot::{self, OWNER_MASK, Owner};

mod chunks;
mod classes;
mod large;
mod place;
mod small;
mod walk;
mod warm;
mod word;

pub(crate) use classes::forget_places;
pub use classes::{CLASSES, GROUPS};
use classes::{SIZES, class_for};
use large::{release_large, reserve_large};
use place::{HEAD, chunk};
pub use place::{meta, room};
pub use small::recount;
use small::{release_small, reserve_small};
pub use walk::{Stats, for_each, stats};
pub use warm::cool;
pub use word::{FREE, LIVE, Meta, RESERVED, RETIRED, generation, kind, owner, state};
use word::{KIND_SHIFT, OWNER_SHIFT};

/// Reserves a block of at least `bytes` for this process; its content is arbitrary
/// unless `zeroed`.
///
/// # Errors
/// [`crate::Error::OutOfMemory`], or when this process cannot take part in the arena.
pub fn reserve(kind: Kind, bytes: usize, zeroed: bool) -> Result<Offset> {
    let me = slot::me()?;
    let arena = arena()?;
    // Not of its kind before it is clean: should we die before, what an earlier user left
    // in the place must not be taken for what a block of that kind owns.
    let first = if zeroed { Kind::Raw } else { kind };
    let offset = match class_for(bytes) {
        Some(class) => {
            let offset = reserve_small(arena, me, first, class)?;
            if zeroed {
                let start = arena.bytes(offset, SIZES[class])?;
                // SAFETY: the block was just reserved by us, nobody else may touch it.
                unsafe { start.write_bytes(0, bytes.next_multiple_of(64).min(SIZES[class])) };
                crash_point!("alloc.reserve: zeroed");
            }
            offset
        }
        None => reserve_large(arena, me, first, bytes, zeroed)?,
    };
    if zeroed {
        turn_into(offset, kind)?;
    }
    Ok(offset)
}

/// Reserves a block that has its pages for itself; its content is arbitrary.
///
/// # Errors
/// As of [`reserve`].
pub fn reserve_whole(kind: Kind, bytes: usize) -> Result<Offset> {
    let me = slot::me()?;
    reserve_large(arena()?, me, kind, bytes.max(1), false)
}

/// Makes a block that this process has reserved one of `kind`: from here on its content
/// says what it owns.
///
/// # Errors
/// When `offset` is no block.
pub fn turn_into(offset: Offset, kind: Kind) -> Result<()> {
    let meta = meta(offset)?;
    let word = meta.word.load(Relaxed) & !(63 << KIND_SHIFT);
    meta.word.store(word | (kind as u64) << KIND_SHIFT, Release);
    crash_point!("alloc.turn_into: of its kind");
    Ok(())
}

/// Ends the making of a block: it is in use now, with `refs` references to it.
///
/// # Errors
/// When `offset` is no block.
pub fn publish(offset: Offset, refs: u32) -> Result<()> {
    let meta = meta(offset)?;
    meta.refs.store(refs as u64, Relaxed);
    crash_point!("alloc.publish: counted");
    let word = meta.word.load(Relaxed);
    meta.word.store(
        word & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | LIVE,
        Release,
    );
    crash_point!("alloc.publish: LIVE");
    Ok(())
}

/// Hands a block that this process has reserved to another owner.
///
/// # Errors
/// When `offset` is no block.
pub fn give_to(offset: Offset, owner: Owner) -> Result<()> {
    let meta = meta(offset)?;
    let word = meta.word.load(Relaxed) & !((OWNER_MASK as u64) << OWNER_SHIFT);
    meta.word
        .store(word | (owner as u64) << OWNER_SHIFT, Release);
    crash_point!("alloc.give_to: given");
    Ok(())
}

/// Makes a block RESERVED by this process, whoever has it, if its word still is `seen`.
///
/// # Errors
/// When `offset` is no block.
pub fn adopt(offset: Offset, seen: u64) -> Result<bool> {
    let me = slot::me()?;
    let mine =
        seen & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | (me as u64) << OWNER_SHIFT | RESERVED;
    let adopted = meta(offset)?
        .word
        .compare_exchange(seen, mine, AcqRel, Relaxed)
        .is_ok();
    crash_point!("alloc.adopt: RESERVED by us");
    Ok(adopted)
}

/// Makes a block LIVE that is not counted, if its word still is `seen`.
///
/// # Errors
/// When `offset` is no block.
pub fn settle(offset: Offset, seen: u64) -> Result<bool> {
    let live = seen & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | LIVE;
    let settled = meta(offset)?
        .word
        .compare_exchange(seen, live, AcqRel, Relaxed)
        .is_ok();
    crash_point!("alloc.settle: LIVE");
    Ok(settled)
}

/// Begins the end of a block: LIVE becomes RETIRED by this process. False when the block
/// is not `LIVE`, so that of several only one goes on.
///
/// # Errors
/// When `offset` is no block.
pub fn retire(offset: Offset) -> Result<bool> {
    retire_for(offset, slot::me()?)
}

/// Like [`retire`], in the name of the process that takes apart what this block is a part
/// of, so that both are swept together.
///
/// # Errors
/// When `offset` is no block.
pub fn retire_for(offset: Offset, owner: Owner) -> Result<bool> {
    let word = meta(offset)?.word.load(Acquire);
    retire_seen(offset, owner, word)
}

/// Like [`retire_for`], if the block's word is still the one that was read, so that it is the
/// same block: others may have given it back since, and its place may be another's by now.
///
/// # Errors
/// When `offset` is no block.
pub fn retire_seen(offset: Offset, owner: Owner, word: u64) -> Result<bool> {
    let meta = meta(offset)?;
    let retired =
        word & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | (owner as u64) << OWNER_SHIFT | RETIRED;
    let begun = state(word) == LIVE
        && meta
            .word
            .compare_exchange(word, retired, AcqRel, Relaxed)
            .is_ok();
    if begun {
        crash_point!("alloc.retire: RETIRED");
    }
    Ok(begun)
}

/// Gives back a block that this process has reserved or retired.
///
/// # Errors
/// When `offset` is no block.
pub fn release(offset: Offset) -> Result<()> {
    let arena = arena()?;
    let meta = meta(offset)?;
    let (index, inside) = arena.chunk_of(offset)?;
    let chunk = chunk(arena, index)?;
    let chunk_state = chunk.state.load(Acquire);
    if chunk_state & 255 == HEAD {
        return release_large(arena, index, meta);
    }
    let class = ((chunk_state >> 8) as usize).min(CLASSES - 1);
    release_small(arena, chunk, meta, class, index, inside)
}
