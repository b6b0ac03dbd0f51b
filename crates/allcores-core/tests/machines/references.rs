//! References to objects: held by this process any number of times, and by children of fork.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::{alloc, refs, slot};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::common::{Child, Pipe, child};
use crate::{count_one, killed_in, live_blocks};

/// Operations in a sequence.
pub const MOST: usize = 60;

#[derive(Clone, Debug)]
pub enum Operation {
    Make,
    /// So many that the table of references gets another piece.
    MakeMany,
    Open(Index),
    Copy(Index),
    Drop(Index),
    /// A child gets all that we hold, gives up some of it, and lives on.
    Fork {
        drops: Vec<Index>,
    },
    /// A child goes: by itself, or killed.
    End {
        which: Index,
        killed: bool,
    },
    /// A child opens, makes and drops, and is killed at it.
    Killed {
        moment: u32,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    next: u64,
    /// How often we hold each object; 0 when only others do.
    ours: BTreeMap<u64, usize>,
    /// What each child holds.
    children: BTreeMap<u64, BTreeSet<u64>>,
}

fn pick<K: Copy + Ord, V>(of: &BTreeMap<K, V>, at: &Index) -> Option<K> {
    let all: Vec<K> = of.keys().copied().collect();
    (!all.is_empty()).then(|| *at.get(&all))
}

impl Model {
    fn holders(&self, object: u64) -> u32 {
        let children = self.children.values().filter(|held| held.contains(&object));
        u32::from(self.ours[&object] > 0) + children.count() as u32
    }

    /// What somebody holds.
    fn live(&self) -> BTreeMap<u64, ()> {
        let live = self.ours.keys().filter(|&&object| self.holders(object) > 0);
        live.map(|&object| (object, ())).collect()
    }

    fn held(&self) -> BTreeMap<u64, ()> {
        let held = self.ours.iter().filter(|&(_, &times)| times > 0);
        held.map(|(&object, _)| (object, ())).collect()
    }

    fn make(&mut self) {
        self.ours.insert(self.next, 1);
        self.next += 1;
    }
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Operation> {
        use Operation::*;
        let drops = prop::collection::vec(any::<Index>(), 0..6);
        prop_oneof![
            8 => Just(Make),
            1 => Just(MakeMany),
            4 => any::<Index>().prop_map(Open),
            4 => any::<Index>().prop_map(Copy),
            12 => any::<Index>().prop_map(Drop),
            3 => drops.prop_map(|drops| Fork { drops }),
            3 => (any::<Index>(), any::<bool>())
                .prop_map(|(which, killed)| End { which, killed }),
            2 => (0u32..4000).prop_map(|moment| Killed { moment }),
        ]
        .boxed()
    }

    fn apply(mut model: Model, operation: &Operation) -> Model {
        match operation {
            Operation::Make => model.make(),
            Operation::MakeMany => (0..300).for_each(|_| model.make()),
            // What only a child holds can be opened as well.
            Operation::Open(at) => {
                if let Some(object) = pick(&model.live(), at) {
                    *model.ours.get_mut(&object).unwrap() += 1;
                }
            }
            Operation::Copy(at) => {
                if let Some(object) = pick(&model.held(), at) {
                    *model.ours.get_mut(&object).unwrap() += 1;
                }
            }
            Operation::Drop(at) => {
                if let Some(object) = pick(&model.held(), at) {
                    *model.ours.get_mut(&object).unwrap() -= 1;
                }
            }
            Operation::Fork { drops } => {
                if model.children.len() < 4 {
                    let mut held = model.held();
                    for at in drops {
                        if let Some(object) = pick(&held, at) {
                            held.remove(&object);
                        }
                    }
                    model
                        .children
                        .insert(model.next, held.into_keys().collect());
                    model.next += 1;
                }
            }
            Operation::End { which, .. } => {
                if let Some(number) = pick(&model.children, which) {
                    model.children.remove(&number);
                }
            }
            Operation::Killed { .. } => {}
        }
        model
    }
}

struct Fork {
    child: Option<Child>,
    go: Pipe,
}

impl Drop for Fork {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }
}

type Numbers = (u64, u64, u32);

pub struct References {
    before: u64,
    model: Model,
    numbers: BTreeMap<u64, Numbers>,
    ours: BTreeMap<u64, Vec<Handle>>,
    children: BTreeMap<u64, Fork>,
}

fn make() -> Handle {
    Handle::publish(alloc::reserve(Kind::Raw, 40, false).unwrap()).unwrap()
}

fn open(numbers: Numbers) -> allcores_core::Result<Handle> {
    Handle::open(numbers.0, numbers.1, numbers.2, Kind::Raw)
}

impl References {
    fn make(&mut self) {
        let handle = make();
        self.numbers
            .insert(self.model.next, handle.numbers().unwrap());
        self.ours.insert(self.model.next, vec![handle]);
        self.model.make();
    }

    fn fork(&mut self, drops: &[Index]) {
        let (ready, go) = (Pipe::new(), Pipe::new());
        let mut held = self.model.held();
        let mut given_up = Vec::new();
        for at in drops {
            if let Some(object) = pick(&held, at) {
                held.remove(&object);
                given_up.push(object);
            }
        }
        let ours = &mut self.ours;
        let process = child(|| {
            given_up
                .iter()
                .for_each(|object| ours.get_mut(object).unwrap().clear());
            ready.tell();
            go.hear();
            slot::leave().is_ok()
        });
        ready.hear();
        let fork = Fork {
            child: Some(process),
            go,
        };
        self.children.insert(self.model.next, fork);
    }
}

impl StateMachineTest for References {
    type SystemUnderTest = References;
    type Reference = Reference;

    fn init_test(_: &Model) -> References {
        // As many pieces of the table as will be needed, and they stay: a process never gives
        // them back.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| drop((0..MOST * 301).map(|_| make()).collect::<Vec<_>>()));
        References {
            before: live_blocks(),
            model: Model::default(),
            numbers: BTreeMap::new(),
            ours: BTreeMap::new(),
            children: BTreeMap::new(),
        }
    }

    fn apply(mut self_: References, after: &Model, operation: Operation) -> References {
        count_one();
        match &operation {
            Operation::Make => self_.make(),
            Operation::MakeMany => (0..300).for_each(|_| self_.make()),
            Operation::Open(at) => {
                if let Some(object) = pick(&self_.model.live(), at) {
                    let handle = open(self_.numbers[&object]).unwrap();
                    self_.ours.get_mut(&object).unwrap().push(handle);
                }
            }
            Operation::Copy(at) => {
                if let Some(object) = pick(&self_.model.held(), at) {
                    let handles = self_.ours.get_mut(&object).unwrap();
                    handles.push(handles[0].clone());
                }
            }
            Operation::Drop(at) => {
                if let Some(object) = pick(&self_.model.held(), at) {
                    self_.ours.get_mut(&object).unwrap().pop();
                }
            }
            Operation::Fork { drops } => {
                if self_.model.children.len() < 4 {
                    self_.fork(drops);
                }
            }
            Operation::End { which, killed } => {
                if let Some(number) = pick(&self_.model.children, which) {
                    let mut fork = self_.children.remove(&number).unwrap();
                    let process = fork.child.take().unwrap();
                    if *killed {
                        process.kill();
                        slot::recover_all().unwrap();
                    } else {
                        fork.go.tell();
                        assert_eq!(process.wait(), 0);
                    }
                }
            }
            Operation::Killed { moment } => {
                let live: Vec<Numbers> = self_
                    .model
                    .live()
                    .keys()
                    .take(9)
                    .map(|o| self_.numbers[o])
                    .collect();
                killed_in(*moment, || {
                    let mut mine = Vec::new();
                    for &numbers in live.iter().cycle().take(30) {
                        mine.push(open(numbers).unwrap());
                        mine.push(make());
                        if mine.len() > 5 {
                            mine.remove(0);
                        }
                    }
                });
            }
        }
        self_.model = after.clone();
        self_
    }

    fn check_invariants(self_: &References, model: &Model) {
        let mut live = 0;
        for (&object, &numbers) in &self_.numbers {
            let holders = model.holders(object);
            live += u64::from(holders > 0);
            if holders == 0 {
                assert!(
                    open(numbers).is_err(),
                    "an object that nobody holds is still there"
                );
            } else {
                let meta = alloc::meta(numbers.1).unwrap();
                assert_eq!(refs::count(meta), holders, "object {object}");
            }
        }
        // The tables of the children are blocks as well.
        if self_.children.is_empty() {
            assert_eq!(live_blocks(), self_.before + live);
        }
    }

    fn teardown(mut self_: References, _: Model) {
        self_.children.clear();
        self_.ours.clear();
        slot::recover_all().unwrap();
        assert_eq!(live_blocks(), self_.before);
    }
}
