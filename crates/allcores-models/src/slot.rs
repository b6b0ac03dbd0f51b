//! Processes: each is a thread of the model, and whether it lives is known exactly, as it
//! is from the kernel's byte locks.

use crate::arena::{Offset, Shared, arena};
use crate::atomic::{AtomicU32, AtomicU64};
use crate::error::{Error, Result};
use crate::rt;

/// Number of slots, for the text of an error.
pub const SLOTS: usize = rt::MOST;
/// The bits of an owner in a word.
pub const OWNER_MASK: u32 = (1 << 30) - 1;
const BITS: u32 = 12;

/// Slot and generation.
pub type Owner = u32;

/// What the core's slots have that the protocols use.
#[repr(C)]
pub struct Slot {
    /// First block of the table of what this process holds.
    pub shares: AtomicU64,
    /// See the core.
    pub pending: AtomicU64,
    /// See the core.
    pub ref_seq: AtomicU32,
    /// See the core.
    pub ref_acked: AtomicU32,
    /// See the core.
    visiting: AtomicU64,
    _pad: [AtomicU64; 4],
}
// SAFETY: atomics only.
unsafe impl Shared for Slot {}

const FIRST: Offset = 64;

/// The owner that a process is; its slot is in its first use.
pub fn of(process: usize) -> Owner {
    1 << BITS | process as u32
}

/// This process.
///
/// # Errors
/// Never.
pub fn me() -> Result<Owner> {
    Ok(of(rt::process()))
}

/// This process.
pub fn joined() -> Owner {
    of(rt::process())
}

/// See the core.
pub fn visit_entry(owner: Owner) -> Offset {
    let inside = std::mem::offset_of!(Slot, visiting);
    FIRST + (index(owner) * size_of::<Slot>() + inside) as u64
}

/// The index of an owner's slot.
pub fn index(owner: Owner) -> usize {
    (owner & ((1 << BITS) - 1)) as usize
}

/// Whether a process lives.
pub fn is_alive(owner: Owner) -> bool {
    let known = (owner & OWNER_MASK) >> BITS == 1 && index(owner) < rt::MOST;
    known && rt::is_alive(index(owner))
}

/// The slot of an owner.
///
/// # Errors
/// When there is none.
pub fn slot(owner: Owner) -> Result<&'static Slot> {
    by_index(index(owner))
}

/// The slot with this index.
///
/// # Errors
/// When there is none.
pub fn by_index(index: usize) -> Result<&'static Slot> {
    if index >= rt::MOST {
        return Err(Error::Corrupt { what: "an owner" });
    }
    arena()?.at(FIRST + (index * size_of::<Slot>()) as u64)
}

/// The index of a slot.
///
/// # Errors
/// Never.
pub fn index_of(slot: &Slot) -> Result<usize> {
    let first: &Slot = by_index(0)?;
    Ok(((&raw const *slot).addr() - (&raw const *first).addr()) / size_of::<Slot>())
}

/// Gives back all that a dead process held, once, and one at a time; false when it lives
/// or another is at it.
///
/// # Errors
/// When shared memory makes no sense.
pub fn recover(owner: Owner) -> Result<bool> {
    if is_alive(owner) || !rt::begin_recovery(index(owner)) {
        return Ok(false);
    }
    crate::object::serve_survivors(owner)?;
    crate::object::sweep(owner, slot(owner)?)?;
    rt::end_recovery(index(owner));
    Ok(true)
}
