//! The shared dict against pairs in the order of insertion.

use allcores_core::dict::{Canonical, Dict, How, Inside, New, Number, Probe, Put, Seen, Sum};
use allcores_core::item::{Found, Fresh};
use allcores_core::{Result, wait};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::list::{Value, found, fresh, needs_block, value};
use crate::{count_one, killed_in, live_blocks};

/// Each number is a key of one of the forms that keys have.
type Key = usize;

/// What happens as a whole.
#[derive(Clone, Debug)]
pub enum Change {
    Set(Key, Value),
    SetIfMissing(Key, Value),
    /// Only when the value is still the one that was just read.
    SetIfStill(Key, Value),
    Add(Key, i64),
    Remove(Key),
    PopLast,
    Clear,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Change(Change),
    /// One after the other, for a table that becomes larger, or smaller.
    Many(Vec<Change>),
    /// One of the two handles, by the dict's three numbers.
    Reopen,
    /// A child is killed at these; what it did not come to do is done by us.
    Killed(Vec<Change>, u32),
}

pub type Model = Vec<(Key, Value)>;

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![6 => 0usize..12, 3 => 0usize..60, 1 => 0usize..400]
}

fn change() -> impl Strategy<Value = Change> {
    let number = prop_oneof![4 => -50i64..50, 1 => any::<i64>()];
    prop_oneof![
        8 => (key(), value()).prop_map(|(k, v)| Change::Set(k, v)),
        3 => (key(), value()).prop_map(|(k, v)| Change::SetIfMissing(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Change::SetIfStill(k, v)),
        4 => (key(), number).prop_map(|(k, n)| Change::Add(k, n)),
        5 => key().prop_map(Change::Remove),
        3 => Just(Change::PopLast),
        1 => Just(Change::Clear),
    ]
}

/// Many keys that come, are set again or go.
fn many() -> impl Strategy<Value = Vec<Change>> {
    (0usize..300, 2usize..120, 1usize..4, 0..4).prop_map(|(from, n, step, what)| {
        let keys = (0..n).map(|i| from + i * step);
        keys.map(|k| match what {
            0 | 1 => Change::Set(k, Value::Int(k as i64)),
            2 => Change::Remove(k),
            _ => Change::PopLast,
        })
        .collect()
    })
}

/// The model of a change.
fn on_pairs(pairs: &mut Model, change: &Change) {
    let at = |pairs: &Model, key: Key| pairs.iter().position(|&(k, _)| k == key);
    match change {
        Change::Set(key, value) | Change::SetIfStill(key, value) => match at(pairs, *key) {
            Some(at) => pairs[at].1 = value.clone(),
            None => pairs.push((*key, value.clone())),
        },
        Change::SetIfMissing(key, value) => {
            if at(pairs, *key).is_none() {
                pairs.push((*key, value.clone()));
            }
        }
        Change::Add(key, more) => match at(pairs, *key) {
            Some(at) => {
                if let Some(sum) = sum(&pairs[at].1, *more) {
                    pairs[at].1 = sum;
                }
            }
            None => {
                if let Some(sum) = sum(&Value::Int(0), *more) {
                    pairs.push((*key, sum));
                }
            }
        },
        Change::Remove(key) => {
            if let Some(at) = at(pairs, *key) {
                pairs.remove(at);
            }
        }
        Change::PopLast => _ = pairs.pop(),
        Change::Clear => pairs.clear(),
    }
}

/// What `add` makes of a value; `None` when it leaves it to others.
fn sum(value: &Value, more: i64) -> Option<Value> {
    match value {
        Value::Int(number) => {
            let sum = number.checked_add(more)?;
            Fresh::int(sum).map(|_| Value::Int(sum))
        }
        Value::Float(bits) if !needs_block(value) => Some(Value::Float(
            (f64::from_bits(*bits) + more as f64).to_bits(),
        )),
        _ => None,
    }
}

fn name(key: Key) -> String {
    format!("the key number {key}")
}

fn has_block(key: Key) -> bool {
    key % 4 > 1
}

fn fresh_key(key: Key) -> Fresh {
    match key % 4 {
        0 => Fresh::int(key as i64).unwrap(),
        1 => Fresh::text(&key.to_string()).unwrap(),
        2 => Fresh::text(&name(key)).unwrap(),
        _ => Fresh::key(&canonical(key).to_bytes(), None, &key.to_le_bytes(), &[]).unwrap(),
    }
}

fn canonical(key: Key) -> Canonical {
    match key % 4 {
        0 | 1 => Canonical::Word(fresh_key(key).word()),
        2 => Canonical::Bytes([b"s", name(key).as_bytes()].concat()),
        _ => Canonical::Bytes([b"k", name(key).as_bytes()].concat()),
    }
}

fn found_key(found: Found) -> Key {
    match found {
        Found::Int(number) => number as Key,
        Found::Text(text) => {
            let text = std::str::from_utf8(text.as_slice()).unwrap().to_string();
            text.rsplit(' ').next().unwrap().parse().unwrap()
        }
        Found::Pickle(bytes, _) => Key::from_le_bytes(bytes.as_slice().try_into().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn probe(key: Key) -> Probe {
    Probe::new(canonical(key), None).unwrap()
}

fn inside<R>(dict: &Dict, work: impl FnOnce(&mut Inside) -> R) -> R {
    work(&mut dict.enter(&mut wait::no_pulse).unwrap())
}

fn known<T>(seen: Result<Seen<T>>) -> T {
    match seen.unwrap() {
        Seen::Known(what) => what,
        Seen::Undecided(_) => panic!("these keys are told apart by their canonical forms"),
    }
}

fn content(dict: &Dict) -> Model {
    let all = inside(dict, |d| d.items().unwrap());
    all.into_iter()
        .map(|(k, v)| (found_key(k), found(v)))
        .collect()
}

fn put(dict: &Dict, key: Key, value: &Value, how: impl FnOnce(&mut Inside) -> How) -> Put {
    let mut new = New {
        key: Some(fresh_key(key)),
        value: Some(fresh(value)),
    };
    let probe = probe(key);
    inside(dict, |d| {
        let how = how(d);
        known(d.put(&probe, &mut new, how))
    })
}

fn on_dict(dict: &Dict, change: &Change) {
    match change {
        Change::Set(key, value) => {
            assert!(matches!(
                put(dict, *key, value, |_| How::Always),
                Put::Stored
            ));
        }
        Change::SetIfMissing(key, value) => {
            drop(put(dict, *key, value, |_| How::IfMissing));
        }
        Change::SetIfStill(key, value) => {
            let probe = probe(*key);
            let still = |d: &mut Inside| How::IfStill(known(d.get(&probe)).map(|(_, token)| token));
            assert!(matches!(put(dict, *key, value, still), Put::Stored));
        }
        Change::Add(key, more) => {
            let (probe, mut new) = (probe(*key), Some(fresh_key(*key)));
            let sum = inside(dict, |d| known(d.add(&probe, &mut new, Number::Int(*more))));
            assert!(matches!(sum, Sum::Is(_) | Sum::Beyond));
        }
        Change::Remove(key) => {
            let probe = probe(*key);
            inside(dict, |d| drop(known(d.remove(&probe))));
        }
        Change::PopLast => inside(dict, |d| drop(d.pop_last().unwrap())),
        Change::Clear => inside(dict, |d| d.clear().unwrap()),
    }
}

pub struct Reference;

impl ReferenceStateMachine for Reference {
    type State = Model;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Vec::new()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Operation> {
        let few = prop::collection::vec(change(), 1..8);
        prop_oneof![
            24 => change().prop_map(Operation::Change),
            3 => many().prop_map(Operation::Many),
            1 => Just(Operation::Reopen),
            4 => (prop_oneof![3 => few, 1 => many()], 0u32..4000)
                .prop_map(|(changes, moment)| Operation::Killed(changes, moment)),
        ]
        .boxed()
    }

    fn apply(mut pairs: Model, operation: &Operation) -> Model {
        match operation {
            Operation::Change(change) => on_pairs(&mut pairs, change),
            Operation::Many(changes) | Operation::Killed(changes, _) => {
                changes.iter().for_each(|c| on_pairs(&mut pairs, c));
            }
            Operation::Reopen => {}
        }
        pairs
    }
}

pub struct Dicts {
    before: u64,
    /// The same dict twice; each operation is the other one's turn.
    dicts: [Dict; 2],
}

impl StateMachineTest for Dicts {
    type SystemUnderTest = Dicts;
    type Reference = Reference;

    fn init_test(_: &Model) -> Dicts {
        // The first one brings this process's table of references.
        drop(Dict::create().unwrap());
        let before = live_blocks();
        let dict = Dict::create().unwrap();
        let (session, offset, generation) = dict.handle().numbers().unwrap();
        let again = Dict::open(session, offset, generation).unwrap();
        Dicts {
            before,
            dicts: [dict, again],
        }
    }

    fn apply(mut self_: Dicts, _: &Model, operation: Operation) -> Dicts {
        count_one();
        self_.dicts.reverse();
        let dict = &self_.dicts[0];
        match operation {
            Operation::Change(change) => on_dict(dict, &change),
            Operation::Many(changes) => changes.iter().for_each(|c| on_dict(dict, c)),
            Operation::Reopen => {
                let (session, offset, generation) = dict.handle().numbers().unwrap();
                self_.dicts[0] = Dict::open(session, offset, generation).unwrap();
            }
            Operation::Killed(changes, moment) => {
                let mut model = content(dict);
                killed_in(moment, || changes.iter().for_each(|c| on_dict(dict, c)));
                // As with the list: it came to do some of them, each as a whole.
                let now = content(dict);
                let mut fits = (model == now).then_some(0);
                for (i, change) in changes.iter().enumerate() {
                    on_pairs(&mut model, change);
                    if model == now {
                        fits = Some(i + 1);
                    }
                }
                let done = fits.expect("what a killed child left is no state between changes");
                changes[done..].iter().for_each(|c| on_dict(dict, c));
            }
        }
        self_
    }

    fn check_invariants(self_: &Dicts, model: &Model) {
        let [dict, again] = &self_.dicts;
        assert_eq!(&content(dict), model);
        assert_eq!(again.peek_len(), Some(model.len()));
        assert_eq!(inside(again, |d| d.len().unwrap()), model.len());
        // Each is found, in a large dict some of them.
        for (key, value) in model.iter().step_by(1 + model.len() / 16) {
            let probe = probe(*key);
            let got = inside(again, |d| known(d.get(&probe)));
            assert_eq!(got.map(|(v, _)| found(v)).as_ref(), Some(value));
            if let Some(seen) = dict.peek(&probe) {
                assert_eq!(seen.map(found).as_ref(), Some(value));
            }
        }
        for key in (0..12).filter(|key| model.iter().all(|(k, _)| k != key)) {
            let probe = probe(key);
            assert!(!inside(dict, |d| known(d.contains(&probe))));
            assert!(matches!(dict.peek(&probe), None | Some(None)));
        }
        let keys = model.iter().filter(|(key, _)| has_block(*key)).count();
        let values = model.iter().filter(|(_, value)| needs_block(value)).count();
        // The dict itself, its table if there ever was a key, keys and values.
        let least = self_.before + 1 + (keys + values) as u64;
        let live = live_blocks();
        assert!(
            live == least || live == least + 1,
            "{live} blocks for {least}"
        );
    }

    fn teardown(self_: Dicts, _: Model) {
        drop(self_.dicts);
        assert_eq!(live_blocks(), self_.before);
    }
}
