//! The kinds of blocks, and what each needs when it goes or its user dies.
//!
//! Every kind answers three questions, each in its own module:
//!
//! - what goes with it when it goes ([`tear_down`], repeatable, as its caller may die);
//! - what becomes of one that a dead process was making ([`is_reachable`]);
//! - what a dead process left in one that others use ([`bereave`]).

use crate::atomic::Ordering::*;

use crate::alloc;
use crate::arena::Offset;
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::slot::{self, Owner, Slot};
use crate::{barrier, condition, dict, item, list, mutex, pieces, refs, ring, semaphore};

/// What a block is. The numbers are part of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Memory for a user: ctypes values, arrays, buffers.
    Raw = 1,
    /// A piece of the table of what a process holds.
    Shares = 2,
    /// A Lock or RLock.
    Lock = 3,
    /// A Semaphore or BoundedSemaphore.
    Semaphore = 4,
    /// An Event.
    Event = 5,
    /// A Condition.
    Condition = 6,
    /// More words for an object that has an entry for each user.
    Waiters = 7,
    /// A Barrier.
    Barrier = 8,
    /// A ring.
    Ring = 9,
    /// What travels through a ring when it doesn't fit into a cell.
    Message = 10,
    /// A list.
    List = 11,
    /// The table of a list's items.
    Items = 12,
    /// One item of a container.
    Item = 13,
    /// A piece of what a ring has spilled.
    Spill = 14,
    /// A dict.
    Dict = 15,
    /// The table of a dict's entries.
    Table = 16,
    /// Content that nobody changes any more.
    Frozen = 17,
}

impl Kind {
    /// The kind with this number.
    pub fn from_bits(bits: u8) -> Option<Kind> {
        use Kind::*;
        [
            Raw, Shares, Lock, Semaphore, Event, Condition, Waiters, Barrier, Ring, Message, List,
            Items, Item, Spill, Dict, Table, Frozen,
        ]
        .into_iter()
        .find(|&kind| kind as u8 == bits)
    }

    /// Whether a dead process may leave something unfinished in a block of this kind.
    fn needs_repair(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Ring | Lock | Semaphore | Condition | Barrier | List | Dict
        )
    }

    /// Whether blocks of this kind live as long as somebody refers to them. The others
    /// belong to exactly one such block.
    pub fn is_counted(self) -> bool {
        use Kind::*;
        !matches!(
            self,
            Shares | Waiters | Message | Items | Item | Spill | Table
        )
    }
}

/// Takes apart a block that nobody refers to any more, and gives it back. Does nothing
/// when another process is at it already.
///
/// # Errors
/// When shared memory makes no sense.
pub fn destroy(offset: Offset) -> Result<()> {
    if alloc::retire(offset)? {
        finish(offset)?;
    }
    Ok(())
}

/// Like [`destroy`], of a block in that use of its place in which `word` was read.
///
/// # Errors
/// When shared memory makes no sense.
pub fn destroy_seen(offset: Offset, word: u64) -> Result<()> {
    if alloc::retire_seen(offset, slot::me()?, word)? {
        finish(offset)?;
    }
    Ok(())
}

/// Takes apart a block that this process has reserved or retired, and gives it back.
///
/// # Errors
/// When shared memory makes no sense.
pub fn discard(offset: Offset) -> Result<()> {
    finish(offset)
}

/// The rest of [`destroy`] for a block that is RETIRED or was never finished.
fn finish(offset: Offset) -> Result<()> {
    let meta = alloc::meta(offset)?;
    let word = meta.word.load(Acquire);
    let unfinished = alloc::state(word) == alloc::RESERVED;
    if let Some(kind) = alloc::kind(word) {
        tear_down(kind, offset, unfinished)?;
        if kind.is_counted() && !unfinished {
            refs::end_of(meta);
        }
    }
    alloc::release(offset)
}

/// Lets go of what a block owns. `unfinished` when its maker died before it was done;
/// then only what it surely owns is there.
fn tear_down(kind: Kind, offset: Offset, unfinished: bool) -> Result<()> {
    match kind {
        Kind::Ring if !unfinished => ring::tear_down(offset),
        Kind::Message => ring::tear_down_message(offset),
        Kind::Spill => ring::tear_down_spill(offset),
        // An unfinished one owns nothing, and its links may be what lay there before.
        Kind::Semaphore if !unfinished => semaphore::tear_down(offset),
        Kind::Condition if !unfinished => condition::tear_down(offset),
        Kind::Barrier if !unfinished => barrier::tear_down(offset),
        Kind::List if !unfinished => list::tear_down(offset),
        Kind::Dict if !unfinished => dict::tear_down(offset),
        Kind::Item => item::tear_down(offset),
        _ => Ok(()),
    }
}

/// Whether a block that a dead process had reserved was linked in by it already, so that
/// it lives on.
fn is_reachable(kind: Kind, offset: Offset) -> Result<bool> {
    match kind {
        Kind::Message | Kind::Spill => ring::is_reachable(kind, offset),
        Kind::Waiters => pieces::is_reachable(offset),
        _ => Ok(false),
    }
}

/// Repairs, in a block that lives on, what a dead process left there.
fn bereave(kind: Kind, offset: Offset, dead: Owner) -> Result<()> {
    match kind {
        Kind::Ring => ring::bereave(offset, dead),
        Kind::Lock => mutex::bereave(offset, dead),
        Kind::Semaphore => semaphore::bereave(offset, dead),
        Kind::Condition => condition::bereave(offset, dead),
        Kind::Barrier => barrier::bereave(offset, dead),
        Kind::List => list::bereave(offset, dead),
        Kind::Dict => dict::bereave(offset, dead),
        _ => Ok(()),
    }
}

/// Decides on a block that a dead process had reserved. A survivor may take it from where
/// it is reachable in this moment; then its word is no longer what was `seen`.
fn inherit(kind: Kind, offset: Offset, seen: u64) -> Result<()> {
    if is_reachable(kind, offset)? {
        alloc::settle(offset, seen)?;
    } else if alloc::adopt(offset, seen)? {
        finish(offset)?;
    }
    Ok(())
}

/// Serves those who go on after the death of `dead`: locks and the like, so that nobody waits
/// for the rest, which is [`sweep`]. Has to come before that, as containers are repaired
/// here, and look at blocks that the dead had reserved. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn serve_survivors(dead: Owner) -> Result<()> {
    alloc::for_each(|offset, meta| {
        let word = meta.word.load(Acquire);
        let Some(kind) = alloc::kind(word).filter(|kind| kind.needs_repair()) else {
            return Ok(());
        };
        if alloc::state(word) != alloc::LIVE {
            return Ok(());
        }
        // Kept meanwhile: a repair would otherwise go on in what became of the place when
        // the last holder let go of it under our eyes.
        let _kept = match refs::visit(offset, alloc::generation(word)) {
            Err(Error::Stale { .. }) => return Ok(()),
            other => other?,
        };
        bereave(kind, offset, dead)
    })?;
    crash_point!("object.sweep: those who go on are served");
    Ok(())
}

/// Gives back all that `dead` held. Each step can be repeated: whoever sweeps may die too.
///
/// # Errors
/// When shared memory makes no sense.
pub fn sweep(dead: Owner, slot: &Slot) -> Result<()> {
    let mut wholes = Vec::new();
    alloc::for_each(|offset, meta| {
        let word = meta.word.load(Acquire);
        let whole = matches!(alloc::kind(word), Some(Kind::List | Kind::Dict));
        if whole && alloc::state(word) == alloc::RETIRED && alloc::owner(word) == dead {
            wholes.push(offset);
        }
        Ok(())
    })?;
    refs::give_up(slot)?;
    crash_point!("object.sweep: no references");
    // Wholes before their parts: a part that is freed first may be somebody else's by the
    // time that the whole looks at it.
    for offset in wholes {
        finish(offset)?;
    }
    crash_point!("object.sweep: wholes are gone");
    alloc::for_each(|offset, meta| {
        let word = meta.word.load(Acquire);
        let Some(kind) = alloc::kind(word) else {
            return Ok(());
        };
        match alloc::state(word) {
            alloc::RESERVED if alloc::owner(word) == dead => match inherit(kind, offset, word) {
                // A survivor took it from where it was reachable, and gave it back, too.
                Err(Error::Corrupt { .. } | Error::Stale { .. }) => Ok(()),
                other => other,
            },
            alloc::RETIRED if alloc::owner(word) == dead => finish(offset),
            // Unlike those of the dead, this one may be going away under our eyes.
            alloc::LIVE if kind.is_counted() && refs::count(meta) == 0 => {
                match destroy_seen(offset, word) {
                    Err(Error::Corrupt { .. }) => Ok(()),
                    other => other,
                }
            }
            _ => Ok(()),
        }
    })
}
