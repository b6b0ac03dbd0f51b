//! Condition.

use std::time::{Duration, Instant};

use allcores_core::condition::Condition as Core;
use allcores_core::mutex::{Mutex, NotReleased};
use allcores_core::wait::Deadline;
use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};

use crate::convert::{deadline, numbers, raise, seconds, waiting};
use crate::lock::{self, RLock, mutex_of};
use crate::travel::{Numbers, Truth, reduce, type_name};

#[pyclass(frozen, subclass, weakref, module = "allcores.sync")]
pub struct Condition {
    core: Core,
    /// The Python object, for who asks and for pickling.
    lock: Py<PyAny>,
    mutex: Mutex,
}

impl Condition {
    fn wait_until(&self, py: Python<'_>, until: &Deadline) -> PyResult<bool> {
        let waited = waiting(py, |pulse| {
            match self.core.wait(&self.mutex, until, pulse) {
                Ok(notified) => Ok(Some(notified)),
                Err(NotReleased::NotHeld) => Ok(None),
                Err(NotReleased::Failed(error)) => Err(error),
            }
        })?;
        waited.ok_or_else(|| not_held("wait() on"))
    }
}

#[cold]
fn not_held(what: &str) -> PyErr {
    PyAssertionError::new_err(format!(
        "{what} a Condition whose lock this thread does not hold: acquire() it first, best with \
         `with condition:`"
    ))
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (lock = None, *, ctx = None, _handle = None))]
    fn new(
        py: Python<'_>,
        lock: Option<Bound<'_, PyAny>>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Numbers>,
    ) -> PyResult<Condition> {
        let _ = ctx;
        let failed = |error| raise(py, error);
        let lock = match lock {
            Some(lock) => lock,
            None => {
                let mutex = Mutex::new(true).map_err(failed)?;
                Bound::new(py, RLock { mutex })?.into_any()
            }
        };
        let mutex = mutex_of(&lock).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "lock must be an allcores Lock or RLock, not {}: a condition lets go of it and \
                 takes it again for whoever waits, and can do that only with its own kind",
                type_name(&lock)
            ))
        })?;
        let core = match _handle {
            None => Core::new(),
            Some((session, offset, generation)) => Core::open(session, offset, generation),
        }
        .map_err(failed)?;
        Ok(Condition {
            core,
            lock: lock.unbind(),
            mutex,
        })
    }

    #[staticmethod]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
        lock: Bound<'_, PyAny>,
    ) -> PyResult<Condition> {
        Condition::new(py, Some(lock), None, Some((session, offset, generation)))
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
    }

    #[pyo3(signature = (block = Truth(true), timeout = None))]
    fn acquire(
        &self,
        py: Python<'_>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        if self.mutex.is_recursive() {
            lock::acquire::<true>(py, &self.mutex, block.0, timeout)
        } else {
            lock::acquire::<false>(py, &self.mutex, block.0, timeout)
        }
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if self.mutex.is_recursive() {
            lock::release::<true>(py, &self.mutex)
        } else {
            lock::release::<false>(py, &self.mutex)
        }
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

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.wait_until(py, &deadline(timeout)?)
    }

    #[pyo3(signature = (predicate, timeout = None))]
    fn wait_for<'py>(
        &self,
        py: Python<'py>,
        predicate: &Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let end = seconds(timeout)?.and_then(|time: Duration| Instant::now().checked_add(time));
        loop {
            let result = predicate.call0()?;
            if result.is_truthy()? {
                return Ok(result);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(result);
            }
            self.wait_until(py, &Deadline::after(left))?;
        }
    }

    #[pyo3(signature = (n = 1))]
    fn notify(&self, py: Python<'_>, n: isize) -> PyResult<()> {
        if !self.mutex.is_mine() {
            return Err(not_held("notify() on"));
        }
        self.core
            .notify(n.max(0) as usize)
            .map(drop)
            .map_err(|error| raise(py, error))
    }

    fn notify_all(&self, py: Python<'_>) -> PyResult<()> {
        self.notify(py, isize::MAX)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let this = slf.get();
        let lock = this.lock.bind(slf.py()).repr()?;
        Ok(format!("<{class}({lock}, {})>", this.core.waiters()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let lock = slf.get().lock.bind(slf.py()).clone();
        reduce(slf.as_any(), slf.get().core.handle(), &[lock])
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)
    }

    // What programs, and CPython's tests, know of the standard library's condition.

    #[getter]
    fn _lock(&self, py: Python<'_>) -> Py<PyAny> {
        self.lock.clone_ref(py)
    }

    #[getter]
    fn _sleeping_count(&self) -> Count {
        Count(self.core.waiters())
    }

    #[getter]
    fn _woken_count(&self) -> Count {
        Count(0)
    }

    #[getter]
    fn _wait_semaphore(&self) -> Count {
        Count(0)
    }
}

/// A number that is read like a semaphore's.
#[pyclass(frozen, module = "allcores._core")]
pub struct Count(usize);

#[pymethods]
impl Count {
    fn get_value(&self) -> usize {
        self.0
    }
}
