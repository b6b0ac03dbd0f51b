//! The shared list against a vector.

use allcores_core::item::{Found, Fresh};
use allcores_core::list::{Inside, List, Slice};
use allcores_core::wait;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::{count_one, killed_in, live_blocks};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    /// By its bits, so that every one is equal to itself.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub enum Change {
    Append(Value),
    /// With the front or the back, and how many there may be.
    Push(Value, bool, usize),
    Insert(i64, Value),
    Set(i64, Value),
    Pop(i64),
    Extend(Vec<Value>),
    Replace(usize, usize, Vec<Value>),
    Delete(Option<i64>, Option<i64>, Option<i64>),
    Reverse,
    Rotate,
    Clear,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Change(Change),
    /// By its three numbers, with the old one let go of.
    Reopen,
    /// A child is killed at these; what it did not come to do is done by us.
    Killed(Vec<Change>, u32),
}

pub fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-(1i64 << 61)..1 << 61).prop_map(Value::Int),
        any::<u64>().prop_map(Value::Float),
        prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, 5e-324])
            .prop_map(|f: f64| Value::Float(f.to_bits())),
        "\\PC{0,12}".prop_map(Value::Text),
        (0usize..5000).prop_map(|n| Value::Text("é".repeat(n))),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
        (0usize..70_000).prop_map(|n| Value::Bytes(vec![n as u8; n])),
    ]
}

fn index() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -40i64..40, 1 => any::<i64>()]
}

fn change() -> impl Strategy<Value = Change> {
    let some = || prop::collection::vec(value(), 0..12);
    let bound = || prop::option::of(index());
    let step = prop::sample::select(vec![None, Some(1), Some(2), Some(-1), Some(-3), Some(7)]);
    prop_oneof![
        6 => value().prop_map(Change::Append),
        4 => (value(), any::<bool>(), 0usize..30).prop_map(|(v, front, n)| Change::Push(v, front, n)),
        4 => (index(), value()).prop_map(|(at, v)| Change::Insert(at, v)),
        4 => (index(), value()).prop_map(|(at, v)| Change::Set(at, v)),
        4 => index().prop_map(Change::Pop),
        2 => some().prop_map(Change::Extend),
        2 => (0usize..40, 0usize..9, some()).prop_map(|(at, n, v)| Change::Replace(at, n, v)),
        2 => (bound(), bound(), step).prop_map(|(from, to, step)| Change::Delete(from, to, step)),
        1 => Just(Change::Reverse),
        1 => Just(Change::Rotate),
        1 => Just(Change::Clear),
    ]
}

/// Where a Python index leads.
fn place(at: i64, len: usize) -> Option<usize> {
    let at = if at < 0 { at + len as i64 } else { at };
    usize::try_from(at).ok().filter(|&at| at < len)
}

/// The model of a change.
fn on_vector(items: &mut Vec<Value>, change: &Change) {
    let len = items.len();
    match change {
        Change::Append(value) => items.push(value.clone()),
        Change::Push(_, _, 0) => {}
        Change::Push(value, front, most) => {
            items.insert(if *front { 0 } else { len }, value.clone());
            if len >= *most {
                items.remove(if *front { len } else { 0 });
            }
        }
        Change::Insert(at, value) => {
            let at = if *at < 0 {
                (at + len as i64).max(0)
            } else {
                *at
            };
            items.insert(at.min(len as i64) as usize, value.clone());
        }
        Change::Set(at, value) => {
            if let Some(at) = place(*at, len) {
                items[at] = value.clone();
            }
        }
        Change::Pop(at) => {
            if let Some(at) = place(*at, len) {
                items.remove(at);
            }
        }
        Change::Extend(more) => items.extend(more.iter().cloned()),
        Change::Replace(at, n, more) => {
            let at = (*at).min(len);
            items.splice(at..(at + n).min(len), more.iter().cloned());
        }
        Change::Delete(from, to, step) => {
            let picked = picked(*from, *to, step.unwrap_or(1), len as i64);
            let mut at = -1;
            items.retain(|_| (at += 1, !picked.contains(&at)).1);
        }
        Change::Reverse => items.reverse(),
        Change::Rotate => items.rotate_left(usize::from(len > 0)),
        Change::Clear => items.clear(),
    }
}

/// The indices that a slice selects, by walking as Python's reference describes it.
fn picked(from: Option<i64>, to: Option<i64>, step: i64, len: i64) -> Vec<i64> {
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |at: Option<i64>, missing: i64| match at {
        None => missing,
        Some(at) if at < 0 => at.saturating_add(len).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (mut at, end) = match step > 0 {
        true => (bound(from, low), bound(to, high)),
        false => (bound(from, high), bound(to, low)),
    };
    let mut all = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        all.push(at);
        at += step;
    }
    all
}

pub fn fresh(value: &Value) -> Fresh {
    match value {
        Value::Int(number) => Fresh::int(*number).unwrap(),
        Value::Float(bits) => Fresh::float(f64::from_bits(*bits)).unwrap(),
        Value::Text(text) => Fresh::text(text).unwrap(),
        Value::Bytes(bytes) => Fresh::bytes(bytes).unwrap(),
    }
}

pub fn found(found: Found) -> Value {
    match found {
        Found::Int(number) => Value::Int(number),
        Found::Float(number) => Value::Float(number.to_bits()),
        Found::Text(data) => Value::Text(String::from_utf8(data.as_slice().to_vec()).unwrap()),
        Found::Bytes(data) => Value::Bytes(data.as_slice().to_vec()),
        other => panic!("{other:?}"),
    }
}

fn inside<R>(list: &List, work: impl FnOnce(&mut Inside) -> R) -> R {
    work(&mut list.enter(&mut wait::no_pulse).unwrap())
}

fn content(list: &List) -> Vec<Value> {
    let all = inside(list, |l| l.read(Slice::default()).unwrap());
    all.into_iter().map(found).collect()
}

/// Whether a float's bits need more than a word.
fn is_extreme(bits: u64) -> bool {
    bits != 0 && !matches!(bits >> 60 & 7, 3 | 4)
}

/// Whether a value needs more than a word.
pub fn needs_block(value: &Value) -> bool {
    match value {
        Value::Int(_) => false,
        Value::Float(bits) => is_extreme(*bits),
        Value::Text(text) => text.len() > 7,
        Value::Bytes(bytes) => bytes.len() > 7,
    }
}

fn on_list(list: &List, change: &Change) {
    let many = |values: &[Value]| values.iter().map(fresh).collect::<Vec<_>>();
    match change {
        Change::Append(value) => inside(list, |l| l.append(fresh(value)).unwrap()),
        Change::Push(value, front, most) => {
            inside(list, |l| l.push(fresh(value), *front, *most).unwrap());
        }
        Change::Insert(at, value) => inside(list, |l| l.insert(*at, fresh(value)).unwrap()),
        Change::Set(at, value) => {
            let len = inside(list, |l| l.len().unwrap());
            let done = inside(list, |l| l.set(*at, fresh(value)).unwrap());
            assert_eq!(done, place(*at, len).is_some());
        }
        Change::Pop(at) => {
            let seen = inside(list, |l| l.get(*at).unwrap()).map(found);
            let popped = inside(list, |l| l.pop(*at).unwrap()).map(found);
            assert_eq!(popped, seen);
        }
        Change::Extend(more) => assert!(inside(list, |l| l.extend(many(more), None).unwrap())),
        Change::Replace(at, n, more) => {
            let slice = Slice::run(*at, *n);
            inside(list, |l| {
                assert!(l.replace(slice, many(more)).unwrap().is_none())
            });
        }
        Change::Delete(start, stop, step) => {
            let (start, stop, step) = (*start, *stop, *step);
            inside(list, |l| l.delete(Slice { start, stop, step }).unwrap());
        }
        Change::Reverse => inside(list, |l| l.reverse().unwrap()),
        Change::Rotate => inside(list, |l| {
            let n = l.len().unwrap();
            let order: Vec<usize> = (0..n).map(|i| (i + 1) % n).collect();
            assert!(l.reorder(&order, l.version()).unwrap());
        }),
        Change::Clear => inside(list, |l| l.clear().unwrap()),
    }
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Vec<Value>;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Vec<Value>> {
        Just(Vec::new()).boxed()
    }

    fn transitions(_: &Vec<Value>) -> BoxedStrategy<Operation> {
        prop_oneof![
            24 => change().prop_map(Operation::Change),
            1 => Just(Operation::Reopen),
            3 => (prop::collection::vec(change(), 1..8), 0u32..4000)
                .prop_map(|(changes, moment)| Operation::Killed(changes, moment)),
        ]
        .boxed()
    }

    fn apply(mut items: Vec<Value>, operation: &Operation) -> Vec<Value> {
        match operation {
            Operation::Change(change) => on_vector(&mut items, change),
            Operation::Killed(changes, _) => {
                changes
                    .iter()
                    .for_each(|change| on_vector(&mut items, change));
            }
            Operation::Reopen => {}
        }
        items
    }
}

pub struct Lists {
    before: u64,
    list: List,
}

impl StateMachineTest for Lists {
    type SystemUnderTest = Lists;
    type Reference = Reference;

    fn init_test(_: &Vec<Value>) -> Lists {
        // The first one brings this process's table of references.
        drop(List::create().unwrap());
        Lists {
            before: live_blocks(),
            list: List::create().unwrap(),
        }
    }

    fn apply(mut self_: Lists, _: &Vec<Value>, operation: Operation) -> Lists {
        count_one();
        match operation {
            Operation::Change(change) => on_list(&self_.list, &change),
            Operation::Reopen => {
                let (session, offset, generation) = self_.list.handle().numbers().unwrap();
                self_.list = List::open(session, offset, generation).unwrap();
            }
            Operation::Killed(changes, moment) => {
                let mut model = content(&self_.list);
                killed_in(moment, || {
                    changes.iter().for_each(|c| on_list(&self_.list, c))
                });
                // It came to do some of them, and each as a whole. When more than one state fits
                // the rest leads to the same end from each of them.
                let now = content(&self_.list);
                let mut fits = (model == now).then_some(0);
                for (i, change) in changes.iter().enumerate() {
                    on_vector(&mut model, change);
                    if model == now {
                        fits = Some(i + 1);
                    }
                }
                let done = fits.expect("what a killed child left is no state between changes");
                changes[done..].iter().for_each(|c| on_list(&self_.list, c));
            }
        }
        self_
    }

    fn check_invariants(self_: &Lists, model: &Vec<Value>) {
        assert_eq!(&content(&self_.list), model);
        let blocks = model.iter().filter(|value| needs_block(value));
        // The list itself, its table if there ever was an item, the items.
        let least = self_.before + 1 + blocks.count() as u64;
        let live = live_blocks();
        assert!(
            live == least || live == least + 1,
            "{live} blocks for {least}"
        );
    }

    fn teardown(self_: Lists, _: Vec<Value>) {
        drop(self_.list);
        assert_eq!(live_blocks(), self_.before);
    }
}
