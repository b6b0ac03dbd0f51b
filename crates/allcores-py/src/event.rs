//! Event.

use allcores_core::event::Event as Core;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{deadline, numbers, raise, waiting};
use crate::travel::{Numbers, reduce};

#[pyclass(frozen, subclass, weakref, module = "allcores.sync")]
pub struct Event {
    core: Core,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Numbers>,
    ) -> PyResult<Event> {
        let _ = ctx;
        match _handle {
            None => Core::new(),
            Some((session, offset, generation)) => Core::open(session, offset, generation),
        }
        .map(|core| Event { core })
        .map_err(|error| raise(py, error))
    }

    #[staticmethod]
    fn from_handle(py: Python<'_>, session: u64, offset: u64, generation: u32) -> PyResult<Event> {
        Event::new(py, None, Some((session, offset, generation)))
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
    }

    fn is_set(&self) -> bool {
        self.core.is_set()
    }

    fn set(&self) {
        self.core.set();
    }

    fn clear(&self) {
        self.core.clear();
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let until = deadline(timeout)?;
        if self.core.is_set() {
            return Ok(true);
        }
        waiting(py, |pulse| self.core.wait(&until, pulse))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().qualname()?;
        let state = if slf.get().core.is_set() {
            "set"
        } else {
            "unset"
        };
        Ok(format!("<{class} at {:#x} {state}>", slf.as_ptr().addr()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        reduce(slf.as_any(), slf.get().core.handle(), &[])
    }
}
