//! The allocator against the set of blocks that should be there.

use std::collections::BTreeMap;

use allcores_core::arena::{Offset, arena};
use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::{alloc, slot};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::{count_one, killed_in, live_blocks};

#[derive(Clone, Debug)]
pub enum Operation {
    Reserve {
        size: usize,
        zeroed: bool,
    },
    /// Reserves many of one size, so that chunks fill up.
    ReserveMany {
        size: usize,
        n: usize,
    },
    Publish(Index),
    Release(Index),
    /// Releases every other one.
    ReleaseMany,
    Rewrite(Index),
    /// A child does this and is killed.
    Killed {
        sizes: Vec<usize>,
        moment: u32,
    },
}

/// By number: bytes, and whether it is published.
pub type Model = (u64, BTreeMap<u64, (usize, bool)>);

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1usize..300,
        3 => 300usize..33_000,
        // Around the largest small size, and around whole chunks.
        1 => prop::sample::select(vec![32_767, 32_768, 32_769, 65_535, 65_536, 65_537]),
        1 => 33_000usize..400_000,
    ]
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Model> {
        Just((0, BTreeMap::new())).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Operation> {
        use Operation::*;
        prop_oneof![
            8 => (size(), any::<bool>()).prop_map(|(size, zeroed)| Reserve { size, zeroed }),
            1 => (1usize..9000, 2usize..80).prop_map(|(size, n)| ReserveMany { size, n }),
            3 => any::<Index>().prop_map(Publish),
            6 => any::<Index>().prop_map(Release),
            1 => Just(ReleaseMany),
            2 => any::<Index>().prop_map(Rewrite),
            2 => (prop::collection::vec(size(), 1..8), 0u32..4000)
                .prop_map(|(sizes, moment)| Killed { sizes, moment }),
        ]
        .boxed()
    }

    fn apply((mut next, mut blocks): Model, operation: &Operation) -> Model {
        match operation {
            Operation::Reserve { size, .. } => {
                blocks.insert(next, (*size, false));
                next += 1;
            }
            Operation::ReserveMany { size, n } => {
                for _ in 0..*n {
                    blocks.insert(next, (*size, false));
                    next += 1;
                }
            }
            Operation::Publish(at) => {
                if let Some(number) = pick(&blocks, at) {
                    blocks.insert(number, (blocks[&number].0, true));
                }
            }
            Operation::Release(at) => {
                if let Some(number) = pick(&blocks, at) {
                    blocks.remove(&number);
                }
            }
            Operation::ReleaseMany => blocks.retain(|number, _| number % 2 == 0),
            Operation::Rewrite(_) | Operation::Killed { .. } => {}
        }
        (next, blocks)
    }
}

fn pick<T>(blocks: &BTreeMap<u64, T>, at: &Index) -> Option<u64> {
    let all: Vec<u64> = blocks.keys().copied().collect();
    (!all.is_empty()).then(|| *at.get(&all))
}

struct Block {
    offset: Offset,
    size: usize,
    /// What it is full of.
    byte: u8,
    handle: Option<Handle>,
}

pub struct Blocks {
    before: u64,
    next: u64,
    blocks: BTreeMap<u64, Block>,
}

impl Block {
    fn reserve(number: u64, size: usize, zeroed: bool) -> Block {
        let offset = alloc::reserve(Kind::Raw, size, zeroed).unwrap();
        let block = Block {
            offset,
            size,
            byte: number as u8 | 1,
            handle: None,
        };
        assert!(alloc::room(offset).unwrap() >= size);
        if zeroed {
            assert!(block.bytes().iter().all(|&b| b == 0), "not zeroed");
        }
        block.bytes().fill(block.byte);
        block
    }

    #[allow(clippy::mut_from_ref)]
    fn bytes(&self) -> &mut [u8] {
        let start = arena().unwrap().bytes(self.offset, self.size).unwrap();
        // SAFETY: inside a block that is ours; the result is dropped before the next call.
        unsafe { std::slice::from_raw_parts_mut(start, self.size) }
    }

    fn release(mut self) {
        assert!(self.bytes().iter().all(|&b| b == self.byte), "written over");
        match self.handle.take() {
            Some(handle) => drop(handle),
            None => alloc::release(self.offset).unwrap(),
        }
    }
}

impl StateMachineTest for Blocks {
    type SystemUnderTest = Blocks;
    type Reference = Reference;

    fn init_test(_: &Model) -> Blocks {
        slot::me().unwrap();
        // This process's table of references is there from here on.
        drop(Handle::publish(alloc::reserve(Kind::Raw, 8, false).unwrap()).unwrap());
        Blocks {
            before: live_blocks(),
            next: 0,
            blocks: BTreeMap::new(),
        }
    }

    fn apply(mut self_: Blocks, _: &Model, operation: Operation) -> Blocks {
        count_one();
        let blocks = &mut self_.blocks;
        match operation {
            Operation::Reserve { size, zeroed } => {
                blocks.insert(self_.next, Block::reserve(self_.next, size, zeroed));
                self_.next += 1;
            }
            Operation::ReserveMany { size, n } => {
                for _ in 0..n {
                    blocks.insert(self_.next, Block::reserve(self_.next, size, false));
                    self_.next += 1;
                }
            }
            Operation::Publish(at) => {
                if let Some(number) = pick(blocks, &at) {
                    let block = blocks.get_mut(&number).unwrap();
                    if block.handle.is_none() {
                        block.handle = Some(Handle::publish(block.offset).unwrap());
                    }
                }
            }
            Operation::Release(at) => {
                if let Some(number) = pick(blocks, &at) {
                    blocks.remove(&number).unwrap().release();
                }
            }
            Operation::ReleaseMany => {
                let odd: Vec<u64> = blocks.keys().copied().filter(|n| n % 2 == 1).collect();
                for number in odd {
                    blocks.remove(&number).unwrap().release();
                }
            }
            Operation::Rewrite(at) => {
                if let Some(number) = pick(blocks, &at) {
                    let block = blocks.get_mut(&number).unwrap();
                    block.byte = block.byte.wrapping_add(2);
                    block.bytes().fill(block.byte);
                }
            }
            Operation::Killed { sizes, moment } => killed_in(moment, || {
                let mut mine = Vec::new();
                for (i, &size) in sizes.iter().enumerate() {
                    mine.push(Block::reserve(i as u64, size, i % 2 == 0));
                    if i % 3 == 2 {
                        mine.swap_remove(0).release();
                    }
                    if i % 4 == 3 {
                        let last = mine.last_mut().unwrap();
                        last.handle = Some(Handle::publish(last.offset).unwrap());
                    }
                }
                mine.into_iter().for_each(Block::release);
            }),
        }
        self_
    }

    fn check_invariants(self_: &Blocks, (_, model): &Model) {
        assert!(model.keys().eq(self_.blocks.keys()));
        let mut places: Vec<(u64, u64)> = Vec::new();
        for block in self_.blocks.values() {
            let room = alloc::room(block.offset).unwrap() as u64;
            places.push((block.offset, block.offset + room));
            let [first, .., last] = block.bytes() else {
                continue;
            };
            assert_eq!((*first, *last), (block.byte, block.byte), "written over");
            let state = alloc::state(
                alloc::meta(block.offset)
                    .unwrap()
                    .word
                    .load(std::sync::atomic::Ordering::SeqCst),
            );
            let published = block.handle.is_some();
            assert_eq!(
                state,
                if published {
                    alloc::LIVE
                } else {
                    alloc::RESERVED
                }
            );
        }
        places.sort_unstable();
        assert!(
            places.windows(2).all(|w| w[0].1 <= w[1].0),
            "blocks overlap"
        );
        let stats = alloc::stats().unwrap();
        assert_eq!(stats.live_blocks, self_.before + places.len() as u64);
        assert!(stats.live_bytes >= places.iter().map(|(from, to)| to - from).sum());
        assert!(stats.committed <= stats.capacity && stats.live_bytes <= stats.committed);
    }

    fn teardown(self_: Blocks, _: Model) {
        self_.blocks.into_values().for_each(Block::release);
        assert_eq!(live_blocks(), self_.before);
    }
}
