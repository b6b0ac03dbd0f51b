//! In the place of `builtins.__import__` and `importlib.import_module`: some modules are others,
//! depending on who imports them.
//!
//! Written here, as a function in Python would be a frame in the traceback of every import that
//! fails, and would slow every import down. What is decided seldom is Python's
//! (python/allcores/run/replace.py).

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// Imports modules; those of some names as a function of Python's says.
#[pyclass(frozen, module = "allcores._core")]
pub struct Importer {
    /// `builtins.__import__`.
    import: Py<PyAny>,
    /// `importlib.import_module`.
    import_module: Py<PyAny>,
    /// First parts of the names that `redirect` is asked about.
    names: Vec<String>,
    /// Called with a name, the globals of who imports, and what is wanted of the module (None
    /// for itself); returns the module, or None to have it imported as ever.
    redirect: Py<PyAny>,
}

#[pymethods]
impl Importer {
    #[new]
    fn make(
        import: Py<PyAny>,
        import_module: Py<PyAny>,
        names: Vec<String>,
        redirect: Py<PyAny>,
    ) -> Importer {
        Importer {
            import,
            import_module,
            names,
            redirect,
        }
    }

    #[pyo3(signature = (name, globals = None, locals = None, fromlist = None, level = None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        globals: Option<Bound<'py, PyAny>>,
        locals: Option<Bound<'py, PyAny>>,
        fromlist: Option<Bound<'py, PyAny>>,
        level: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let none = || py.None().into_bound(py);
        let fromlist = fromlist.unwrap_or_else(|| PyTuple::empty(py).into_any());
        let absolute = match &level {
            None => true,
            Some(level) => level.extract::<i32>().is_ok_and(|level| level == 0),
        };
        if absolute && self.concerns(name) {
            let scope = match &globals {
                Some(globals) => globals.clone(),
                None => caller(py)?,
            };
            let module = self.redirect.bind(py).call1((name, scope, &fromlist))?;
            if !module.is_none() {
                return Ok(module);
            }
        }
        let level = match level {
            Some(level) => level,
            None => 0i32.into_pyobject(py)?.into_any(),
        };
        let globals = globals.unwrap_or_else(none);
        let locals = locals.unwrap_or_else(none);
        self.import
            .bind(py)
            .call1((name, globals, locals, fromlist, level))
    }

    /// As `importlib.import_module`.
    #[pyo3(signature = (name, package = None))]
    fn import_module<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        package: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.concerns(name) {
            let module = self
                .redirect
                .bind(py)
                .call1((name, caller(py)?, py.None()))?;
            if !module.is_none() {
                return Ok(module);
            }
        }
        self.import_module.bind(py).call1((name, package))
    }

    /// For a function that refers to it: there is one in each process.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, ())> {
        let module = py.import("allcores.run.replace")?;
        Ok((module.getattr(intern!(py, "current"))?, ()))
    }
}

impl Importer {
    fn concerns(&self, name: &Bound<'_, PyAny>) -> bool {
        let Ok(name) = name.cast::<PyString>() else {
            return false;
        };
        let Ok(name) = name.to_str() else {
            return false;
        };
        let first = name.split('.').next().unwrap_or_default();
        self.names.iter().any(|known| known == first)
    }
}

/// The globals of the Python code that called.
fn caller(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("sys")?
        .call_method1(intern!(py, "_getframe"), (0,))?
        .getattr(intern!(py, "f_globals"))
}
