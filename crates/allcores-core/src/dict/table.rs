//! The table of a dict: its entries in the order of insertion, and an index to find them by.
//!
//! ```text
//! span 64 | shape 64 | slots: one word each | entries: hash, key, value
//! slot: upper half of the hash 32 | entry + 1, 32      0 is none
//! ```
//!
//! An entry whose value is 0 is gone. The entries are the truth; the index only says where
//! to look, and is made anew from them after a death. It is searched slot by slot from
//! where the hash points, and what is taken out leaves no mark: those behind it move up.
//! The layout is that of `CPython`'s dict, with whole words in the index.

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::Kind;

/// Most slots: an entry's number and half a hash share a word.
const MOST: usize = 1 << 31;
/// Fewest slots.
const FEWEST: usize = 8;

#[repr(C)]
struct Head {
    /// `entries used 32 | entries that are not gone 32`
    span: AtomicU64,
    /// The number of slots.
    shape: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Head {}

const HEAD: usize = size_of::<Head>();

/// One key and its value.
#[repr(C)]
pub struct Entry {
    pub hash: AtomicU64,
    pub key: AtomicU64,
    pub value: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Entry {}

const ENTRY: usize = size_of::<Entry>();

/// A table, checked.
pub struct Table {
    pub offset: Offset,
    span: &'static AtomicU64,
    slots: &'static [AtomicU64],
    entries: Offset,
    used: usize,
    live: usize,
}

/// How many entries go with so many slots: two thirds, so that searches stay short.
fn entries_for(slots: usize) -> usize {
    slots / 3 * 2 + slots % 3 * 2 / 3
}

impl Table {
    /// # Errors
    /// When there is none.
    #[inline]
    pub fn at(offset: Offset) -> Result<Table> {
        let corrupt = Err(Error::Corrupt {
            what: "a dict's table",
        });
        let arena = arena()?;
        if alloc::kind(alloc::meta(offset)?.word.load(Relaxed)) != Some(Kind::Table) {
            return corrupt;
        }
        let head: &Head = arena.at(offset)?;
        let slots = head.shape.load(Acquire) as usize;
        if !slots.is_power_of_two() || slots > MOST {
            return corrupt;
        }
        let cap = entries_for(slots);
        if HEAD + 8 * slots + ENTRY * cap > alloc::room(offset)? {
            return corrupt;
        }
        let span = head.span.load(Acquire);
        let (used, live) = ((span >> 32) as usize, span as u32 as usize);
        if used > cap {
            return corrupt;
        }
        Ok(Table {
            offset,
            span: &head.span,
            slots: arena.words(offset + HEAD as u64, slots)?,
            entries: offset + (HEAD + 8 * slots) as u64,
            used,
            live,
        })
    }

    /// Makes a table with room for `wanted` entries at least. It stays RESERVED.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn make(wanted: usize) -> Result<Table> {
        let slots = Table::slots_for(wanted);
        let bytes = HEAD + 8 * slots + ENTRY * entries_for(slots);
        if slots > MOST {
            return Err(Error::OutOfMemory { wanted: bytes });
        }
        let offset = alloc::reserve(Kind::Table, bytes, true)?;
        let head: &Head = arena()?.at(offset)?;
        head.shape.store(slots as u64, Release);
        crash_point!("dict.table: shape");
        Table::at(offset)
    }

    fn slots_for(wanted: usize) -> usize {
        let mut slots = FEWEST;
        while entries_for(slots) < wanted && slots <= MOST {
            slots *= 2;
        }
        slots
    }

    /// How many entries there is room for.
    pub fn cap(&self) -> usize {
        entries_for(self.slots.len())
    }

    /// Entries from this one on are empty.
    pub fn used(&self) -> usize {
        self.used
    }

    /// How many entries are not gone.
    pub fn live(&self) -> usize {
        self.live
    }

    /// # Errors
    /// When there is no such entry.
    #[inline]
    pub fn entry(&self, i: usize) -> Result<&'static Entry> {
        if i >= self.cap() {
            return Err(Error::Corrupt {
                what: "a dict's entry",
            });
        }
        arena()?.at(self.entries + (ENTRY * i) as u64)
    }

    /// The entries that were used, gone or not.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Result<&'static Entry>> {
        (0..self.used).map(|i| self.entry(i))
    }

    /// All words that may name blocks, also of entries that aren't used.
    pub fn words(&self) -> impl Iterator<Item = Result<&'static AtomicU64>> {
        (0..self.cap()).flat_map(|i| match self.entry(i) {
            Ok(entry) => [Ok(&entry.key), Ok(&entry.value)],
            Err(error) => [Err(error.clone()), Err(error)],
        })
    }

    /// Sets how many entries are used, and how many of them are not gone.
    pub fn set_span(&mut self, used: usize, live: usize) {
        (self.used, self.live) = (used, live);
        self.span.store((used as u64) << 32 | live as u64, Release);
        crash_point!("dict.table: span");
    }

    /// Calls `visit` for the entries that may have this hash, with their slots, until it
    /// returns something.
    #[inline]
    pub fn search<R>(
        &self,
        hash: u64,
        mut visit: impl FnMut(usize, usize, &'static Entry) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        for _ in 0..self.slots.len() {
            let slot = self.slots[at].load(Relaxed);
            if slot == 0 {
                break;
            }
            let i = (slot as u32 as usize).wrapping_sub(1);
            if slot >> 32 == hash >> 32 && i < self.used {
                let entry = self.entry(i)?;
                if entry.hash.load(Relaxed) == hash
                    && let Some(result) = visit(at, i, entry)?
                {
                    return Ok(Some(result));
                }
            }
            at = (at + 1) & mask;
        }
        Ok(None)
    }

    /// Puts entry `i` into the index.
    pub fn link(&self, hash: u64, i: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        // There are more slots than entries, so one is free.
        for _ in 0..self.slots.len() {
            if self.slots[at].load(Relaxed) == 0 {
                break;
            }
            at = (at + 1) & mask;
        }
        self.slots[at].store(hash >> 32 << 32 | (i as u64 + 1), Relaxed);
        crash_point!("dict.table: linked");
    }

    /// Takes what is in slot `hole` out of the index, and moves up what was put behind it
    /// because of it.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn unlink(&self, mut hole: usize) -> Result<()> {
        let mask = self.slots.len() - 1;
        let mut at = hole;
        for _ in 0..self.slots.len() {
            at = (at + 1) & mask;
            let slot = self.slots[at].load(Relaxed);
            if slot == 0 {
                break;
            }
            let entry = self.entry((slot as u32 as usize).wrapping_sub(1))?;
            let home = entry.hash.load(Relaxed) as usize & mask;
            // It may not move to before its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole].store(slot, Relaxed);
                hole = at;
            }
        }
        self.slots[hole].store(0, Relaxed);
        crash_point!("dict.table: unlinked");
        Ok(())
    }

    /// Makes the index anew, and counts.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn rebuild(&mut self) -> Result<()> {
        for slot in self.slots {
            slot.store(0, Relaxed);
        }
        let mut live = 0;
        for i in 0..self.used {
            let entry = self.entry(i)?;
            if entry.value.load(Relaxed) != 0 {
                live += 1;
                self.link(entry.hash.load(Relaxed), i);
            }
        }
        self.set_span(self.used, live);
        Ok(())
    }
}
