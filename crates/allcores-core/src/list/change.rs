//! What changes a list. Each of these happens as a whole or not at all.

use std::sync::atomic::Ordering::*;

use super::table::Table;
use super::{Inside, Slice, invalid, place};
use crate::alloc;
use crate::crash::crash_point;
use crate::error::Result;
use crate::item::{self, Found, Fresh, Word};

/// Tables of fewer words than this are not worth making smaller.
const SMALL: usize = 128;

impl Inside<'_> {
    /// After an error half-way everything is put right at once, before anybody else or
    /// the owner of what was to be linked looks at it.
    pub(super) fn settled<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.repair()?;
        }
        result
    }

    /// Replaces the item at `index`; false when there is none.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn set(&mut self, index: i64, fresh: Fresh) -> Result<bool> {
        let Some(table) = self.table()? else {
            return Ok(false);
        };
        let Some(at) = place(index, table.items().len()) else {
            return Ok(false);
        };
        let result = self.try_set(&table, at, fresh.word());
        self.settled(result)?;
        fresh.linked();
        Ok(true)
    }

    fn try_set(&mut self, table: &Table, at: usize, word: Word) -> Result<()> {
        let place = &table.items()[at];
        let old = item::block(place.load(Acquire));
        let new = item::block(word);
        if new != 0 {
            self.block.notes[0].store(new, Release);
            crash_point!("list.set: new one noted");
            alloc::publish(new, 0)?;
        }
        if old != 0 {
            self.block.notes[1].store(old, Release);
            crash_point!("list.set: old one noted");
        }
        self.touch();
        place.store(word, Release);
        crash_point!("list.set: set");
        if old != 0 {
            self.discard(old)?;
        }
        if old | new != 0 {
            self.clear_notes();
        }
        Ok(())
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn append(&mut self, fresh: Fresh) -> Result<()> {
        let mut table = self.with_room(0, 1)?;
        let result = (|| {
            table.behind()[0].store(fresh.word(), Release);
            crash_point!("list.append: named");
            if item::block(fresh.word()) != 0 {
                alloc::publish(fresh.word(), 0)?;
            }
            self.touch();
            table.stretch(0, 1);
            Ok(())
        })();
        self.settled(result)?;
        fresh.linked();
        Ok(())
    }

    /// Adds items at the end; false, and nothing is changed, when `expected` is no longer
    /// the list's version.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn extend(&mut self, fresh: Vec<Fresh>, expected: Option<u64>) -> Result<bool> {
        if expected.is_some_and(|version| version != self.version()) {
            return Ok(false);
        }
        if fresh.is_empty() {
            return Ok(true);
        }
        let mut table = self.with_room(0, fresh.len())?;
        let result = (|| {
            for (place, new) in table.behind().iter().zip(&fresh) {
                place.store(new.word(), Release);
                crash_point!("list.extend: named");
                if item::block(new.word()) != 0 {
                    alloc::publish(new.word(), 0)?;
                }
            }
            self.touch();
            table.stretch(0, fresh.len() as isize);
            Ok(())
        })();
        self.settled(result)?;
        fresh.into_iter().for_each(Fresh::linked);
        Ok(true)
    }

    /// Adds an item before the one at `index`, as Python does: out of range is an end.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn insert(&mut self, index: i64, fresh: Fresh) -> Result<()> {
        let len = self.len()?;
        let at = Slice::run(0, usize::MAX);
        let at = Slice {
            start: Some(index),
            ..at
        }
        .resolve(len)
        .start
        .min(len);
        if at == len {
            return self.append(fresh);
        }
        if at == 0 {
            let mut table = self.with_room(1, 0)?;
            let result = (|| {
                table.before()[table.before().len() - 1].store(fresh.word(), Release);
                crash_point!("list.insert: named");
                if item::block(fresh.word()) != 0 {
                    alloc::publish(fresh.word(), 0)?;
                }
                self.touch();
                table.stretch(1, 0);
                Ok(())
            })();
            self.settled(result)?;
            fresh.linked();
            return Ok(());
        }
        let mut words = self.words()?;
        words.insert(at, fresh.word());
        self.rewrite(&words, vec![fresh], &[], 0, len / 8)
    }

    /// Removes the item at `index` and returns it; `None` when there is none.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn pop(&mut self, index: i64) -> Result<Option<Found>> {
        let Some(found) = self.get(index)? else {
            return Ok(None);
        };
        let Some(at) = place(index, self.len()?) else {
            return Ok(None);
        };
        self.delete(Slice::run(at, 1))?;
        Ok(Some(found))
    }

    /// Removes the items that a slice selects.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn delete(&mut self, slice: Slice) -> Result<()> {
        let Some(mut table) = self.table()? else {
            return Ok(());
        };
        let items = table.items();
        let picked = slice.resolve(items.len());
        if picked.count == 0 {
            return Ok(());
        }
        let run = picked.step == 1 || picked.count == 1;
        let end = picked.start + picked.count;
        if run && (end == items.len() || picked.start == 0) {
            let less = -(picked.count as isize);
            self.touch();
            if end == items.len() {
                table.stretch(0, less);
            } else {
                table.stretch(less, 0);
            }
            let result = self.forget(&items[picked.start..end]);
            self.settled(result)?;
            self.shrink();
            return Ok(());
        }
        let mut words = self.words()?;
        let dropped: Vec<Word> = picked.indices().map(|at| words[at]).collect();
        if run {
            words.drain(picked.start..end);
        } else {
            for at in picked.indices() {
                words[at] = Word::MAX;
            }
            words.retain(|&word| word != Word::MAX);
        }
        self.rewrite(&words, Vec::new(), &dropped, 0, 0)
    }

    /// Takes the blocks of words apart that are no longer in the span.
    pub(super) fn forget(&mut self, words: &[std::sync::atomic::AtomicU64]) -> Result<()> {
        for word in words {
            let block = item::block(word.load(Acquire));
            if block != 0 {
                self.discard(block)?;
                word.store(0, Release);
                crash_point!("list.forget: forgotten");
            }
        }
        Ok(())
    }

    /// Puts items into the place of those that a slice selects.
    ///
    /// Returns how many it selects when that would have to be their number and is not; the
    /// list is as it was then.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn replace(&mut self, slice: Slice, fresh: Vec<Fresh>) -> Result<Option<usize>> {
        let mut words = self.words()?;
        let picked = slice.resolve(words.len());
        let dropped: Vec<Word> = picked.indices().map(|at| words[at]).collect();
        let new = fresh.iter().map(Fresh::word);
        if picked.step == 1 {
            if picked.start >= words.len() {
                self.extend(fresh, None)?;
                return Ok(None);
            }
            words.splice(picked.start..picked.start + picked.count, new);
        } else {
            if picked.count != fresh.len() {
                return Ok(Some(picked.count));
            }
            for (at, word) in picked.indices().zip(new) {
                words[at] = word;
            }
        }
        self.rewrite(&words, fresh, &dropped, 0, 0)?;
        Ok(None)
    }

    /// Removes all items.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn clear(&mut self) -> Result<()> {
        self.delete(Slice::default())
    }

    /// Puts the items into another order: what was at `order[i]` comes to `i`. False, and
    /// nothing is changed, when `expected` is no longer the list's version.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when that is no order of all items, or
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn reorder(&mut self, order: &[usize], expected: u64) -> Result<bool> {
        if expected != self.version() {
            return Ok(false);
        }
        let words = self.words()?;
        let mut seen = vec![false; words.len()];
        let fine = order.len() == words.len()
            && order
                .iter()
                .all(|&at| at < words.len() && !std::mem::replace(&mut seen[at], true));
        if !fine {
            return invalid("the new order of a list has to name each index once");
        }
        let words: Vec<Word> = order.iter().map(|&at| words[at]).collect();
        self.rewrite(&words, Vec::new(), &[], 0, 0)?;
        Ok(true)
    }

    /// Turns the order of the items round.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn reverse(&mut self) -> Result<()> {
        let mut words = self.words()?;
        words.reverse();
        self.rewrite(&words, Vec::new(), &[], 0, 0)
    }

    /// The table, with room for so many more items before and behind the others.
    pub(super) fn with_room(&mut self, front: usize, back: usize) -> Result<Table> {
        if let Some(table) = self.table()?
            && table.before().len() >= front
            && table.behind().len() >= back
        {
            return Ok(table);
        }
        let words = self.words()?;
        // Half as much again, so that adding one by one costs a constant time each.
        let more = |wanted: usize| {
            if wanted == 0 {
                0
            } else {
                wanted + words.len() / 2
            }
        };
        self.rewrite(&words, Vec::new(), &[], more(front), more(back))?;
        match self.table()? {
            Some(table) => Ok(table),
            None => invalid("a list lost its table"),
        }
    }

    /// Gives memory back when most of the table is free. It may fail: then it stays.
    fn shrink(&mut self) {
        let Ok(Some(table)) = self.table() else {
            return;
        };
        if table.words().len() >= SMALL
            && table.items().len() < table.words().len() / 4
            && let Ok(words) = self.words()
        {
            let _ = self.rewrite(&words, Vec::new(), &[], 0, words.len() / 2);
        }
    }

    /// Puts a new table of `words` into the place of the old one. `fresh` are the items
    /// among them that are new, `dropped` the words of the old one that are not among them.
    fn rewrite(
        &mut self,
        words: &[Word],
        fresh: Vec<Fresh>,
        dropped: &[Word],
        front: usize,
        back: usize,
    ) -> Result<()> {
        let table = Table::make(words.iter().copied(), front, back)?;
        let result = self.try_rewrite(&table, &fresh, dropped);
        let failed = result.is_err();
        let settled = self.settled(result);
        if failed && alloc::state(alloc::meta(table.offset)?.word.load(Relaxed)) == alloc::RESERVED
        {
            alloc::release(table.offset)?;
        }
        settled?;
        fresh.into_iter().for_each(Fresh::linked);
        Ok(())
    }

    fn try_rewrite(&mut self, table: &Table, fresh: &[Fresh], dropped: &[Word]) -> Result<()> {
        let old = self.block.root.load(Acquire);
        self.block.notes[1].store(old, Release);
        crash_point!("list.rewrite: old table noted");
        self.block.notes[0].store(table.offset, Release);
        crash_point!("list.rewrite: new table noted");
        for new in fresh {
            if item::block(new.word()) != 0 {
                alloc::publish(new.word(), 0)?;
            }
        }
        alloc::publish(table.offset, 0)?;
        self.touch();
        self.block.root.store(table.offset, Release);
        crash_point!("list.rewrite: root");
        for &word in dropped {
            let block = item::block(word);
            if block != 0 {
                self.discard(block)?;
            }
        }
        if old != 0 {
            self.discard(old)?;
        }
        self.clear_notes();
        Ok(())
    }
}
