//! Where the words of a block and those of its chunk lie, and what the state of a chunk is.
//!
//! ```text
//! HOLE ──commit──▶ EMPTY ──▶ SMALL (class) ──▶ CLOSING ──▶ EMPTY, or HOLE without its memory
//!    └───────────────┴──▶ HEAD TAIL TAIL ... ──────────────▶ EMPTY, or HOLE
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::classes::{CLASSES, SIZES};
use super::word::Meta;
use crate::arena::{Arena, CHUNK, Offset, Shared, arena};
use crate::error::{Error, Result};

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

/// What is known about a chunk.
#[repr(C)]
pub(super) struct Chunk {
    /// State in the low 8 bits, size class above.
    pub(super) state: AtomicU64,
    /// In a HEAD: the number of chunks.
    pub(super) len: AtomicU64,
    /// In a SMALL: about how many blocks are free.
    pub(super) free: AtomicU32,
    _pad: AtomicU32,
    _reserved: [AtomicU64; 5],
}
// SAFETY: atomics only.
unsafe impl Shared for Chunk {}
const _: () = assert!(size_of::<Chunk>() == crate::arena::CHUNK_DESCRIPTOR);
const _: () = assert!(size_of::<Meta>() == crate::arena::CHUNK_METAS / (CHUNK / SIZES[0]));

pub(super) fn chunk(arena: &Arena, index: usize) -> Result<&'static Chunk> {
    arena.at(arena.chunk_at(index))
}

pub(super) fn meta_in(arena: &Arena, chunk: usize, block: usize) -> Result<&'static Meta> {
    arena.at(arena.metas_at(chunk) + (block * size_of::<Meta>()) as u64)
}

/// The words of the block that begins at `offset`.
///
/// # Errors
/// [`Error::Corrupt`] when no block can begin there.
pub fn meta(offset: Offset) -> Result<&'static Meta> {
    let arena = arena()?;
    let (index, inside) = arena.chunk_of(offset)?;
    if index >= arena.chunks_used() {
        return Err(Error::Corrupt {
            what: "a block's place",
        });
    }
    let state = chunk(arena, index)?.state.load(Acquire);
    match state & 255 {
        SMALL | CLOSING if ((state >> 8) as usize) < CLASSES => {
            let size = SIZES[(state >> 8) as usize];
            if inside.is_multiple_of(size) && inside / size < CHUNK / size {
                return meta_in(arena, index, inside / size);
            }
        }
        HEAD if inside == 0 => return meta_in(arena, index, 0),
        _ => {}
    }
    Err(Error::Corrupt {
        what: "a block's place",
    })
}

/// Bytes that the block at `offset` has room for.
///
/// # Errors
/// [`Error::Corrupt`] when no block begins there.
pub fn room(offset: Offset) -> Result<usize> {
    meta(offset)?;
    let arena = arena()?;
    let (index, _) = arena.chunk_of(offset)?;
    let chunk = chunk(arena, index)?;
    let state = chunk.state.load(Acquire);
    Ok(match state & 255 {
        HEAD => {
            let len = chunk.len.load(Acquire) as usize;
            if len == 0 || len > arena.chunks_used().saturating_sub(index) {
                return Err(Error::Corrupt {
                    what: "a block's length",
                });
            }
            len * CHUNK
        }
        _ => SIZES[((state >> 8) as usize).min(CLASSES - 1)],
    })
}
