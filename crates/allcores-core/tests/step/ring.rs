//! Queues, and what travels through them.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::ring::{Lease, Ring};
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{alloc, arena};

use crate::case::{Case, Check, Operation, ensure};
use crate::memory::{count, raw};
use crate::trace::End;

const SMALL: usize = 16;
const BIG: usize = 3000;
/// More than the cells of a ring without a bound.
const SPILLING: u64 = 259;

pub const OPERATIONS: &[Operation] = &[
    operation("ring", "put in a cell", || put(8, false, 2, SMALL, 0)),
    operation("ring", "put in a block", || put(8, false, 2, BIG, 0)),
    operation("ring", "put in a block, with references", || {
        put(8, false, 2, BIG, 2)
    }),
    operation("ring", "put into the spill", || {
        put(1, true, SPILLING, SMALL, 0)
    }),
    operation("ring", "put the first into the spill", || {
        put(1, true, 256, SMALL, 0)
    }),
    operation("ring", "put a block into the spill", || {
        put(1, true, 256, BIG, 2)
    }),
    operation("ring", "get from a cell", || {
        get(8, false, 2, SMALL, 0, false)
    }),
    operation("ring", "get a block", || get(8, false, 2, BIG, 0, false)),
    operation("ring", "get a block, with references", || {
        get(8, false, 2, BIG, 2, false)
    }),
    operation("ring", "get under a lease", || {
        get(8, false, 2, SMALL, 0, true)
    }),
    operation("ring", "get a block under a lease", || {
        get(8, false, 2, BIG, 1, true)
    }),
    operation("ring", "get the last from the spill", || {
        refill(1, SMALL, 0)
    }),
    operation("ring", "get from the spill", || refill(3, SMALL, 0)),
    operation("ring", "get a block from the spill", || refill(2, BIG, 1)),
    operation("ring", "make, put, drop", make_and_drop),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

fn say<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}

fn body(value: u64, len: usize) -> Vec<u8> {
    let mut body = vec![value as u8; len];
    body[..8].copy_from_slice(&value.to_ne_bytes());
    body
}

fn send(ring: &Ring, value: u64, len: usize, refs: &[u64]) -> Check {
    let body = body(value, len);
    let sent = if len <= 96 {
        say(ring.try_put(7, value, &body))?
    } else {
        let mut draft = say(ring.draft(refs, len, value))?;
        draft.bytes().copy_from_slice(&body);
        say(ring.try_send(7, value, &mut Some(draft)))?
    };
    ensure(sent, || format!("no room for {value}"))
}

fn take(ring: &Ring, len: usize) -> Result<Option<u64>, String> {
    let deadline = Deadline::after(Some(Duration::ZERO));
    let Some(got) = say(ring.get(None, &deadline, &mut no_pulse))? else {
        return Ok(None);
    };
    let value = u64::from_ne_bytes(*got.bytes().first_chunk().ok_or("an empty item")?);
    ensure(got.kind == 7 && got.tag == value, || {
        format!("tag of {value}")
    })?;
    ensure(got.bytes() == body(value, len), || {
        format!("bytes of {value}")
    })?;
    Ok(Some(value))
}

fn drain(ring: &Ring, len: usize) -> Result<Vec<u64>, String> {
    let mut all = Vec::new();
    while let Some(value) = take(ring, len)? {
        all.push(value);
    }
    ensure(say(ring.nothing_waits())? && ring.waiting() == 0, || {
        format!("{} wait in an empty ring", ring.waiting())
    })?;
    Ok(all)
}

/// What travels along, and its counts.
fn cargo(n: usize) -> Rc<Vec<Handle>> {
    Rc::new((0..n).map(|_| raw()).collect())
}

fn offsets(cargo: &[Handle]) -> Vec<u64> {
    cargo.iter().map(Handle::offset).collect()
}

fn alone(cargo: &[Handle]) -> Check {
    for handle in cargo {
        let found = count(handle.offset());
        ensure(found == 1, || format!("count {found} instead of 1"))?;
    }
    Ok(())
}

/// All that was put is worked off.
fn work_off(ring: &Ring, put: u64, done: &mut u64) -> Check {
    *done += put;
    let left = ring.unfinished();
    ensure(left == put, || {
        format!("{left} unfinished instead of {put}")
    })?;
    for _ in 0..put {
        ensure(ring.task_done(), || "task_done too early".into())?;
    }
    ensure(!ring.task_done(), || "a task too many".into())
}

/// Whoever looks into a queue may bury the dead.
fn look(ring: &Ring) {
    ring.nothing_waits().unwrap();
    ring.unfinished();
}

/// The ring has `before` items when the victim puts one more.
fn put(capacity: u64, unbounded: bool, before: u64, len: usize, refs: usize) -> Case {
    let ring = Rc::new(Ring::new(capacity, unbounded).unwrap());
    let (its, again) = (ring.clone(), ring.clone());
    let cargo = cargo(refs);
    let along = cargo.clone();
    let run = move || send(&its, before, len, &offsets(&along)).unwrap();
    let mut done = 0;
    let check = move |end: Option<End>| {
        if end.is_some() {
            let found = drain(&ring, len)?;
            let n = found.len() as u64;
            let fine = n == before + 1 || (n == before && end == Some(End::Killed));
            ensure(fine && (0..n).eq(found.iter().copied()), || {
                format!("{end:?}, and {before} + 1 items became {n}: {found:?}")
            })?;
            work_off(&ring, n, &mut done)?;
        }
        alone(&cargo)?;
        (0..before).try_for_each(|value| send(&ring, value, len, &[]))
    };
    let case = Case::new(run, check).again(move || look(&again));
    // Counts are right after the recovery only, and so is whether an item that just became
    // part of the spill is there.
    if refs > 0 || unbounded {
        case
    } else {
        case.early()
    }
}

/// The ring has `before` items when the victim takes one.
fn get(capacity: u64, unbounded: bool, before: u64, len: usize, refs: usize, lease: bool) -> Case {
    let ring = Rc::new(Ring::new(capacity, unbounded).unwrap());
    let (its, again) = (ring.clone(), ring.clone());
    let cargo = cargo(refs);
    let note = raw();
    let leased = lease.then(|| Lease::at(note.offset()).unwrap());
    let word: &AtomicU64 = arena::arena().unwrap().at(note.offset()).unwrap();
    let run = move || drop(its.try_get(leased.as_ref()).unwrap().unwrap());
    let mut done = 0;
    let check = move |end: Option<End>| {
        let _kept = &note;
        if end.is_some() {
            let mut found = drain(&ring, len)?;
            // What is delivered again may come after what others put later.
            found.sort_unstable();
            let n = found.len() as u64;
            let fine = n == before - 1 || (n == before && end == Some(End::Killed));
            // Numbers begin with 1, as 0 is no lease.
            ensure(
                fine && (before - n + 1..=before).eq(found.iter().copied()),
                || format!("{end:?}, and {before} - 1 items became {n}: {found:?}"),
            )?;
            let noted = word.swap(0, SeqCst);
            ensure(!lease || noted == before - n, || {
                format!("{n} of {before} items are left, and the lease says {noted}")
            })?;
            work_off(&ring, before, &mut done)?;
        }
        alone(&cargo)?;
        let all = offsets(&cargo);
        (1..=before).try_for_each(|value| send(&ring, value, len, &all))
    };
    let case = Case::new(run, check).again(move || look(&again));
    // Leases and counts are right after the recovery only.
    if lease || refs > 0 {
        case
    } else {
        case.early()
    }
}

/// All cells are empty, and the spill has `spilled` items, when the victim takes one.
fn refill(spilled: u64, len: usize, refs: usize) -> Case {
    const CELLS: u64 = 256;
    let ring = Rc::new(Ring::new(1, true).unwrap());
    let (its, again) = (ring.clone(), ring.clone());
    let cargo = cargo(refs);
    let run = move || drop(its.try_get(None).unwrap().unwrap());
    let mut done = 0;
    let check = move |end: Option<End>| {
        if end.is_some() {
            let mut found = drain(&ring, len)?;
            found.sort_unstable();
            let n = found.len() as u64;
            let fine = n == spilled - 1 || (n == spilled && end == Some(End::Killed));
            ensure(
                fine && (spilled - n..spilled).eq(found.iter().copied()),
                || format!("{end:?}, and {spilled} - 1 items became {n}: {found:?}"),
            )?;
            work_off(&ring, CELLS + spilled, &mut done)?;
        }
        alone(&cargo)?;
        (0..CELLS).try_for_each(|value| send(&ring, value, SMALL, &[]))?;
        let all = offsets(&cargo);
        (0..spilled).try_for_each(|value| send(&ring, value, len, &all))?;
        for _ in 0..CELLS {
            ensure(take(&ring, SMALL)?.is_some(), || "an item is lost".into())?;
        }
        Ok(())
    };
    let case = Case::new(run, check).again(move || look(&again));
    if refs > 0 { case } else { case.early() }
}

/// A ring with items in cells and in the spill goes with its only holder.
fn make_and_drop() -> Case {
    let cargo = cargo(1);
    let along = cargo.clone();
    let run = move || {
        let all = offsets(&along);
        let ring = Ring::new(1, true).unwrap();
        send(&ring, 0, BIG, &all).unwrap();
        for value in 1..257 {
            ring.try_put(7, value, &[]).unwrap();
        }
        send(&ring, 257, BIG, &all).unwrap();
    };
    let check = move |_| {
        // What an earlier user left in a place must not be taken for entries.
        for _ in 0..4 {
            let offset = say(alloc::reserve(Kind::Raw, 3200, false))?;
            say(alloc::release(offset))?;
        }
        alone(&cargo)
    };
    Case::new(run, check)
}
