//! A worker's lease: what it does, for whoever looks after it, and what it is told.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use allcores_core::{arena, os};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::block::Block;
use crate::convert::raise;

// Words of a lease.
pub const TAG: usize = 0;
pub const PLACE: usize = 2;
pub const START: usize = 3;
pub const GATE: usize = 4;
pub const DONE: usize = 5;
pub const KEPT: usize = 6;
pub const PEAK: usize = 7;
pub const LAST: usize = 8;
pub const BUSY: usize = 9;
pub const TAKEN: usize = 10;
pub const SENT: usize = 11;
pub const HOLDS: usize = 13;
pub const ENDED: usize = 15;
pub const WORDS: usize = 16;
/// In GATE: the worker may take a task, or waits until it may, or leaves.
pub const OPEN: u32 = 0;
pub const HELD: u32 = 1;
/// In START: the pool has given the task up, and ends this process. The pool and the worker
/// agree by compare-and-swap on that word, so that it never ends one that went on.
pub const DOOMED: u64 = u64::MAX;
/// A bit of START: the function is being unpacked, which may import whatever it needs; the task's
/// time has not begun.
pub const LOADING: u64 = 1 << 63;

/// Items of a task that its place can tell apart.
pub const PLACES: usize = (1 << 24) - 1;

/// The place of a worker in its task: `number of the task 16 | end 24 | current 24`. The
/// worker moves `current` on, the pool may move `end` to take items back that were not begun;
/// 0 when there is no task of several items.
pub fn place(number: u64, end: usize, current: usize) -> u64 {
    number << 48 | (end as u64) << 24 | current as u64
}

pub fn end_of(place: u64) -> usize {
    (place >> 24) as usize & PLACES
}

/// Takes items back from the worker of a lease that it has not begun: it will stop before
/// `end`. False when it got on, since its place was `seen`, as far or to another task.
#[pyfunction]
pub fn take_back(lease: &Bound<'_, Block>, seen: u64, end: usize) -> PyResult<bool> {
    let block = lease.get();
    let current = seen as usize & PLACES;
    if block.nbytes() < 8 * WORDS || end <= current || end >= end_of(seen) {
        return Err(PyValueError::new_err("there is nothing to take back"));
    }
    let word: &AtomicU64 = arena::arena()
        .and_then(|arena| arena.at(block.offset() + 8 * PLACE as u64))
        .map_err(|error| raise(lease.py(), error))?;
    let next = place(seen >> 48, end, current);
    Ok(word.compare_exchange(seen, next, SeqCst, SeqCst).is_ok())
}

/// The gate of the worker of a lease: the half of that word that the kernel may sleep on.
pub fn gate_of(block: &Block) -> allcores_core::Result<&'static AtomicU32> {
    arena::arena()?.at(block.offset() + 8 * GATE as u64)
}

/// Lets the worker of a lease take tasks (0), no more of them for now (1), or has it leave before
/// it takes another (2). Each is only about the next task, never the one that it does.
#[pyfunction]
pub fn set_gate(lease: &Bound<'_, Block>, state: u32) -> PyResult<()> {
    let block = lease.get();
    if block.nbytes() < 8 * WORDS {
        return Err(PyValueError::new_err("this is no lease"));
    }
    let gate = gate_of(block).map_err(|error| raise(lease.py(), error))?;
    gate.store(state, SeqCst);
    os::futex_wake(gate, 1);
    Ok(())
}

/// Gives up the task that the worker of a lease began at `start`: its process ends, by the
/// pool's hand or, when it comes to the task's end before, by its own. False when it got there
/// first.
#[pyfunction]
pub fn doom(lease: &Bound<'_, Block>, start: u64) -> PyResult<bool> {
    let block = lease.get();
    if block.nbytes() < 8 * WORDS || start == 0 || start == DOOMED {
        return Err(PyValueError::new_err("there is no task to give up"));
    }
    let word: &AtomicU64 = arena::arena()
        .and_then(|arena| arena.at(block.offset() + 8 * START as u64))
        .map_err(|error| raise(lease.py(), error))?;
    Ok(word.compare_exchange(start, DOOMED, SeqCst, SeqCst).is_ok())
}
