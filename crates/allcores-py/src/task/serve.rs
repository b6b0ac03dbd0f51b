//! A worker's loop: take a task, do it, send what came of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use allcores_core::ring::{Got, Lease};
use allcores_core::slot::{self, Owner};
use allcores_core::wait::{self, Deadline};
use allcores_core::{arena, frozen, os};
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::items::{Items, Payload, Values, as_tuple};
use super::{FAILURE, HEAD, LIST, MAP, STOP, UNSENDABLE, VALUE, split};
use crate::block::Block;
use crate::convert::{raise, waiting};
use crate::ring::Ring;
use crate::value::{self, FLOATS, INTS, NONES, PICKLE};

// Words of a lease.
const TAG: usize = 0;
const PLACE: usize = 2;
const START: usize = 3;
const GATE: usize = 4;
const DONE: usize = 5;
const KEPT: usize = 6;
const PEAK: usize = 7;
const LAST: usize = 8;
const BUSY: usize = 9;
const TAKEN: usize = 10;
const SENT: usize = 11;
const HOLDS: usize = 13;
const ENDED: usize = 15;
const WORDS: usize = 16;
/// In GATE: the worker may take a task, or waits until it may, or leaves.
const OPEN: u32 = 0;
const HELD: u32 = 1;
/// In START: the pool has given the task up, and ends this process. The pool and the worker
/// agree by compare-and-swap on that word, so that it never ends one that went on.
const DOOMED: u64 = u64::MAX;
/// A bit of START: the function is being unpacked, which may import whatever it needs; the task's
/// time has not begun.
const LOADING: u64 = 1 << 63;

/// How often an idle worker looks whether its pool's process lives; it has 2 s to leave.
const LOOK: Duration = Duration::from_secs(1);
/// How long an idle worker keeps what it has mapped for the next task (a guess).
const SOON: Duration = Duration::from_millis(50);
/// Nanoseconds after which a watched worker says again how much memory it has: that takes some
/// microseconds, which short tasks shall not pay each time.
const NOTE: u64 = 1_000_000;
/// How many functions a worker remembers; each may hold large data.
const REMEMBERED: usize = 8;
/// A flag of functions, whose unpacking sets globals of `__main__`.
const SETS_GLOBALS: u32 = 1;
/// Items of a task that its place can tell apart.
const PLACES: usize = (1 << 24) - 1;

/// The place of a worker in its task: `number of the task 16 | end 24 | current 24`. The
/// worker moves `current` on, the pool may move `end` to take items back that were not begun;
/// 0 when there is no task of several items.
fn place(number: u64, end: usize, current: usize) -> u64 {
    number << 48 | (end as u64) << 24 | current as u64
}

fn end_of(place: u64) -> usize {
    (place >> 24) as usize & PLACES
}

/// What a worker needs.
#[pyclass(frozen, module = "allcores._core")]
pub struct Server {
    tasks: Py<Ring>,
    results: Py<Ring>,
    lease: Lease,
    words: [&'static AtomicU64; WORDS],
    gate: &'static AtomicU32,
    /// Jobs given up: their tasks are not begun.
    cancelled: &'static [AtomicU64],
    /// Keep the words.
    _blocks: (Py<Block>, Py<Block>),
    hooks: Py<PyAny>,
    /// The process that this was made in.
    me: Owner,
    /// A task of the user's is running.
    running: AtomicBool,
    known: Mutex<Vec<Known>>,
}

/// A function that was unpacked here.
struct Known {
    number: u64,
    func: Py<PyAny>,
    sets_globals: bool,
}

/// What came of a task.
enum Outcome<'py> {
    One(Bound<'py, PyAny>),
    Many(Values<'py>),
}

/// What a task raised.
struct Failed {
    error: PyErr,
    /// When it was unpacked, before its function was called.
    reading: bool,
}

impl Failed {
    fn reading(error: PyErr) -> Failed {
        Failed {
            error,
            reading: true,
        }
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Failed {
        Failed {
            error,
            reading: false,
        }
    }
}

/// Nanoseconds of the clock that `time.monotonic_ns` reads, the same in every process.
fn now() -> u64 {
    os::monotonic()
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
fn gate_of(block: &Block) -> allcores_core::Result<&'static AtomicU32> {
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

#[pymethods]
impl Server {
    #[new]
    fn make(
        py: Python<'_>,
        tasks: Py<Ring>,
        results: Py<Ring>,
        lease: Py<Block>,
        cancelled: Py<Block>,
        hooks: Py<PyAny>,
    ) -> PyResult<Server> {
        let block = lease.get();
        if block.nbytes() < 8 * WORDS {
            return Err(PyValueError::new_err(format!(
                "the lease of a worker needs a block of {} bytes or more",
                8 * WORDS
            )));
        }
        let open = || {
            let arena = arena::arena()?;
            let mut words = [arena.at::<AtomicU64>(block.offset())?; WORDS];
            for (i, word) in words.iter_mut().enumerate() {
                *word = arena.at(block.offset() + 8 * i as u64)?;
            }
            let list = cancelled.get();
            let start = arena.bytes(list.offset(), list.nbytes())?;
            // SAFETY: inside the arena, which is never unmapped, in a block that is kept
            // below; blocks are aligned to 64 bytes, and any bits are an AtomicU64.
            let jobs = unsafe { std::slice::from_raw_parts(start.cast(), list.nbytes() / 8) };
            Ok((Lease::at(block.offset())?, words, gate_of(block)?, jobs))
        };
        let (at, words, gate, jobs) = open().map_err(|error| raise(py, error))?;
        Ok(Server {
            tasks,
            results,
            lease: at,
            words,
            gate,
            cancelled: jobs,
            _blocks: (lease, cancelled),
            hooks,
            me: slot::me().map_err(|error| raise(py, error))?,
            running: AtomicBool::new(false),
            known: Mutex::new(Vec::new()),
        })
    }

    /// For the handler of Ctrl-C: whether a task runs, which it may end.
    fn interrupt(&self) -> bool {
        self.running.swap(false, Relaxed)
    }

    /// Does tasks until told to stop, until `most` are done, or the pool's process is gone;
    /// says which and how many.
    #[pyo3(signature = (pool, most = None))]
    fn run(&self, py: Python<'_>, pool: u32, most: Option<u64>) -> PyResult<(&'static str, u64)> {
        frozen::task_ended(); // from now on, what tasks share is kept between them
        let mut done = 0;
        let mut worked = 0;
        let mut noted = 0;
        while most.is_none_or(|most| done < most) {
            let got = match self.gate.load(Relaxed) {
                OPEN => self.take(py)?,
                HELD => self.hold(py)?,
                _ => break,
            };
            let Some(got) = got else {
                if !slot::is_alive(pool) {
                    return Ok(("gone", done));
                }
                continue;
            };
            let stop = split(got.kind).0 == STOP;
            let tag = got.tag;
            // The gate may have been closed as this was on its way.
            while !stop && self.gate.load(SeqCst) == HELD {
                self.hold(py)?;
                if !slot::is_alive(pool) {
                    return Ok(("gone", done));
                }
            }
            let start = now();
            // Before the look at what was cancelled, as who cancels looks here after.
            self.words[START].store(start, SeqCst);
            let dropped = stop || self.is_cancelled(got.tag >> 32);
            let did = match dropped {
                true => {
                    self.end_task();
                    Ok(())
                }
                false => self.serve(py, got, done, start),
            };
            // When not even the error could be sent, the worker ends here, and its lease is how the
            // pool learns which task that was.
            did?;
            // From here on the pool needs no word of this task any more.
            self.words[PLACE].store(0, SeqCst);
            self.words[TAG].store(0, SeqCst);
            if stop {
                frozen::let_go();
                return Ok(("stop", done));
            }
            done += 1;
            if dropped {
                continue;
            }
            if self.words[KEPT].load(Relaxed) != 0 && start > noted + NOTE {
                noted = start;
                let (kept, peak) = os::anonymous_memory().unwrap_or((1, 0));
                self.words[KEPT].store(kept, Relaxed);
                self.words[PEAK].store(peak, Relaxed);
            }
            worked += 1;
            self.words[LAST].store(tag, Relaxed);
            self.words[DONE].store(worked, Release);
        }
        frozen::let_go();
        Ok(("enough", done))
    }
}

impl Server {
    /// Adds to a word of the lease that only this process writes.
    fn count(&self, word: usize, more: u64) {
        let word = &self.words[word];
        word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn is_cancelled(&self, job: u64) -> bool {
        let word = self
            .cancelled
            .get(job as usize % self.cancelled.len().max(1));
        word.is_some_and(|word| word.load(SeqCst) == job)
    }

    /// When the task's time began, if not at `start`.
    fn began(&self, start: u64) -> u64 {
        match self.words[START].load(Relaxed) {
            DOOMED => start,
            word => word & !LOADING,
        }
    }

    /// The task has come to its end, and can't be given up any more. If it has been, this
    /// process ends here.
    fn end_task(&self) {
        self.set_start(0);
    }

    /// Stores in START, unless the task has been given up.
    fn set_start(&self, new: u64) {
        let word = &self.words[START];
        let start = word.load(Relaxed);
        if start == DOOMED || word.compare_exchange(start, new, SeqCst, SeqCst).is_err() {
            os::kill_me();
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Option<Got>> {
        let ring = &self.tasks.get().core;
        let lease = Some(&self.lease);
        match ring.try_get(lease) {
            Ok(None) => waiting(py, |pulse| {
                let open = || self.gate.load(SeqCst) == OPEN;
                if frozen::are_spares_there() {
                    let soon = Deadline::after(Some(SOON));
                    if let Some(got) = ring.get_while(lease, &soon, pulse, &wait::POLITE, open)? {
                        return Ok(Some(got));
                    }
                    frozen::let_go();
                }
                ring.get_while(
                    lease,
                    &Deadline::after(Some(LOOK)),
                    pulse,
                    &wait::POLITE,
                    open,
                )
            }),
            other => other.map_err(|error| raise(py, error)),
        }
    }

    /// Waits at the gate; there is no task then.
    fn hold(&self, py: Python<'_>) -> PyResult<Option<Got>> {
        let end = Deadline::after(Some(LOOK));
        waiting(py, |pulse| {
            frozen::let_go();
            while self.gate.load(SeqCst) == HELD && wait::doze(self.gate, HELD, &end, pulse)? {}
            Ok(None)
        })
    }

    /// Does one task and sends its result.
    fn serve(&self, py: Python<'_>, got: Got, number: u64, start: u64) -> PyResult<()> {
        let tag = got.tag;
        let taken = got.bytes().len() as u64;
        self.running.store(true, Relaxed);
        let outcome = self.perform(py, got, number);
        frozen::task_ended();
        let took = now().saturating_sub(self.began(start));
        self.running.store(false, Relaxed);
        if slot::joined() != self.me {
            // The task has forked, and this is the other process.
            let error = outcome.err().map(|failed| failed.error.into_value(py));
            let hooks = self.hooks.bind(py);
            return hooks
                .call_method1(intern!(py, "end_copy"), (error,))
                .map(|_| ());
        }
        self.count(ENDED, 1);
        self.count(BUSY, took);
        self.count(TAKEN, taken);
        if self.words[HOLDS].load(Relaxed) != 0 {
            // Part of a line that was printed: before the result, so that it is not late.
            if let Err(error) = self.hooks.bind(py).call_method0(intern!(py, "flush")) {
                error.write_unraisable(py, None);
            }
        }
        let value = match outcome {
            Ok(value) => value,
            Err(failed) => return self.failed(py, tag, failed),
        };
        let sent = match &value {
            Outcome::One(value) => self.send_value(py, tag, value),
            Outcome::Many(values) => self.send_list(py, tag, values, took),
        };
        match sent {
            Ok(()) => Ok(()),
            // Not the value's fault: a signal handler.
            Err(error) if !error.is_instance_of::<PyException>(py) => {
                self.failed(py, tag, Failed::from(error))
            }
            Err(error) => {
                let value = match value {
                    Outcome::One(value) => value,
                    Outcome::Many(values) => values.list(py)?.into_any(),
                };
                let data = self
                    .hooks
                    .bind(py)
                    .call_method1(intern!(py, "unsendable"), (value, error.into_value(py)))?;
                self.send(
                    py,
                    UNSENDABLE << 4,
                    tag,
                    data.cast::<PyBytes>()?.as_bytes(),
                    &[],
                )
            }
        }
    }

    fn send(&self, py: Python<'_>, kind: u8, tag: u64, body: &[u8], refs: &[u64]) -> PyResult<()> {
        self.end_task();
        self.count(SENT, body.len() as u64);
        let results = self.results.get();
        results
            .put_bytes(py, kind, body, refs, tag, None)
            .map(|_| ())
    }

    fn failed(&self, py: Python<'_>, tag: u64, failed: Failed) -> PyResult<()> {
        let packed = self.hooks.bind(py).call_method1(
            intern!(py, "failed"),
            (failed.error.into_value(py), failed.reading),
        )?;
        let (data, refs): (Bound<'_, PyBytes>, Vec<u64>) = packed.extract()?;
        self.send(py, FAILURE << 4, tag, data.as_bytes(), &refs)
    }

    /// Reads the task and calls its function.
    fn perform<'py>(&self, py: Python<'py>, got: Got, number: u64) -> Result<Outcome<'py>, Failed> {
        let (group, encoding) = split(got.kind);
        let bytes = got.bytes();
        let head: &[u8; HEAD] = bytes.first_chunk().ok_or_else(value::nonsense)?;
        let inline = match u64::from_ne_bytes(part(head, 8)) {
            0 => u32::from_ne_bytes(part4(head, 20)) as usize,
            _ => 0,
        };
        let at = HEAD + inline;
        let func = self.function(py, bytes, at).map_err(Failed::reading)?;
        let payload = Payload::read(py, group, encoding, got, at).map_err(Failed::reading)?;
        let outcome = match payload {
            Payload::Call(args, kwargs) => func.call(args, kwargs.as_ref()).map(Outcome::One),
            Payload::One(item) => func.call1((item,)).map(Outcome::One),
            Payload::Many(items, count) => self
                .each(py, &func, group, items, count, number)
                .map(Outcome::Many),
        };
        Ok(outcome?)
    }

    /// Calls the function with each item.
    fn each<'py>(
        &self,
        py: Python<'py>,
        func: &Bound<'py, PyAny>,
        group: u8,
        mut items: Items<'py>,
        count: usize,
        number: u64,
    ) -> PyResult<Values<'py>> {
        let number = number & 0xffff;
        let word = self.words[PLACE];
        // More items than a place can tell apart: then nothing is taken back.
        let placed = count <= PLACES && count > 0;
        if placed {
            word.store(place(number, count, 0), SeqCst);
        }
        let mut end = count;
        let mut values = Values::None(0);
        let mut i = 0;
        while i < end {
            let Some(item) = items.get(py, i)? else {
                break;
            };
            let result = match group {
                MAP => func.call1((item,))?,
                _ => func.call1(as_tuple(item)?)?,
            };
            values.push(py, result)?;
            i += 1;
            if placed {
                let mut seen = word.load(Relaxed);
                loop {
                    end = end_of(seen);
                    let next = place(number, end, i.min(end));
                    match word.compare_exchange_weak(seen, next, AcqRel, Relaxed) {
                        Ok(_) => break,
                        Err(now) => seen = now,
                    }
                }
            }
        }
        Ok(values)
    }

    fn function<'py>(
        &self,
        py: Python<'py>,
        bytes: &[u8],
        at: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let head: &[u8; HEAD] = bytes.first_chunk().ok_or_else(value::nonsense)?;
        let number = u64::from_ne_bytes(part(head, 0));
        if number != 0 {
            let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(i) = known.iter().position(|known| known.number == number) {
                let func = known[i].func.clone_ref(py).into_bound(py);
                if i != 0 {
                    known.swap(i, 0);
                }
                return Ok(func);
            }
        }
        let offset = u64::from_ne_bytes(part(head, 8));
        let generation = u32::from_ne_bytes(part4(head, 16));
        let nbytes = u32::from_ne_bytes(part4(head, 20));
        let inline = bytes.get(HEAD..at).ok_or_else(value::nonsense)?;
        self.set_start(now() | LOADING);
        let func = self.hooks.bind(py).call_method1(
            intern!(py, "function"),
            (offset, generation, nbytes, PyBytes::new(py, inline)),
        )?;
        self.set_start(now());
        let sets_globals = u32::from_ne_bytes(part4(head, 24)) & SETS_GLOBALS != 0;
        let mut gone = Vec::new();
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if sets_globals {
            // The others' globals are these now.
            gone.extend(known.extract_if(.., |known| known.sets_globals));
        }
        if number != 0 {
            let func = func.clone().unbind();
            known.insert(
                0,
                Known {
                    number,
                    func,
                    sets_globals,
                },
            );
        }
        if known.len() > REMEMBERED {
            gone.extend(known.pop());
        }
        drop(known);
        // Their end may run Python code.
        drop(gone);
        Ok(func)
    }

    fn send_value(&self, py: Python<'_>, tag: u64, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut body = Vec::with_capacity(8);
        if let Some(encoding) = value::encode(value, &mut body) {
            return self.send(py, VALUE << 4 | encoding, tag, &body, &[]);
        }
        let packed = self.pack(py, value)?;
        let (data, refs): (Bound<'_, PyBytes>, Vec<u64>) = packed.extract()?;
        self.send(py, VALUE << 4 | PICKLE, tag, data.as_bytes(), &refs)
    }

    fn send_list(&self, py: Python<'_>, tag: u64, values: &Values<'_>, took: u64) -> PyResult<()> {
        let mut body = Vec::from(took.to_ne_bytes());
        let mut refs = Vec::new();
        let packed;
        let encoding = match values {
            Values::None(count) => {
                body.extend_from_slice(&(*count as u64).to_ne_bytes());
                NONES
            }
            Values::Ints(ints) => {
                body.extend(ints.iter().flat_map(|int| int.to_ne_bytes()));
                INTS
            }
            Values::Floats(floats) => {
                body.extend(floats.iter().flat_map(|float| float.to_ne_bytes()));
                FLOATS
            }
            Values::Objects(list) => {
                packed = self.pack(py, list.as_any())?;
                let (data, found): (Bound<'_, PyBytes>, Vec<u64>) = packed.extract()?;
                body.extend_from_slice(data.as_bytes());
                refs = found;
                PICKLE
            }
        };
        self.send(py, LIST << 4 | encoding, tag, &body, &refs)
    }

    /// A value's bytes and what travels along, which what is returned keeps.
    fn pack<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.hooks
            .bind(py)
            .call_method1(intern!(py, "pack"), (value,))
    }
}

fn part(head: &[u8; HEAD], at: usize) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&head[at..at + 8]);
    word
}

fn part4(head: &[u8; HEAD], at: usize) -> [u8; 4] {
    let mut word = [0; 4];
    word.copy_from_slice(&head[at..at + 4]);
    word
}
