//! Errors, times and waits, between the core and Python.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use allcores_core::handle::Handle;
use allcores_core::os;
use allcores_core::wait::Deadline;
use allcores_core::{Error, Result, slot};
use pyo3::exceptions::{
    PyMemoryError, PyOSError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::life;

/// The exception for an error of the core. An exception that a signal handler raised
/// meanwhile is fetched from where [`waiting`] left it.
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::OutOfMemory { .. } => {
            ours(py, "ArenaFull", message).unwrap_or_else(PyMemoryError::new_err)
        }
        Error::Stale { .. } => {
            ours(py, "StaleHandle", message).unwrap_or_else(PyValueError::new_err)
        }
        Error::Os { errno, .. } => PyOSError::new_err((errno, message)),
        Error::Invalid { .. } => PyValueError::new_err(message),
        Error::TooManyProcesses | Error::Corrupt { .. } | Error::Interrupted => {
            PyRuntimeError::new_err(message)
        }
    }
}

/// An exception of `allcores.errors`; the message comes back when that cannot be had.
fn ours(py: Python<'_>, name: &str, message: String) -> std::result::Result<PyErr, String> {
    let made = py
        .import("allcores.errors")
        .and_then(|errors| errors.getattr(name))
        .and_then(|class| class.call1((message.as_str(),)));
    match made {
        Ok(exception) => Ok(PyErr::from_value(exception)),
        Err(_) => Err(message),
    }
}

/// Python's main thread as [`os::thread_id`] calls it, where that isn't the thread that the
/// process began with: the interpreter may be part of another program.
static MAIN: AtomicU64 = AtomicU64::new(0);

/// Remembers which thread is Python's main thread. Called once, as the module is loaded.
pub fn note_main_thread(py: Python<'_>) -> PyResult<()> {
    let main = py.import("threading")?.call_method0("main_thread")?;
    MAIN.store(main.getattr("ident")?.extract().unwrap_or(0), Relaxed);
    Ok(())
}

/// Whether Python may run signal handlers in this thread, which it does in one only. A yes
/// too many does no harm.
fn may_handle_signals() -> bool {
    os::is_first_thread() || os::thread_id() == MAIN.load(Relaxed)
}

/// Runs a core operation that may wait: without the GIL, and with Python's signal
/// handlers in the pauses. What a handler raises ends the wait and comes out here.
///
/// Other threads than the main one have nothing to do in the pauses and leave the GIL to
/// those who work. That also holds at the end of the interpreter: a daemon thread that
/// waits then goes on waiting, without touching Python, until the process is gone.
pub fn waiting<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<T> + Send,
) -> PyResult<T> {
    let mut raised: Option<PyErr> = None;
    let result = py.detach(|| {
        let mut pulse = || {
            slot::look_around();
            if let Some(error) = life::ended() {
                raised = Some(error);
                return Err(Error::Interrupted);
            }
            if !may_handle_signals() {
                return Ok(());
            }
            Python::attach(|py| py.check_signals()).map_err(|error| {
                raised = Some(error);
                Error::Interrupted
            })
        };
        work(&mut pulse)
    });
    match (result, raised) {
        (_, Some(error)) => Err(error),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(raise(py, error)),
    }
}

/// Seconds as Python gives them: `None` is for ever, negative is at once.
pub fn deadline(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Deadline> {
    Ok(Deadline::after(seconds(timeout)?))
}

/// The same as a duration; `None` is for ever.
pub fn seconds(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(timeout) = timeout.filter(|t| !t.is_none()) else {
        return Ok(None);
    };
    let seconds: f64 = match timeout.extract::<f64>() {
        // A whole number that no float can hold.
        Err(error) if error.is_instance_of::<PyOverflowError>(timeout.py()) => {
            return Ok(timeout.lt(0)?.then_some(Duration::ZERO));
        }
        other => other,
    }
    .map_err(|_| {
        PyTypeError::new_err(format!(
            "timeout must be a number of seconds or None, not {}",
            timeout
                .get_type()
                .name()
                .map_or("this".into(), |name| name.to_string()),
        ))
    })?;
    if seconds.is_nan() {
        return Err(PyValueError::new_err(
            "timeout must be a number of seconds, not NaN",
        ));
    }
    // What does not fit (infinity, millennia) is as good as for ever.
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// The three numbers by which another process finds an object.
pub fn numbers<'py>(py: Python<'py>, handle: &Handle) -> PyResult<Bound<'py, PyTuple>> {
    handle
        .numbers()
        .map_err(|error| raise(py, error))?
        .into_pyobject(py)
}
