//! Results come off the ring and go to the jobs that wait for them.

use allcores_core::ring::Got;
use allcores_core::wait;
use pyo3::exceptions::{PyException, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::{FAILURE, LIST, POKE, UNSENDABLE, VALUE, split};
use crate::ring::{Message, Ring};
use crate::value::{self, PICKLE};

/// Values of one job that came in a row.
struct Run<'py> {
    job: u32,
    parts: Vec<u32>,
    values: Vec<Bound<'py, PyAny>>,
}

/// Values delivered at once: so that nobody waits long for the first.
const MOST_IN_A_RUN: usize = 256;

struct Collector<'a, 'py> {
    jobs: &'a Bound<'py, PyDict>,
    line: &'a Bound<'py, PyAny>,
    run: Run<'py>,
}

/// Takes up to `most` results off the ring, waiting up to `timeout` for the first, and delivers
/// each. `line` makes errors of what is none. `patient`: nothing is lost by looking a little longer
/// before sleeping, as there is a core to spare.
#[pyfunction]
pub fn collect<'py>(
    ring: &Bound<'py, Ring>,
    jobs: &Bound<'py, PyDict>,
    line: &Bound<'py, PyAny>,
    timeout: &Bound<'py, PyAny>,
    most: usize,
    patient: bool,
) -> PyResult<usize> {
    let py = ring.py();
    let mut collector = Collector {
        jobs,
        line,
        run: Run {
            job: 0,
            parts: Vec::new(),
            values: Vec::new(),
        },
    };
    let look = if patient { &wait::LONG } else { &wait::POLITE };
    let Some(mut got) = ring.get().take(py, Some(timeout), None, look)? else {
        return Ok(0);
    };
    let mut taken = 0;
    loop {
        taken += 1;
        let more = collector.result(py, got);
        if more.is_err() || taken == most {
            // What was taken before counts, whatever happened to the last.
            collector.flush(py)?;
            more?;
            return Ok(taken);
        }
        match ring.get().take_now(py) {
            Ok(Some(next)) => got = next,
            Ok(None) => {
                collector.flush(py)?;
                return Ok(taken);
            }
            Err(error) => {
                collector.flush(py)?;
                return Err(error);
            }
        }
    }
}

impl<'py> Collector<'_, 'py> {
    /// Delivers one result, or keeps it for the run.
    fn result(&mut self, py: Python<'py>, got: Got) -> PyResult<()> {
        let (group, encoding) = split(got.kind);
        let (job, part) = ((got.tag >> 32) as u32, got.tag as u32);
        if group == POKE {
            if got.bytes().is_empty() {
                return Ok(());
            }
            // What a worker printed before it sent a result comes before that, and after others.
            let flushed = self.flush(py);
            let data = bytes_of(py, got)?;
            self.line.call_method1(intern!(py, "_heard"), (data,))?;
            return flushed;
        }
        if job == self.run.job && group == VALUE && self.run.parts.len() < MOST_IN_A_RUN {
            return self.of_job(py, job, part, encoding, group, got);
        }
        let flushed = self.flush(py);
        self.run.job = job;
        // Whatever a signal handler cut short there: this one is off the ring, too.
        self.of_job(py, job, part, encoding, group, got)
            .and(flushed)
    }

    /// Delivers one result of a job, or keeps it for the run, which is of that job.
    fn of_job(
        &mut self,
        py: Python<'py>,
        job: u32,
        part: u32,
        encoding: u8,
        group: u8,
        got: Got,
    ) -> PyResult<()> {
        match group {
            VALUE => match load(py, encoding, got, 0) {
                Ok(value) => {
                    self.run.parts.push(part);
                    self.run.values.push(value);
                    Ok(())
                }
                Err(error) => self.unreadable(py, job, part, error),
            },
            LIST => {
                let took = got.bytes().first_chunk().copied().map(u64::from_ne_bytes);
                let took = took.ok_or_else(value::nonsense)?;
                let list = match encoding {
                    PICKLE => load(py, encoding, got, 8),
                    _ => value::decode_items(py, encoding, &got.bytes()[8..]).map(Bound::into_any),
                };
                match list {
                    Ok(list) => self.deliver(py, job, |job| {
                        job.call_method1(intern!(py, "_got_list"), (part, list, took))
                    }),
                    Err(error) => self.unreadable(py, job, part, error),
                }
            }
            _ => {
                let name = match group {
                    FAILURE => intern!(py, "_failure"),
                    UNSENDABLE => intern!(py, "_unsendable"),
                    _ => intern!(py, "_stray"),
                };
                let data = bytes_of(py, got)?;
                let error = self.line.call_method1(name, (job, part, data))?;
                self.deliver(py, job, |job| {
                    job.call_method1(intern!(py, "_lost"), (part, error))
                })
            }
        }
    }

    /// A value that can't be unpickled here; or its unpickling was interrupted.
    fn unreadable(&mut self, py: Python<'py>, job: u32, part: u32, error: PyErr) -> PyResult<()> {
        self.flush(py)?;
        let is_the_values = error.is_instance_of::<PyException>(py)
            || error.is_instance_of::<PySystemExit>(py)
                && self
                    .line
                    .call_method1(
                        intern!(py, "_exited"),
                        (error.clone_ref(py).into_value(py),),
                    )?
                    .is_truthy()?;
        if !is_the_values {
            self.line
                .call_method1(intern!(py, "_interrupted"), (job,))?;
            return Err(error);
        }
        let error = self
            .line
            .call_method1(intern!(py, "_unreadable"), (error.into_value(py),))?;
        self.deliver(py, job, |job| {
            job.call_method1(intern!(py, "_lost"), (part, error))
        })
    }

    /// Hands the values in a row to their job.
    fn flush(&mut self, py: Python<'py>) -> PyResult<()> {
        let parts = std::mem::take(&mut self.run.parts);
        let mut values = std::mem::take(&mut self.run.values);
        match (parts.len(), values.pop()) {
            (0, _) | (_, None) => Ok(()),
            (1, Some(value)) => self.deliver(py, self.run.job, |job| {
                job.call_method1(intern!(py, "_got"), (parts[0], value))
            }),
            (_, Some(value)) => {
                values.push(value);
                let values = PyList::new(py, values)?;
                let parts = PyList::new(py, parts)?;
                self.deliver(py, self.run.job, |job| {
                    job.call_method1(intern!(py, "_got_many"), (parts, values))
                })
            }
        }
    }

    /// Calls a method of a job, if anybody still waits for that.
    fn deliver(
        &self,
        py: Python<'py>,
        job: u32,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let Some(found) = self.jobs.get_item(job)? else {
            return Ok(());
        };
        if let Err(error) = call(&found) {
            // A signal handler, most likely: what it cut short doesn't come again.
            self.line
                .call_method1(intern!(py, "_interrupted"), (job,))?;
            return Err(error);
        }
        Ok(())
    }
}

/// An item's bytes as an object with a buffer.
fn bytes_of<'py>(py: Python<'py>, got: Got) -> PyResult<Bound<'py, PyAny>> {
    match got.into_parcel() {
        Ok(parcel) => Ok(Bound::new(py, Message::new(parcel))?.into_any()),
        Err(got) => Ok(PyBytes::new(py, got.bytes()).into_any()),
    }
}

/// The value that is written in an item from byte `at` on.
pub fn load(py: Python<'_>, encoding: u8, got: Got, at: usize) -> PyResult<Bound<'_, PyAny>> {
    if encoding != PICKLE {
        let bytes = got.bytes().get(at..).ok_or_else(value::nonsense)?;
        return value::decode(py, encoding, bytes);
    }
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.import(py, "pickle", "loads")?;
    match got.into_parcel() {
        // The message, and with it what it refers to, lives until the object that is made
        // of it holds that itself.
        Ok(parcel) => {
            let message = Bound::new(py, Message::new(parcel))?;
            let view = pyo3::types::PyMemoryView::from(message.as_any())?;
            let end = view.len()? as isize;
            let slice = pyo3::types::PySlice::new(py, at as isize, end, 1);
            loads.call1((view.get_item(slice)?,))
        }
        Err(got) => {
            let bytes = got.bytes().get(at..).ok_or_else(value::nonsense)?;
            loads.call1((PyBytes::new(py, bytes),))
        }
    }
}
