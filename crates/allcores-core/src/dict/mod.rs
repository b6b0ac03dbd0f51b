//! A dict that processes share, in the order of insertion.
//!
//! ```text
//! Dict ──root──▶ Table {span, index, entries[hash, key, value]} ──▶ Item blocks of keys and values
//! ```
//!
//! Changes happen under the dict's lock, and each is committed by one store of 8 bytes:
//!
//! - of the table's `span`: a new key;
//! - of an entry's value: another value, or 0 for none, which removes the key;
//! - of `root`: a new table with the same entries and more room (or less), or none at all.
//!
//! As in a list, a block that is on its way in or out is always named where the next
//! holder of the lock finds it when we die: in an entry that is not used or is gone, or in
//! `notes` (a table that is noted stands for all that its words name). What is named there
//! and not in an entry of the root's table is garbage. Blocks become LIVE after they are
//! named and before the change is committed, and the index is made anew after a death.
//!
//! `version` is odd while the dict is being changed, so who only reads can do that without
//! the lock and see whether it was disturbed, as long as no block is involved: words can be
//! read at any time, a block might be somebody else's by then.
//!
//! How keys are told apart is in [`probe`].

mod change;
pub mod probe;
mod table;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

pub use change::{How, New, Number, Put, Sum};
pub use probe::{Canonical, Probe, Token};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::Result;
use crate::gate;
use crate::handle::Handle;
use crate::item::{self, Found, View};
use crate::lock::{self, DIED, Guard};
use crate::mutex::{LockBlock, Mutex};
use crate::object::{self, Kind};
use crate::slot::{OWNER_MASK, Owner};
use probe::Verdict;
use table::{Entry, Table};

/// How often a look without the lock is tried before the lock is taken. A guess.
const PEEKS: usize = 3;

#[repr(C)]
struct DictBlock {
    lock: AtomicU32,
    _pad: AtomicU32,
    /// The Table block; 0 while there is no key.
    root: AtomicU64,
    /// Grows by two with each change; odd while it is under way.
    version: AtomicU64,
    /// Blocks on their way in and out, see the head of this file.
    notes: [AtomicU64; 2],
    /// The lock that users hold for several operations, see [`crate::gate`].
    gate: LockBlock,
}
// SAFETY: atomics only.
unsafe impl Shared for DictBlock {}

/// A dict, held by this process.
pub struct Dict {
    handle: Handle,
    block: &'static DictBlock,
}

/// What came of an operation on a key.
#[derive(Debug)]
pub enum Seen<T> {
    /// This.
    Known(T),
    /// Nothing was done: these keys may be the one looked for. The caller compares them,
    /// tells the probe ([`Probe::decide`]) and tries again.
    Undecided(Vec<(Token, Found)>),
}

/// Where a key is.
enum Place {
    Here { slot: usize, entry: &'static Entry },
    Nowhere,
    Undecided(Vec<(Token, Found)>),
}

impl Dict {
    /// Makes an empty dict.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], or when this process cannot take part in the arena.
    pub fn create() -> Result<Dict> {
        let offset = alloc::reserve(Kind::Dict, size_of::<DictBlock>(), true)?;
        let block: &DictBlock = arena()?.at(offset)?;
        block.gate.begin_recursive();
        Dict::over(Handle::publish(offset)?)
    }

    /// Opens a dict by its three numbers.
    ///
    /// # Errors
    /// [`crate::Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Dict> {
        Dict::over(Handle::open(session, offset, generation, Kind::Dict)?)
    }

    fn over(handle: Handle) -> Result<Dict> {
        let block = arena()?.at(handle.offset())?;
        Ok(Dict { handle, block })
    }

    /// What keeps it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Grows with each change; while it stays the same, so does the dict.
    pub fn version(&self) -> u64 {
        self.block.version.load(Acquire)
    }

    /// Looks at something without the lock; `None` when that can't be done now.
    #[inline]
    fn undisturbed<R>(&self, look: impl Fn() -> Result<Option<R>>) -> Option<R> {
        for _ in 0..PEEKS {
            let before = self.block.version.load(Acquire);
            // In this order: who has the gate from now on changes the version before all else.
            if before & 1 == 1 || self.block.gate.keeps_out() {
                return None;
            }
            let seen = look();
            // The words are read before the version is read again.
            fence(Acquire);
            if self.block.version.load(Relaxed) == before {
                return seen.ok().flatten();
            }
        }
        None
    }

    /// The value of a key without entering; the outer `None` is "enter to see".
    #[inline]
    pub fn peek(&self, probe: &Probe) -> Option<Option<Found>> {
        self.undisturbed(|| {
            let root = self.block.root.load(Acquire);
            if root == 0 {
                return Ok(Some(None));
            }
            let value = Table::at(root)?.search(probe.hash(), |_, _, entry| {
                let key = entry.key.load(Relaxed);
                Ok(match probe.verdict_without_blocks(key) {
                    Some(Verdict::Same) => Some(entry.value.load(Relaxed)),
                    None => Some(0),
                    _ => None,
                })
            })?;
            match value {
                None => Ok(Some(None)),
                Some(word) if item::block(word) == 0 && word != 0 => {
                    item::read(word).map(|found| Some(Some(found)))
                }
                Some(_) => Ok(None),
            }
        })
    }

    /// The number of keys without entering; `None` is "enter to see".
    pub fn peek_len(&self) -> Option<usize> {
        self.undisturbed(|| match self.block.root.load(Acquire) {
            0 => Ok(Some(0)),
            root => Table::at(root).map(|table| Some(table.live())),
        })
    }

    /// What keeps others out for several operations of this thread.
    pub fn gate(&self) -> Mutex {
        Mutex::within(self.handle.clone(), &self.block.gate)
    }

    /// Enters the dict if nobody else is inside or keeps others out.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn try_enter(&self) -> Result<Option<Inside<'_>>> {
        if !gate::try_enter(&self.block.gate, &self.block.lock)? {
            return Ok(None);
        }
        self.inside().map(Some)
    }

    /// Enters the dict, waiting for whoever is inside or keeps others out.
    ///
    /// # Errors
    /// What `pulse` says, or when shared memory makes no sense.
    pub fn enter(&self, pulse: crate::wait::Pulse) -> Result<Inside<'_>> {
        gate::enter(&self.gate(), &self.block.gate, &self.block.lock, pulse)?;
        self.inside()
    }

    /// The lock was just taken; puts right what a dead holder left.
    fn inside(&self) -> Result<Inside<'_>> {
        Inside::new(self.block).repaired()
    }
}

/// The dict while this process is inside, alone. Runs no foreign code.
pub struct Inside<'a> {
    block: &'static DictBlock,
    guard: Option<Guard<'a>>,
    /// Retired blocks, to be taken apart when the lock is open again.
    gone: Vec<Offset>,
}

impl Inside<'_> {
    fn new(block: &'static DictBlock) -> Self {
        Inside {
            block,
            guard: Some(Guard::taken(&block.lock)),
            gone: Vec::new(),
        }
    }

    fn repaired(mut self) -> Result<Self> {
        if self.block.lock.load(Relaxed) & DIED != 0 {
            self.repair()?;
            self.block.lock.fetch_and(!DIED, Release);
            crash_point!("dict.repair: said so");
        }
        Ok(self)
    }

    /// Finishes or undoes what a holder began; see the head of this file. Repeatable.
    fn repair(&mut self) -> Result<()> {
        self.begin();
        let root = self.block.root.load(Acquire);
        let mut linked = HashSet::new();
        if root != 0 {
            let mut table = Table::at(root)?;
            for entry in table.entries() {
                let entry = entry?;
                let value = entry.value.load(Acquire);
                if value != 0 {
                    linked.insert(item::block(entry.key.load(Acquire)));
                    linked.insert(item::block(value));
                }
            }
            for i in 0..table.cap() {
                let entry = table.entry(i)?;
                if i < table.used() && entry.value.load(Acquire) != 0 {
                    continue;
                }
                for word in [&entry.key, &entry.value] {
                    let block = item::block(word.load(Acquire));
                    if block != 0 && !linked.contains(&block) {
                        self.discard(block)?;
                    }
                    word.store(0, Release);
                    crash_point!("dict.repair: free word is empty");
                }
            }
            table.rebuild()?;
        }
        for note in &self.block.notes {
            let noted = note.load(Acquire);
            if noted == 0 || noted == root || linked.contains(&noted) {
                continue;
            }
            if alloc::kind(alloc::meta(noted)?.word.load(Acquire)) == Some(Kind::Table) {
                for word in Table::at(noted)?.words() {
                    let block = item::block(word?.load(Acquire));
                    if block != 0 && !linked.contains(&block) {
                        self.discard(block)?;
                    }
                }
            }
            self.discard(noted)?;
        }
        self.clear_notes();
        self.end();
        Ok(())
    }

    fn clear_notes(&self) {
        for note in &self.block.notes {
            note.store(0, Release);
            crash_point!("dict: a note is empty");
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

    /// From here on nobody reads without the lock.
    fn begin(&self) {
        let version = self.block.version.load(Relaxed);
        self.block.version.store(version | 1, Relaxed);
        crash_point!("dict: version is odd");
        // The version is odd before anything else changes.
        fence(Release);
    }

    /// The change is complete.
    fn end(&self) {
        let version = self.block.version.load(Relaxed);
        self.block
            .version
            .store((version | 1).wrapping_add(1), Release);
        crash_point!("dict: version is even");
    }

    fn table(&self) -> Result<Option<Table>> {
        match self.block.root.load(Acquire) {
            0 => Ok(None),
            root => Table::at(root).map(Some),
        }
    }

    fn locate(&self, table: &Table, probe: &Probe) -> Result<Place> {
        let mut undecided = Vec::new();
        let place = table.search(probe.hash(), |slot, _, entry| {
            let key = entry.key.load(Acquire);
            Ok(match probe.verdict(key)? {
                Verdict::Same => Some(Place::Here { slot, entry }),
                Verdict::Other => None,
                Verdict::Undecided => {
                    undecided.push(key);
                    None
                }
            })
        })?;
        match place {
            Some(place) => Ok(place),
            None if undecided.is_empty() => Ok(Place::Nowhere),
            None => self.undecided(probe, undecided).map(Place::Undecided),
        }
    }

    /// The keys behind these words, the likely ones first: another process with the same
    /// hash seed, or none at all, has the same hash for most equal objects.
    fn undecided(&self, probe: &Probe, mut keys: Vec<u64>) -> Result<Vec<(Token, Found)>> {
        let hash = probe.origin().map(|origin| origin.hash);
        let unlikely = |&key: &u64| {
            let its = item::view(item::block(key), |view| match view {
                View::Key { origin, .. } => origin.map(|origin| origin.hash),
                _ => None,
            });
            its.ok().flatten() != hash
        };
        keys.sort_by_cached_key(unlikely);
        keys.into_iter()
            .map(|key| Ok((probe::token(key)?, item::read(key)?)))
            .collect()
    }

    /// See [`Dict::version`].
    pub fn version(&self) -> u64 {
        self.block.version.load(Relaxed)
    }

    /// Number of keys.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn len(&self) -> Result<usize> {
        Ok(self.table()?.map_or(0, |table| table.live()))
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The value of a key, and how to recognise it.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn get(&self, probe: &Probe) -> Result<Seen<Option<(Found, Token)>>> {
        let Some(table) = self.table()? else {
            return Ok(Seen::Known(None));
        };
        Ok(match self.locate(&table, probe)? {
            Place::Here { entry, .. } => {
                let word = entry.value.load(Acquire);
                Seen::Known(Some((item::read(word)?, probe::token(word)?)))
            }
            Place::Nowhere => Seen::Known(None),
            Place::Undecided(keys) => Seen::Undecided(keys),
        })
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn contains(&self, probe: &Probe) -> Result<Seen<bool>> {
        let Some(table) = self.table()? else {
            return Ok(Seen::Known(false));
        };
        Ok(match self.locate(&table, probe)? {
            Place::Here { .. } => Seen::Known(true),
            Place::Nowhere => Seen::Known(false),
            Place::Undecided(keys) => Seen::Undecided(keys),
        })
    }

    /// All entries in order, as `pick` reads them.
    fn collect<R>(&self, pick: impl Fn(&Entry) -> Result<R>) -> Result<Vec<R>> {
        let Some(table) = self.table()? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::with_capacity(table.live().min(table.used()));
        for entry in table.entries() {
            let entry = entry?;
            if entry.value.load(Acquire) != 0 {
                all.push(pick(entry)?);
            }
        }
        Ok(all)
    }

    /// The keys, in the order of their insertion.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn keys(&self) -> Result<Vec<Found>> {
        self.collect(|entry| item::read(entry.key.load(Acquire)))
    }

    /// The values, in the order of their keys.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn values(&self) -> Result<Vec<Found>> {
        self.collect(|entry| item::read(entry.value.load(Acquire)))
    }

    /// Keys and values.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn items(&self) -> Result<Vec<(Found, Found)>> {
        self.collect(|entry| {
            let key = item::read(entry.key.load(Acquire))?;
            Ok((key, item::read(entry.value.load(Acquire))?))
        })
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

/// Takes a dict apart that nobody refers to any more. Repeatable: each part is retired in
/// the name of who takes the whole apart, and forgotten before it is freed.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    let block: &DictBlock = arena()?.at(offset)?;
    let owner = alloc::owner(alloc::meta(offset)?.word.load(Acquire));
    let root = block.root.load(Acquire);
    if root == 0 {
        return Ok(());
    }
    for word in Table::at(root)?.words() {
        let word = word?;
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
    crash_point!("dict.tear_down: part forgotten");
    if ours { object::discard(part) } else { Ok(()) }
}

/// Repairs a dict that a dead process was inside of.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let block: &'static DictBlock = arena()?.at(offset)?;
    lock::bereave(&block.gate.word, dead);
    let seen = block.lock.load(Acquire);
    // With DIED another process is at the repair; what comes next may need it done.
    if seen & OWNER_MASK != dead && seen & DIED == 0 {
        return Ok(());
    }
    std::mem::forget(Guard::wait(&block.lock)?);
    Inside::new(block).repaired().map(drop)
}
