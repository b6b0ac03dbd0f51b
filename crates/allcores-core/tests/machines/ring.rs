//! The ring against a queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use allcores_core::arena::{Offset, arena};
use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::ring::{INLINE, Lease, Ring};
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{alloc, refs};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::{count_one, killed_in, live_blocks};

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    tag: u64,
    len: usize,
    /// Whether a reference to an object travels along.
    held: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    Put {
        len: usize,
        held: bool,
    },
    /// Many small ones, to get to the end of the cells and into the spill.
    PutMany(usize),
    Get,
    GetMany(usize),
    GetLeased,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Step(Step),
    Reopen,
    /// A child is killed at these.
    Killed(Vec<Step>, u32),
}

#[derive(Clone, Debug)]
pub struct Model {
    capacity: u64,
    unbounded: bool,
    next: u64,
    items: VecDeque<Item>,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..=INLINE,
        2 => prop::sample::select(vec![0, INLINE - 1, INLINE, INLINE + 1]),
        2 => INLINE..4000,
        1 => prop::sample::select(vec![32_640, 32_704, 32_768, 65_472, 65_536, 200_000]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let many = || prop_oneof![4 => 1usize..40, 1 => 900usize..1100];
    prop_oneof![
        8 => (len(), prop::bool::weighted(0.1)).prop_map(|(len, held)| Step::Put { len, held }),
        2 => many().prop_map(Step::PutMany),
        6 => Just(Step::Get),
        2 => many().prop_map(Step::GetMany),
        2 => Just(Step::GetLeased),
    ]
}

impl Model {
    fn room(&self) -> bool {
        self.unbounded || (self.items.len() as u64) < self.capacity
    }

    fn put(&mut self, len: usize, held: bool) {
        // The number is used up also when there is no room, as in `Rings::put`.
        let tag = self.next;
        self.next += 1;
        if self.room() {
            self.items.push_back(Item { tag, len, held });
        }
    }

    /// The states that the step leads through, the last one included.
    fn step(&mut self, step: &Step) -> Vec<VecDeque<Item>> {
        let mut through = Vec::new();
        match step {
            Step::Put { len, held } => self.put(*len, *held),
            Step::PutMany(n) => {
                for _ in 0..*n {
                    self.put(8, false);
                    through.push(self.items.clone());
                }
            }
            Step::Get | Step::GetLeased => _ = self.items.pop_front(),
            Step::GetMany(n) => {
                for _ in 0..*n {
                    self.items.pop_front();
                    through.push(self.items.clone());
                }
            }
        }
        through.push(self.items.clone());
        through
    }
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Model> {
        let bounds = prop::sample::select(vec![1, 2, 3, 15, 16, 17, 1023, 1024, 1025, 1500]);
        prop_oneof![
            2 => bounds.prop_map(|n| (n, false)),
            1 => prop::sample::select(vec![1, 256, 1024]).prop_map(|n| (n, true)),
        ]
        .prop_map(|(capacity, unbounded)| Model {
            capacity,
            unbounded,
            next: 1,
            items: VecDeque::new(),
        })
        .boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Operation> {
        // Not too many at once: each state that a child may have left is compared with.
        let few = step().prop_map(|step| match step {
            Step::PutMany(n) => Step::PutMany(n % 40),
            Step::GetMany(n) => Step::GetMany(n % 40),
            step => step,
        });
        prop_oneof![
            20 => step().prop_map(Operation::Step),
            1 => Just(Operation::Reopen),
            2 => (prop::collection::vec(few, 1..6), 0u32..4000)
                .prop_map(|(steps, moment)| Operation::Killed(steps, moment)),
        ]
        .boxed()
    }

    fn apply(mut model: Model, operation: &Operation) -> Model {
        match operation {
            Operation::Step(step) => drop(model.step(step)),
            Operation::Killed(steps, _) => steps.iter().for_each(|step| drop(model.step(step))),
            Operation::Reopen => {}
        }
        model
    }
}

pub struct Rings {
    before: u64,
    ring: Ring,
    next: u64,
    /// What travels along with some items.
    object: Handle,
    /// Where a lease is noted.
    note: Handle,
}

fn raw() -> Handle {
    Handle::publish(alloc::reserve(Kind::Raw, 64, true).unwrap()).unwrap()
}

/// Without waiting for anybody.
fn at_once() -> Deadline {
    Deadline::after(Some(Duration::ZERO))
}

impl Rings {
    fn noted(&self) -> &AtomicU64 {
        arena().unwrap().at(self.note.offset()).unwrap()
    }

    fn put(&mut self, len: usize, held: bool) -> bool {
        let tag = self.next;
        self.next += 1;
        self.put_item(&Item { tag, len, held })
    }

    fn put_item(&self, item: &Item) -> bool {
        let Item { tag, len, held } = *item;
        let byte = tag as u8;
        if len <= INLINE && !held {
            let body = vec![byte; len];
            let put = |r: &Ring| r.try_put(5, tag, &body);
            return self.ring.when_room(&at_once(), &mut no_pulse, put).unwrap();
        }
        let objects: &[Offset] = if held { &[self.object.offset()] } else { &[] };
        let mut draft = self.ring.draft(objects, len, tag).unwrap();
        draft.bytes().fill(byte);
        let mut draft = Some(draft);
        let put = |r: &Ring| r.try_send(5, tag, &mut draft);
        self.ring.when_room(&at_once(), &mut no_pulse, put).unwrap()
    }

    /// An item; whether it holds something can't be seen from it.
    fn get(&self, lease: Option<&Lease>) -> Option<(u64, usize)> {
        let got = self.ring.get(lease, &at_once(), &mut no_pulse).unwrap()?;
        assert_eq!(got.kind, 5);
        assert!(
            got.bytes().iter().all(|&b| b == got.tag as u8),
            "other bytes"
        );
        let item = (got.tag, got.bytes().len());
        drop(got);
        assert!(self.ring.task_done());
        Some(item)
    }

    fn step(&mut self, step: &Step) -> Option<(u64, usize)> {
        match step {
            Step::Put { len, held } => {
                self.put(*len, *held);
                None
            }
            Step::PutMany(n) => {
                for _ in 0..*n {
                    self.put(8, false);
                }
                None
            }
            Step::Get => self.get(None),
            Step::GetMany(n) => (0..*n).map(|_| self.get(None)).last().flatten(),
            Step::GetLeased => {
                let lease = Lease::at(self.note.offset()).unwrap();
                let got = self.get(Some(&lease));
                let tag = got.map_or(0, |(tag, _)| tag);
                assert_eq!(self.noted().swap(0, SeqCst), tag);
                got
            }
        }
    }
}

fn seen(items: &VecDeque<Item>) -> Vec<(u64, usize)> {
    items.iter().map(|item| (item.tag, item.len)).collect()
}

impl StateMachineTest for Rings {
    type SystemUnderTest = Rings;
    type Reference = Reference;

    fn init_test(model: &Model) -> Rings {
        let (object, note) = (raw(), raw());
        Rings {
            before: live_blocks(),
            ring: Ring::new(model.capacity, model.unbounded).unwrap(),
            next: 1,
            object,
            note,
        }
    }

    fn apply(mut self_: Rings, model: &Model, operation: Operation) -> Rings {
        count_one();
        match operation {
            Operation::Step(step) => _ = self_.step(&step),
            Operation::Reopen => {
                let (session, offset, generation) = self_.ring.handle().numbers().unwrap();
                self_.ring = Ring::open(session, offset, generation).unwrap();
            }
            Operation::Killed(steps, moment) => {
                // What waited before the child came is found out by taking it out.
                let capacity = self_.ring.capacity();
                let mut was = Model {
                    capacity: capacity.unwrap_or(0),
                    unbounded: capacity.is_none(),
                    next: self_.next,
                    items: VecDeque::new(),
                };
                let before: Vec<_> = std::iter::from_fn(|| self_.get(None)).collect();
                for &(tag, len) in &before {
                    let item = Item {
                        tag,
                        len,
                        held: false,
                    };
                    assert!(self_.put_item(&item));
                    was.items.push_back(item);
                }
                let mut through = vec![was.items.clone()];
                killed_in(moment, || {
                    steps.iter().for_each(|step| _ = self_.step(step));
                });
                for step in &steps {
                    through.extend(was.step(step));
                }
                self_.next = was.next;
                self_.noted().store(0, SeqCst);
                let now: Vec<_> = std::iter::from_fn(|| self_.get(None)).collect();
                // A task that it took out and didn't come to say done.
                let left = self_.ring.unfinished();
                assert!(left <= 1, "{left} tasks too many");
                (0..left).for_each(|_| assert!(self_.ring.task_done()));
                assert!(
                    through.iter().any(|items| seen(items) == now),
                    "what a killed child left is no state between its steps: {now:?}"
                );
                for item in &model.items {
                    assert!(self_.put_item(item), "no room after a recovery");
                }
            }
        }
        self_
    }

    fn check_invariants(self_: &Rings, model: &Model) {
        let n = model.items.len() as u64;
        assert_eq!((self_.ring.waiting(), self_.ring.unfinished()), (n, n));
        assert_eq!(self_.ring.nothing_waits().unwrap(), n == 0);
        let held = model.items.iter().filter(|item| item.held).count() as u32;
        let count = refs::count(alloc::meta(self_.object.offset()).unwrap());
        assert_eq!(count, 1 + held);
    }

    fn teardown(self_: Rings, model: Model) {
        // Half of them are taken out, the others go with the ring.
        for item in model.items.iter().take(model.items.len().div_ceil(2)) {
            assert_eq!(self_.get(None), Some((item.tag, item.len)));
        }
        drop(self_.ring);
        assert_eq!(live_blocks(), self_.before);
    }
}
