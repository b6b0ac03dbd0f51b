//! The shared list: equal to a vector, whoever uses it and whoever dies in it.

#![allow(missing_docs)]

mod common;

use allcores_core::item::{Found, Fresh};
use allcores_core::list::{List, Slice};
use allcores_core::{alloc, slot, wait};
use common::{Pipe, Random, alone, child};

/// What an item is for the model: an integer for even numbers, text of some length for odd ones.
fn fresh(value: usize) -> Fresh {
    if value.is_multiple_of(2) {
        Fresh::int(value as i64).unwrap()
    } else {
        Fresh::text(&text(value)).unwrap()
    }
}

fn text(value: usize) -> String {
    format!("{value}:").repeat(1 + value % 40)
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

fn inside<R>(list: &List, work: impl FnOnce(&mut allcores_core::list::Inside) -> R) -> R {
    work(&mut list.enter(&mut wait::no_pulse).unwrap())
}

fn content(list: &List) -> Vec<usize> {
    let found = inside(list, |l| l.read(Slice::default()).unwrap());
    found.into_iter().map(value).collect()
}

fn live() -> u64 {
    alloc::stats().unwrap().live_blocks
}

/// Each kind of item comes back as it was.
#[test]
fn items_come_back() {
    let _alone = alone();
    for value in [0, 1, -1, i64::MAX >> 2, i64::MIN >> 2] {
        let item = Fresh::int(value).unwrap();
        assert!(matches!(allcores_core::item::read(item.word()), Ok(Found::Int(v)) if v == value));
    }
    assert!(Fresh::int(1 << 61).is_none() && Fresh::int(i64::MIN).is_none());
    let list = List::create().unwrap();
    let floats = [
        0.0,
        -0.0,
        1.5,
        -3.25e7,
        0.1,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NAN,
    ];
    for value in floats {
        inside(&list, |l| l.append(Fresh::float(value).unwrap()).unwrap());
        let found = inside(&list, |l| l.pop(-1).unwrap().unwrap());
        assert!(
            matches!(found, Found::Float(v) if v.to_bits() == value.to_bits()),
            "{value}"
        );
    }
    for len in [0, 1, 7, 8, 100, 100_000] {
        let bytes = vec![7; len];
        inside(&list, |l| l.append(Fresh::bytes(&bytes).unwrap()).unwrap());
        let found = inside(&list, |l| l.pop(0).unwrap().unwrap());
        assert!(
            matches!(found, Found::Bytes(data) if data.as_slice() == bytes),
            "{len}"
        );
    }
}

/// Any sequence of operations leaves the list equal to a vector, and no block behind.
#[test]
fn equals_a_vector() {
    let _alone = alone();
    // The first one brings this process's table of references.
    drop(List::create().unwrap());
    let before = live();
    let mut random = Random::seeded();
    for round in 0..30 {
        let list = List::create().unwrap();
        let mut model: Vec<usize> = Vec::new();
        for step in 0..200 {
            let n = model.len();
            let at = random.below(n + 2) as i64 - 1;
            let new = random.below(1000);
            match random.below(10) {
                0 | 1 => {
                    inside(&list, |l| l.append(fresh(new)).unwrap());
                    model.push(new);
                }
                2 => {
                    inside(&list, |l| l.insert(at, fresh(new)).unwrap());
                    let at = if at < 0 {
                        (at + n as i64).max(0)
                    } else {
                        at.min(n as i64)
                    };
                    model.insert(at as usize, new);
                }
                3 => {
                    let found = inside(&list, |l| l.pop(at).unwrap()).map(value);
                    let real = if at < 0 { at + n as i64 } else { at };
                    let fine = real >= 0 && real < n as i64;
                    assert_eq!(found, fine.then(|| model.remove(real as usize)));
                }
                4 => {
                    let set = inside(&list, |l| l.set(at, fresh(new)).unwrap());
                    let real = if at < 0 { at + n as i64 } else { at };
                    assert_eq!(set, real >= 0 && real < n as i64);
                    if set {
                        model[real as usize] = new;
                    }
                }
                5 => {
                    let more: Vec<usize> = (0..random.below(20)).map(|i| new + i).collect();
                    let items = more.iter().map(|&v| fresh(v)).collect();
                    assert!(inside(&list, |l| l.extend(items, None).unwrap()));
                    model.extend(more);
                }
                6 => {
                    let (a, b) = (random.below(n + 1), random.below(n + 1));
                    let (a, b) = (a.min(b), a.max(b));
                    let more: Vec<usize> = (0..random.below(9)).map(|i| new + i).collect();
                    let items = more.iter().map(|&v| fresh(v)).collect();
                    inside(&list, |l| l.replace(Slice::run(a, b - a), items).unwrap());
                    model.splice(a..b, more);
                }
                7 => {
                    let step = random.below(4) as i64 - 4;
                    let slice = Slice {
                        start: None,
                        stop: None,
                        step: Some(step),
                    };
                    inside(&list, |l| l.delete(slice).unwrap());
                    let picked: Vec<usize> = slice.resolve(n).indices().collect();
                    let mut i = 0;
                    model.retain(|_| (!picked.contains(&i), i += 1).0);
                }
                8 => {
                    inside(&list, |l| l.reverse().unwrap());
                    model.reverse();
                }
                _ => {
                    let order: Vec<usize> = (0..n).map(|i| (i + 1) % n).collect();
                    inside(&list, |l| assert!(l.reorder(&order, l.version()).unwrap()));
                    model.rotate_left(1.min(n));
                }
            }
            assert_eq!(content(&list), model, "round {round} step {step}");
        }
        drop(list);
        assert_eq!(live(), before, "round {round}");
    }
}

/// A process that is killed at any moment leaves the list whole, and nothing else.
#[test]
fn survives_kills() {
    let _alone = alone();
    slot::me().unwrap();
    let mut random = Random::seeded();
    let list = List::create().unwrap();
    inside(&list, |l| l.append(fresh(0)).unwrap());
    // The list and its table.
    let before = live();
    for round in 0..60 {
        let started = Pipe::new();
        let seed = random.below(1 << 30) as u64 | 1;
        let mutator = child(|| {
            let mut random = Random(seed);
            started.tell();
            loop {
                let new = random.below(1000);
                let n = inside(&list, |l| l.len().unwrap());
                let at = random.below(n.max(1)) as i64;
                inside(&list, |l| match random.below(if n > 40 { 12 } else { 8 }) {
                    0 | 1 => l.append(fresh(new)).unwrap(),
                    2 | 3 => l.insert(at, fresh(new)).unwrap(),
                    4 => drop(l.set(at, fresh(new)).unwrap()),
                    5 => drop(l.extend(vec![fresh(new), fresh(new + 1)], None).unwrap()),
                    6 => drop(
                        l.replace(Slice::run(at as usize, 3), vec![fresh(new)])
                            .unwrap(),
                    ),
                    7 => l.reverse().unwrap(),
                    8 => l.delete(Slice::run(at as usize, 9)).unwrap(),
                    9 => l.clear().unwrap(),
                    _ => drop(l.pop(at).unwrap()),
                });
            }
        });
        started.hear();
        // As long as a few dozen changes of our own take, so that it is in the middle of one.
        for _ in 0..random.below(400) {
            inside(&list, |l| drop(l.pop(-1).unwrap()));
        }
        mutator.kill();
        slot::recover_all().unwrap();
        let items = inside(&list, |l| l.read(Slice::default()).unwrap());
        let in_blocks = |f: &&Found| matches!(f, Found::Text(d) if d.as_slice().len() > 7);
        let blocks = items.iter().filter(in_blocks).count() as u64;
        for found in items {
            value(found);
        }
        assert_eq!(live(), before + blocks, "round {round}");
    }
    inside(&list, |l| l.clear().unwrap());
    drop(list);
    assert_eq!(live(), before - 2);
}

/// Items appended by several processes at once are all there, each process's in its order.
#[test]
fn appends_by_several() {
    let _alone = alone();
    let list = List::create().unwrap();
    let children: Vec<_> = (0..4)
        .map(|who| {
            child(|| {
                for i in 0..2000 {
                    inside(&list, |l| l.append(fresh(who * 10_000 + i)).unwrap());
                }
                slot::leave().is_ok()
            })
        })
        .collect();
    for c in children {
        assert_eq!(c.wait(), 0);
    }
    let all = content(&list);
    assert_eq!(all.len(), 8000);
    for who in 0..4 {
        let own: Vec<usize> = all.iter().copied().filter(|v| v / 10_000 == who).collect();
        assert_eq!(own, (who * 10_000..who * 10_000 + 2000).collect::<Vec<_>>());
    }
}
