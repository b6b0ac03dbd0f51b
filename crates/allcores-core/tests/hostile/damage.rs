//! Bytes that make no sense, where they hurt: offsets, lengths, states, owners, links.

use std::sync::atomic::{AtomicU64, Ordering::*};

use allcores_core::arena::{self, CHUNK_DESCRIPTOR, CHUNK_METAS, Header, SLOTS_AT};
use allcores_core::slot::{self, SLOT_BYTES};
use allcores_core::{alloc, os};

use crate::choices::Choices;

/// What is where, from before the first damage.
pub struct Map {
    /// Blocks in use, by their kind, and the bytes of each.
    kinds: Vec<Vec<(u64, usize)>>,
    /// Owners, the living first.
    owners: Vec<u32>,
    slots: usize,
    chunks: usize,
}

impl Map {
    /// Of the arena as it is.
    pub fn new() -> Map {
        let header = arena::arena().unwrap().header();
        let mut kinds = vec![Vec::new(); 64];
        alloc::for_each(|offset, meta| {
            let kind = alloc::kind(meta.word.load(Relaxed)).map_or(0, |kind| kind as usize);
            kinds[kind].push((offset, alloc::room(offset)?));
            Ok(())
        })
        .unwrap();
        kinds.retain(|blocks| !blocks.is_empty());
        let slots = header.slots_used.load(Relaxed) as usize;
        let me = slot::me().unwrap();
        let all = (0..slots as u32).flat_map(|i| [1 << 12 | i, 2 << 12 | i]);
        Map {
            kinds,
            owners: std::iter::once(me).chain(all).collect(),
            slots,
            chunks: header.chunks_used.load(Relaxed) as usize,
        }
    }

    /// A place for a word.
    fn place(&self, c: &mut Choices) -> u64 {
        let arena = arena::arena().unwrap();
        match c.below(16) {
            // The first page: what is used of it.
            0 => (128 * c.below(size_of::<Header>() / 128) + 8 * c.below(7)) as u64,
            1 | 2 => (SLOTS_AT + SLOT_BYTES * c.below(self.slots) + 8 * c.below(6)) as u64,
            3 => {
                let chunk = arena.chunk_at(c.below(self.chunks));
                chunk + 8 * c.below(CHUNK_DESCRIPTOR / 8) as u64
            }
            4 => arena.metas_at(c.below(self.chunks)) + 8 * c.below(CHUNK_METAS / 8) as u64,
            // The words of blocks in use, and what is in them, mostly their heads.
            5 | 6 => {
                let (offset, _) = self.block(c);
                let (chunk, inside) = arena.chunk_of(offset).unwrap();
                let index = self.size_in(chunk).map_or(0, |size| inside / size);
                arena.metas_at(chunk) + 16 * index as u64 + 8 * c.below(2) as u64
            }
            7..12 => {
                let (offset, room) = self.block(c);
                offset + 8 * c.below(room.min(512) / 8) as u64
            }
            _ => {
                let (offset, room) = self.block(c);
                offset + 8 * c.below(room.min(1 << 17) / 8) as u64
            }
        }
    }

    /// One of the blocks. Kinds of which there are few are as likely as those of many.
    fn block(&self, c: &mut Choices) -> (u64, usize) {
        let blocks = &self.kinds[c.below(self.kinds.len())];
        blocks[c.below(blocks.len())]
    }

    /// Bytes of the blocks of a chunk.
    fn size_in(&self, chunk: usize) -> Option<usize> {
        let first = arena::arena().unwrap().data_at(chunk);
        let inside = |at: u64| (first..first + arena::CHUNK as u64).contains(&at);
        let mut found = self.kinds.iter().flatten().filter(|&&(at, _)| inside(at));
        found.next().map(|&(_, room)| room)
    }

    /// A word that has a meaning, though not the right one.
    fn value(&self, c: &mut Choices, at: u64, seen: u64) -> u64 {
        let (offset, room) = self.block(c);
        let generation = match alloc::meta(offset) {
            Ok(meta) => alloc::generation(meta.word.load(Relaxed)) as u64,
            Err(_) => 1,
        };
        let owner = c.of(&self.owners) as u64;
        let end = arena::arena().unwrap().data_at(self.chunks);
        match c.below(30) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX >> c.below(64),
            4 => 1 << c.below(64),
            5 => c.below(256) as u64,
            6 => seen.wrapping_add(1),
            7 => seen.wrapping_sub(1),
            8 => seen ^ 1 << c.below(64),
            9 => !seen,
            10 => seen.rotate_left(32),
            // Places: right ones of other things, its own, between, beyond.
            11 => offset,
            12 => offset + c.below(room.min(4096)) as u64,
            13 => at & !63,
            14 => at,
            15 => end - c.below(256) as u64,
            16 => end + c.below(1 << 20) as u64,
            17 => end << c.below(12),
            // Entries and links to blocks, in all their forms.
            18 => offset | c.below(4) as u64,
            19 => owner << 52 | offset | c.below(4) as u64,
            20 => generation << 40 | offset >> 6,
            21 => (offset / 64) << 24 | generation & 0xff_ffff,
            22 => (offset / 64) << 24 | seen & 0xff_ffff,
            // Owners, with the marks that stand beside them.
            23 => owner,
            24 => owner << 2 | c.below(4) as u64 | seen & !0xffff_ffff,
            25 => owner << 32 | seen & 0xffff_ffff,
            26 => seen & !(0x3fff_ffff << 8) & !255 | owner << 8 | c.below(256) as u64,
            // Two counts, or a number and what it is recognised by: a dict's tables.
            27 => (c.below(400) as u64) << 32 | c.below(400) as u64,
            28 => seen & !0xffff_ffff | c.below(400) as u64,
            _ => c.word(),
        }
    }

    /// Writes over something.
    pub fn damage(&self, c: &mut Choices) {
        let arena = arena::arena().unwrap();
        let at = self.place(c);
        let Ok(word) = arena.at::<AtomicU64>(at.max(8)) else {
            return;
        };
        let seen = word.load(Relaxed);
        let new = self.value(c, at, seen);
        match c.below(8) {
            // Half of it, a byte of it, or many in a row.
            0 => word.store(seen & !0xffff_ffff | new & 0xffff_ffff, SeqCst),
            1 => word.store(seen & 0xffff_ffff | new << 32, SeqCst),
            2 => {
                let shift = 8 * c.below(8);
                word.store(seen & !(255 << shift) | (new & 255) << shift, SeqCst);
            }
            3 => {
                let page = os::PAGE as u64;
                let end = at.next_multiple_of(page).max(at + 8);
                for i in 0..c.below(64) as u64 {
                    if at + 8 * i < end
                        && let Ok(word) = arena.at::<AtomicU64>((at + 8 * i).max(8))
                    {
                        word.store(new.wrapping_add(i & at >> 6), SeqCst);
                    }
                }
            }
            _ => word.store(new, SeqCst),
        }
    }
}
