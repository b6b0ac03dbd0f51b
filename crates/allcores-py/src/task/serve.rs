//! A worker's loop: take a task, do it, send what came of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;

use allcores_core::ring::{Got, Lease};
use allcores_core::slot::{self, Owner};
use allcores_core::wait::{self, Deadline};
use allcores_core::{arena, frozen, os};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::items::{Items, Payload, Values, as_tuple};
use super::known::Known;
use super::lease::{
    BUSY, DONE, DOOMED, ENDED, HELD, HOLDS, KEPT, LAST, LOADING, OPEN, PEAK, PLACE, PLACES, START,
    TAG, TAKEN, WORDS, end_of, gate_of, place,
};
use super::{HEAD, Head, MAP, STOP, split};
use crate::block::Block;
use crate::convert::{raise, waiting};
use crate::ring::Ring;
use crate::value;

mod answer;

// Times are in nanoseconds of the clock that `time.monotonic_ns` reads, the same in every process.

/// How often an idle worker looks whether its pool's process lives; it has 2 s to leave.
const LOOK: Duration = Duration::from_secs(1);
/// How long an idle worker keeps what it has mapped for the next task (a guess).
const SOON: Duration = Duration::from_millis(50);
/// Nanoseconds after which a watched worker says again how much memory it has: that takes some
/// microseconds, which short tasks shall not pay each time.
const NOTE: u64 = 1_000_000;

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
    known: Known,
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
            known: Known::default(),
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
            let start = os::monotonic();
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
        let took = os::monotonic().saturating_sub(self.began(start));
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
        self.answer(py, tag, outcome, took)
    }

    /// Reads the task and calls its function.
    fn perform<'py>(&self, py: Python<'py>, got: Got, number: u64) -> Result<Outcome<'py>, Failed> {
        let (group, encoding) = split(got.kind);
        let bytes = got.bytes();
        let head = Head::read(bytes)?;
        let at = HEAD + head.inline();
        let inline = bytes.get(HEAD..at).ok_or_else(value::nonsense)?;
        let func = self.function(py, &head, inline).map_err(Failed::reading)?;
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

    /// The function of a task, unpacked once.
    fn function<'py>(
        &self,
        py: Python<'py>,
        head: &Head,
        inline: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(func) = self.known.find(py, head.number) {
            return Ok(func);
        }
        self.set_start(os::monotonic() | LOADING);
        let func = self.hooks.bind(py).call_method1(
            intern!(py, "function"),
            (
                head.offset,
                head.generation,
                head.nbytes,
                PyBytes::new(py, inline),
            ),
        )?;
        self.set_start(os::monotonic());
        self.known.add(head.number, &func, head.sets_globals());
        Ok(func)
    }
}
