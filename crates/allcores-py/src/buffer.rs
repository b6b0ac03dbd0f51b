//! Memory as Python buffers.

use std::ffi::c_int;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Has Python describe `len` bytes at `start`, which `owner` keeps.
///
/// # Safety
/// That is so, and `view` is Python's to fill.
pub unsafe fn fill<T>(
    owner: &Bound<'_, T>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
    start: *mut u8,
    len: usize,
    is_readonly: bool,
) -> PyResult<()> {
    // SAFETY: the caller's promise.
    let filled = unsafe {
        ffi::PyBuffer_FillInfo(
            view,
            owner.as_ptr(),
            start.cast(),
            len as ffi::Py_ssize_t,
            is_readonly.into(),
            flags,
        )
    };
    if filled == 0 {
        return Ok(());
    }
    // SAFETY: on failure the view must not name an object.
    unsafe { (*view).obj = ptr::null_mut() };
    Err(PyErr::fetch(owner.py()))
}
