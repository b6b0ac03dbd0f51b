//! Size classes of small blocks, and the hints where a class has free ones.
//!
//! Each process remembers where it looked last, a group of processes shares where to look
//! next, and all share about how many are free.

use std::sync::atomic::{AtomicU64, Ordering::*};

use crate::arena::{Arena, CHUNK};
use crate::slot;

/// Number of size classes.
pub const CLASSES: usize = 20;

/// Processes that look into different chunks first, so that they don't write to the same cache
/// lines. A guess: of each class as many chunks may be open for nothing.
pub const GROUPS: usize = 14;

/// Sizes of small blocks: multiples of a cache line that fill a chunk well.
pub(super) const SIZES: [usize; CLASSES] = [
    64, 128, 192, 256, 320, 448, 512, 640, 896, 1024, 1344, 2048, 2688, 4096, 5440, 8192, 10880,
    16384, 21760, 32768,
];

pub(super) fn class_for(bytes: usize) -> Option<usize> {
    SIZES.iter().position(|&size| size >= bytes)
}

pub(super) fn per_chunk(class: usize) -> usize {
    CHUNK / SIZES[class]
}

/// Where this process looked last for a block of each class: `chunk << 32 | index`.
/// Memory of the process, not shared; wrong values only cost time.
pub(super) static LOOK: [AtomicU64; CLASSES] = [const { AtomicU64::new(u64::MAX) }; CLASSES];

/// In a new child of fork: it looks for chunks of its own.
pub(crate) fn forget_places() {
    for look in &LOOK {
        look.store(u64::MAX, Relaxed);
    }
}

/// Where processes like this one look first.
pub(super) fn hint(arena: &Arena, class: usize) -> &'static AtomicU64 {
    &arena.header().classes[class].hints[slot::index(slot::joined()) % GROUPS]
}

/// The free blocks of a class are counted in steps of so many, chunk by chunk, so that a block
/// that comes or goes seldom changes what all processes share.
pub(super) fn step(class: usize) -> usize {
    (per_chunk(class) / 8).max(2)
}

/// So many free blocks of one chunk, to the nearest step: a chunk of which most is free or most
/// is taken, as nearly all are, is far from the next one.
pub(super) fn in_steps(class: usize, free: usize) -> usize {
    (free + step(class) / 2) / step(class) * step(class)
}

/// Whether the count in steps is another one with a block less.
pub(super) fn is_edge(class: usize, free: usize) -> bool {
    (free + step(class) / 2).is_multiple_of(step(class))
}

/// How many chunks' worth of free blocks a class may have before one looks for these instead of
/// opening a chunk: one for each process, as far as there are groups.
pub(super) fn spread(arena: &Arena) -> usize {
    (arena.header().slots_used.load(Relaxed) as usize).clamp(1, GROUPS)
}

/// Takes so many off, but not below zero: hints may be off after a crash.
pub(super) fn lower(hint: &AtomicU64, by: u64) {
    let _ = hint.fetch_update(Relaxed, Relaxed, |seen| Some(seen.saturating_sub(by)));
}
