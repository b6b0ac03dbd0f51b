//! More words for an object than its block has room for.
//!
//! An object that keeps one entry for each of its users has some inside its block. When
//! they run out it gets pieces, each four times as large as the one before, and never
//! loses them before it goes itself, so an entry's number is its place for good.
//!
//! ```text
//! link to a piece: offset / 64 in 40 bits | generation, its low 24 bits       0 is none
//! ```
//!
//! A link is set in one step and names the use of the place, so whoever takes the object
//! apart can do it again from the start after a death: a piece that is gone already does
//! not match its link.

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::{self, Kind};

/// How many pieces an object can have.
pub const PIECES: usize = 4;
/// Words at the start of a piece: where its link is, and spare.
const HEAD: usize = 8;
/// Bytes of the first piece.
const FIRST: usize = 4096;

/// The links to an object's pieces.
#[repr(C)]
#[derive(Debug)]
pub struct Pieces([AtomicU64; PIECES]);
// SAFETY: atomics only.
unsafe impl Shared for Pieces {}

/// Words in a piece.
const fn words(piece: usize) -> usize {
    (FIRST << (2 * piece)) / 8 - HEAD
}

/// Words in all pieces together.
pub const WORDS: usize = words(0) + words(1) + words(2) + words(3);

fn link_to(offset: Offset) -> Result<u64> {
    let generation = alloc::generation(alloc::meta(offset)?.word.load(Acquire));
    Ok((offset / 64) << 24 | (generation as u64 & 0xff_ffff))
}

fn offset_in(link: u64) -> Offset {
    (link >> 24) * 64
}

/// Whether what `link` names is there, in that use of its place, and a piece.
fn names_a_piece(link: u64) -> bool {
    let offset = offset_in(link);
    alloc::meta(offset).is_ok_and(|meta| {
        let word = meta.word.load(Acquire);
        alloc::kind(word) == Some(Kind::Waiters)
            && alloc::generation(word) as u64 & 0xff_ffff == link & 0xff_ffff
    })
}

impl Pieces {
    /// Which piece has word `index`, and where in it; `None` when none can.
    fn place(mut index: usize) -> Option<(usize, usize)> {
        for piece in 0..PIECES {
            if index < words(piece) {
                return Some((piece, index));
            }
            index -= words(piece);
        }
        None
    }

    /// Word `index`, `None` when its piece is not there.
    ///
    /// # Errors
    /// When a link makes no sense.
    pub fn word(&self, index: usize) -> Result<Option<&'static AtomicU64>> {
        let Some((piece, inside)) = Pieces::place(index) else {
            return Ok(None);
        };
        match self.0[piece].load(Acquire) {
            0 => Ok(None),
            link if !names_a_piece(link)
                || alloc::room(offset_in(link))? < (HEAD + words(piece)) * 8 =>
            {
                Err(Error::Corrupt {
                    what: "a link to more words",
                })
            }
            link => {
                let at = offset_in(link) + ((HEAD + inside) * 8) as u64;
                arena()?.at(at).map(Some)
            }
        }
    }

    /// Makes the piece that word `index` belongs to, if it isn't there; false when there
    /// can be none. The words are zero at first.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn grow(&self, index: usize) -> Result<bool> {
        let Some((piece, _)) = Pieces::place(index) else {
            return Ok(false);
        };
        let link = &self.0[piece];
        if link.load(Acquire) != 0 {
            return Ok(true);
        }
        let arena = arena()?;
        let offset = alloc::reserve(Kind::Waiters, FIRST << (2 * piece), true)?;
        // Where the link is going to be: if we die right after setting it, that is how
        // the sweep finds out that the piece is in use.
        arena
            .at::<AtomicU64>(offset)?
            .store(arena.offset_of(link)?, Release);
        crash_point!("pieces.grow: place noted");
        if link
            .compare_exchange(0, link_to(offset)?, AcqRel, Relaxed)
            .is_ok()
        {
            crash_point!("pieces.grow: linked");
            alloc::publish(offset, 0)?;
        } else {
            alloc::release(offset)?;
        }
        Ok(true)
    }

    /// Gives the pieces back. Repeatable.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn tear_down(&self) -> Result<()> {
        for link in &self.0 {
            let link = link.load(Acquire);
            if link != 0 {
                give_back(link)?;
            }
        }
        Ok(())
    }
}

/// Gives back the piece behind `link`, unless that has been done.
fn give_back(link: u64) -> Result<()> {
    let offset = offset_in(link);
    while names_a_piece(link) {
        let word = alloc::meta(offset)?.word.load(Acquire);
        match alloc::state(word) {
            alloc::LIVE if alloc::retire(offset)? => return object::discard(offset),
            // Its maker died between linking it and the end of the making. The sweep takes
            // it for a part of an object that lives on, which this one does not.
            alloc::RESERVED if alloc::adopt(offset, word)? => return object::discard(offset),
            alloc::LIVE | alloc::RESERVED => {}
            // Somebody who was at it died; the sweep does the rest.
            _ => break,
        }
    }
    Ok(())
}

/// Whether the piece at `offset`, whose maker died, is linked from its object.
///
/// # Errors
/// When shared memory makes no sense.
pub fn is_reachable(offset: Offset) -> Result<bool> {
    let arena = arena()?;
    let place = arena.at::<AtomicU64>(offset)?.load(Acquire);
    // Whatever is at that place: only the right link names this use of the block.
    Ok(place != 0 && arena.at::<AtomicU64>(place)?.load(Acquire) == link_to(offset)?)
}
