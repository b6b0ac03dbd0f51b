//! A cell of the ring and its word.
//!
//! ```text
//! word: lap 32 | owner 30 | state 2
//!
//! FREE(lap) ──▶ PRODUCING(lap, owner) ──▶ READY(lap) ──▶ CONSUMING(lap, owner) ──▶ FREE(lap+1)
//!                   │ owner died                ▲              │ owner died
//!                   └──▶ FREE(lap+1)            └──────────────┘
//! ```
//!
//! All other fields belong to the owner while there is one; they are valid in READY and
//! CONSUMING.

use crate::atomic::{AtomicU64, Ordering::SeqCst};

use crate::alloc;
use crate::arena::{Offset, Shared};
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::slot::{OWNER_MASK, Owner};

/// Nobody's; what it held is gone.
pub const FREE: u64 = 0;
/// The owner is writing into it.
pub const PRODUCING: u64 = 1;
/// Holds an item.
pub const READY: u64 = 2;
/// The owner is taking the item out.
pub const CONSUMING: u64 = 3;

/// Bytes that fit into a cell.
pub const INLINE: usize = 96;
/// Added to an item's kind when its bytes are in a message block.
pub const IN_BLOCK: u8 = 0x80;

/// See the head of this file. Two cache lines, as processors fetch them in pairs.
#[repr(C, align(64))]
pub struct Cell {
    /// See the head of this file.
    pub word: AtomicU64,
    /// `kind << 32 | length`
    pub shape: AtomicU64,
    /// The sender's number for the item.
    pub tag: AtomicU64,
    /// While CONSUMING under a lease: a [`Link`] to its block, else 0.
    pub lease: AtomicU64,
    /// The bytes, or a [`Link`] to the message block that has them.
    pub payload: [AtomicU64; INLINE / 8],
}
// SAFETY: atomics only.
unsafe impl Shared for Cell {}
const _: () = assert!(size_of::<Cell>() == 128);

/// Puts a cell's word together.
pub fn pack(lap: u32, owner: Owner, state: u64) -> u64 {
    (lap as u64) << 32 | (owner as u64) << 2 | state
}

/// Lap of a cell's word.
pub fn lap(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Owner in a cell's word.
pub fn owner(word: u64) -> Owner {
    (word >> 2) as u32 & OWNER_MASK
}

/// State in a cell's word.
pub fn state(word: u64) -> u64 {
    word & 3
}

/// A block in one use of its place, in one word: `use 24 | place 40, in units of 64 bytes`.
/// 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link(pub u64);

const USE: u32 = (1 << 24) - 1;

impl Link {
    /// Names the block at `offset` as it is now.
    ///
    /// # Errors
    /// When `offset` is no block.
    pub fn to(offset: Offset) -> Result<Link> {
        let word = alloc::meta(offset)?.word.load(SeqCst);
        let used = alloc::generation(word) & USE;
        Ok(Link((used as u64) << 40 | offset >> 6))
    }

    /// Where the block is.
    pub fn offset(self) -> Offset {
        (self.0 & ((1 << 40) - 1)) << 6
    }

    /// The block's words and their value, when it still is what was named.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone or of another kind.
    pub fn follow(self, kind: Kind) -> Result<(&'static alloc::Meta, u64)> {
        const GONE: Error = Error::Stale {
            what: "block of a queue",
        };
        if self.0 == 0 {
            return Err(GONE);
        }
        let meta = alloc::meta(self.offset()).map_err(|_| GONE)?;
        let word = meta.word.load(SeqCst);
        let fits = alloc::kind(word) == Some(kind)
            && alloc::state(word) != alloc::FREE
            && alloc::generation(word) & USE == (self.0 >> 40) as u32;
        if fits { Ok((meta, word)) } else { Err(GONE) }
    }
}
