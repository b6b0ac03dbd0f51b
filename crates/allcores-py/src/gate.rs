//! `container.lock`: what its user holds for several operations.

use allcores_core::mutex::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::life::{self, Life};
use crate::lock::{acquire, release};
use crate::travel::Truth;

/// The lock of a shared container. It keeps all other threads, of all processes, out of it.
#[pyclass(frozen, name = "ContainerLock", module = "allcores._core")]
pub struct Gate {
    mutex: Mutex,
    of: Py<PyAny>,
    life: Option<Py<Life>>,
}

impl Gate {
    /// The gate of `container`.
    pub fn new(container: &Bound<'_, PyAny>, mutex: Mutex, life: Option<&Py<Life>>) -> Gate {
        Gate {
            mutex,
            of: container.clone().unbind(),
            life: life.map(|life| life.clone_ref(container.py())),
        }
    }
}

#[pymethods]
impl Gate {
    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn acquire(
        &self,
        py: Python<'_>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        if let Some(life) = &self.life {
            life.get().check(py)?;
        }
        life::waiting(py, self.life.as_ref(), || {
            acquire::<true>(py, &self.mutex, block.0, timeout)
        })
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        release::<true>(py, &self.mutex)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, Truth(true), None)
    }

    #[pyo3(signature = (_kind = None, _error = None, _traceback = None, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: Option<&Bound<'_, PyAny>>,
        _error: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.release(py)
    }

    fn locked(&self) -> bool {
        self.mutex.is_locked()
    }

    #[getter]
    fn owner_died(&self) -> bool {
        self.mutex.owner_died()
    }

    fn mark_consistent(&self) -> PyResult<()> {
        if self.mutex.mark_consistent() {
            return Ok(());
        }
        Err(PyValueError::new_err(
            "only who holds the lock can say that the data is right: acquire it first",
        ))
    }

    fn __repr__(&self) -> String {
        let state = if self.mutex.is_locked() {
            "locked"
        } else {
            "unlocked"
        };
        format!("<ContainerLock {state}>")
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let getattr = py
            .import(intern!(py, "builtins"))?
            .getattr(intern!(py, "getattr"))?;
        (getattr, (&self.of, "lock")).into_pyobject(py)
    }
}
