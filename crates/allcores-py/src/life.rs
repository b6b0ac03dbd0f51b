//! The life of a manager, as the handles of what it made know it.
//!
//! Shared objects live as long as anybody holds them. What came from a manager shall not be used
//! after its `shutdown` all the same, as with the standard library, where the server is gone by
//! then. So such handles carry a flag in the arena, and look at it before each operation and in
//! the pauses of each wait.

use std::cell::RefCell;
use std::thread::LocalKey;

use allcores_core::event::Event;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::raise;
use crate::travel::{Numbers, reduce};

thread_local! {
    /// The life whose end ends what this thread waits for: see [`Life::call`] and [`waiting`].
    static WAITING: RefCell<Option<Py<Life>>> = const { RefCell::new(None) };
    /// The life that the handles belong to which this thread reads: see [`opening`].
    static OPENING: RefCell<Option<Py<Life>>> = const { RefCell::new(None) };
}

/// Whether a manager has been shut down.
#[pyclass(frozen, module = "allcores._core")]
pub struct Life {
    over: Event,
}

impl Life {
    /// # Errors
    /// `allcores.errors.ManagerShutDown`
    #[inline]
    pub fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.over.is_set() {
            return Err(shut_down(py));
        }
        Ok(())
    }
}

#[cold]
fn shut_down(py: Python<'_>) -> PyErr {
    let made = py
        .import("allcores.errors")
        .and_then(|errors| errors.getattr("ManagerShutDown")?.call0());
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The error to end a wait with, when the life that it waits under is over.
pub fn ended() -> Option<PyErr> {
    let over = WAITING.with_borrow(|current| {
        current
            .as_ref()
            .is_some_and(|life| life.get().over.is_set())
    });
    over.then(|| Python::attach(shut_down))
}

/// The life that handles opened by this thread belong to just now.
pub fn current(py: Python<'_>) -> Option<Py<Life>> {
    OPENING.with_borrow(|current| current.as_ref().map(|life| life.clone_ref(py)))
}

/// Does something that may wait for as long as a life lasts, if there is one.
pub fn waiting<R>(py: Python<'_>, life: Option<&Py<Life>>, work: impl FnOnce() -> R) -> R {
    under(py, &WAITING, life, work)
}

/// Reads something that came from a container with this life, if it has one.
pub fn opening<R>(py: Python<'_>, life: Option<&Py<Life>>, work: impl FnOnce() -> R) -> R {
    under(py, &OPENING, life, work)
}

type Place = LocalKey<RefCell<Option<Py<Life>>>>;

fn under<R>(
    py: Python<'_>,
    place: &'static Place,
    life: Option<&Py<Life>>,
    work: impl FnOnce() -> R,
) -> R {
    /// Puts back what was there before, whatever happens.
    struct Before(&'static Place, Option<Py<Life>>);
    impl Drop for Before {
        fn drop(&mut self) {
            self.0.set(self.1.take());
        }
    }
    let before = place.replace(life.map(|life| life.clone_ref(py)));
    let _before = Before(place, before);
    work()
}

#[pymethods]
impl Life {
    #[new]
    #[pyo3(signature = (*, _handle = None))]
    fn new(py: Python<'_>, _handle: Option<Numbers>) -> PyResult<Life> {
        match _handle {
            None => Event::new(),
            Some((session, offset, generation)) => Event::open(session, offset, generation),
        }
        .map(|over| Life { over })
        .map_err(|error| raise(py, error))
    }

    fn end(&self) {
        self.over.set();
    }

    #[getter]
    fn over(&self) -> bool {
        self.over.is_set()
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.over.handle().offset()
    }

    #[pyo3(name = "check")]
    fn check_it(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)
    }

    #[pyo3(signature = (function, /, *arguments, **named))]
    fn call<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
        arguments: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().check(slf.py())?;
        waiting(slf.py(), Some(slf.as_unbound()), || {
            function.call(arguments, named)
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        reduce(slf.as_any(), slf.get().over.handle(), &[])
    }
}
