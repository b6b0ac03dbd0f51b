//! A list that processes share.
//!
//! ```text
//! List ──root──▶ Items {span, cap, words[cap]} ──▶ Item blocks of the words that need one
//! ```
//!
//! `span` is the start and the length of the list in the table, in one word. Everything
//! happens under the list's lock, and every change is committed by one store of 8 bytes:
//!
//! - of `span`: append, extend, pop at either end, clear;
//! - of a word: set an item;
//! - of `root`: everything else makes a new table.
//!
//! A block that is on its way in or out is always named in one of two places, where the
//! next holder of the lock finds it when we die: in a word outside the span, or in `notes`
//! (a table that is noted stands for all that its words name). The rule of [`repair`] is
//! one line: a block that is named there and not in the span of the root is garbage. Blocks
//! become LIVE after they are named and before the change is committed.
//!
//! The sweep of a dead process frees what it had reserved only after all lists that it was
//! in are repaired, so a name never leads to a block that is somebody else's by now.

mod change;
mod push;
mod slice;
mod table;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

pub use slice::Slice;

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::gate;
use crate::handle::Handle;
use crate::item::{self, Found, Word};
use crate::lock::{self, DIED, Guard};
use crate::mutex::{LockBlock, Mutex};
use crate::object::{self, Kind};
use crate::slot::{OWNER_MASK, Owner};
use table::Table;

#[repr(C)]
struct ListBlock {
    lock: AtomicU32,
    _pad: AtomicU32,
    /// The Items block; 0 while there has never been an item.
    root: AtomicU64,
    /// Counts changes, so that who has looked can tell whether what it saw is still so.
    version: AtomicU64,
    /// Blocks on their way in and out, see the head of this file.
    notes: [AtomicU64; 2],
    /// The lock that users hold for several operations, see [`crate::gate`].
    gate: LockBlock,
}
// SAFETY: atomics only.
unsafe impl Shared for ListBlock {}

/// A list, held by this process.
pub struct List {
    handle: Handle,
    block: &'static ListBlock,
}

impl List {
    /// Makes an empty list.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or when this process cannot take part in the arena.
    pub fn create() -> Result<List> {
        let offset = alloc::reserve(Kind::List, size_of::<ListBlock>(), true)?;
        let block: &ListBlock = arena()?.at(offset)?;
        block.gate.begin_recursive();
        List::over(Handle::publish(offset)?)
    }

    /// Opens a list by its three numbers.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<List> {
        List::over(Handle::open(session, offset, generation, Kind::List)?)
    }

    fn over(handle: Handle) -> Result<List> {
        let block = arena()?.at(handle.offset())?;
        Ok(List { handle, block })
    }

    /// What keeps it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The number of changes so far; while it stays the same, so does the list.
    pub fn version(&self) -> u64 {
        self.block.version.load(Acquire)
    }

    /// What keeps others out for several operations of this thread.
    pub fn gate(&self) -> Mutex {
        Mutex::within(self.handle.clone(), &self.block.gate)
    }

    /// Enters the list if nobody else is inside or keeps others out.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn try_enter(&self) -> Result<Option<Inside<'_>>> {
        if !gate::try_enter(&self.block.gate, &self.block.lock)? {
            return Ok(None);
        }
        self.inside().map(Some)
    }

    /// Enters the list, waiting for whoever is inside or keeps others out.
    ///
    /// # Errors
    /// What `pulse` says, or when shared memory makes no sense.
    pub fn enter(&self, pulse: crate::wait::Pulse) -> Result<Inside<'_>> {
        gate::enter(&self.gate(), &self.block.gate, &self.block.lock, pulse)?;
        self.inside()
    }

    /// The lock was just taken; puts right what a dead holder left.
    fn inside(&self) -> Result<Inside<'_>> {
        let inside = Inside {
            block: self.block,
            guard: Some(Guard::taken(&self.block.lock)),
            gone: Vec::new(),
        };
        inside.repaired()
    }
}

/// The list while this process is inside, alone. Runs no foreign code.
pub struct Inside<'a> {
    block: &'static ListBlock,
    guard: Option<Guard<'a>>,
    /// Retired blocks, to be taken apart when the lock is open again.
    gone: Vec<Offset>,
}

impl Inside<'_> {
    fn repaired(mut self) -> Result<Self> {
        if self.block.lock.load(Relaxed) & DIED != 0 {
            self.repair()?;
            self.block.lock.fetch_and(!DIED, Release);
            crash_point!("list.repair: said so");
        }
        Ok(self)
    }

    /// Finishes or undoes what a holder began; see the head of this file. Repeatable.
    fn repair(&mut self) -> Result<()> {
        self.touch();
        let root = self.block.root.load(Acquire);
        let mut linked = HashSet::new();
        if root != 0 {
            let table = Table::at(root)?;
            let blocks = table
                .items()
                .iter()
                .map(|word| item::block(word.load(Acquire)));
            linked.extend(blocks);
            for word in table.outside() {
                let block = item::block(word.load(Acquire));
                if block != 0 {
                    if !linked.contains(&block) {
                        self.discard(block)?;
                    }
                    word.store(0, Release);
                    crash_point!("list.repair: free word is empty");
                }
            }
        }
        for note in &self.block.notes {
            let noted = note.load(Acquire);
            if noted == 0 || noted == root || linked.contains(&noted) {
                continue;
            }
            if alloc::kind(alloc::meta(noted)?.word.load(Acquire)) == Some(Kind::Items) {
                for word in Table::at(noted)?.words() {
                    let block = item::block(word.load(Acquire));
                    if block != 0 && !linked.contains(&block) {
                        self.discard(block)?;
                    }
                }
            }
            self.discard(noted)?;
        }
        self.clear_notes();
        Ok(())
    }

    fn clear_notes(&self) {
        for note in &self.block.notes {
            note.store(0, Release);
            crash_point!("list: a note is empty");
        }
    }

    /// Begins the end of a block that is no longer linked; it is taken apart when the lock
    /// is open again. One that is still RESERVED is its maker's, or the sweep's.
    fn discard(&mut self, offset: Offset) -> Result<()> {
        if alloc::retire(offset)? {
            self.gone.push(offset);
        }
        Ok(())
    }

    /// Counts a change.
    fn touch(&self) {
        let version = self.block.version.load(Relaxed);
        self.block.version.store(version.wrapping_add(1), Release);
        crash_point!("list: version");
    }

    fn table(&self) -> Result<Option<Table>> {
        match self.block.root.load(Acquire) {
            0 => Ok(None),
            root => Table::at(root).map(Some),
        }
    }

    /// The words of the items.
    fn words(&self) -> Result<Vec<Word>> {
        let Some(table) = self.table()? else {
            return Ok(Vec::new());
        };
        Ok(table.items().iter().map(|w| w.load(Relaxed)).collect())
    }

    /// See [`List::version`].
    pub fn version(&self) -> u64 {
        self.block.version.load(Relaxed)
    }

    /// Number of items.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn len(&self) -> Result<usize> {
        Ok(self.table()?.map_or(0, |table| table.items().len()))
    }

    /// Whether there is no item.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The item at `index`, from the end when negative; `None` when it is out of range.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn get(&self, index: i64) -> Result<Option<Found>> {
        let Some(table) = self.table()? else {
            return Ok(None);
        };
        let items = table.items();
        match place(index, items.len()) {
            Some(at) => item::read(items[at].load(Acquire)).map(Some),
            None => Ok(None),
        }
    }

    /// The items that a slice selects, in its order.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn read(&self, slice: Slice) -> Result<Vec<Found>> {
        let Some(table) = self.table()? else {
            return Ok(Vec::new());
        };
        let items = table.items();
        let picked = slice.resolve(items.len());
        picked
            .indices()
            .map(|at| item::read(items[at].load(Acquire)))
            .collect()
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.guard = None;
        for &offset in &self.gone {
            // Fails only when shared memory makes no sense.
            let _ = object::discard(offset);
        }
    }
}

/// Where the item at a Python index is.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(len as i64)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|&at| at < len)
}

/// Takes a list apart that nobody refers to any more. Repeatable: each part is retired in
/// the name of who takes the whole apart, and forgotten before it is freed.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    let block: &ListBlock = arena()?.at(offset)?;
    let owner = alloc::owner(alloc::meta(offset)?.word.load(Acquire));
    let root = block.root.load(Acquire);
    if root == 0 {
        return Ok(());
    }
    for word in Table::at(root)?.words() {
        let part = item::block(word.load(Acquire));
        if part != 0 {
            take_part(part, owner, word)?;
        }
    }
    take_part(root, owner, &block.root)
}

fn take_part(part: Offset, owner: Owner, name: &AtomicU64) -> Result<()> {
    let begun = |word| alloc::state(word) == alloc::RETIRED && alloc::owner(word) == owner;
    let ours = alloc::retire_for(part, owner)? || begun(alloc::meta(part)?.word.load(Acquire));
    name.store(0, Release);
    crash_point!("list.tear_down: part forgotten");
    if ours { object::discard(part) } else { Ok(()) }
}

/// Repairs a list that a dead process was inside of.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &'static ListBlock = arena()?.at(offset)?;
    lock::bereave(&block.gate.word, dead);
    let seen = block.lock.load(Acquire);
    // With DIED another process is at the repair; what comes next may need it done.
    if seen & OWNER_MASK != dead && seen & DIED == 0 {
        return Ok(());
    }
    let guard = Guard::wait(&block.lock)?;
    let inside = Inside {
        block,
        guard: Some(guard),
        gone: Vec::new(),
    };
    inside.repaired().map(drop)
}

/// An index that is out of range, or a slice and items that don't go together.
fn invalid<T>(what: &'static str) -> Result<T> {
    Err(Error::Invalid { what })
}
