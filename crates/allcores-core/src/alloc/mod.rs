//! Blocks of shared memory, each with a word outside of it that says whose it is.
//!
//! ```text
//! word of a block: generation 26 | owner 30 | kind 6 | state 2
//!
//! FREE ──reserve──▶ RESERVED(owner) ──publish──▶ LIVE ──retire──▶ RETIRED(owner) ──▶ FREE
//!                        └────────────release───────────────────────────────────────▶ FREE
//! ```
//!
//! A block that a process has reserved or retired names that process, so that what
//! the dead leave half made or half gone is found by looking at the words; see
//! [`crate::object::sweep`]. Generations count the uses of a place: a handle to an
//! earlier use does not match.
//!
//! Small blocks come from chunks of one size class. Which chunk has room is only ever
//! a hint; the words are the truth. Larger ones are runs of whole chunks (chunks.rs). What
//! is free keeps its memory for a while (warm.rs). The state table follows iceoryx2's
//! index sets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::arena::{Arena, CHUNK, Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::slot::{self, OWNER_MASK, Owner};

mod chunks;
mod warm;

use chunks::{
    CLOSING, EMPTY, HEAD, HOLE, SMALL, TAIL, close_chunk, open_chunk, release_large, reserve_large,
};
pub use warm::cool;

/// Number of size classes.
pub const CLASSES: usize = 20;

/// Processes that look into different chunks first, so that they don't write to the same cache
/// lines. A guess: of each class as many chunks may be open for nothing.
pub const GROUPS: usize = 14;

/// Sizes of small blocks: multiples of a cache line that fill a chunk well.
const SIZES: [usize; CLASSES] = [
    64, 128, 192, 256, 320, 448, 512, 640, 896, 1024, 1344, 2048, 2688, 4096, 5440, 8192, 10880,
    16384, 21760, 32768,
];

/// State of a block: nobody's.
pub const FREE: u64 = 0;
/// State of a block: its owner is making it.
pub const RESERVED: u64 = 1;
/// State of a block: in use.
pub const LIVE: u64 = 2;
/// State of a block: its owner is taking it apart.
pub const RETIRED: u64 = 3;

const KIND_SHIFT: u32 = 2;
const OWNER_SHIFT: u32 = 8;
const GENERATION_SHIFT: u32 = 38;

/// The words outside of a block.
#[repr(C)]
pub struct Meta {
    /// See the head of this file.
    pub word: AtomicU64,
    /// Reference count and its trace, see [`crate::refs`].
    pub refs: AtomicU64,
}
// SAFETY: atomics only.
unsafe impl Shared for Meta {}

/// Generation in a block's word.
pub fn generation(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

/// State in a block's word.
pub fn state(word: u64) -> u64 {
    word & 3
}

/// Kind in a block's word; `None` when it makes no sense.
pub fn kind(word: u64) -> Option<Kind> {
    Kind::from_bits((word >> KIND_SHIFT) as u8 & 63)
}

/// Owner in a block's word.
pub fn owner(word: u64) -> Owner {
    (word >> OWNER_SHIFT) as u32 & OWNER_MASK
}

fn pack(generation: u32, owner: Owner, kind: Kind, state: u64) -> u64 {
    (generation as u64) << GENERATION_SHIFT
        | (owner as u64) << OWNER_SHIFT
        | (kind as u64) << KIND_SHIFT
        | state
}

/// The word of a free place that was used `generation` times.
fn free_word(generation: u32) -> u64 {
    (generation as u64) << GENERATION_SHIFT
}

/// What is known about a chunk.
#[repr(C)]
struct Chunk {
    /// State in the low 8 bits, size class above.
    state: AtomicU64,
    /// In a HEAD: the number of chunks.
    len: AtomicU64,
    /// In a SMALL: about how many blocks are free.
    free: AtomicU32,
    _pad: AtomicU32,
    _reserved: [AtomicU64; 5],
}
// SAFETY: atomics only.
unsafe impl Shared for Chunk {}
const _: () = assert!(size_of::<Chunk>() == crate::arena::CHUNK_DESCRIPTOR);
const _: () = assert!(size_of::<Meta>() == crate::arena::CHUNK_METAS / (CHUNK / SIZES[0]));

/// Where this process looked last for a block of each class: `chunk << 32 | index`.
/// Memory of the process, not shared; wrong values only cost time.
static LOOK: [AtomicU64; CLASSES] = [const { AtomicU64::new(u64::MAX) }; CLASSES];

fn per_chunk(class: usize) -> usize {
    CHUNK / SIZES[class]
}

/// The free blocks of a class are counted in steps of so many, chunk by chunk, so that a block
/// that comes or goes seldom changes what all processes share.
fn step(class: usize) -> usize {
    (per_chunk(class) / 8).max(2)
}

/// So many free blocks of one chunk, to the nearest step: a chunk of which most is free or most
/// is taken, as nearly all are, is far from the next one.
fn in_steps(class: usize, free: usize) -> usize {
    (free + step(class) / 2) / step(class) * step(class)
}

/// Whether the count in steps is another one with a block less.
fn is_edge(class: usize, free: usize) -> bool {
    (free + step(class) / 2).is_multiple_of(step(class))
}

/// How many chunks' worth of free blocks a class may have before one looks for these instead of
/// opening a chunk: one for each process, as far as there are groups.
fn spread(arena: &Arena) -> usize {
    (arena.header().slots_used.load(Relaxed) as usize).clamp(1, GROUPS)
}

/// Where processes like this one look first.
fn hint(arena: &Arena, class: usize) -> &'static AtomicU64 {
    &arena.header().classes[class].hints[slot::index(slot::joined()) % GROUPS]
}

/// In a new child of fork: it looks for chunks of its own.
pub(crate) fn forget_places() {
    for look in &LOOK {
        look.store(u64::MAX, Relaxed);
    }
}

fn class_for(bytes: usize) -> Option<usize> {
    SIZES.iter().position(|&size| size >= bytes)
}

fn chunk(arena: &Arena, index: usize) -> Result<&'static Chunk> {
    arena.at(arena.chunk_at(index))
}

fn meta_in(arena: &Arena, chunk: usize, block: usize) -> Result<&'static Meta> {
    arena.at(arena.metas_at(chunk) + (block * size_of::<Meta>()) as u64)
}

/// The words of the block that begins at `offset`.
///
/// # Errors
/// [`Error::Corrupt`] when no block can begin there.
pub fn meta(offset: Offset) -> Result<&'static Meta> {
    let arena = arena()?;
    let (index, inside) = arena.chunk_of(offset)?;
    if index >= arena.chunks_used() {
        return Err(Error::Corrupt {
            what: "a block's place",
        });
    }
    let state = chunk(arena, index)?.state.load(Acquire);
    match state & 255 {
        SMALL | CLOSING if ((state >> 8) as usize) < CLASSES => {
            let size = SIZES[(state >> 8) as usize];
            if inside.is_multiple_of(size) && inside / size < CHUNK / size {
                return meta_in(arena, index, inside / size);
            }
        }
        HEAD if inside == 0 => return meta_in(arena, index, 0),
        _ => {}
    }
    Err(Error::Corrupt {
        what: "a block's place",
    })
}

/// Bytes that the block at `offset` has room for.
///
/// # Errors
/// [`Error::Corrupt`] when no block begins there.
pub fn room(offset: Offset) -> Result<usize> {
    meta(offset)?;
    let arena = arena()?;
    let (index, _) = arena.chunk_of(offset)?;
    let chunk = chunk(arena, index)?;
    let state = chunk.state.load(Acquire);
    Ok(match state & 255 {
        HEAD => {
            let len = chunk.len.load(Acquire) as usize;
            if len == 0 || len > arena.chunks_used().saturating_sub(index) {
                return Err(Error::Corrupt {
                    what: "a block's length",
                });
            }
            len * CHUNK
        }
        _ => SIZES[((state >> 8) as usize).min(CLASSES - 1)],
    })
}

/// Reserves a block of at least `bytes` for this process; its content is arbitrary
/// unless `zeroed`.
///
/// # Errors
/// [`Error::OutOfMemory`], or when this process cannot take part in the arena.
pub fn reserve(kind: Kind, bytes: usize, zeroed: bool) -> Result<Offset> {
    let me = slot::me()?;
    let arena = arena()?;
    // Not of its kind before it is clean: should we die before, what an earlier user left
    // in the place must not be taken for what a block of that kind owns.
    let first = if zeroed { Kind::Raw } else { kind };
    let offset = match class_for(bytes) {
        Some(class) => {
            let offset = reserve_small(arena, me, first, class)?;
            if zeroed {
                let start = arena.bytes(offset, SIZES[class])?;
                // SAFETY: the block was just reserved by us, nobody else may touch it.
                unsafe { start.write_bytes(0, bytes.next_multiple_of(64).min(SIZES[class])) };
                crash_point!("alloc.reserve: zeroed");
            }
            offset
        }
        None => reserve_large(arena, me, first, bytes, zeroed)?,
    };
    if zeroed {
        turn_into(offset, kind)?;
    }
    Ok(offset)
}

/// Reserves a block that has its pages for itself; its content is arbitrary.
///
/// # Errors
/// As of [`reserve`].
pub fn reserve_whole(kind: Kind, bytes: usize) -> Result<Offset> {
    let me = slot::me()?;
    reserve_large(arena()?, me, kind, bytes.max(1), false)
}

/// Makes a block that this process has reserved one of `kind`: from here on its content
/// says what it owns.
///
/// # Errors
/// When `offset` is no block.
pub fn turn_into(offset: Offset, kind: Kind) -> Result<()> {
    let meta = meta(offset)?;
    let word = meta.word.load(Relaxed) & !(63 << KIND_SHIFT);
    meta.word.store(word | (kind as u64) << KIND_SHIFT, Release);
    crash_point!("alloc.turn_into: of its kind");
    Ok(())
}

/// Ends the making of a block: it is in use now, with `refs` references to it.
///
/// # Errors
/// When `offset` is no block.
pub fn publish(offset: Offset, refs: u32) -> Result<()> {
    let meta = meta(offset)?;
    meta.refs.store(refs as u64, Relaxed);
    crash_point!("alloc.publish: counted");
    let word = meta.word.load(Relaxed);
    meta.word.store(
        word & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | LIVE,
        Release,
    );
    crash_point!("alloc.publish: LIVE");
    Ok(())
}

/// Hands a block that this process has reserved to another owner.
///
/// # Errors
/// When `offset` is no block.
pub fn give_to(offset: Offset, owner: Owner) -> Result<()> {
    let meta = meta(offset)?;
    let word = meta.word.load(Relaxed) & !((OWNER_MASK as u64) << OWNER_SHIFT);
    meta.word
        .store(word | (owner as u64) << OWNER_SHIFT, Release);
    crash_point!("alloc.give_to: given");
    Ok(())
}

/// Makes a block RESERVED by this process, whoever has it, if its word still is `seen`.
///
/// # Errors
/// When `offset` is no block.
pub fn adopt(offset: Offset, seen: u64) -> Result<bool> {
    let me = slot::me()?;
    let mine =
        seen & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | (me as u64) << OWNER_SHIFT | RESERVED;
    let adopted = meta(offset)?
        .word
        .compare_exchange(seen, mine, AcqRel, Relaxed)
        .is_ok();
    crash_point!("alloc.adopt: RESERVED by us");
    Ok(adopted)
}

/// Makes a block LIVE that is not counted, if its word still is `seen`.
///
/// # Errors
/// When `offset` is no block.
pub fn settle(offset: Offset, seen: u64) -> Result<bool> {
    let live = seen & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | LIVE;
    let settled = meta(offset)?
        .word
        .compare_exchange(seen, live, AcqRel, Relaxed)
        .is_ok();
    crash_point!("alloc.settle: LIVE");
    Ok(settled)
}

/// Begins the end of a block: LIVE becomes RETIRED by this process. False when the block
/// is not `LIVE`, so that of several only one goes on.
///
/// # Errors
/// When `offset` is no block.
pub fn retire(offset: Offset) -> Result<bool> {
    retire_for(offset, slot::me()?)
}

/// Like [`retire`], in the name of the process that takes apart what this block is a part
/// of, so that both are swept together.
///
/// # Errors
/// When `offset` is no block.
pub fn retire_for(offset: Offset, owner: Owner) -> Result<bool> {
    let word = meta(offset)?.word.load(Acquire);
    retire_seen(offset, owner, word)
}

/// Like [`retire_for`], if the block's word is still the one that was read, so that it is the
/// same block: others may have given it back since, and its place may be another's by now.
///
/// # Errors
/// When `offset` is no block.
pub fn retire_seen(offset: Offset, owner: Owner, word: u64) -> Result<bool> {
    let meta = meta(offset)?;
    let retired =
        word & !3 & !((OWNER_MASK as u64) << OWNER_SHIFT) | (owner as u64) << OWNER_SHIFT | RETIRED;
    let begun = state(word) == LIVE
        && meta
            .word
            .compare_exchange(word, retired, AcqRel, Relaxed)
            .is_ok();
    if begun {
        crash_point!("alloc.retire: RETIRED");
    }
    Ok(begun)
}

/// Gives back a block that this process has reserved or retired.
///
/// # Errors
/// When `offset` is no block.
pub fn release(offset: Offset) -> Result<()> {
    let arena = arena()?;
    let meta = meta(offset)?;
    let (index, inside) = arena.chunk_of(offset)?;
    let chunk = chunk(arena, index)?;
    let chunk_state = chunk.state.load(Acquire);
    if chunk_state & 255 == HEAD {
        return release_large(arena, index, meta);
    }
    let class = ((chunk_state >> 8) as usize).min(CLASSES - 1);
    let next = generation(meta.word.load(Relaxed)).wrapping_add(1);
    meta.refs.store(0, Relaxed);
    crash_point!("alloc.release: count 0");
    meta.word.store(free_word(next), Release);
    crash_point!("alloc.release: FREE");
    // A crash between here and there makes the hints too low by one, until the recovery has
    // counted anew. One that another is just setting right may be below zero for a moment.
    let free = chunk.free.fetch_add(1, Relaxed).wrapping_add(1) as usize;
    crash_point!("alloc.release: chunk counts one more");
    let all_free = &arena.header().classes[class].free;
    if is_edge(class, free) {
        all_free.fetch_add(step(class) as u64, Relaxed);
        crash_point!("alloc.release: class counts more");
    }
    // The block used last is the one in the processor's cache: take it first next time. But not
    // where others take theirs: there one looks when there is no room in the own chunk.
    let look = LOOK[class].load(Relaxed);
    let hint = hint(arena, class);
    if look >> 32 == index as u64 {
        LOOK[class].store(
            (index as u64) << 32 | (inside / SIZES[class]) as u64,
            Relaxed,
        );
    } else if look != u64::MAX && hint.load(Relaxed) != index as u64 + 1 {
        hint.store(index as u64 + 1, Relaxed);
        crash_point!("alloc.release: hint");
    }
    let n = per_chunk(class);
    if free >= n && all_free.load(Relaxed) as usize > (spread(arena) + 3) * n {
        close_chunk(arena, index, class)?;
    }
    Ok(())
}

fn reserve_small(arena: &Arena, me: Owner, kind: Kind, class: usize) -> Result<Offset> {
    let look = LOOK[class].load(Relaxed);
    if look != u64::MAX
        && let Some(found) = take_from(
            arena,
            me,
            kind,
            class,
            (look >> 32) as usize,
            look as u32 as usize,
        )?
    {
        return Ok(found);
    }
    let hint = hint(arena, class).load(Relaxed) as usize;
    if (1..=arena.chunks_used()).contains(&hint)
        && let Some(found) = take_from(arena, me, kind, class, hint - 1, 0)?
    {
        return Ok(found);
    }
    // Worth a search when there are as many free blocks as new chunks would bring.
    let known = &arena.header().classes[class].free;
    let enough = in_steps(class, per_chunk(class)) * spread(arena);
    if known.load(Relaxed) as usize >= enough {
        if let Some(found) = search(arena, me, kind, class)? {
            return Ok(found);
        }
        // The hint was too high: whoever died between two counters left it so.
        known.store(0, Relaxed);
        crash_point!("alloc.reserve: class count put right");
    }
    // A new chunk may be emptied by others before we get a block, so try more than once.
    for _ in 0..64 {
        let index = match open_chunk(arena, class) {
            // Now the few that are free elsewhere are worth it, too.
            Err(full @ Error::OutOfMemory { .. }) => {
                return search(arena, me, kind, class)?.ok_or(full);
            }
            opened => opened?,
        };
        if let Some(found) = take_from(arena, me, kind, class, index, 0)? {
            return Ok(found);
        }
    }
    Err(Error::OutOfMemory {
        wanted: SIZES[class],
    })
}

/// Takes a free block of any chunk of the class that says it has one.
fn search(arena: &Arena, me: Owner, kind: Kind, class: usize) -> Result<Option<Offset>> {
    let scan = &arena.header().classes[class].scan;
    let used = arena.chunks_used();
    let start = scan.load(Relaxed) as usize % used.max(1);
    for step in 0..used {
        let index = (start + step) % used;
        let chunk = chunk(arena, index)?;
        if chunk.state.load(Acquire) == SMALL | (class as u64) << 8
            && chunk.free.load(Relaxed) > 0
            && let Some(found) = take_from(arena, me, kind, class, index, 0)?
        {
            scan.store(index as u64, Relaxed);
            crash_point!("alloc.reserve: where to scan");
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Takes a free block of one chunk, looking from block `from` on.
fn take_from(
    arena: &Arena,
    me: Owner,
    kind: Kind,
    class: usize,
    index: usize,
    from: usize,
) -> Result<Option<Offset>> {
    let chunk = chunk(arena, index)?;
    let open = SMALL | (class as u64) << 8;
    if chunk.state.load(Acquire) != open {
        return Ok(None);
    }
    let n = per_chunk(class);
    for i in 0..n {
        let block = (from + i) % n;
        let meta = meta_in(arena, index, block)?;
        let word = meta.word.load(Relaxed);
        if state(word) != FREE {
            continue;
        }
        let mine = pack(generation(word), me, kind, RESERVED);
        if meta
            .word
            .compare_exchange(word, mine, SeqCst, Relaxed)
            .is_err()
        {
            continue;
        }
        crash_point!("alloc.take: RESERVED");
        // Had the chunk been closed meanwhile, the block would no longer be one. The
        // closer stores the state, then reads the words; we did the reverse. One of us
        // sees the other.
        if chunk.state.load(SeqCst) != open {
            meta.word.store(free_word(generation(word)), SeqCst);
            crash_point!("alloc.take: put back, as the chunk is closed");
            return Ok(None);
        }
        let before = chunk.free.fetch_sub(1, Relaxed) as usize;
        crash_point!("alloc.take: chunk counts one less");
        if before == 0 {
            chunk.free.store(0, Relaxed);
            crash_point!("alloc.take: count of a chunk put right");
        } else if is_edge(class, before) {
            lower(&arena.header().classes[class].free, step(class) as u64);
            crash_point!("alloc.take: class counts less");
        }
        LOOK[class].store((index as u64) << 32 | ((block + 1) % n) as u64, Relaxed);
        return Ok(Some(arena.data_at(index) + (block * SIZES[class]) as u64));
    }
    // Full, whatever the hint says.
    chunk.free.store(0, Relaxed);
    crash_point!("alloc.take: chunk is full");
    Ok(None)
}

/// Takes so many off, but not below zero: hints may be off after a crash.
fn lower(hint: &AtomicU64, by: u64) {
    let _ = hint.fetch_update(Relaxed, Relaxed, |seen| Some(seen.saturating_sub(by)));
}

/// Calls `visit` for each block that is not free: place, words.
///
/// Blocks that others take or free meanwhile may or may not be seen.
///
/// # Errors
/// What `visit` says.
pub fn for_each(mut visit: impl FnMut(Offset, &'static Meta) -> Result<()>) -> Result<()> {
    let arena = arena()?;
    let used = arena.chunks_used();
    let mut i = 0;
    while i < used {
        let chunk = chunk(arena, i)?;
        let seen = chunk.state.load(Acquire);
        let class = ((seen >> 8) as usize).min(CLASSES - 1);
        match seen & 255 {
            // One that is being closed may yet turn out to be in use.
            SMALL | CLOSING => {
                for block in 0..per_chunk(class) {
                    let meta = meta_in(arena, i, block)?;
                    if state(meta.word.load(Acquire)) != FREE {
                        visit(arena.data_at(i) + (block * SIZES[class]) as u64, meta)?;
                    }
                }
                i += 1;
            }
            HEAD => {
                let n = (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks());
                let meta = meta_in(arena, i, 0)?;
                if state(meta.word.load(Acquire)) != FREE {
                    visit(arena.data_at(i), meta)?;
                }
                i += n;
            }
            _ => i += 1,
        }
    }
    Ok(())
}

/// Puts right what a dead process left too low: the counts of free blocks, by which others
/// look for them. Repeatable.
///
/// They get too high when others take or free blocks meanwhile; whoever then looks in vain
/// puts them right. So they are only raised.
///
/// # Errors
/// When shared memory makes no sense.
pub fn recount() -> Result<()> {
    let arena = arena()?;
    let mut all = [0; CLASSES];
    for i in 0..arena.chunks_used() {
        let chunk = chunk(arena, i)?;
        let seen = chunk.state.load(Acquire);
        if seen & 255 != SMALL {
            continue;
        }
        let class = ((seen >> 8) as usize).min(CLASSES - 1);
        let mut free = 0;
        for block in 0..per_chunk(class) {
            let word = meta_in(arena, i, block)?.word.load(Acquire);
            free += u32::from(state(word) == FREE);
        }
        if chunk.free.load(Relaxed) < free {
            chunk.free.fetch_max(free, Relaxed);
            crash_point!("alloc.recount: chunk");
        }
        all[class] += in_steps(class, free as usize) as u64;
    }
    for (class, free) in arena.header().classes.iter().zip(all) {
        let count = &class.free;
        if count.load(Relaxed) < free {
            count.fetch_max(free, Relaxed);
            crash_point!("alloc.recount: class");
        }
    }
    Ok(())
}

/// How much there is of what.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Bytes that the reservation has room for.
    pub capacity: u64,
    /// Bytes with memory behind them, free or not.
    pub committed: u64,
    /// Blocks in use.
    pub live_blocks: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes of free chunks that keep their memory.
    pub warm_bytes: u64,
    /// Bytes of chunks that are neither free nor have a block. Changes that others are at
    /// show here, and those that a death cut short until the next one of this kind.
    pub lost_bytes: u64,
}

/// Counts; for people and tests, as it walks through everything.
///
/// # Errors
/// When shared memory makes no sense.
pub fn stats() -> Result<Stats> {
    let arena = arena()?;
    let mut stats = Stats {
        capacity: (arena.chunks() * CHUNK) as u64,
        ..Stats::default()
    };
    let used = arena.chunks_used();
    for i in 0..used {
        let state = chunk(arena, i)?.state.load(Acquire);
        stats.committed += u64::from(state != HOLE) * CHUNK as u64;
        stats.warm_bytes += u64::from(state == EMPTY) * CHUNK as u64;
    }
    let mut i = 0;
    while i < used {
        let chunk = chunk(arena, i)?;
        let (n, lost) = match chunk.state.load(Acquire) & 255 {
            HEAD => (
                (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks()),
                state(meta_in(arena, i, 0)?.word.load(Acquire)) == FREE,
            ),
            TAIL | CLOSING => (1, true),
            _ => (1, false),
        };
        stats.lost_bytes += u64::from(lost) * (n * CHUNK) as u64;
        i += n;
    }
    for_each(|offset, _| {
        stats.live_blocks += 1;
        // It may be gone since.
        stats.live_bytes += room(offset).unwrap_or(0) as u64;
        Ok(())
    })?;
    Ok(stats)
}
