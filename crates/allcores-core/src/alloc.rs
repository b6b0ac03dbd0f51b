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
//! a hint; the words are the truth. Larger ones are runs of whole chunks, changed under
//! one lock with a note of the change under way. The state table follows iceoryx2's
//! index sets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::arena::{Arena, CHUNK, Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::lock::Guard;
use crate::object::Kind;
use crate::os;
use crate::slot::{self, OWNER_MASK, Owner};

/// Number of size classes.
pub const CLASSES: usize = 20;

/// Sizes of small blocks: multiples of a cache line that fill a chunk well.
const SIZES: [usize; CLASSES] = [
    64, 128, 192, 256, 320, 448, 512, 640, 896, 1024, 1344, 2048, 2688, 4096, 5440, 8192, 10880,
    16384, 21760, 32768,
];

/// Chunks committed at once when the arena grows by small pieces: system calls are
/// then rare. A guess: 1 MiB.
const GROW: usize = 16;
/// Free chunks that keep their memory for the next use, because fresh pages cost far
/// more than warm ones (measured 1.5 against 10.5 GB/s). A guess: 64 MiB.
const WARM: u64 = 1024;
/// What growth leaves to the rest of the program, which may want to fork a child. A guess.
const SPARE: u64 = 8 << 20;
/// The part of the memory left that a process may take before it asks again. A guess: others
/// take from the same.
const ALLOWED: u64 = 16;

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

/// State of a chunk: no memory behind it.
const HOLE: u64 = 0;
/// State of a chunk: free, with memory.
const EMPTY: u64 = 1;
/// State of a chunk: blocks of the class in the upper bits.
const SMALL: u64 = 2;
/// State of a chunk: the first of a large block.
const HEAD: u64 = 3;
/// State of a chunk: a further one of a large block.
const TAIL: u64 = 4;
/// State of a chunk of blocks of which none is in use, perhaps about to be free.
const CLOSING: u64 = 5;

/// What is known about a chunk.
#[repr(C)]
struct Chunk {
    /// State in the low 8 bits, size class above.
    state: AtomicU64,
    /// In a HEAD: the number of chunks.
    len: AtomicU64,
    _reserved: AtomicU64,
    /// In a SMALL: about how many blocks are free.
    free: AtomicU32,
    _pad: AtomicU32,
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
    let free = chunk.free.fetch_add(1, Relaxed).wrapping_add(1);
    crash_point!("alloc.release: chunk counts one more");
    let header = arena.header();
    let all_free = header.class_free[class]
        .fetch_add(1, Relaxed)
        .wrapping_add(1);
    crash_point!("alloc.release: class counts one more");
    // The block used last is the one in the processor's cache: take it first next time.
    LOOK[class].store(
        (index as u64) << 32 | (inside / SIZES[class]) as u64,
        Relaxed,
    );
    header.class_hint[class].store(index as u64, Relaxed);
    crash_point!("alloc.release: hint");
    let n = per_chunk(class);
    if free as usize >= n && all_free as usize > 4 * n {
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
    let header = arena.header();
    let hint = header.class_hint[class].load(Relaxed) as usize;
    if hint < arena.chunks_used()
        && let Some(found) = take_from(arena, me, kind, class, hint, 0)?
    {
        return Ok(found);
    }
    // Worth a search when there are as many free blocks as a new chunk would bring.
    if header.class_free[class].load(Relaxed) as usize >= per_chunk(class) {
        let used = arena.chunks_used();
        let start = header.class_scan[class].load(Relaxed) as usize % used.max(1);
        for step in 0..used {
            let index = (start + step) % used;
            let chunk = chunk(arena, index)?;
            if chunk.state.load(Acquire) == SMALL | (class as u64) << 8
                && chunk.free.load(Relaxed) > 0
                && let Some(found) = take_from(arena, me, kind, class, index, 0)?
            {
                header.class_scan[class].store(index as u64, Relaxed);
                crash_point!("alloc.reserve: where to scan");
                return Ok(found);
            }
        }
        // The hint was too high: whoever died between two counters left it so.
        header.class_free[class].store(0, Relaxed);
        crash_point!("alloc.reserve: class count put right");
    }
    // A new chunk may be emptied by others before we get a block, so try more than once.
    for _ in 0..64 {
        let index = open_chunk(arena, class)?;
        if let Some(found) = take_from(arena, me, kind, class, index, 0)? {
            return Ok(found);
        }
    }
    Err(Error::OutOfMemory {
        wanted: SIZES[class],
    })
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
    for step in 0..n {
        let block = (from + step) % n;
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
        dec(&chunk.free);
        crash_point!("alloc.take: chunk counts one less");
        dec64(&arena.header().class_free[class]);
        crash_point!("alloc.take: class counts one less");
        LOOK[class].store((index as u64) << 32 | ((block + 1) % n) as u64, Relaxed);
        return Ok(Some(arena.data_at(index) + (block * SIZES[class]) as u64));
    }
    // Full, whatever the hint says.
    chunk.free.store(0, Relaxed);
    crash_point!("alloc.take: chunk is full");
    Ok(None)
}

/// One less, but not below zero: hints may be off after a crash.
fn dec(hint: &AtomicU32) {
    if hint.fetch_sub(1, Relaxed) == 0 {
        crash_point!("alloc.hint: of a chunk below zero");
        hint.store(0, Relaxed);
        crash_point!("alloc.hint: of a chunk put right");
    }
}

fn dec64(hint: &AtomicU64) {
    if hint.fetch_sub(1, Relaxed) == 0 {
        crash_point!("alloc.hint: of a class below zero");
        hint.store(0, Relaxed);
        crash_point!("alloc.hint: of a class put right");
    }
}

/// Takes the lock on the states of chunks, after finishing what a dead holder began.
fn chunk_guard(arena: &Arena) -> Result<Guard<'static>> {
    let header = arena.header();
    Guard::new(&header.chunk_lock, || {
        let first = header.chunk_intent[0].load(Acquire) as usize;
        let n = header.chunk_intent[1].load(Acquire) as usize;
        if n != 0
            && first
                .checked_add(n)
                .is_some_and(|end| end <= arena.chunks_used())
        {
            // Whether the chunks were being taken or given back: nobody has them now.
            // Their memory may or may not be there, so let it go to be certain.
            arena.give_back(arena.data_at(first), n * CHUNK)?;
            crash_point!("alloc.repair: memory given back");
            let meta = meta_in(arena, first, 0)?;
            let word = meta.word.load(Relaxed);
            if state(word) != FREE {
                meta.word
                    .store(free_word(generation(word).wrapping_add(1)), Release);
                crash_point!("alloc.repair: block FREE");
            }
            for i in first..first + n {
                chunk(arena, i)?.state.store(HOLE, Release);
                crash_point!("alloc.repair: chunk a HOLE");
            }
            header.chunk_first_free.fetch_min(first as u64, Relaxed);
            crash_point!("alloc.repair: first free");
        }
        header.chunk_intent[1].store(0, Release);
        crash_point!("alloc.repair: no intent");
        // The count of warm chunks may be off; make it right. A chunk that was being
        // closed stays in use: its blocks were not all seen to be free.
        let mut warm = 0;
        for i in 0..arena.chunks_used() {
            let chunk = chunk(arena, i)?;
            let state = chunk.state.load(Relaxed);
            warm += u64::from(state == EMPTY);
            if state & 255 == CLOSING {
                chunk.state.store(state & !255 | SMALL, SeqCst);
                crash_point!("alloc.repair: chunk SMALL again");
            }
        }
        header.chunks_warm.store(warm, Relaxed);
        crash_point!("alloc.repair: warm ones counted");
        Ok(())
    })
}

/// What this process may grow by before it asks again, in bytes.
static ALLOWANCE: AtomicU64 = AtomicU64::new(0);
/// How much free memory this process leaves warm, in bytes: less where memory is short.
static KEPT: AtomicU64 = AtomicU64::new(WARM * CHUNK as u64);

/// Whether there is memory for `bytes` more. The kernel commits shared memory as long as it
/// can, and then kills somebody, in control groups as well: so it is asked what is left.
/// That takes a while, so an answer allows some growth without a further question.
fn may_grow(bytes: u64) -> bool {
    if ALLOWANCE
        .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes))
        .is_ok()
    {
        return true;
    }
    let left = os::memory().1.saturating_sub(bytes);
    let allowed = left.saturating_sub(SPARE) / ALLOWED;
    ALLOWANCE.store(allowed, Relaxed);
    KEPT.store(allowed.min(WARM * CHUNK as u64), Relaxed);
    left >= SPARE
}

/// Finds `n` free chunks in a row and notes that they are about to change; with memory
/// behind all of them. Says whether their content is zero. The caller holds the lock.
fn take_chunks(arena: &Arena, n: usize, bytes: usize) -> Result<(usize, bool)> {
    let header = arena.header();
    let used = arena.chunks_used();
    let mut first_free = None;
    let mut run = 0;
    let mut found = None;
    let mut i = header.chunk_first_free.load(Relaxed) as usize;
    while i < used {
        let chunk = chunk(arena, i)?;
        match chunk.state.load(Acquire) & 255 {
            HOLE | EMPTY => {
                first_free.get_or_insert(i);
                run += 1;
                i += 1;
                if run == n {
                    found = Some(i - n);
                    break;
                }
            }
            HEAD => {
                run = 0;
                i += (chunk.len.load(Acquire) as usize).clamp(1, arena.chunks());
            }
            _ => {
                run = 0;
                i += 1;
            }
        }
    }
    // The free chunks at the end of what is used count as well.
    let start = found.unwrap_or(used - run.min(used));
    if start + n > arena.chunks() {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    let mut cold = 0;
    for i in start..(start + n).min(used) {
        cold += usize::from(chunk(arena, i)?.state.load(Acquire) == HOLE);
    }
    let fresh = (start + n).saturating_sub(used.max(start));
    if !may_grow(((cold + fresh) * CHUNK) as u64) {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    if start + n > used {
        // New ground: descriptors and words first. More than is wanted, if it can be had.
        let end = (start + n.max(GROW)).min(arena.chunks());
        let more = (end - used).saturating_sub(fresh) * CHUNK;
        let end = if may_grow(more as u64) {
            end
        } else {
            start + n
        };
        let from = arena.chunk_at(used);
        arena.commit(from, (arena.chunk_at(end) - from) as usize)?;
        crash_point!("alloc.chunks: descriptors there");
        arena.commit(arena.data_at(used), (end - used) * CHUNK)?;
        crash_point!("alloc.chunks: memory there");
        for i in used..end {
            chunk(arena, i)?.state.store(EMPTY, Release);
            crash_point!("alloc.chunks: new one EMPTY");
        }
        header.chunks_warm.fetch_add((end - used) as u64, Relaxed);
        crash_point!("alloc.chunks: new ones counted");
        header.chunks_used.store(end as u64, Release);
        crash_point!("alloc.chunks: new ones in use");
    }
    arena.commit(arena.metas_at(start), os::PAGE)?;
    crash_point!("alloc.chunks: words there");
    // Noted first: if we die between here and the end of the change, the next holder
    // of the lock undoes it.
    header.chunk_intent[0].store(start as u64, Release);
    crash_point!("alloc.chunks: intent, where");
    header.chunk_intent[1].store(n as u64, Release);
    crash_point!("alloc.chunks: intent");
    if cold > 0 {
        let committed = arena.commit(arena.data_at(start), n * CHUNK);
        crash_point!("alloc.chunks: cold ones have memory");
        if let Err(error) = committed {
            arena.give_back(arena.data_at(start), n * CHUNK)?;
            crash_point!("alloc.chunks: refused, given back");
            for i in start..start + n {
                if chunk(arena, i)?.state.swap(HOLE, Release) == EMPTY {
                    dec64(&header.chunks_warm);
                }
                crash_point!("alloc.chunks: refused, a HOLE");
            }
            header.chunk_intent[1].store(0, Release);
            crash_point!("alloc.chunks: refused, no intent");
            return Err(error);
        }
    }
    let mut warm = 0;
    for i in start..start + n {
        warm += u64::from(chunk(arena, i)?.state.load(Acquire) == EMPTY);
    }
    let left = header.chunks_warm.load(Relaxed).saturating_sub(warm);
    header.chunks_warm.store(left, Relaxed);
    crash_point!("alloc.chunks: warm ones counted");
    if first_free == Some(start) || first_free.is_none() {
        header.chunk_first_free.store((start + n) as u64, Relaxed);
        crash_point!("alloc.chunks: first free behind");
    } else if let Some(first) = first_free {
        header.chunk_first_free.store(first as u64, Relaxed);
        crash_point!("alloc.chunks: first free before");
    }
    Ok((start, warm == 0 || start >= used))
}

/// Makes a chunk into one of blocks of `class`.
fn open_chunk(arena: &Arena, class: usize) -> Result<usize> {
    let header = arena.header();
    let _guard = chunk_guard(arena)?;
    let n = per_chunk(class);
    let (index, _) = take_chunks(arena, 1, SIZES[class])?;
    let words = n * size_of::<Meta>();
    if let Err(error) = arena.commit(arena.metas_at(index), words) {
        chunk(arena, index)?.state.store(EMPTY, Release);
        crash_point!("alloc.open: refused, EMPTY");
        header.chunk_intent[1].store(0, Release);
        crash_point!("alloc.open: refused, no intent");
        return Err(error);
    }
    let chunk = chunk(arena, index)?;
    chunk.free.store(n as u32, Relaxed);
    crash_point!("alloc.open: chunk counts");
    // Before others can take blocks of it: repairing the intent after a crash would take
    // the chunk from under them. Without it the chunk is simply free.
    header.chunk_intent[1].store(0, SeqCst);
    crash_point!("alloc.open: no intent");
    chunk.state.store(SMALL | (class as u64) << 8, SeqCst);
    crash_point!("alloc.open: SMALL");
    header.class_free[class].fetch_add(n as u64, Relaxed);
    crash_point!("alloc.open: class counts");
    header.class_hint[class].store(index as u64, Relaxed);
    crash_point!("alloc.open: hint");
    Ok(index)
}

/// Makes a chunk free again if none of its blocks is in use.
fn close_chunk(arena: &Arena, index: usize, class: usize) -> Result<()> {
    let header = arena.header();
    let _guard = chunk_guard(arena)?;
    let c = chunk(arena, index)?;
    let open = SMALL | (class as u64) << 8;
    let closing = CLOSING | (class as u64) << 8;
    if c.state
        .compare_exchange(open, closing, SeqCst, Relaxed)
        .is_err()
    {
        return Ok(());
    }
    crash_point!("alloc.close: CLOSING");
    let n = per_chunk(class);
    let mut free = 0;
    for block in 0..n {
        free += usize::from(state(meta_in(arena, index, block)?.word.load(SeqCst)) == FREE);
    }
    if free < n {
        c.free.store(free as u32, Relaxed);
        crash_point!("alloc.close: in use, count right");
        c.state.store(open, SeqCst);
        crash_point!("alloc.close: in use, SMALL again");
        return Ok(());
    }
    let before = header.class_free[class].load(Relaxed);
    header.class_free[class].store(before.saturating_sub(n as u64), Relaxed);
    crash_point!("alloc.close: class counts");
    free_chunks(arena, index, 1)
}

/// Marks chunks free, with or without their memory. The caller holds the lock.
fn free_chunks(arena: &Arena, first: usize, n: usize) -> Result<()> {
    let header = arena.header();
    header.chunk_intent[0].store(first as u64, Release);
    crash_point!("alloc.free: intent, where");
    header.chunk_intent[1].store(n as u64, Release);
    crash_point!("alloc.free: intent");
    let warm = header.chunks_warm.load(Relaxed).saturating_add(n as u64);
    let keep = warm.saturating_mul(CHUNK as u64) <= KEPT.load(Relaxed);
    if !keep {
        arena.give_back(arena.data_at(first), n * CHUNK)?;
        crash_point!("alloc.free: memory given back");
    }
    for i in first..first + n {
        let state = if keep { EMPTY } else { HOLE };
        chunk(arena, i)?.state.store(state, SeqCst);
        crash_point!("alloc.free: chunk free");
    }
    if keep {
        header.chunks_warm.fetch_add(n as u64, Relaxed);
        crash_point!("alloc.free: warm ones counted");
    }
    header.chunk_first_free.fetch_min(first as u64, Relaxed);
    crash_point!("alloc.free: first free");
    header.chunk_intent[1].store(0, Release);
    crash_point!("alloc.free: no intent");
    Ok(())
}

fn reserve_large(
    arena: &Arena,
    me: Owner,
    kind: Kind,
    bytes: usize,
    zeroed: bool,
) -> Result<Offset> {
    let n = bytes.div_ceil(CHUNK);
    if n > arena.chunks() {
        return Err(Error::OutOfMemory { wanted: bytes });
    }
    let (first, clean) = {
        let _guard = chunk_guard(arena)?;
        let (first, clean) = take_chunks(arena, n, bytes)?;
        let meta = meta_in(arena, first, 0)?;
        for i in first + 1..first + n {
            chunk(arena, i)?.state.store(TAIL, Release);
            crash_point!("alloc.large: TAIL");
        }
        let head = chunk(arena, first)?;
        head.len.store(n as u64, Release);
        crash_point!("alloc.large: length");
        let word = meta.word.load(Relaxed);
        meta.word
            .store(pack(generation(word), me, kind, RESERVED), Release);
        crash_point!("alloc.large: RESERVED");
        head.state.store(HEAD, Release);
        crash_point!("alloc.large: HEAD");
        arena.header().chunk_intent[1].store(0, Release);
        crash_point!("alloc.large: no intent");
        (first, clean)
    };
    let offset = arena.data_at(first);
    if zeroed && !clean {
        let start = arena.bytes(offset, bytes)?;
        // SAFETY: the block was just reserved by us, nobody else may touch it.
        unsafe { start.write_bytes(0, bytes) };
        crash_point!("alloc.large: zeroed");
    }
    Ok(offset)
}

fn release_large(arena: &Arena, first: usize, meta: &Meta) -> Result<()> {
    let _guard = chunk_guard(arena)?;
    let n = chunk(arena, first)?.len.load(Acquire) as usize;
    if n == 0 || n > arena.chunks_used().saturating_sub(first) {
        return Err(Error::Corrupt {
            what: "a block's length",
        });
    }
    // Noted first: until then a crash leaves the block to the sweep, from then on to the
    // next holder of the lock. The word goes before the chunks do, or a crash in between
    // would leave a word that the chunk's next use takes for a block of its own.
    let header = arena.header();
    header.chunk_intent[0].store(first as u64, SeqCst);
    crash_point!("alloc.release_large: intent, where");
    header.chunk_intent[1].store(n as u64, SeqCst);
    crash_point!("alloc.release_large: intent");
    meta.refs.store(0, Relaxed);
    crash_point!("alloc.release_large: count 0");
    let next = generation(meta.word.load(Relaxed)).wrapping_add(1);
    meta.word.store(free_word(next), SeqCst);
    crash_point!("alloc.release_large: FREE");
    free_chunks(arena, first, n)
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
        all[class] += u64::from(free);
    }
    for (count, free) in arena.header().class_free.iter().zip(all) {
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
