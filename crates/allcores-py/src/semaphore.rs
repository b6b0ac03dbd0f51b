//! Semaphore and BoundedSemaphore.

use allcores_core::semaphore::{MAX, NotReleased, Semaphore as Core};
use allcores_core::wait::Deadline;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{deadline, numbers, raise, waiting};
use crate::quick::Quick;
use crate::travel::{Numbers, Truth, reduce, whole};

#[pyclass(frozen, subclass, weakref, module = "allcores.sync")]
pub struct Semaphore {
    core: Core,
}

fn make(
    py: Python<'_>,
    value: Option<&Bound<'_, PyAny>>,
    bounded: bool,
    handle: Option<Numbers>,
) -> PyResult<Semaphore> {
    let core = match handle {
        Some((session, offset, generation)) => Core::open(session, offset, generation),
        None => {
            let value = value.map_or(Ok(1), |value| whole(value, "a semaphore's value"))?;
            let value = u32::try_from(value).ok().filter(|&value| value <= MAX);
            let value = value.ok_or_else(|| {
                PyValueError::new_err("a semaphore's value must be from 0 to 2147483647")
            })?;
            Core::new(value, if bounded { value } else { MAX })
        }
    };
    core.map(|core| Semaphore { core })
        .map_err(|error| raise(py, error))
}

#[cold]
fn not_released(py: Python<'_>, error: NotReleased) -> PyErr {
    match error {
        NotReleased::Failed(error) => raise(py, error),
        NotReleased::TooOften => PyValueError::new_err(
            "semaphore released too many times: it has its largest value already, so somebody \
             releases it more often than it was acquired",
        ),
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(
        signature = (value = None, *, ctx = None, _handle = None),
        text_signature = "(value=1, *, ctx=None)"
    )]
    fn new(
        py: Python<'_>,
        value: Option<&Bound<'_, PyAny>>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Numbers>,
    ) -> PyResult<Semaphore> {
        let _ = ctx;
        make(py, value, false, _handle)
    }

    #[staticmethod]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
    ) -> PyResult<Semaphore> {
        make(py, None, false, Some((session, offset, generation)))
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
        let until = match timeout {
            None => Deadline::NEVER,
            given => deadline(given)?,
        };
        match self.core.try_acquire() {
            Ok(false) if block.0 => waiting(py, |pulse| self.core.acquire(&until, pulse)),
            Ok(taken) => Ok(taken),
            Err(error) => Err(raise(py, error)),
        }
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.core.release().map_err(|error| not_released(py, error))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        match self.core.try_enter() {
            Ok(true) => Ok(true),
            Ok(false) => waiting(py, |pulse| self.core.enter(pulse)),
            Err(error) => Err(raise(py, error)),
        }
    }

    #[pyo3(signature = (_kind = None, _error = None, _traceback = None, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: Option<&Bound<'_, PyAny>>,
        _error: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.core.leave().map_err(|error| not_released(py, error))
    }

    fn get_value(&self) -> u32 {
        self.core.value()
    }

    fn locked(&self) -> bool {
        self.core.value() == 0
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        Ok(format!("<{class}(value={})>", slf.get().core.value()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let none = slf.py().None().into_bound(slf.py());
        reduce(slf.as_any(), slf.get().core.handle(), &[none])
    }

    // What programs know of the standard library's semaphore below its semaphore.

    #[getter]
    fn _semlock<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    fn _get_value(&self) -> u32 {
        self.core.value()
    }

    fn _is_zero(&self) -> bool {
        self.core.value() == 0
    }

    #[getter]
    fn maxvalue(&self) -> u32 {
        self.core.max()
    }
}

impl Quick for Semaphore {
    #[inline]
    fn take(&self) -> bool {
        matches!(self.core.try_acquire(), Ok(true))
    }
    #[inline]
    fn give(&self) -> bool {
        self.core.release().is_ok()
    }
    #[inline]
    fn enter(&self) -> bool {
        matches!(self.core.try_enter(), Ok(true))
    }
    #[inline]
    fn exit(&self) -> bool {
        // Fails when others have given too much; the slow method then says so.
        self.core.leave().is_ok()
    }
}

#[pyclass(frozen, subclass, weakref, extends = Semaphore, module = "allcores.sync")]
pub struct BoundedSemaphore;

#[pymethods]
impl BoundedSemaphore {
    #[new]
    #[pyo3(
        signature = (value = None, *, ctx = None, _handle = None),
        text_signature = "(value=1, *, ctx=None)"
    )]
    fn new(
        py: Python<'_>,
        value: Option<&Bound<'_, PyAny>>,
        ctx: Option<&Bound<'_, PyAny>>,
        _handle: Option<Numbers>,
    ) -> PyResult<PyClassInitializer<BoundedSemaphore>> {
        let _ = ctx;
        let base = make(py, value, true, _handle)?;
        Ok(PyClassInitializer::from(base).add_subclass(BoundedSemaphore))
    }

    #[staticmethod]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
    ) -> PyResult<Py<BoundedSemaphore>> {
        let base = make(py, None, true, Some((session, offset, generation)))?;
        Py::new(
            py,
            PyClassInitializer::from(base).add_subclass(BoundedSemaphore),
        )
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let core = &slf.as_super().get().core;
        Ok(format!(
            "<{class}(value={}, maxvalue={})>",
            core.value(),
            core.max()
        ))
    }
}
