//! The words outside of a block, and what stands in them.
//!
//! ```text
//! generation 26 | owner 30 | kind 6 | state 2
//! ```
//!
//! Which state follows which is drawn at the head of mod.rs.

use std::sync::atomic::AtomicU64;

use crate::arena::Shared;
use crate::object::Kind;
use crate::slot::{OWNER_MASK, Owner};

/// State of a block: nobody's.
pub const FREE: u64 = 0;
/// State of a block: its owner is making it.
pub const RESERVED: u64 = 1;
/// State of a block: in use.
pub const LIVE: u64 = 2;
/// State of a block: its owner is taking it apart.
pub const RETIRED: u64 = 3;

pub(super) const KIND_SHIFT: u32 = 2;
pub(super) const OWNER_SHIFT: u32 = 8;
const GENERATION_SHIFT: u32 = 38;

/// The words outside of a block.
#[repr(C)]
pub struct Meta {
    /// See the head of this file.
    pub word: AtomicU64,
    /// Reference count and its trace, see [`crate::refs`].
    pub refs: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Meta {}

/// Generation in a block's word.
pub fn generation(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

/// State in a block's word.
pub fn state(word: u64) -> u64 {
    word & 3
}

/// Kind in a block's word; `None` when it makes no sense.
pub fn kind(word: u64) -> Option<Kind> {
    Kind::from_bits((word >> KIND_SHIFT) as u8 & 63)
}

/// Owner in a block's word.
pub fn owner(word: u64) -> Owner {
    (word >> OWNER_SHIFT) as u32 & OWNER_MASK
}

pub(super) fn pack(generation: u32, owner: Owner, kind: Kind, state: u64) -> u64 {
    (generation as u64) << GENERATION_SHIFT
        | (owner as u64) << OWNER_SHIFT
        | (kind as u64) << KIND_SHIFT
        | state
}

/// The word of a free place that was used `generation` times.
pub(super) fn free_word(generation: u32) -> u64 {
    (generation as u64) << GENERATION_SHIFT
}
