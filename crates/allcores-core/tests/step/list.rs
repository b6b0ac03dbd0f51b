//! The shared list.

use std::rc::Rc;

use allcores_core::handle::Handle;
use allcores_core::item::{Found, Fresh};
use allcores_core::list::{Inside, List, Slice};
use allcores_core::wait::no_pulse;

use crate::case::{Case, Operation, ensure};
use crate::memory::{count, raw};
use crate::trace::End;

/// What the list holds before each operation. Odd ones are text in blocks of their own.
const BASE: std::ops::Range<usize> = 0..12;

pub const OPERATIONS: &[Operation] = &[
    operation("append a number", || {
        change(|l| l.append(fresh(100)).unwrap())
    }),
    operation("append a text", || {
        change(|l| l.append(fresh(101)).unwrap())
    }),
    operation("append a pickle with references", append_pickle),
    operation("append to a full table", || {
        change(|l| {
            // Each makes the table fuller; one of them has to make a new one.
            l.extend((0..40).map(|_| fresh(100)).collect(), None)
                .unwrap();
        })
    }),
    operation("set an item", || {
        change(|l| assert!(l.set(3, fresh(103)).unwrap()))
    }),
    operation("insert at the start", || {
        change(|l| l.insert(0, fresh(101)).unwrap())
    }),
    operation("insert in the middle", || {
        change(|l| l.insert(5, fresh(105)).unwrap())
    }),
    operation("pop the last", || {
        change(|l| drop(l.pop(-1).unwrap().unwrap()))
    }),
    operation("pop the first", || {
        change(|l| drop(l.pop(0).unwrap().unwrap()))
    }),
    operation("pop from the middle", || {
        change(|l| drop(l.pop(5).unwrap().unwrap()))
    }),
    operation("clear", || change(|l| l.clear().unwrap())),
    operation("extend", || {
        change(|l| {
            l.extend(vec![fresh(100), fresh(101), fresh(103)], None)
                .unwrap();
        })
    }),
    operation("replace a slice", || {
        change(|l| {
            let slice = Slice {
                start: Some(2),
                stop: Some(8),
                step: Some(2),
            };
            l.replace(slice, vec![fresh(101), fresh(102), fresh(103)])
                .unwrap();
        })
    }),
    operation("push into a full one, at the back", || {
        change(|l| l.push(fresh(101), false, BASE.len()).unwrap())
    }),
    operation("push into a full one, at the front", || {
        change(|l| l.push(fresh(101), true, BASE.len()).unwrap())
    }),
    operation("reverse", || change(|l| l.reverse().unwrap())),
    operation("make, extend, drop", make_and_drop),
];

const fn operation(name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure: "list",
        name,
        build,
    }
}

fn say<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}

fn text(value: usize) -> String {
    format!("{value}:").repeat(10)
}

fn fresh(value: usize) -> Fresh {
    if value.is_multiple_of(2) {
        Fresh::int(value as i64).unwrap()
    } else {
        Fresh::text(&text(value)).unwrap()
    }
}

fn value(found: &Found) -> Result<usize, String> {
    match found {
        Found::Int(value) => Ok(*value as usize),
        Found::Text(data) => {
            let whole = say(std::str::from_utf8(data.as_slice()))?;
            let value = say(whole.split(':').next().unwrap_or("").parse::<usize>())?;
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

fn content(list: &List) -> Result<Vec<usize>, String> {
    let inside = say(list.enter(&mut no_pulse))?;
    let found = say(inside.read(Slice::default()))?;
    found.iter().map(value).collect()
}

/// The list with what it has before each operation.
fn reset(list: &List) -> Result<(), String> {
    let mut inside = say(list.enter(&mut no_pulse))?;
    say(inside.clear())?;
    let fresh = BASE.map(fresh).collect();
    ensure(say(inside.extend(fresh, None))?, || "extend".into())
}

fn change(work: fn(&mut Inside)) -> Case {
    changes(Rc::default(), work)
}

/// The content is as before or as after, and nothing else.
fn changes(cargo: Rc<Vec<Handle>>, work: impl Fn(&mut Inside) + 'static) -> Case {
    let list = Rc::new(List::create().unwrap());
    reset(&list).unwrap();
    work(&mut list.enter(&mut no_pulse).unwrap());
    let before: Vec<usize> = BASE.collect();
    let after = content(&list).unwrap();
    let (its, again) = (list.clone(), list.clone());
    let run = move || work(&mut its.enter(&mut no_pulse).unwrap());
    let check = move |end: Option<End>| {
        if end.is_some() {
            let found = content(&list)?;
            let old = found == before && end == Some(End::Killed);
            ensure(old || found == after, || format!("{end:?}: {found:?}"))?;
        }
        reset(&list)?;
        for handle in &*cargo {
            let found = count(handle.offset());
            ensure(found == 1, || format!("count {found} instead of 1"))?;
        }
        Ok(())
    };
    Case::new(run, check).again(move || drop(content(&again).unwrap()))
}

fn append_pickle() -> Case {
    let cargo: Rc<Vec<Handle>> = Rc::new((0..2).map(|_| raw()).collect());
    let refs: Vec<u64> = cargo.iter().map(Handle::offset).collect();
    changes(cargo, move |list| {
        list.append(Fresh::pickle(b"pickle", &refs).unwrap())
            .unwrap();
    })
}

/// A list with items goes with its only holder.
fn make_and_drop() -> Case {
    let cargo: Rc<Vec<Handle>> = Rc::new((0..2).map(|_| raw()).collect());
    let refs: Vec<u64> = cargo.iter().map(Handle::offset).collect();
    let run = move || {
        let list = List::create().unwrap();
        reset(&list).unwrap();
        let mut inside = list.enter(&mut no_pulse).unwrap();
        inside
            .append(Fresh::pickle(b"pickle", &refs).unwrap())
            .unwrap();
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
