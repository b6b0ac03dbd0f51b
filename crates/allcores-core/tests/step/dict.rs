//! The shared dict.

use std::rc::Rc;

use allcores_core::dict::{Canonical, Dict, How, Inside, New, Number, Probe, Put, Seen, Sum};
use allcores_core::handle::Handle;
use allcores_core::item::{Found, Fresh, Origin};
use allcores_core::wait::no_pulse;

use crate::case::{Case, Operation, ensure};
use crate::memory::{count, raw};
use crate::trace::End;

/// The keys before each operation, as many as the table has room for. Odd ones are texts in
/// blocks of their own, as are the values of those that 3 divides.
const BASE: std::ops::Range<u64> = 0..10;

pub const OPERATIONS: &[Operation] = &[
    operation("get", || change(|d| drop(d.get(&probe(3)).unwrap()))),
    operation("get, compared", || {
        change(|d| {
            let seen = d.get(&compared(1)).unwrap();
            assert!(matches!(seen, Seen::Known(None)));
        })
    }),
    operation("set a new short key", || {
        change(|d| {
            drop(d.remove(&probe(4)).unwrap());
            put(d, 100, 100);
        })
    }),
    operation("set a new long key and value", || {
        change(|d| {
            drop(d.remove(&probe(4)).unwrap());
            put(d, 105, 105);
        })
    }),
    operation("set a new key into a full table", || {
        change(|d| put(d, 101, 100))
    }),
    operation("set another short value", || change(|d| put(d, 4, 100))),
    operation("set another long value", || change(|d| put(d, 9, 105))),
    operation("set a long value instead of a short", || {
        change(|d| put(d, 4, 105))
    }),
    operation("set a pickle with references", set_pickle),
    operation("set a key with references", set_key_pickle),
    operation("delete a short key", || {
        change(|d| assert!(matches!(d.remove(&probe(4)), Ok(Seen::Known(Some(_))))))
    }),
    operation("delete a long key", || {
        change(|d| assert!(matches!(d.remove(&probe(3)), Ok(Seen::Known(Some(_))))))
    }),
    operation("delete the last key", || {
        change(|d| assert!(matches!(d.remove(&probe(9)), Ok(Seen::Known(Some(_))))))
    }),
    operation("popitem", || {
        change(|d| assert!(d.pop_last().unwrap().is_some()))
    }),
    operation("setdefault, there", || {
        change(|d| {
            let put = d.put(&probe(3), &mut pair(3, 100), How::IfMissing);
            assert!(matches!(put, Ok(Seen::Known(Put::Kept(_)))));
        })
    }),
    operation("setdefault, missing", || {
        change(|d| {
            let put = d.put(&probe(103), &mut pair(103, 105), How::IfMissing);
            assert!(matches!(put, Ok(Seen::Known(Put::Stored))));
        })
    }),
    operation("add", || {
        change(|d| {
            let sum = d.add(&probe(4), &mut None, Number::Int(96));
            assert!(matches!(sum, Ok(Seen::Known(Sum::Is(Number::Int(100))))));
        })
    }),
    operation("add to a missing key", || {
        change(|d| {
            let sum = d.add(&probe(101), &mut Some(key(101)), Number::Int(100));
            assert!(matches!(sum, Ok(Seen::Known(Sum::Is(Number::Int(100))))));
        })
    }),
    operation("compact after many deletes", || {
        steps(vec![
            Box::new(|d| remove_all(d, 0..6)),
            Box::new(|d| put(d, 100, 100)),
        ])
    }),
    operation("clear", || change(|d| d.clear().unwrap())),
    operation("make, fill, drop", make_and_drop),
];

const fn operation(name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure: "dict",
        name,
        build,
    }
}

fn say<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}

fn text(value: u64) -> String {
    format!("{value}:").repeat(10)
}

fn fresh(value: u64, long: bool) -> Fresh {
    if long {
        Fresh::text(&text(value)).unwrap()
    } else {
        Fresh::int(value as i64).unwrap()
    }
}

fn key(key: u64) -> Fresh {
    fresh(key, key % 2 == 1)
}

fn pair(new: u64, value: u64) -> New {
    New {
        key: Some(key(new)),
        value: Some(fresh(value, value.is_multiple_of(3))),
    }
}

fn probe(wanted: u64) -> Probe {
    let canonical = match wanted % 2 {
        0 => Canonical::Word(key(wanted).word()),
        _ => Canonical::Bytes([b"s", text(wanted).as_bytes()].concat()),
    };
    Probe::new(canonical, None).unwrap()
}

/// A key that compares itself.
fn compared(hash: u64) -> Probe {
    let origin = Origin { process: 1, hash };
    Probe::new(Canonical::Bytes(b"?x".to_vec()), Some(origin)).unwrap()
}

fn put(dict: &mut Inside, key: u64, value: u64) {
    let put = dict.put(&probe(key), &mut pair(key, value), How::Always);
    assert!(matches!(put, Ok(Seen::Known(Put::Stored))));
}

fn remove_all(dict: &mut Inside, keys: std::ops::Range<u64>) {
    for key in keys {
        assert!(matches!(dict.remove(&probe(key)), Ok(Seen::Known(Some(_)))));
    }
}

fn value(found: &Found) -> Result<u64, String> {
    match found {
        Found::Int(value) => Ok(*value as u64),
        Found::Text(data) => {
            let whole = say(std::str::from_utf8(data.as_slice()))?;
            let value = say(whole.split(':').next().unwrap_or("").parse::<u64>())?;
            ensure(whole == text(value), || format!("text {whole:?}"))?;
            Ok(value)
        }
        Found::Pickle(data, held) => {
            ensure(data.as_slice() == b"pickle" && held.len() == 2, || {
                "a pickle".into()
            })?;
            Ok(1000)
        }
        other => Err(format!("{other:?}")),
    }
}

/// What is in it, each key also looked up by itself.
fn content(dict: &Dict) -> Result<Vec<(u64, u64)>, String> {
    let inside = say(dict.enter(&mut no_pulse))?;
    let found = say(inside.items())?;
    let items: Vec<(u64, u64)> = found
        .iter()
        .map(|(k, v)| Ok::<_, String>((value(k)?, value(v)?)))
        .collect::<Result<_, _>>()?;
    ensure(say(inside.len())? == items.len(), || "the length".into())?;
    for &(wanted, its) in &items {
        if wanted == 1000 {
            continue;
        }
        match say(inside.get(&probe(wanted)))? {
            Seen::Known(Some((found, _))) => ensure(value(&found)? == its, || "a value".into())?,
            other => return Err(format!("key {wanted}: {other:?} instead of {its}")),
        }
    }
    drop(inside);
    for &(wanted, its) in items.iter().filter(|(k, _)| k % 2 == 0 && *k != 1000) {
        match dict.peek(&probe(wanted)) {
            None => {}
            Some(Some(found)) => ensure(value(&found)? == its, || "a value peeked".into())?,
            Some(None) => return Err(format!("key {wanted} isn't seen without the lock")),
        }
    }
    Ok(items)
}

/// The dict with what it has before each operation.
fn reset(dict: &Dict) -> Result<(), String> {
    let mut inside = say(dict.enter(&mut no_pulse))?;
    say(inside.clear())?;
    for key in BASE {
        put(&mut inside, key, key);
    }
    Ok(())
}

type Step = Box<dyn Fn(&mut Inside)>;

fn change(work: fn(&mut Inside)) -> Case {
    changes(Rc::default(), vec![Box::new(work)], false)
}

fn steps(works: Vec<Step>) -> Case {
    changes(Rc::default(), works, true)
}

/// The content is as before or as after, and nothing else. With several `works`, it is what
/// one of their operations leaves: a part of the keys in the old order, or the end.
fn changes(cargo: Rc<Vec<Handle>>, works: Vec<Step>, parts: bool) -> Case {
    let dict = Rc::new(Dict::create().unwrap());
    reset(&dict).unwrap();
    let before = content(&dict).unwrap();
    let run_all = move |dict: &Dict| {
        for work in &works {
            work(&mut dict.enter(&mut no_pulse).unwrap());
        }
    };
    run_all(&dict);
    let after = content(&dict).unwrap();
    let (its, again) = (dict.clone(), dict.clone());
    let run = move || run_all(&its);
    let check = move |end: Option<End>| {
        if end.is_some() {
            let found = content(&dict)?;
            let part = parts && (0..before.len()).any(|i| found == before[i..]);
            let gone = [4];
            let without = before.iter().filter(|(k, _)| !gone.contains(k));
            let half = found.iter().eq(without) && after.iter().all(|(k, _)| !gone.contains(k));
            let old = (found == before || part || half) && end == Some(End::Killed);
            ensure(old || found == after, || format!("{end:?}: {found:?}"))?;
        }
        reset(&dict)?;
        for handle in &*cargo {
            let found = count(handle.offset());
            ensure(found == 1, || format!("count {found} instead of 1"))?;
        }
        Ok(())
    };
    Case::new(run, check).again(move || drop(content(&again).unwrap()))
}

fn cargo() -> (Rc<Vec<Handle>>, Vec<u64>) {
    let cargo: Rc<Vec<Handle>> = Rc::new((0..2).map(|_| raw()).collect());
    let refs = cargo.iter().map(Handle::offset).collect();
    (cargo, refs)
}

fn set_pickle() -> Case {
    let (cargo, refs) = cargo();
    let work = move |dict: &mut Inside| {
        let mut new = New {
            key: None,
            value: Some(Fresh::pickle(b"pickle", &refs).unwrap()),
        };
        let put = dict.put(&probe(3), &mut new, How::Always);
        assert!(matches!(put, Ok(Seen::Known(Put::Stored))));
    };
    changes(cargo, vec![Box::new(work)], false)
}

fn set_key_pickle() -> Case {
    let (cargo, refs) = cargo();
    let work = move |dict: &mut Inside| {
        let probe = compared(7);
        let bytes = probe.canonical().to_bytes();
        let mut new = New {
            key: Some(Fresh::key(&bytes, probe.origin(), b"pickle", &refs).unwrap()),
            value: Some(fresh(1, false)),
        };
        let put = dict.put(&probe, &mut new, How::Always);
        assert!(matches!(put, Ok(Seen::Known(Put::Stored))));
    };
    changes(cargo, vec![Box::new(work)], false)
}

/// A dict with keys and values goes with its only holder.
fn make_and_drop() -> Case {
    let (cargo, refs) = cargo();
    let run = move || {
        let dict = Dict::create().unwrap();
        reset(&dict).unwrap();
        let mut inside = dict.enter(&mut no_pulse).unwrap();
        let mut new = New {
            key: None,
            value: Some(Fresh::pickle(b"pickle", &refs).unwrap()),
        };
        let put = inside.put(&probe(3), &mut new, How::Always);
        assert!(matches!(put, Ok(Seen::Known(Put::Stored))));
    };
    let check = move |_| {
        for handle in &*cargo {
            let found = count(handle.offset());
            ensure(found == 1, || format!("count {found} instead of 1"))?;
        }
        Ok(())
    };
    Case::new(run, check)
}
