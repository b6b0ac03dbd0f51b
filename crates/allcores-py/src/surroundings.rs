//! Whether what is around a call is as it was when its pool was made; asked for each call.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// What was around when this was made: the standard streams and the filters of warnings, and no
/// context variable that is set. What follows from other surroundings is Python's
/// (python/allcores/task/hear.py).
#[pyclass(frozen, module = "allcores._core")]
pub struct Surroundings {
    sys: Py<PyDict>,
    warnings: Py<PyDict>,
    out: Py<PyAny>,
    err: Py<PyAny>,
    filters: Py<PyList>,
    count: usize,
    first: Option<Py<PyAny>>,
}

#[pymethods]
impl Surroundings {
    #[new]
    fn make(py: Python<'_>, out: Py<PyAny>, err: Py<PyAny>) -> PyResult<Surroundings> {
        let warnings = py.import("warnings")?.dict();
        let filters = warnings
            .as_any()
            .get_item("filters")?
            .cast_into::<PyList>()?;
        Ok(Surroundings {
            sys: py.import("sys")?.dict().unbind(),
            out,
            err,
            count: filters.len(),
            first: filters.get_item(0).ok().map(Bound::unbind),
            filters: filters.unbind(),
            warnings: warnings.unbind(),
        })
    }

    /// Whether it is all the same now.
    fn same(&self, py: Python<'_>) -> PyResult<bool> {
        let sys = self.sys.bind(py);
        let warnings = self.warnings.bind(py);
        Ok(is(sys, intern!(py, "stdout"), &self.out)?
            && is(sys, intern!(py, "stderr"), &self.err)?
            && is(warnings, intern!(py, "filters"), self.filters.as_any())?
            && self.same_filters(py)
            && has_no_variables(py)?)
    }

    /// Whether the filters of warnings are the same now.
    fn same_warnings(&self, py: Python<'_>) -> PyResult<bool> {
        let warnings = self.warnings.bind(py);
        Ok(is(warnings, intern!(py, "filters"), self.filters.as_any())? && self.same_filters(py))
    }
}

impl Surroundings {
    /// Each way that there is to change the list changes how long it is, or what is first.
    fn same_filters(&self, py: Python<'_>) -> bool {
        let filters = self.filters.bind(py);
        if filters.len() != self.count {
            return false;
        }
        match (&self.first, filters.get_item(0)) {
            (Some(first), Ok(now)) => now.is(first),
            (None, _) => true,
            _ => false,
        }
    }
}

fn is(scope: &Bound<'_, PyDict>, name: &Bound<'_, PyAny>, known: &Py<PyAny>) -> PyResult<bool> {
    Ok(scope.get_item(name)?.is_some_and(|now| now.is(known)))
}

/// Whether the current context is empty.
fn has_no_variables(py: Python<'_>) -> PyResult<bool> {
    // SAFETY: this thread has the GIL, or is attached; the function returns a new reference, or null
    // with an exception set, which `from_owned_ptr_or_err` takes.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
    Ok(context.len()? == 0)
}
