//! The words of blocks, without chunks and free lists: what the other protocols see.

use crate::arena::{BLOCK, BLOCKS, BLOCKS_AT, Offset, Shared, arena};
use crate::atomic::{AtomicU64, Ordering::*};
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::slot::{self, OWNER_MASK, Owner};

/// See the core.
pub const FREE: u64 = 0;
/// See the core.
pub const RESERVED: u64 = 1;
/// See the core.
pub const LIVE: u64 = 2;
/// See the core.
pub const RETIRED: u64 = 3;

/// The words outside of a block.
#[repr(C)]
pub struct Meta {
    /// `generation 26 | owner 30 | kind 6 | state 2`
    pub word: AtomicU64,
    /// See refs.rs.
    pub refs: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Meta {}

const METAS_AT: usize = 1024;
const OWNER: u64 = (OWNER_MASK as u64) << 8;

/// See the core.
pub fn generation(word: u64) -> u32 {
    (word >> 38) as u32
}
/// See the core.
pub fn state(word: u64) -> u64 {
    word & 3
}
/// See the core.
pub fn kind(word: u64) -> Option<Kind> {
    Kind::from_bits((word >> 2) as u8 & 63)
}
/// See the core.
pub fn owner(word: u64) -> Owner {
    (word >> 8) as u32 & OWNER_MASK
}

fn with(word: u64, owner: Owner, state: u64) -> u64 {
    word & !3 & !OWNER | (owner as u64) << 8 | state
}

/// The words of the block at `offset`.
///
/// # Errors
/// When there is none.
pub fn meta(offset: Offset) -> Result<&'static Meta> {
    let inside = (offset as usize).wrapping_sub(BLOCKS_AT);
    let index = inside / BLOCK;
    if !inside.is_multiple_of(BLOCK) || index >= BLOCKS {
        return Err(Error::Corrupt { what: "a block" });
    }
    arena()?.at((METAS_AT + index * size_of::<Meta>()) as u64)
}

/// Bytes of a block.
///
/// # Errors
/// When there is none.
pub fn room(offset: Offset) -> Result<usize> {
    meta(offset).map(|_| BLOCK)
}

/// Reserves a block: the core's claim of a free word, without the search for one.
///
/// # Errors
/// When all are taken.
pub fn reserve(kind: Kind, bytes: usize, _zeroed: bool) -> Result<Offset> {
    let me = slot::me()?;
    for i in 0..BLOCKS {
        let offset = (BLOCKS_AT + i * BLOCK) as u64;
        let word = &meta(offset)?.word;
        let seen = word.load(Acquire);
        let mine = with(seen & !(63 << 2), me, RESERVED) | (kind as u64) << 2;
        if state(seen) == FREE && word.compare_exchange(seen, mine, AcqRel, Relaxed).is_ok() {
            return Ok(offset);
        }
    }
    Err(Error::OutOfMemory { wanted: bytes })
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn publish(offset: Offset, refs: u32) -> Result<()> {
    let meta = meta(offset)?;
    meta.refs.store(refs as u64, Relaxed);
    let word = meta.word.load(Relaxed);
    meta.word.store(with(word, 0, LIVE), Release);
    Ok(())
}

fn change(offset: Offset, seen: u64, next: u64) -> Result<bool> {
    let word = &meta(offset)?.word;
    Ok(word.compare_exchange(seen, next, AcqRel, Relaxed).is_ok())
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn adopt(offset: Offset, seen: u64) -> Result<bool> {
    change(offset, seen, with(seen, slot::me()?, RESERVED))
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn settle(offset: Offset, seen: u64) -> Result<bool> {
    change(offset, seen, with(seen, 0, LIVE))
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn retire(offset: Offset) -> Result<bool> {
    let word = meta(offset)?.word.load(Acquire);
    retire_seen(offset, slot::me()?, word)
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn retire_seen(offset: Offset, owner: Owner, word: u64) -> Result<bool> {
    Ok(state(word) == LIVE && change(offset, word, with(word, owner, RETIRED))?)
}

/// See the core.
///
/// # Errors
/// When there is no such block.
pub fn release(offset: Offset) -> Result<()> {
    let meta = meta(offset)?;
    let next = generation(meta.word.load(Relaxed)).wrapping_add(1);
    meta.refs.store(0, Relaxed);
    meta.word.store((next as u64) << 38, Release);
    Ok(())
}

/// See the core.
///
/// # Errors
/// What `visit` says.
pub fn for_each(mut visit: impl FnMut(Offset, &'static Meta) -> Result<()>) -> Result<()> {
    for i in 0..BLOCKS {
        let offset = (BLOCKS_AT + i * BLOCK) as u64;
        visit(offset, meta(offset)?)?;
    }
    Ok(())
}
