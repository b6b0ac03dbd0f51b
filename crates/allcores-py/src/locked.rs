//! `Value(...).value`: an attribute of a ctypes object, read and written under a lock.
//!
//! In Python that is four calls, most of whose time is the calls themselves; two processes that
//! count with a Value then get half as far (`make bench`, `value_add`).

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::lock::{Lock, RLock, acquire, release};

type Any<'py> = Bound<'py, PyAny>;

/// The data descriptor.
#[pyclass(frozen, module = "allcores._core")]
pub struct LockedValue;

/// Does something while `lock` is held, which may be any object with `acquire` and `release`.
#[inline]
fn under<'py, R>(instance: &Any<'py>, work: impl FnOnce(Any<'py>) -> PyResult<R>) -> PyResult<R> {
    let py = instance.py();
    let lock = instance.getattr(intern!(py, "_lock"))?;
    let object = instance.getattr(intern!(py, "_obj"))?;
    if let Ok(lock) = lock.cast_exact::<RLock>() {
        let mutex = &lock.get().mutex;
        acquire::<true>(py, mutex, true, None)?;
        let result = work(object);
        release::<true>(py, mutex)?;
        return result;
    }
    if let Ok(lock) = lock.cast_exact::<Lock>() {
        let mutex = &lock.get().mutex;
        acquire::<false>(py, mutex, true, None)?;
        let result = work(object);
        release::<false>(py, mutex)?;
        return result;
    }
    lock.call_method0(intern!(py, "acquire"))?;
    let result = work(object);
    lock.call_method0(intern!(py, "release"))?;
    result
}

#[pymethods]
impl LockedValue {
    #[new]
    fn new() -> LockedValue {
        LockedValue
    }

    #[getter]
    fn __doc__(&self) -> &'static str {
        "The object's `value`, read and written under the lock."
    }

    fn __get__<'py>(
        slf: &Bound<'py, Self>,
        instance: Option<&Any<'py>>,
        _owner: Option<&Bound<'py, PyType>>,
    ) -> PyResult<Any<'py>> {
        let Some(instance) = instance else {
            return Ok(slf.clone().into_any());
        };
        under(instance, |object| {
            object.getattr(intern!(slf.py(), "value"))
        })
    }

    fn __set__(&self, instance: &Any<'_>, value: &Any<'_>) -> PyResult<()> {
        under(instance, |object| {
            object.setattr(intern!(value.py(), "value"), value)
        })
    }
}
