//! Lock and RLock.

use allcores_core::mutex::{Mutex, NotReleased};
use allcores_core::wait::Deadline;
use pyo3::exceptions::{PyAssertionError, PyValueError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{deadline, numbers, raise, waiting};
use crate::quick::Quick;
use crate::travel::{Numbers, Truth, reduce};

/// Waits for the lock; only ever called when it could not be had at once.
#[cold]
fn wait(py: Python<'_>, mutex: &Mutex, until: &Deadline) -> PyResult<bool> {
    waiting(py, |pulse| mutex.acquire(until, pulse))
}

#[inline]
pub fn acquire<const RECURSIVE: bool>(
    py: Python<'_>,
    mutex: &Mutex,
    block: bool,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    // A timeout that makes no sense is an error even if it isn't needed.
    let until = match timeout {
        None => Deadline::NEVER,
        given => deadline(given)?,
    };
    match mutex.acquire_fast(RECURSIVE) {
        Ok(true) => Ok(true),
        Ok(false) if block => wait(py, mutex, &until),
        Ok(false) => mutex.try_acquire().map_err(|error| raise(py, error)),
        Err(error) => Err(raise(py, error)),
    }
}

#[inline]
pub fn release<const RECURSIVE: bool>(py: Python<'_>, mutex: &Mutex) -> PyResult<()> {
    match mutex.release(RECURSIVE) {
        Ok(()) => Ok(()),
        Err(error) => Err(not_released(py, RECURSIVE, error)),
    }
}

#[cold]
fn not_released(py: Python<'_>, recursive: bool, error: NotReleased) -> PyErr {
    match error {
        NotReleased::Failed(error) => raise(py, error),
        NotReleased::NotHeld if recursive => PyAssertionError::new_err(
            "attempt to release an RLock that this thread does not hold: only the thread that \
             acquired it can release it, as often as it acquired it",
        ),
        NotReleased::NotHeld => PyValueError::new_err(
            "release of a Lock that nobody holds: it was released more often than acquired",
        ),
    }
}

/// Who holds the lock, as people call them.
fn holder(py: Python<'_>, mutex: &Mutex) -> PyResult<String> {
    if mutex.is_mine() {
        let process = py
            .import("multiprocessing.process")?
            .call_method0("current_process")?;
        let mut name: String = process.getattr("name")?.extract()?;
        let thread: String = py
            .import("threading")?
            .call_method0("current_thread")?
            .getattr("name")?
            .extract()?;
        if thread != "MainThread" {
            name = format!("{name}|{thread}");
        }
        return Ok(name);
    }
    Ok(if !mutex.is_locked() {
        "None"
    } else if mutex.is_our_process() {
        "SomeOtherThread"
    } else {
        "SomeOtherProcess"
    }
    .into())
}

fn mark_consistent(mutex: &Mutex) -> PyResult<()> {
    if mutex.mark_consistent() {
        return Ok(());
    }
    Err(PyValueError::new_err(
        "only who holds the lock can say that the data is right: acquire it first",
    ))
}

fn lock_repr(py: Python<'_>, mutex: &Mutex, class: &str) -> PyResult<String> {
    Ok(format!("<{class}(owner={})>", holder(py, mutex)?))
}

fn rlock_repr(py: Python<'_>, mutex: &Mutex, class: &str) -> PyResult<String> {
    let count = match mutex.is_locked() {
        false => "0".into(),
        true if mutex.is_mine() => mutex.depth().to_string(),
        true => "nonzero".into(),
    };
    Ok(format!("<{class}({}, {count})>", holder(py, mutex)?))
}

/// The two classes differ in a constant; written out, each call has it at compile time.
macro_rules! lock_class {
    ($class:ident, $recursive:literal, $repr:ident) => {
        #[pyclass(frozen, subclass, weakref, module = "allcores.sync")]
        pub struct $class {
            pub mutex: Mutex,
        }

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*, ctx = None, _handle = None))]
            fn make(
                py: Python<'_>,
                ctx: Option<&Bound<'_, PyAny>>,
                _handle: Option<Numbers>,
            ) -> PyResult<$class> {
                let _ = ctx;
                match _handle {
                    None => Mutex::new($recursive),
                    Some((session, offset, generation)) => {
                        Mutex::open(session, offset, generation, $recursive)
                    }
                }
                .map(|mutex| $class { mutex })
                .map_err(|error| raise(py, error))
            }

            #[staticmethod]
            fn from_handle(
                py: Python<'_>,
                session: u64,
                offset: u64,
                generation: u32,
            ) -> PyResult<$class> {
                $class::make(py, None, Some((session, offset, generation)))
            }

            fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
                numbers(py, self.mutex.handle())
            }

            #[pyo3(signature = (block = Truth(true), timeout = None))]
            fn acquire(
                &self,
                py: Python<'_>,
                block: Truth,
                timeout: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<bool> {
                acquire::<$recursive>(py, &self.mutex, block.0, timeout)
            }

            fn release(&self, py: Python<'_>) -> PyResult<()> {
                release::<$recursive>(py, &self.mutex)
            }

            fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
                acquire::<$recursive>(py, &self.mutex, true, None)
            }

            #[pyo3(signature = (_kind = None, _error = None, _traceback = None, /))]
            fn __exit__(
                &self,
                py: Python<'_>,
                _kind: Option<&Bound<'_, PyAny>>,
                _error: Option<&Bound<'_, PyAny>>,
                _traceback: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<()> {
                release::<$recursive>(py, &self.mutex)
            }

            fn locked(&self) -> bool {
                self.mutex.is_locked()
            }

            #[getter]
            fn owner_died(&self) -> bool {
                self.mutex.owner_died()
            }

            fn mark_consistent(&self) -> PyResult<()> {
                mark_consistent(&self.mutex)
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                let class = slf.get_type().name()?;
                $repr(slf.py(), &slf.get().mutex, &class.to_string())
            }

            fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
                reduce(slf.as_any(), slf.get().mutex.handle(), &[])
            }

            // What programs know of the standard library's lock below its lock.

            #[getter]
            fn _semlock<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
                slf.clone()
            }

            fn _is_mine(&self) -> bool {
                self.mutex.is_mine()
            }

            fn _count(&self) -> u32 {
                if self.mutex.is_our_process() {
                    self.mutex.depth()
                } else {
                    0
                }
            }

            fn _get_value(&self) -> u32 {
                u32::from(!self.mutex.is_locked())
            }

            fn _is_zero(&self) -> bool {
                self.mutex.is_locked()
            }

            #[getter]
            fn maxvalue(&self) -> u32 {
                1
            }
        }
    };
}

lock_class!(Lock, false, lock_repr);
lock_class!(RLock, true, rlock_repr);

impl Quick for Lock {
    #[inline]
    fn take(&self) -> bool {
        matches!(self.mutex.acquire_fast(false), Ok(true))
    }
    #[inline]
    fn give(&self) -> bool {
        self.mutex.release(false).is_ok()
    }
}

impl Quick for RLock {
    #[inline]
    fn take(&self) -> bool {
        matches!(self.mutex.acquire_fast(true), Ok(true))
    }
    #[inline]
    fn give(&self) -> bool {
        self.mutex.release(true).is_ok()
    }
}

/// The core's lock in a Lock or RLock; `None` in anything else.
pub fn mutex_of(object: &Bound<'_, PyAny>) -> Option<Mutex> {
    if let Ok(lock) = object.cast::<Lock>() {
        return Some(lock.get().mutex.clone());
    }
    if let Ok(lock) = object.cast::<RLock>() {
        return Some(lock.get().mutex.clone());
    }
    None
}
