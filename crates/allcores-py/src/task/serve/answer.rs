//! What came of a task goes to the pool.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{Failed, Outcome, Server};
use crate::task::items::Values;
use crate::task::lease::SENT;
use crate::task::{FAILURE, LIST, UNSENDABLE, VALUE};
use crate::value::{self, FLOATS, INTS, NONES, PICKLE};

impl Server {
    /// Sends what a task returned after `took` nanoseconds, or raised.
    pub(super) fn answer(
        &self,
        py: Python<'_>,
        tag: u64,
        outcome: Result<Outcome<'_>, Failed>,
        took: u64,
    ) -> PyResult<()> {
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
