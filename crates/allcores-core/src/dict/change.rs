//! What changes a dict. Each of these happens as a whole or not at all.

use std::sync::atomic::Ordering::*;

use super::probe::{self, Probe, Token};
use super::table::{Entry, Table};
use super::{Inside, Place, Seen};
use crate::alloc;
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::item::{self, Found, Fresh, Word};

/// Tables with room for fewer entries than this are not worth making smaller.
const SMALL: usize = 64;

/// What is to be put in. What was linked is taken out of this.
#[derive(Debug)]
pub struct New {
    /// The key. Needed only when it is not there yet, so it may be left out at first when
    /// making it costs something.
    pub key: Option<Fresh>,
    /// The value.
    pub value: Option<Fresh>,
}

/// When to put something in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// In any case.
    Always,
    /// When the key is not there.
    IfMissing,
    /// When the value is still this one, or the key still not there.
    IfStill(Option<Token>),
}

/// What came of putting something in.
#[derive(Debug)]
pub enum Put {
    /// It is in.
    Stored,
    /// It is not, as the key was there with this value ([`How::IfMissing`]).
    Kept(Found),
    /// It is not, as there is another value by now ([`How::IfStill`]).
    Changed,
    /// It is not, as the key is not there and was left out.
    KeyWanted,
}

/// What is added to a value.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
}

/// What came of adding.
#[derive(Debug)]
pub enum Sum {
    /// The new value.
    Is(Number),
    /// Nothing was done: the numbers are beyond what is added here.
    Beyond,
    /// Nothing was done, as the key is not there and was left out.
    KeyWanted,
}

impl Number {
    /// `None` when the result is not for here.
    fn plus(self, other: Number) -> Option<Number> {
        Some(match (self, other) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.checked_add(b)?),
            (Number::Int(a), Number::Float(b)) => Number::Float(a as f64 + b),
            (Number::Float(a), Number::Int(b)) => Number::Float(a + b as f64),
            (Number::Float(a), Number::Float(b)) => Number::Float(a + b),
        })
    }

    fn fresh(self) -> Result<Option<Fresh>> {
        match self {
            Number::Int(value) => Ok(Fresh::int(value)),
            Number::Float(value) => Fresh::float(value).map(Some),
        }
    }
}

fn publish(word: Word) -> Result<()> {
    match item::block(word) {
        0 => Ok(()),
        block => alloc::publish(block, 0),
    }
}

impl Inside<'_> {
    /// After an error half-way everything is put right at once, before anybody else or
    /// the owner of what was to be linked looks at it.
    fn settled<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.repair()?;
        }
        result
    }

    fn place(&self, probe: &Probe) -> Result<Place> {
        match self.table()? {
            Some(table) => self.locate(&table, probe),
            None => Ok(Place::Nowhere),
        }
    }

    /// Puts a key and its value in. A key that is there stays, and gets the value.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; the dict is as it was then.
    pub fn put(&mut self, probe: &Probe, new: &mut New, how: How) -> Result<Seen<Put>> {
        let put = match self.place(probe)? {
            Place::Undecided(keys) => return Ok(Seen::Undecided(keys)),
            Place::Nowhere => match how {
                How::IfStill(Some(_)) => Put::Changed,
                _ => self.insert(probe, new)?,
            },
            Place::Here { entry, .. } => {
                let word = entry.value.load(Acquire);
                match how {
                    How::IfMissing => Put::Kept(item::read(word)?),
                    How::IfStill(token) if token != Some(probe::token(word)?) => Put::Changed,
                    _ => {
                        if let Some(value) = new.value.take() {
                            self.exchange(entry, value)?;
                        }
                        Put::Stored
                    }
                }
            }
        };
        Ok(Seen::Known(put))
    }

    fn exchange(&mut self, entry: &Entry, value: Fresh) -> Result<()> {
        let result = self.try_exchange(entry, value.word());
        self.settled(result)?;
        value.linked();
        Ok(())
    }

    fn try_exchange(&mut self, entry: &Entry, word: Word) -> Result<()> {
        let old = item::block(entry.value.load(Acquire));
        let new = item::block(word);
        self.begin();
        if new != 0 {
            self.block.notes[0].store(new, Release);
            crash_point!("dict.exchange: new one noted");
            alloc::publish(new, 0)?;
        }
        if old != 0 {
            self.block.notes[1].store(old, Release);
            crash_point!("dict.exchange: old one noted");
        }
        entry.value.store(word, Release);
        crash_point!("dict.exchange: set");
        if old != 0 {
            self.discard(old)?;
        }
        if old | new != 0 {
            self.clear_notes();
        }
        self.end();
        Ok(())
    }

    fn insert(&mut self, probe: &Probe, new: &mut New) -> Result<Put> {
        let Some(key) = &new.key else {
            return Ok(Put::KeyWanted);
        };
        let Some(value) = &new.value else {
            return Err(Error::Invalid {
                what: "a dict's key needs a value",
            });
        };
        let (key, value) = (key.word(), value.word());
        let mut table = self.with_room()?;
        let result = (|| {
            let at = table.used();
            let entry = table.entry(at)?;
            self.begin();
            entry.hash.store(probe.hash(), Release);
            crash_point!("dict.insert: hash");
            entry.key.store(key, Release);
            crash_point!("dict.insert: key");
            entry.value.store(value, Release);
            crash_point!("dict.insert: value");
            publish(key)?;
            publish(value)?;
            table.set_span(at + 1, table.live() + 1);
            table.link(probe.hash(), at);
            self.end();
            Ok(())
        })();
        self.settled(result)?;
        new.key.take().into_iter().for_each(Fresh::linked);
        new.value.take().into_iter().for_each(Fresh::linked);
        Ok(Put::Stored)
    }

    /// Adds `more` to the number that a key has, 0 when it is not there.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; the dict is as it was then.
    pub fn add(
        &mut self,
        probe: &Probe,
        key: &mut Option<Fresh>,
        more: Number,
    ) -> Result<Seen<Sum>> {
        let entry = match self.place(probe)? {
            Place::Undecided(keys) => return Ok(Seen::Undecided(keys)),
            Place::Nowhere => None,
            Place::Here { entry, .. } => Some(entry),
        };
        let now = match entry {
            None => Some(Number::Int(0)),
            Some(entry) => match entry.value.load(Acquire) {
                word if item::block(word) != 0 => None,
                word => match item::read(word)? {
                    Found::Int(value) => Some(Number::Int(value)),
                    Found::Float(value) => Some(Number::Float(value)),
                    _ => None,
                },
            },
        };
        let Some(sum) = now.and_then(|now| now.plus(more)) else {
            return Ok(Seen::Known(Sum::Beyond));
        };
        let Some(value) = sum.fresh()? else {
            return Ok(Seen::Known(Sum::Beyond));
        };
        if let Some(entry) = entry {
            self.exchange(entry, value)?;
            return Ok(Seen::Known(Sum::Is(sum)));
        }
        let mut new = New {
            key: key.take(),
            value: Some(value),
        };
        let put = self.insert(probe, &mut new)?;
        *key = new.key.take();
        Ok(Seen::Known(match put {
            Put::KeyWanted => Sum::KeyWanted,
            _ => Sum::Is(sum),
        }))
    }

    /// Removes a key; what it had.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn remove(&mut self, probe: &Probe) -> Result<Seen<Option<Found>>> {
        let Some(mut table) = self.table()? else {
            return Ok(Seen::Known(None));
        };
        let (slot, entry) = match self.locate(&table, probe)? {
            Place::Undecided(keys) => return Ok(Seen::Undecided(keys)),
            Place::Nowhere => return Ok(Seen::Known(None)),
            Place::Here { slot, entry } => (slot, entry),
        };
        let found = item::read(entry.value.load(Acquire))?;
        self.cut(&mut table, slot, entry)?;
        Ok(Seen::Known(Some(found)))
    }

    /// Removes the key that was inserted last; `None` when there is none.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn pop_last(&mut self) -> Result<Option<(Found, Found)>> {
        let Some(mut table) = self.table()? else {
            return Ok(None);
        };
        for i in (0..table.used()).rev() {
            let entry = table.entry(i)?;
            let value = entry.value.load(Acquire);
            if value == 0 {
                continue;
            }
            let found = (item::read(entry.key.load(Acquire))?, item::read(value)?);
            let hash = entry.hash.load(Relaxed);
            let slot = table.search(hash, |slot, at, _| Ok((at == i).then_some(slot)))?;
            let Some(slot) = slot else {
                return Err(Error::Corrupt {
                    what: "a dict's index",
                });
            };
            self.cut(&mut table, slot, entry)?;
            return Ok(Some(found));
        }
        Ok(None)
    }

    fn cut(&mut self, table: &mut Table, slot: usize, entry: &Entry) -> Result<()> {
        let result = self.try_cut(table, slot, entry);
        self.settled(result)?;
        self.shrink();
        Ok(())
    }

    fn try_cut(&mut self, table: &mut Table, slot: usize, entry: &Entry) -> Result<()> {
        let blocks = [&entry.key, &entry.value].map(|word| item::block(word.load(Acquire)));
        self.begin();
        for (note, block) in self.block.notes.iter().zip(blocks) {
            note.store(block, Release);
            crash_point!("dict.cut: noted");
        }
        entry.value.store(0, Release);
        crash_point!("dict.cut: gone");
        table.unlink(slot)?;
        for block in blocks {
            if block != 0 {
                self.discard(block)?;
            }
        }
        entry.key.store(0, Release);
        crash_point!("dict.cut: key forgotten");
        // So that the last key is found at once, however many were removed before it.
        let mut used = table.used();
        while used > 0 && table.entry(used - 1)?.value.load(Relaxed) == 0 {
            used -= 1;
        }
        table.set_span(used, table.live().saturating_sub(1));
        self.clear_notes();
        self.end();
        Ok(())
    }

    /// Removes all keys.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn clear(&mut self) -> Result<()> {
        let Some(table) = self.table()? else {
            return Ok(());
        };
        let result = (|| {
            self.begin();
            self.block.notes[1].store(table.offset, Release);
            crash_point!("dict.clear: noted");
            self.block.root.store(0, Release);
            crash_point!("dict.clear: no root");
            for word in table.words() {
                let block = item::block(word?.load(Acquire));
                if block != 0 {
                    self.discard(block)?;
                }
            }
            self.discard(table.offset)?;
            self.clear_notes();
            self.end();
            Ok(())
        })();
        self.settled(result)
    }

    /// The table, with room for one more entry.
    fn with_room(&mut self) -> Result<Table> {
        let live = match self.table()? {
            Some(table) if table.used() < table.cap() => return Ok(table),
            Some(table) => table.live().min(table.used()),
            None => 0,
        };
        // Half as much again, so that adding one by one costs a constant time each. Where
        // many are gone this makes the table smaller.
        self.rewrite(live + live / 2 + 2)?;
        match self.table()? {
            Some(table) => Ok(table),
            None => Err(Error::Corrupt {
                what: "a dict's table",
            }),
        }
    }

    /// Gives memory back when most of the table is free. It may fail: then it stays.
    fn shrink(&mut self) {
        if let Ok(Some(table)) = self.table()
            && table.cap() >= SMALL
            && table.live() < table.cap() / 8
        {
            let _ = self.rewrite(2 * table.live());
        }
    }

    /// Puts a table for `wanted` entries at least into the place of the old one.
    fn rewrite(&mut self, wanted: usize) -> Result<()> {
        let new = Table::make(wanted)?;
        let result = self.try_rewrite(new.offset);
        let failed = result.is_err();
        let settled = self.settled(result);
        if failed && alloc::state(alloc::meta(new.offset)?.word.load(Relaxed)) == alloc::RESERVED {
            alloc::release(new.offset)?;
        }
        settled
    }

    fn try_rewrite(&mut self, offset: u64) -> Result<()> {
        let mut new = Table::at(offset)?;
        let old = self.block.root.load(Acquire);
        if old != 0 {
            let mut at = 0;
            for entry in Table::at(old)?.entries() {
                let entry = entry?;
                let value = entry.value.load(Acquire);
                if value == 0 {
                    continue;
                }
                let copy = new.entry(at)?;
                copy.hash.store(entry.hash.load(Relaxed), Relaxed);
                copy.key.store(entry.key.load(Relaxed), Relaxed);
                copy.value.store(value, Relaxed);
                at += 1;
            }
            new.set_span(at, at);
            new.rebuild()?;
        }
        self.begin();
        self.block.notes[1].store(old, Release);
        crash_point!("dict.rewrite: old table noted");
        self.block.notes[0].store(offset, Release);
        crash_point!("dict.rewrite: new table noted");
        alloc::publish(offset, 0)?;
        self.block.root.store(offset, Release);
        crash_point!("dict.rewrite: root");
        if old != 0 {
            self.discard(old)?;
        }
        self.clear_notes();
        self.end();
        Ok(())
    }
}
