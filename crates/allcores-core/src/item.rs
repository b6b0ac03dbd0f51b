//! What a container holds: a word for each item, and a block beside it when that is not enough.
//!
//! ```text
//! low bits   the rest
//! 00         offset of an Item block (64-aligned); 0 is no item
//! 01         an integer of 62 bits
//! 10         a double whose exponent is not extreme, rotated so that two bits are free
//! 11 000     one of the constants, or 0.0
//! 11 001     text of up to 7 bytes: length 3, bytes 56
//! 11 010     bytes, up to 7, likewise
//! ```
//!
//! The rotated doubles are Ruby's flonums. An Item block is made by one process, linked
//! into one container, and never changes after that:
//!
//! ```text
//! form 32 | number of entries 32 | length 64 | entries (see refs.rs) | bytes
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::object::{self, Kind};
use crate::refs;

/// An item, or where it is.
pub type Word = u64;

const TAG: u64 = 3;
const INT: u64 = 1;
const FLOAT: u64 = 2;
const SHORT: u64 = 3;
const SHORT_TEXT: u64 = SHORT | 1 << 2;
const SHORT_BYTES: u64 = SHORT | 2 << 2;
const SHORT_MASK: u64 = 31;
/// The double 0.0, which is extreme by its exponent and common by its use.
const ZERO: Word = 4 << 8 | SHORT;
/// Bytes that fit into a word.
const SHORT_MAX: usize = 7;

/// Values that are nothing but themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Constant {
    /// `None`
    Nothing = 0,
    /// `True`
    True = 1,
    /// `False`
    False = 2,
    /// `...`
    Ellipsis = 3,
}

/// What is in an item; a copy, which nobody changes any more.
#[derive(Debug)]
pub enum Found {
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// A constant.
    Constant(Constant),
    /// UTF-8.
    Text(Data),
    /// Bytes.
    Bytes(Data),
    /// A pickle, and the objects that it refers to, held until it is read.
    Pickle(Data, Vec<Handle>),
}

/// Where a key that compares itself was hashed. Equal objects have the same hash in the
/// same process, and only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// A random number of the process.
    pub process: u64,
    /// What the object's hash was.
    pub hash: u64,
}

/// What is in an Item block, as far as a search needs it.
#[derive(Debug)]
pub enum View<'a> {
    /// UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A key with its canonical form.
    Key {
        /// What equal keys share.
        canonical: &'a [u8],
        /// Where it comes from, if it compares itself.
        origin: Option<Origin>,
    },
    /// Something else.
    Other,
}

/// Some bytes, few or many.
#[derive(Debug)]
pub enum Data {
    /// So many of these.
    Few(usize, [u8; SHORT_MAX]),
    /// All of these.
    Many(Vec<u8>),
}

impl Data {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Data::Few(len, bytes) => &bytes[..(*len).min(SHORT_MAX)],
            Data::Many(bytes) => bytes,
        }
    }
}

#[repr(C)]
struct Head {
    form: AtomicU32,
    entries: AtomicU32,
    len: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Head {}

const HEAD: usize = size_of::<Head>();

const FORM_FLOAT: u32 = 1;
const FORM_TEXT: u32 = 2;
const FORM_BYTES: u32 = 3;
const FORM_PICKLE: u32 = 4;
/// The key of a dict whose canonical form its word doesn't tell: `canonical length 63 | has
/// an origin 1 | process 64 | hash 64 | canonical form | pickle`.
const FORM_KEY: u32 = 5;
const KEY_HEAD: usize = 24;

/// The block that a word names; 0 when it names none.
pub fn block(word: Word) -> Offset {
    if word & TAG == 0 { word } else { 0 }
}

/// An item that is in no container yet. It goes when it is dropped.
#[derive(Debug)]
pub struct Fresh(Word);

impl Fresh {
    /// What a word stands for, unless it names a block.
    pub fn small(word: Word) -> Option<Fresh> {
        (block(word) == 0 && word != 0).then_some(Fresh(word))
    }

    /// An integer, unless it needs more than 62 bits.
    pub fn int(value: i64) -> Option<Fresh> {
        int_word(value).map(Fresh)
    }

    /// A constant.
    pub fn constant(value: Constant) -> Fresh {
        Fresh((value as u64) << 8 | SHORT)
    }

    /// A double.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn float(value: f64) -> Result<Fresh> {
        if let Some(word) = float_word(value) {
            return Ok(Fresh(word));
        }
        made(FORM_FLOAT, &value.to_le_bytes(), &[])
    }

    /// Text.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn text(text: &str) -> Result<Fresh> {
        text_word(text).map_or_else(
            || made(FORM_TEXT, text.as_bytes(), &[]),
            |word| Ok(Fresh(word)),
        )
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    pub fn bytes(bytes: &[u8]) -> Result<Fresh> {
        bytes_word(bytes).map_or_else(|| made(FORM_BYTES, bytes, &[]), |word| Ok(Fresh(word)))
    }

    /// A pickle that refers to the blocks at `refs`, which this process holds.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Stale`] when one of them is gone.
    pub fn pickle(bytes: &[u8], refs: &[Offset]) -> Result<Fresh> {
        made(FORM_PICKLE, bytes, refs)
    }

    /// A key for a dict, as its canonical form and its pickle; `refs` as for a pickle.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Stale`] when one of `refs` is gone.
    pub fn key(
        canonical: &[u8],
        origin: Option<Origin>,
        pickle: &[u8],
        refs: &[Offset],
    ) -> Result<Fresh> {
        let mut bytes = Vec::with_capacity(KEY_HEAD + canonical.len() + pickle.len());
        let Origin { process, hash } = origin.unwrap_or(Origin {
            process: 0,
            hash: 0,
        });
        let head = (canonical.len() as u64) << 1 | u64::from(origin.is_some());
        for word in [head, process, hash] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(canonical);
        bytes.extend_from_slice(pickle);
        made(FORM_KEY, &bytes, refs)
    }

    /// The word to link.
    pub fn word(&self) -> Word {
        self.0
    }

    /// Leaves the item to the container that has linked it.
    pub fn linked(self) {
        std::mem::forget(self);
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if block(self.0) != 0 {
            // Fails only when shared memory makes no sense.
            let _ = object::discard(block(self.0));
        }
    }
}

/// The word of a double that needs no block.
pub fn float_word(value: f64) -> Option<Word> {
    let bits = value.to_bits();
    if bits == 0 {
        return Some(ZERO);
    }
    // The three bits below the sign are 011 or 100 for all but extreme numbers; the lowest
    // of them says which.
    matches!(bits >> 60 & 7, 3 | 4).then_some(bits.rotate_left(3) & !TAG | FLOAT)
}

/// The word of an integer that needs no block.
pub fn int_word(value: i64) -> Option<Word> {
    ((value << 2) >> 2 == value).then_some((value as u64) << 2 | INT)
}

/// The word of a text that needs no block.
pub fn text_word(text: &str) -> Option<Word> {
    short(SHORT_TEXT, text.as_bytes())
}

/// The word of bytes that need no block.
pub fn bytes_word(bytes: &[u8]) -> Option<Word> {
    short(SHORT_BYTES, bytes)
}

fn short(tag: u64, bytes: &[u8]) -> Option<Word> {
    if bytes.len() > SHORT_MAX {
        return None;
    }
    let mut word = [0; 8];
    word[1..=bytes.len()].copy_from_slice(bytes);
    Some(u64::from_le_bytes(word) | (bytes.len() as u64) << 5 | tag)
}

/// Makes a block; it stays RESERVED until it is linked.
fn made(form: u32, bytes: &[u8], refs: &[Offset]) -> Result<Fresh> {
    let entries = 8 * refs.len();
    // Not an Item before its head says what it owns: if we die before, what the place
    // held earlier must not be taken for entries.
    let offset = alloc::reserve(Kind::Raw, HEAD + entries + bytes.len(), false)?;
    let fresh = Fresh(offset);
    let arena = arena()?;
    let head: &Head = arena.at(offset)?;
    for i in 0..refs.len() {
        entry(offset, i)?.store(0, Release);
        crash_point!("item.made: no entry yet");
    }
    head.form.store(form, Release);
    crash_point!("item.made: form");
    head.entries.store(refs.len() as u32, Release);
    crash_point!("item.made: number of entries");
    head.len.store(bytes.len() as u64, Release);
    crash_point!("item.made: length");
    alloc::turn_into(offset, Kind::Item)?;
    for (i, &object) in refs.iter().enumerate() {
        refs::take_for(entry_at(offset, i), object)?;
    }
    let start = arena.bytes(offset + (HEAD + entries) as u64, bytes.len())?;
    // SAFETY: inside the block, which is ours alone until it is linked.
    unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    crash_point!("item.made: bytes");
    Ok(fresh)
}

fn entry_at(offset: Offset, i: usize) -> Offset {
    offset + (HEAD + 8 * i) as u64
}

fn entry(offset: Offset, i: usize) -> Result<&'static AtomicU64> {
    arena()?.at(entry_at(offset, i))
}

/// Form, number of entries and length of an Item block, checked.
fn head(offset: Offset) -> Result<(u32, usize, usize)> {
    let head: &Head = arena()?.at(offset)?;
    let entries = head.entries.load(Acquire) as usize;
    let len = head.len.load(Acquire) as usize;
    let room = alloc::room(offset)?;
    if entries > room / 8 || len > room || HEAD + 8 * entries + len > room {
        return Err(Error::Corrupt { what: "an item" });
    }
    Ok((head.form.load(Acquire), entries, len))
}

/// Copies an item out. The caller sees to it that nobody removes it meanwhile.
///
/// # Errors
/// [`Error::Corrupt`] when the word or its block makes no sense.
pub fn read(word: Word) -> Result<Found> {
    let corrupt = Err(Error::Corrupt { what: "an item" });
    match word & TAG {
        0 => read_block(word),
        INT => Ok(Found::Int((word as i64) >> 2)),
        FLOAT => {
            let low = 2 - (word >> 63);
            Ok(Found::Float(f64::from_bits(
                (word & !TAG | low).rotate_right(3),
            )))
        }
        _ => {
            let [_, few @ ..] = word.to_le_bytes();
            let data = Data::Few((word >> 5 & 7) as usize, few);
            match word & SHORT_MASK {
                SHORT_TEXT => Ok(Found::Text(data)),
                SHORT_BYTES => Ok(Found::Bytes(data)),
                SHORT if word == ZERO => Ok(Found::Float(0.0)),
                SHORT => Ok(Found::Constant(match word >> 8 {
                    0 => Constant::Nothing,
                    1 => Constant::True,
                    2 => Constant::False,
                    3 => Constant::Ellipsis,
                    _ => return corrupt,
                })),
                _ => corrupt,
            }
        }
    }
}

/// Form, number of entries and bytes of an Item block that is in use, checked.
fn open(offset: Offset) -> Result<(u32, usize, *const u8, usize)> {
    let word = alloc::meta(offset)?.word.load(Acquire);
    if alloc::kind(word) != Some(Kind::Item) || alloc::state(word) != alloc::LIVE {
        return Err(Error::Corrupt { what: "an item" });
    }
    let (form, entries, len) = head(offset)?;
    let start = arena()?.bytes(offset + (HEAD + 8 * entries) as u64, len)?;
    Ok((form, entries, start, len))
}

/// Shows an item in place. The caller sees to it that nobody removes it meanwhile.
///
/// # Errors
/// [`Error::Corrupt`] when it makes no sense.
pub fn view<R>(offset: Offset, look: impl FnOnce(View<'_>) -> R) -> Result<R> {
    let (form, _, start, len) = open(offset)?;
    // SAFETY: the range is inside the block, which is not written to after it was linked
    // and, as the caller promises, not given back before this returns.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    Ok(look(match form {
        FORM_TEXT => View::Text(bytes),
        FORM_BYTES => View::Bytes(bytes),
        FORM_KEY => {
            let (canonical, origin) = key_parts(bytes)?;
            View::Key { canonical, origin }
        }
        _ => View::Other,
    }))
}

/// Canonical form and origin at the start of a key's bytes.
fn key_parts(bytes: &[u8]) -> Result<(&[u8], Option<Origin>)> {
    let word = |i: usize| {
        let part = bytes.get(8 * i..8 * i + 8)?;
        part.try_into().ok().map(u64::from_le_bytes)
    };
    let parts = (|| {
        let (head, process, hash) = (word(0)?, word(1)?, word(2)?);
        let canonical = bytes[KEY_HEAD..].get(..(head >> 1) as usize)?;
        Some((
            canonical,
            (head & 1 == 1).then_some(Origin { process, hash }),
        ))
    })();
    parts.ok_or(Error::Corrupt { what: "a key" })
}

fn read_block(offset: Offset) -> Result<Found> {
    let (form, entries, start, len) = open(offset)?;
    let mut bytes = Vec::with_capacity(len);
    // SAFETY: the range is inside the block, which is not written to after it was linked;
    // the vector has the room, and all of it is initialised by this.
    unsafe {
        std::ptr::copy_nonoverlapping(start, bytes.as_mut_ptr(), len);
        bytes.set_len(len);
    }
    if form == FORM_KEY {
        let canonical = key_parts(&bytes)?.0.len();
        bytes.drain(..KEY_HEAD + canonical);
    }
    Ok(match form {
        FORM_FLOAT => match bytes.try_into() {
            Ok(bits) => Found::Float(f64::from_bits(u64::from_le_bytes(bits))),
            Err(_) => return Err(Error::Corrupt { what: "an item" }),
        },
        FORM_TEXT => Found::Text(Data::Many(bytes)),
        FORM_BYTES => Found::Bytes(Data::Many(bytes)),
        FORM_PICKLE | FORM_KEY => {
            let mut held = Vec::with_capacity(entries);
            for i in 0..entries {
                if let Some(object) = refs::target(entry_at(offset, i))? {
                    held.push(Handle::hold(object)?);
                }
            }
            Found::Pickle(Data::Many(bytes), held)
        }
        _ => return Err(Error::Corrupt { what: "an item" }),
    })
}

/// Lets go of what an item refers to. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    let (_, entries, _) = head(offset)?;
    for i in 0..entries {
        refs::drop_for(entry_at(offset, i))?;
    }
    Ok(())
}
