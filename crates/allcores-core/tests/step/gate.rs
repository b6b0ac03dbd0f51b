//! The gate of a container: what others see of several operations, and who gets in after a death.

use std::rc::Rc;

use allcores_core::item::{Found, Fresh};
use allcores_core::list::{List, Slice};
use allcores_core::wait::{Deadline, no_pulse};

use crate::case::{Case, Operation, ensure, patience};
use crate::sleeper::Sleeper;
use crate::sync::say;
use crate::trace::End;

pub const OPERATIONS: &[Operation] = &[
    operation("several operations behind it", several),
    operation("wait for it, one behind", wait),
];

const fn operation(name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure: "gate",
        name,
        build,
    }
}

/// An empty list that has had its table.
fn emptied() -> Rc<List> {
    let list = List::create().unwrap();
    append(&list, 0).unwrap();
    list.enter(&mut no_pulse).unwrap().clear().unwrap();
    Rc::new(list)
}

fn append(list: &List, value: i64) -> Result<(), String> {
    let mut inside = say(list.enter(&mut no_pulse))?;
    say(inside.append(Fresh::int(value).unwrap()))
}

fn content(list: &List) -> Result<Vec<i64>, String> {
    let found = say(say(list.enter(&mut no_pulse))?.read(Slice::default()))?;
    Ok(found
        .into_iter()
        .map(|item| match item {
            Found::Int(value) => value,
            other => panic!("{other:?}"),
        })
        .collect())
}

/// Takes the gate, sees whether its owner died, and says that all is well.
fn through(list: &List) -> Result<bool, String> {
    let gate = list.gate();
    say(gate.acquire(&patience(), &mut no_pulse))?;
    let died = gate.owner_died();
    gate.mark_consistent();
    say(gate.release(true)).map(|()| died)
}

/// Each of the operations is there as a whole, in their order; the gate says that its owner
/// died when not all are.
fn several() -> Case {
    let list = emptied();
    let its = list.clone();
    let again = list.clone();
    let run = move || {
        let gate = its.gate();
        gate.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        for value in 0..3 {
            append(&its, value).unwrap();
        }
        gate.release(true).unwrap();
    };
    let check = move |end: Option<End>| {
        let found = content(&list)?;
        let died = through(&list)?;
        if end.is_some() {
            let all = [0, 1, 2];
            ensure(all.starts_with(&found), || format!("{end:?}: {found:?}"))?;
            let half = !found.is_empty() && found.len() < all.len();
            ensure(!half || died, || "half done, and nobody is told".into())?;
            let over = end != Some(End::Killed);
            ensure(!over || found == all && !died, || {
                format!("{end:?}: {found:?}")
            })?;
        }
        say(say(list.enter(&mut no_pulse))?.clear())
    };
    Case::new(run, check).again(move || drop(content(&again).unwrap()))
}

/// The victim wants to append while the survivor has the gate, and so does another behind it.
fn wait() -> Case {
    const GOT: u64 = 1;
    let list = emptied();
    let (its, wanted, held) = (list.clone(), list.clone(), list.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        append(&wanted, 2).unwrap();
        GOT
    }));
    let sent = sleeper.clone();
    let wake = move || {
        sent.send();
        held.gate().release(true).unwrap();
    };
    let run = move || append(&its, 1).unwrap();
    let check = move |end: Option<End>| {
        let gate = list.gate();
        if gate.is_mine() {
            say(gate.release(true))?;
        }
        let sent = sleeper.was_sent();
        if sent {
            sleeper.comes_back_with(GOT)?;
        }
        let mut found = content(&list)?;
        through(&list)?;
        if end.is_some() {
            found.sort_unstable();
            let theirs: Vec<i64> = found.iter().copied().filter(|&value| value == 2).collect();
            ensure(theirs.len() == usize::from(sent), || format!("{found:?}"))?;
            let its = found.len() - theirs.len();
            let over = end != Some(End::Killed);
            ensure(its == 1 || its == 0 && !over, || {
                format!("{end:?}: {found:?}")
            })?;
        }
        say(say(list.enter(&mut no_pulse))?.clear())?;
        say(gate.acquire(&patience(), &mut no_pulse)).map(drop)
    };
    Case::new(run, check).wake(wake).helpers(1).early()
}
