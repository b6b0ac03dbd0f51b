//! A few blocks of memory in the place of the arena.

use crate::atomic::{AtomicU32, AtomicU64};
use crate::error::{Error, Result};
use crate::rt;

/// A place in the arena.
pub type Offset = u64;

/// Types that may lie in shared memory.
///
/// # Safety
/// As in the core.
pub unsafe trait Shared {}
// SAFETY: atomics.
unsafe impl Shared for AtomicU32 {}
// SAFETY: atomics.
unsafe impl Shared for AtomicU64 {}

/// Where the blocks begin.
pub const BLOCKS_AT: usize = 4096;
/// Bytes of each: a segment of a spill, and some.
pub const BLOCK: usize = (32 << 10) + 64;
/// How many there are.
pub const BLOCKS: usize = 6;
/// Bytes of it all.
pub const BYTES: usize = BLOCKS_AT + BLOCKS * BLOCK;
/// For the bounds of loops.
pub const CHUNK: usize = 64 << 10;
/// Words for a model's own use begin here.
pub const OWN: Offset = 2048;

/// Stands for the core's.
pub struct Arena;

/// The arena of the run.
///
/// # Errors
/// Never.
pub fn arena() -> Result<&'static Arena> {
    Ok(&Arena)
}

impl Arena {
    /// The `T` at `offset`.
    ///
    /// # Errors
    /// When it would lie outside.
    pub fn at<T: Shared>(&self, offset: Offset) -> Result<&'static T> {
        let inside = offset != 0
            && (offset as usize).is_multiple_of(align_of::<T>())
            && offset as usize <= BYTES - size_of::<T>().min(BYTES);
        if !inside {
            return Err(Error::Corrupt { what: "an offset" });
        }
        // SAFETY: inside of the memory, which is never freed; atomics only.
        Ok(unsafe { &*rt::base().add(offset as usize).cast::<T>() })
    }

    /// Address of `len` bytes at `offset`.
    ///
    /// # Errors
    /// When they would lie outside.
    pub fn bytes(&self, offset: Offset, len: usize) -> Result<*mut u8> {
        if offset == 0 || offset as usize + len > BYTES {
            return Err(Error::Corrupt { what: "a range" });
        }
        // SAFETY: inside of the memory.
        Ok(unsafe { rt::base().add(offset as usize) })
    }

    /// For the bounds of loops.
    pub fn chunks_used(&self) -> usize {
        BLOCKS
    }
}
