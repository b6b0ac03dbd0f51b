//! Barrier.

use allcores_core::barrier::{Barrier as Core, MAX_PARTIES, Waited};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use crate::convert::{deadline, numbers, raise, waiting};
use crate::travel::{Numbers, reduce, whole};

#[pyclass(frozen, subclass, weakref, module = "allcores.sync")]
pub struct Barrier {
    core: Core,
    action: Option<Py<PyAny>>,
    timeout: Option<Py<PyAny>>,
}

#[cold]
fn broken(py: Python<'_>) -> PyErr {
    let made = py
        .import("threading")
        .and_then(|threading| threading.getattr("BrokenBarrierError"))
        .and_then(|class| {
            class.call1((
                "the barrier is broken: a party gave up waiting, failed in the action, died, or \
                 somebody called abort() or reset(); reset() makes it like new",
            ))
        });
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (parties, action = None, timeout = None, *, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        parties: &Bound<'_, PyAny>,
        action: Option<Py<PyAny>>,
        timeout: Option<Bound<'_, PyAny>>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Numbers>,
    ) -> PyResult<Barrier> {
        let _ = ctx;
        // A timeout that makes no sense is better found here than at the first wait.
        deadline(timeout.as_ref())?;
        let core = match _handle {
            Some((session, offset, generation)) => Core::open(session, offset, generation),
            None => {
                let parties = whole(parties, "parties")?;
                let parties = u32::try_from(parties)
                    .ok()
                    .filter(|parties| (1..=MAX_PARTIES).contains(parties))
                    .ok_or_else(|| {
                        PyValueError::new_err(format!(
                            "parties must be from 1 to {MAX_PARTIES}, not {parties}"
                        ))
                    })?;
                Core::new(parties)
            }
        };
        Ok(Barrier {
            core: core.map_err(|error| raise(py, error))?,
            action,
            timeout: timeout.map(Bound::unbind),
        })
    }

    #[staticmethod]
    #[pyo3(signature = (session, offset, generation, action = None, timeout = None))]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
        action: Option<Py<PyAny>>,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Barrier> {
        let none = py.None().into_bound(py);
        let handle = Some((session, offset, generation));
        Barrier::new(py, &none, action, timeout, None, handle)
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<u32> {
        let until = match (timeout, &self.timeout) {
            (None, Some(usual)) => deadline(Some(usual.bind(py)))?,
            (given, _) => deadline(given)?,
        };
        let acts = self.action.is_some();
        let (index, phase) = match waiting(py, |pulse| self.core.wait(acts, &until, pulse))? {
            Waited::Passed(index) => return Ok(index),
            Waited::Broken => return Err(broken(py)),
            Waited::Act { index, phase } => (index, phase),
        };
        // The others wait in the core meanwhile; nothing is locked.
        if let Some(action) = &self.action
            && let Err(error) = action.call0(py)
        {
            self.core.action_failed(phase);
            return Err(error);
        }
        if self.core.action_done(phase) {
            Ok(index)
        } else {
            Err(broken(py))
        }
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.core.reset().map_err(|error| raise(py, error))
    }

    fn abort(&self) {
        self.core.abort();
    }

    #[getter]
    fn parties(&self) -> u32 {
        self.core.parties()
    }

    #[getter]
    fn n_waiting(&self) -> u32 {
        self.core.waiting()
    }

    #[getter]
    fn broken(&self) -> bool {
        self.core.is_broken()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let this = slf.get();
        let optional = |object: &Option<Py<PyAny>>| match object {
            Some(object) => object.bind(py).clone(),
            None => py.None().into_bound(py),
        };
        let arguments = [
            this.core.parties().into_pyobject(py)?.into_any(),
            optional(&this.action),
            optional(&this.timeout),
        ];
        reduce(slf.as_any(), this.core.handle(), &arguments)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(action) = &self.action {
            visit.call(action)?;
        }
        if let Some(timeout) = &self.timeout {
            visit.call(timeout)?;
        }
        Ok(())
    }
}
