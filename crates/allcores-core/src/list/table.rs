//! The table of a list's items.

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::item::Word;
use crate::object::Kind;

/// Most items that a list can have: start and length share a word.
const MOST: usize = u32::MAX as usize;

#[repr(C)]
struct Head {
    /// `start 32 | length 32`
    span: AtomicU64,
    cap: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Head {}

const HEAD: usize = size_of::<Head>();

/// An Items block, checked.
pub struct Table {
    pub offset: Offset,
    span: &'static AtomicU64,
    words: &'static [AtomicU64],
    start: usize,
    len: usize,
}

impl Table {
    pub fn at(offset: Offset) -> Result<Table> {
        let corrupt = Err(Error::Corrupt {
            what: "a list's table",
        });
        let arena = arena()?;
        if alloc::kind(alloc::meta(offset)?.word.load(Relaxed)) != Some(Kind::Items) {
            return corrupt;
        }
        let head: &Head = arena.at(offset)?;
        let cap = head.cap.load(Acquire) as usize;
        if cap > (alloc::room(offset)? - HEAD) / 8 {
            return corrupt;
        }
        let words = arena.words(offset + HEAD as u64, cap)?;
        let span = head.span.load(Acquire);
        let (start, len) = ((span >> 32) as usize, span as u32 as usize);
        if start + len > cap {
            return corrupt;
        }
        Ok(Table {
            offset,
            span: &head.span,
            words,
            start,
            len,
        })
    }

    /// Makes a table of these words with so much room before and behind them. It stays
    /// RESERVED.
    pub fn make(
        words: impl ExactSizeIterator<Item = Word>,
        front: usize,
        back: usize,
    ) -> Result<Table> {
        let len = words.len();
        let wanted = front + len + back;
        if wanted > MOST {
            return Err(Error::OutOfMemory {
                wanted: wanted.saturating_mul(8),
            });
        }
        let offset = alloc::reserve(Kind::Items, HEAD + 8 * wanted, true)?;
        let head: &Head = arena()?.at(offset)?;
        // All the room that there is, as far as it was zeroed.
        let cap = (HEAD + 8 * wanted)
            .next_multiple_of(64)
            .min(alloc::room(offset)?);
        let cap = if wanted < MOST / 2 {
            (cap - HEAD) / 8
        } else {
            wanted
        };
        head.cap.store(cap as u64, Relaxed);
        crash_point!("list.table: room");
        head.span.store((front as u64) << 32 | len as u64, Relaxed);
        crash_point!("list.table: span");
        let table = Table::at(offset)?;
        for (place, word) in table.items().iter().zip(words) {
            place.store(word, Relaxed);
        }
        crash_point!("list.table: words");
        Ok(table)
    }

    /// The words of the items.
    pub fn items(&self) -> &'static [AtomicU64] {
        &self.words[self.start..self.start + self.len]
    }

    /// All words.
    pub fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// The words before and behind the items.
    pub fn outside(&self) -> impl Iterator<Item = &'static AtomicU64> {
        let behind = &self.words[self.start + self.len..];
        self.words[..self.start].iter().chain(behind)
    }

    /// The free words before the items, the nearest one last.
    pub fn before(&self) -> &'static [AtomicU64] {
        &self.words[..self.start]
    }

    /// The free words behind the items, the nearest one first.
    pub fn behind(&self) -> &'static [AtomicU64] {
        &self.words[self.start + self.len..]
    }

    /// Makes the list `front` and `back` items longer there (shorter when negative).
    /// This commits.
    pub fn stretch(&mut self, front: isize, back: isize) {
        self.start = self.start.wrapping_add_signed(-front);
        self.len = self.len.wrapping_add_signed(front + back);
        self.span
            .store((self.start as u64) << 32 | self.len as u64, Release);
        crash_point!("list.stretch: span");
    }
}
