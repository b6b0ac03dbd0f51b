//! The shared dict: equal to a map in the order of insertion, whoever dies in it.

#![allow(missing_docs)]

mod common;

use std::collections::HashMap;

use allcores_core::dict::{Canonical, Dict, How, Inside, New, Number, Probe, Put, Seen, Sum};
use allcores_core::item::{Found, Fresh, Origin};
use allcores_core::{alloc, slot, wait};
use common::{Pipe, Random, alone, child};

/// Even numbers are short, odd ones texts of some length.
fn fresh(value: usize) -> Fresh {
    if value.is_multiple_of(2) {
        Fresh::int(value as i64).unwrap()
    } else {
        Fresh::text(&text(value)).unwrap()
    }
}

fn text(value: usize) -> String {
    format!("{value}:::::::").repeat(1 + value % 40)
}

fn value(found: Found) -> usize {
    match found {
        Found::Int(value) => value as usize,
        Found::Text(data) => {
            let whole = std::str::from_utf8(data.as_slice()).unwrap().to_string();
            let value = whole.split(':').next().unwrap().parse().unwrap();
            assert_eq!(whole, text(value));
            value
        }
        other => panic!("{other:?}"),
    }
}

fn probe(key: usize) -> Probe {
    let canonical = match key % 2 {
        0 => Canonical::Word(fresh(key).word()),
        _ => Canonical::Bytes([b"s", text(key).as_bytes()].concat()),
    };
    Probe::new(canonical, None).unwrap()
}

fn pair(key: usize, value: usize) -> New {
    New {
        key: Some(fresh(key)),
        value: Some(fresh(value)),
    }
}

fn inside<R>(dict: &Dict, work: impl FnOnce(&mut Inside) -> R) -> R {
    work(&mut dict.enter(&mut wait::no_pulse).unwrap())
}

fn known<T>(seen: allcores_core::Result<Seen<T>>) -> T {
    match seen.unwrap() {
        Seen::Known(what) => what,
        Seen::Undecided(_) => panic!("undecided"),
    }
}

fn content(dict: &Dict) -> Vec<(usize, usize)> {
    let found = inside(dict, |d| d.items().unwrap());
    found
        .into_iter()
        .map(|(k, v)| (value(k), value(v)))
        .collect()
}

fn live() -> u64 {
    alloc::stats().unwrap().live_blocks
}

/// A map in the order of insertion.
#[derive(Default)]
struct Model(Vec<(usize, usize)>);

impl Model {
    fn at(&self, key: usize) -> Option<usize> {
        self.0.iter().position(|&(k, _)| k == key)
    }

    fn set(&mut self, key: usize, value: usize) {
        match self.at(key) {
            Some(at) => self.0[at].1 = value,
            None => self.0.push((key, value)),
        }
    }
}

/// Any sequence of operations leaves the dict equal to the model, and no block behind.
#[test]
fn equals_a_map() {
    let _alone = alone();
    drop(Dict::create().unwrap());
    let before = live();
    let mut random = Random::seeded();
    for round in 0..40 {
        let dict = Dict::create().unwrap();
        let mut model = Model::default();
        let keys = [4, 30, 400][round % 3];
        for step in 0..400 {
            let (key, new) = (random.below(keys), random.below(1000));
            let at = model.at(key);
            match random.below(if round % 2 == 0 { 11 } else { 40 }) {
                0..=2 | 11.. => {
                    let put = inside(&dict, |d| {
                        known(d.put(&probe(key), &mut pair(key, new), How::Always))
                    });
                    assert!(matches!(put, Put::Stored));
                    model.set(key, new);
                }
                3 => {
                    let mut new_one = New {
                        key: None,
                        ..pair(key, new)
                    };
                    match inside(&dict, |d| {
                        known(d.put(&probe(key), &mut new_one, How::Always))
                    }) {
                        Put::KeyWanted => assert!(at.is_none()),
                        Put::Stored => model.0[at.unwrap()].1 = new,
                        other => panic!("{other:?}"),
                    }
                }
                4 => match inside(&dict, |d| {
                    known(d.put(&probe(key), &mut pair(key, new), How::IfMissing))
                }) {
                    Put::Kept(found) => assert_eq!(value(found), model.0[at.unwrap()].1),
                    _ => {
                        assert!(at.is_none());
                        model.set(key, new);
                    }
                },
                5 | 6 => {
                    let found = inside(&dict, |d| known(d.remove(&probe(key)))).map(value);
                    assert_eq!(found, at.map(|at| model.0.remove(at).1));
                }
                7 => {
                    let found = inside(&dict, |d| d.pop_last().unwrap());
                    assert_eq!(found.map(|(k, v)| (value(k), value(v))), model.0.pop());
                }
                8 => {
                    let sum = inside(&dict, |d| {
                        known(d.add(&probe(key), &mut Some(fresh(key)), Number::Int(2)))
                    });
                    match (sum, at.map(|at| model.0[at].1)) {
                        (Sum::Is(Number::Int(sum)), old) => {
                            assert_eq!(sum as usize, old.unwrap_or(0) + 2);
                            model.set(key, sum as usize);
                        }
                        (Sum::Beyond, old) => assert_eq!(old.unwrap() % 2, 1),
                        other => panic!("{other:?}"),
                    }
                }
                9 => {
                    let seen = inside(&dict, |d| known(d.get(&probe(key))));
                    let token = seen.as_ref().map(|&(_, token)| token);
                    assert_eq!(
                        seen.map(|(found, _)| value(found)),
                        at.map(|at| model.0[at].1)
                    );
                    let stale = inside(&dict, |d| {
                        known(d.put(&probe(key), &mut pair(key, new), How::IfStill(Some((5, 5)))))
                    });
                    assert!(matches!(stale, Put::Changed));
                    let put = inside(&dict, |d| {
                        known(d.put(&probe(key), &mut pair(key, new), How::IfStill(token)))
                    });
                    assert!(matches!(put, Put::Stored));
                    model.set(key, new);
                }
                _ if step % 8 == 0 => {
                    inside(&dict, |d| d.clear().unwrap());
                    model.0.clear();
                }
                _ => {}
            }
            assert_eq!(content(&dict), model.0, "round {round} step {step}");
            assert_eq!(dict.peek_len(), Some(model.0.len()));
            let expected = model.at(key).map(|at| model.0[at].1);
            if let Some(seen) = dict.peek(&probe(key)) {
                assert_eq!(seen.map(value), expected, "round {round} step {step}");
            }
            let there = inside(&dict, |d| known(d.contains(&probe(key))));
            assert_eq!(there, expected.is_some());
        }
        drop(dict);
        assert_eq!(live(), before, "round {round}");
    }
}

/// A dict that is emptied gives its memory back, and one with a few keys that come and go
/// doesn't grow.
#[test]
fn memory_comes_back() {
    let _alone = alone();
    let dict = Dict::create().unwrap();
    let set = |key| {
        inside(&dict, |d| {
            known(d.put(&probe(key), &mut pair(key, 2), How::Always));
        });
    };
    set(0);
    let before = alloc::stats().unwrap().live_bytes;
    for key in 1..20_000 {
        set(key);
    }
    for key in 1..20_000 {
        assert!(inside(&dict, |d| known(d.remove(&probe(key)))).is_some());
    }
    assert!(alloc::stats().unwrap().live_bytes <= before + 8192);
    for key in 1..20_000 {
        set(2 * key);
        assert!(inside(&dict, |d| known(d.remove(&probe(2 * key)))).is_some());
    }
    assert!(alloc::stats().unwrap().live_bytes <= before + 8192);
    assert_eq!(content(&dict), [(0, 2)]);
}

/// Keys that compare themselves are found by verdict, or by the hash of the own process.
#[test]
fn compared_keys() {
    let _alone = alone();
    let dict = Dict::create().unwrap();
    let foreign = |process, hash| {
        let origin = Origin { process, hash };
        Probe::new(Canonical::Bytes(b"?x".to_vec()), Some(origin)).unwrap()
    };
    let put = |probe: &Probe, value: usize| {
        let bytes = probe.canonical().to_bytes();
        let name = value.to_le_bytes();
        let mut new = New {
            key: Some(Fresh::key(&bytes, probe.origin(), &name, &[]).unwrap()),
            value: Some(fresh(value)),
        };
        inside(&dict, |d| d.put(probe, &mut new, How::Always)).unwrap()
    };
    for i in 0..10 {
        // The same process and another hash: no need to compare.
        assert!(matches!(
            put(&foreign(1, i), 2 * i as usize),
            Seen::Known(Put::Stored)
        ));
    }
    let mut other = foreign(2, 7);
    let Seen::Undecided(keys) = inside(&dict, |d| d.get(&other)).unwrap() else {
        panic!("known");
    };
    assert_eq!(keys.len(), 10);
    // The likely one comes first.
    let Found::Pickle(name, _) = &keys[0].1 else {
        panic!("{:?}", keys[0]);
    };
    assert_eq!(name.as_slice(), 14usize.to_le_bytes());
    for (at, (token, _)) in keys.into_iter().enumerate().rev() {
        other.decide(token, at == 0);
    }
    let found = inside(&dict, |d| known(d.get(&other))).unwrap();
    assert_eq!(value(found.0), 14);
    assert!(inside(&dict, |d| known(d.remove(&other))).is_some());
    // All that is left was compared already; a new one was not.
    assert!(inside(&dict, |d| known(d.get(&other))).is_none());
    assert!(matches!(
        put(&foreign(1, 99), 200),
        Seen::Known(Put::Stored)
    ));
    assert!(
        matches!(inside(&dict, |d| d.get(&other)), Ok(Seen::Undecided(keys)) if keys.len() == 1)
    );
    // Another kind has another canonical form.
    let plain = Probe::new(Canonical::Bytes(b"sx".to_vec()), None).unwrap();
    assert!(inside(&dict, |d| known(d.get(&plain))).is_none());
}

/// A process that is killed at any moment leaves the dict whole, and nothing else.
#[test]
fn survives_kills() {
    let _alone = alone();
    slot::me().unwrap();
    let mut random = Random::seeded();
    let dict = Dict::create().unwrap();
    let before = live();
    for round in 0..60 {
        let started = Pipe::new();
        let seed = random.below(1 << 30) as u64 | 1;
        let mutator = child(|| {
            let mut random = Random(seed);
            started.tell();
            loop {
                let (key, new) = (random.below(60), random.below(1000));
                inside(&dict, |d| match random.below(40) {
                    0..=18 => drop(known(d.put(&probe(key), &mut pair(key, new), How::Always))),
                    19..=22 => drop(known(d.put(
                        &probe(key),
                        &mut pair(key, new),
                        How::IfMissing,
                    ))),
                    23..=34 => drop(known(d.remove(&probe(key)))),
                    35..=37 => drop(d.pop_last().unwrap()),
                    38 if new % 8 == 0 => d.clear().unwrap(),
                    _ => drop(known(d.add(
                        &probe(key),
                        &mut Some(fresh(key)),
                        Number::Int(2),
                    ))),
                });
            }
        });
        started.hear();
        for _ in 0..random.below(400) {
            let key = random.below(60);
            inside(&dict, |d| drop(known(d.remove(&probe(key)))));
        }
        mutator.kill();
        if round % 2 == 0 {
            // Whoever uses it next finds it whole, even before the recovery.
            content(&dict);
        }
        slot::recover_all().unwrap();
        let items = inside(&dict, |d| d.items().unwrap());
        let in_block = |f: &Found| u64::from(matches!(f, Found::Text(_)));
        let blocks: u64 = items.iter().map(|(k, v)| in_block(k) + in_block(v)).sum();
        let mut model = HashMap::new();
        for (key, its) in items {
            let key = value(key);
            assert!(model.insert(key, value(its)).is_none(), "key {key} twice");
        }
        assert_eq!(dict.peek_len(), Some(model.len()));
        for key in 0..60 {
            let found = inside(&dict, |d| known(d.get(&probe(key))));
            assert_eq!(found.map(|(f, _)| value(f)), model.get(&key).copied());
        }
        let table = live() - before - blocks;
        assert!(table <= 1, "round {round}: {table} blocks too many");
    }
    inside(&dict, |d| d.clear().unwrap());
    assert_eq!(live(), before);
}

/// What several processes count at once is exact, and readers without the lock never see
/// anything but what was written.
#[test]
fn counts_by_several() {
    let _alone = alone();
    let dict = Dict::create().unwrap();
    let counters: Vec<_> = (0..3)
        .map(|_| {
            child(|| {
                for i in 0..20_000 {
                    let key = 2 * (i % 7);
                    inside(&dict, |d| {
                        known(d.add(&probe(key), &mut Some(fresh(key)), Number::Int(1)));
                    });
                }
                slot::leave().is_ok()
            })
        })
        .collect();
    let mut last = [0; 7];
    while inside(&dict, |d| d.values().unwrap())
        .into_iter()
        .map(value)
        .sum::<usize>()
        < 60_000
    {
        for (i, last) in last.iter_mut().enumerate() {
            let probe = probe(2 * i);
            if let Some(Some(found)) = dict.peek(&probe) {
                let now = value(found);
                assert!(now >= *last, "{now} after {last}");
                *last = now;
            }
        }
    }
    for c in counters {
        assert_eq!(c.wait(), 0);
    }
}
