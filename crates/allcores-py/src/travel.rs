//! How handles of shared objects are pickled: as the numbers to open them by.

use allcores_core::handle::Handle;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::numbers;

/// The three numbers of an object that is sent.
pub type Numbers = (u64, u64, u32);

/// What `__reduce__` returns: `allcores.sync._rebuild(type, numbers, *arguments)`, then
/// what a subclass has put into the instance. Whoever sends is told, so that the object
/// lives until it has arrived.
pub fn reduce<'py>(
    this: &Bound<'py, PyAny>,
    handle: &Handle,
    arguments: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyTuple>> {
    let py = this.py();
    py.import(intern!(py, "allcores.pickling"))?
        .call_method1(intern!(py, "note_sent"), (handle.offset(),))?;
    let rebuild = py
        .import(intern!(py, "allcores.sync"))?
        .getattr(intern!(py, "_rebuild"))?;
    let mut all = vec![this.get_type().into_any(), numbers(py, handle)?.into_any()];
    all.extend_from_slice(arguments);
    let all = PyTuple::new(py, all)?;
    let state = this.getattr_opt(intern!(py, "__dict__"))?;
    match state.and_then(|state| state.cast_into::<PyDict>().ok()) {
        Some(state) if !state.is_empty() => (rebuild, all, state).into_pyobject(py),
        _ => (rebuild, all).into_pyobject(py),
    }
}

/// An argument that Python takes for true or false, whatever it is.
pub struct Truth(pub bool);

impl<'py> FromPyObject<'_, 'py> for Truth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Truth> {
        object.is_truthy().map(Truth)
    }
}

/// The name of an object's type, for messages.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "this".into(), |name| name.to_string())
}

/// A whole number that may be anything `int` is.
pub fn whole(object: &Bound<'_, PyAny>, what: &str) -> PyResult<i64> {
    object.extract::<i64>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(object.py()) {
            PyTypeError::new_err(format!(
                "{what} must be a whole number, not {}",
                type_name(object)
            ))
        } else {
            error
        }
    })
}
