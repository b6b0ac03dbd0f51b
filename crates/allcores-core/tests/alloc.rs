//! The allocator: blocks don't overlap, come back, and outlive no death.

#![allow(missing_docs)]

mod common;

use allcores_core::object::Kind;
use allcores_core::{Error, alloc, arena, slot};
use common::{Pipe, Random, alone, child};

fn fill(offset: u64, len: usize, byte: u8) {
    let start = arena::arena().unwrap().bytes(offset, len).unwrap();
    // SAFETY: the test reserved the block.
    unsafe { start.write_bytes(byte, len) };
}

fn holds(offset: u64, len: usize, byte: u8) -> bool {
    let start = arena::arena().unwrap().bytes(offset, len).unwrap();
    // SAFETY: the test reserved the block.
    unsafe { std::slice::from_raw_parts(start, len) }
        .iter()
        .all(|&b| b == byte)
}

/// What a sequence of random reservations and releases holds stays as it was written.
#[test]
fn blocks_do_not_overlap() {
    let _alone = alone();
    let mut random = Random::seeded();
    let before = alloc::stats().unwrap();
    let mut blocks: Vec<(u64, usize, u8)> = Vec::new();
    for round in 0..20_000usize {
        if blocks.len() > 300 || (!blocks.is_empty() && random.below(3) == 0) {
            let (offset, len, byte) = blocks.swap_remove(random.below(blocks.len()));
            assert!(holds(offset, len, byte), "round {round}");
            alloc::release(offset).unwrap();
        } else {
            let len = match random.below(20) {
                0 => 1 + random.below(1 << 20),
                1..4 => 1 + random.below(40_000),
                _ => random.below(700),
            };
            let zeroed = random.below(2) == 0;
            let offset = alloc::reserve(Kind::Raw, len, zeroed).unwrap();
            assert!(
                !zeroed || holds(offset, len, 0),
                "round {round}: {len} bytes not zeroed"
            );
            assert!(alloc::room(offset).unwrap() >= len);
            let byte = random.below(256) as u8;
            fill(offset, len, byte);
            blocks.push((offset, len, byte));
        }
    }
    for (offset, len, byte) in blocks {
        assert!(holds(offset, len, byte));
        alloc::release(offset).unwrap();
    }
    let after = alloc::stats().unwrap();
    assert_eq!(after.live_blocks, before.live_blocks);
}

/// Blocks in use by several processes at once never coincide.
#[test]
fn processes_do_not_collide() {
    let _alone = alone();
    let seed = Random::seeded().0;
    let children: Vec<_> = (0..4u8)
        .map(|number| {
            child(move || {
                let mut random = Random(seed.wrapping_add(number as u64) | 1);
                let mut blocks: Vec<(u64, usize)> = Vec::new();
                for _ in 0..30_000 {
                    if blocks.len() > 50 {
                        let (offset, len) = blocks.swap_remove(random.below(blocks.len()));
                        assert!(holds(offset, len, number));
                        alloc::release(offset).unwrap();
                    }
                    let most = if random.below(50) == 0 { 200_000 } else { 500 };
                    let len = 1 + random.below(most);
                    let offset = alloc::reserve(Kind::Raw, len, false).unwrap();
                    fill(offset, len, number);
                    blocks.push((offset, len));
                }
                blocks
                    .iter()
                    .all(|&(offset, len)| holds(offset, len, number))
            })
        })
        .collect();
    for c in children {
        assert_eq!(c.wait(), 0);
    }
    // They ended without giving anything back.
    slot::recover_all().unwrap();
    assert_eq!(slot::living().unwrap().len(), 1);
}

/// What a killed process had reserved is given back by a survivor.
#[test]
fn the_dead_keep_nothing() {
    let _alone = alone();
    slot::recover_all().unwrap();
    let before = alloc::stats().unwrap().live_blocks;
    let mut random = Random::seeded();
    for _ in 0..50 {
        let ready = Pipe::new();
        let c = child(|| {
            ready.tell();
            loop {
                let big = alloc::reserve(Kind::Raw, 300_000, false).unwrap();
                let small: Vec<_> = (0..100)
                    .map(|i| alloc::reserve(Kind::Raw, i * 20, false).unwrap())
                    .collect();
                alloc::release(big).unwrap();
                small
                    .iter()
                    .for_each(|&offset| alloc::release(offset).unwrap());
            }
        });
        ready.hear();
        for _ in 0..random.below(200_000) {
            std::hint::spin_loop();
        }
        c.kill();
        slot::recover_all().unwrap();
        // The allocator works, and so does the lock that the child may have died with.
        let offset = alloc::reserve(Kind::Raw, 500_000, true).unwrap();
        alloc::release(offset).unwrap();
        assert_eq!(alloc::stats().unwrap().live_blocks, before);
    }
}

/// A block that no machine has is an error that says so, and nothing changes.
#[test]
fn too_much_is_an_error() {
    let _alone = alone();
    for wanted in [1usize << 45, 1 << 60, usize::MAX - 100] {
        let error = alloc::reserve(Kind::Raw, wanted, false).unwrap_err();
        assert_eq!(error, Error::OutOfMemory { wanted });
    }
    let offset = alloc::reserve(Kind::Raw, 100_000, false).unwrap();
    alloc::release(offset).unwrap();
}

/// Memory of large blocks goes back to the system, a while after they were freed.
#[test]
fn large_blocks_go_back() {
    let _alone = alone();
    let len = 400 << 20;
    let offset = alloc::reserve(Kind::Raw, len, false).unwrap();
    let with = alloc::stats().unwrap().committed;
    alloc::release(offset).unwrap();
    let freed_at = &arena::arena().unwrap().header().warm_at;
    while alloc::stats().unwrap().warm_bytes > 64 << 20 {
        freed_at.store(0, std::sync::atomic::Ordering::Relaxed);
        alloc::cool().unwrap();
    }
    let without = alloc::stats().unwrap().committed;
    let gone = with - without;
    assert!(gone >= len as u64 - (64 << 20), "{with} -> {without}");
    let offset = alloc::reserve(Kind::Raw, len, true).unwrap();
    assert!(holds(offset, len, 0));
    alloc::release(offset).unwrap();
}

/// Offsets that lead nowhere are errors.
#[test]
fn nonsense_is_refused() {
    let _alone = alone();
    let offset = alloc::reserve(Kind::Raw, 64, false).unwrap();
    for nonsense in [
        0,
        1,
        4096,
        offset + 1,
        offset + 32,
        u64::MAX,
        u64::MAX - 63,
        1 << 47,
    ] {
        assert!(alloc::meta(nonsense).is_err(), "{nonsense}");
    }
    alloc::release(offset).unwrap();
}
