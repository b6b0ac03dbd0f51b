//! What a process makes of references: one entry for each block that it holds, however
//! many handles share it, and the same for the children that it forks.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::frozen;
use crate::object::Kind;
use crate::os;
use crate::refs::{self, ENTRIES, LOCK};
use crate::slot::{self, Owner};
use crate::spin::Spin;
use crate::supervise;

/// This process's part: which blocks it holds, how often, and in which entry.
#[derive(Default)]
struct Table {
    held: HashMap<Offset, Local>,
    /// The pieces of the table in shared memory, in order.
    pieces: Vec<Offset>,
    /// Free entries: piece and index.
    free: Vec<(u32, u32)>,
}

struct Local {
    times: usize,
    entry: (u32, u32),
}

/// This process's part, guarded by [`LOCK`] and this lock, taken in that order.
struct Own {
    table: Option<Table>,
    /// The child that a fork under way is going to have, and the pieces of its table.
    prepared: Option<Prepared>,
    /// Children whose slots were prepared and that have not been seen to live since, each
    /// with its cord.
    unborn: Vec<(Owner, OwnedFd)>,
}

static OWN: Spin<Own> = Spin::new(Own {
    table: None,
    prepared: None,
    unborn: Vec::new(),
});

/// Runs `work` with this process's table, one thread at a time, and then takes apart what
/// it left without a reference.
fn with_table<R>(work: impl FnOnce(&mut Table) -> Result<R>) -> Result<R> {
    // Joining comes first, see LOCK.
    slot::me()?;
    let result = {
        let _one_at_a_time = LOCK.lock();
        work(OWN.lock().table.get_or_insert_with(Table::default))
    };
    refs::destroy_queued()?;
    result
}

impl Table {
    fn entry(&self, (piece, index): (u32, u32)) -> Result<Offset> {
        let piece = self.pieces.get(piece as usize).ok_or(Error::Corrupt {
            what: "the table of references",
        })?;
        Ok(piece + 8 + 8 * index as u64)
    }

    /// A free entry; makes another piece of the table when there is none.
    fn vacancy(&mut self) -> Result<(u32, u32)> {
        if let Some(place) = self.free.pop() {
            return Ok(place);
        }
        let piece = new_piece(slot::me()?, self.pieces.last().copied())?;
        let number = self.pieces.len() as u32;
        self.pieces.push(piece);
        self.free
            .extend((1..ENTRIES as u32).rev().map(|i| (number, i)));
        Ok((number, 0))
    }
}

/// Another piece for the table of `owner`, linked behind `last`. It stays RESERVED by its
/// owner all its life, so that the sweep gives it back.
fn new_piece(owner: Owner, last: Option<Offset>) -> Result<Offset> {
    let arena = arena()?;
    let piece = alloc::reserve(Kind::Shares, 8 * (ENTRIES + 1), true)?;
    alloc::give_to(piece, owner)?;
    match last {
        Some(last) => arena.at::<AtomicU64>(last)?.store(piece, Release),
        None => slot::slot(owner)?.shares.store(piece, Release),
    }
    crash_point!("handle.piece: linked");
    Ok(piece)
}

/// Keeps a block alive in this process. Cheap to clone within the process; to another one
/// it goes as its three numbers, see [`Handle::numbers`].
#[derive(Debug)]
pub struct Handle {
    offset: Offset,
    generation: u32,
}

impl Handle {
    /// Ends the making of a block with this process as its first holder.
    ///
    /// # Errors
    /// When there is no memory for the entry; the block is given back then.
    pub fn publish(offset: Offset) -> Result<Handle> {
        let published = with_table(|table| {
            let place = table.vacancy()?;
            let meta = alloc::meta(offset)?;
            let generation = alloc::generation(meta.word.load(SeqCst));
            refs::adopt(table.entry(place)?, offset)?;
            alloc::publish(offset, 1)?;
            table.held.insert(
                offset,
                Local {
                    times: 1,
                    entry: place,
                },
            );
            Ok(Handle { offset, generation })
        });
        if published.is_err() {
            alloc::release(offset)?;
        }
        published
    }

    /// The block that another process's handle names, if it is still there and of `kind`.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is not.
    pub fn open(session: u64, offset: Offset, generation: u32, kind: Kind) -> Result<Handle> {
        let stale = Error::Stale {
            what: "shared object",
        };
        let Some(arena) = crate::arena::existing() else {
            return Err(stale);
        };
        if arena.session() != session {
            return Err(stale);
        }
        let meta = alloc::meta(offset).map_err(|_| stale.clone())?;
        let word = meta.word.load(SeqCst);
        if alloc::kind(word) != Some(kind) || alloc::generation(word) != generation {
            return Err(stale);
        }
        with_table(|table| {
            if let Some(local) = table.held.get_mut(&offset) {
                local.times += 1;
                return Ok(Handle { offset, generation });
            }
            let place = table.vacancy()?;
            let entry = table.entry(place)?;
            if let Err(error) = refs::take(entry, offset, generation) {
                table.free.push(place);
                return Err(error);
            }
            table.held.insert(
                offset,
                Local {
                    times: 1,
                    entry: place,
                },
            );
            Ok(Handle { offset, generation })
        })
    }

    /// The block at `offset`, which the caller knows to be held by somebody meanwhile.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is not.
    pub fn hold(offset: Offset) -> Result<Handle> {
        let word = alloc::meta(offset)?.word.load(SeqCst);
        let kind = alloc::kind(word).ok_or(Error::Corrupt { what: "a block" })?;
        Handle::open(arena()?.session(), offset, alloc::generation(word), kind)
    }

    /// Where the block is.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// What another process needs to open it: session, place, use of the place.
    ///
    /// # Errors
    /// When there is no arena any more.
    pub fn numbers(&self) -> Result<(u64, Offset, u32)> {
        Ok((arena()?.session(), self.offset, self.generation))
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        // Fails only when this process holds nothing at all any more.
        let _ = with_table(|table| {
            if let Some(local) = table.held.get_mut(&self.offset) {
                local.times += 1;
            }
            Ok(())
        });
        Handle { ..*self }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if slot::joined() == 0 {
            // This process has left, and all that it held is given back already.
            return;
        }
        // An error here means that shared memory makes no sense; then there is nothing
        // to give back to.
        let _ = with_table(|table| {
            let Some(local) = table.held.get_mut(&self.offset) else {
                return Ok(());
            };
            local.times -= 1;
            if local.times == 0 {
                let place = local.entry;
                table.held.remove(&self.offset);
                refs::drop_entry(table.entry(place)?)?;
                table.free.push(place);
            }
            Ok(())
        });
    }
}

/// Keeps the block at `offset`, which this process holds, until the process ends: for
/// handles that leave on ways where nobody can say when they arrive.
///
/// # Errors
/// [`Error::Stale`] when this process does not hold it.
pub fn pin(offset: Offset) -> Result<()> {
    with_table(|table| match table.held.get_mut(&offset) {
        Some(local) => {
            local.times += 1;
            Ok(())
        }
        None => Err(Error::Stale {
            what: "shared object",
        }),
    })
}

/// The child that a fork under way is going to have.
struct Prepared {
    owner: Owner,
    /// Its table.
    pieces: Vec<Offset>,
    /// A pipe from the child to the parent. Its writing end is closed by the child when it
    /// has taken its slot, or by the kernel when it dies before: either way the parent can
    /// tell then what became of it. Without a child (fork failed) nobody has that end.
    cord: Option<(OwnedFd, OwnedFd)>,
}

/// Gives every child of this process a slot and entries of its own, whoever calls `fork`.
pub fn watch_forks() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| os::at_fork(before_fork, after_fork_parent, after_fork_child));
}

/// Forgets the table of this process, which has given up all that is in it.
pub fn forget() {
    OWN.lock().table = None;
}

extern "C" fn before_fork() {
    supervise::before_fork();
    frozen::before_fork();
    let child = slot::fork_prepare();
    std::mem::forget(LOCK.lock());
    let mut own = OWN.lock();
    own.prepared = child.map(|owner| {
        let pieces = own.table.as_ref().map(|table| copy_table(table, owner));
        Prepared {
            owner,
            pieces: pieces.and_then(Result::ok).unwrap_or_default(),
            // Without descriptors to spare the slot of a child that is killed at birth
            // stays taken until this process ends.
            cord: os::pipe().ok(),
        }
    });
    crash_point!("handle.fork: prepared");
}

/// Makes the child's table: the same places refer to the same blocks.
fn copy_table(table: &Table, child: Owner) -> Result<Vec<Offset>> {
    let mut pieces: Vec<Offset> = Vec::with_capacity(table.pieces.len());
    for _ in &table.pieces {
        let piece = new_piece(child, pieces.last().copied())?;
        pieces.push(piece);
    }
    for (&offset, local) in &table.held {
        let (piece, index) = local.entry;
        let generation = alloc::generation(alloc::meta(offset)?.word.load(SeqCst));
        refs::take(
            pieces[piece as usize] + 8 + 8 * index as u64,
            offset,
            generation,
        )?;
    }
    Ok(pieces)
}

extern "C" fn after_fork_parent() {
    let mut own = OWN.lock();
    let prepared = own.prepared.take();
    let takes_part = prepared.is_some();
    if let Some(Prepared {
        owner,
        cord: Some((end, _)),
        ..
    }) = prepared
    {
        own.unborn.push((owner, end));
        crash_point!("handle.fork: parent knows of the child");
    }
    drop(own);
    // SAFETY: `before_fork` forgot the guard, in this thread.
    drop(unsafe { LOCK.relock() });
    slot::forked_parent();
    frozen::after_fork(false);
    supervise::after_fork_parent(takes_part);
    bury_stillborn();
}

/// Takes back the slots of children that died before they took them.
pub fn bury_stillborn() {
    let mut stillborn = Vec::new();
    OWN.lock().unborn.retain(|(child, cord)| {
        if !slot::is_unborn(*child) {
            return false;
        }
        // In this order: whoever takes the slot does so before it lets go of the cord.
        let cut = os::hung_up(cord);
        if cut && slot::is_unborn(*child) {
            stillborn.push(*child);
        }
        !cut
    });
    for child in stillborn {
        slot::fork_abandon(child);
    }
}

extern "C" fn after_fork_child() {
    supervise::after_fork_child();
    frozen::after_fork(true);
    alloc::forget_places();
    let mut own = OWN.lock();
    own.unborn.clear();
    let prepared = own.prepared.take();
    let holds = own
        .table
        .as_ref()
        .is_some_and(|table| !table.held.is_empty());
    let adopted = slot::forked_child(prepared.as_ref().map(|prepared| prepared.owner), holds);
    match (own.table.as_mut(), prepared) {
        (Some(table), Some(prepared)) if adopted && prepared.pieces.len() == table.pieces.len() => {
            table.pieces = prepared.pieces;
        }
        _ => own.table = None,
    }
    crash_point!("handle.fork: child let go of the cord");
    drop(own);
    // SAFETY: `before_fork` forgot the guard, in the thread that this one is a copy of.
    drop(unsafe { LOCK.relock() });
}
