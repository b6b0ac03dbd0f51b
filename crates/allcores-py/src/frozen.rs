//! Frozen content and private views of it, as Python buffers.

use std::ffi::c_int;
use std::ptr;

use allcores_core::frozen;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::buffer::fill;
use crate::convert::{numbers, raise};

/// Content in shared memory that nobody changes any more.
#[pyclass(frozen, weakref, module = "allcores._core")]
pub struct Frozen {
    core: frozen::Frozen,
}

/// Memory that looks like frozen content, and that this process may write to.
#[pyclass(frozen, weakref, module = "allcores._core")]
pub struct View {
    core: frozen::View,
}

/// Start and length of a buffer without gaps, which is kept as long as `buffer`.
fn span(buffer: &PyUntypedBuffer) -> PyResult<(*const u8, usize)> {
    if !buffer.is_c_contiguous() && !buffer.is_fortran_contiguous() {
        return Err(PyBufferError::new_err(
            "the buffer's memory has gaps; send a contiguous copy",
        ));
    }
    Ok((buffer.buf_ptr().cast(), buffer.len_bytes()))
}

/// Freezes a copy of a buffer, or returns `before` when that is the same.
#[pyfunction]
#[pyo3(signature = (buffer, before = None))]
pub fn freeze(
    py: Python<'_>,
    buffer: &Bound<'_, PyAny>,
    before: Option<Bound<'_, Frozen>>,
) -> PyResult<Py<Frozen>> {
    let buffer = PyUntypedBuffer::get(buffer)?;
    let (start, len) = span(&buffer)?;
    let address = start.expose_provenance();
    let is_same = |known: &frozen::Frozen| -> allcores_core::Result<bool> {
        // SAFETY: the buffer is held until the end of this call; what other threads write to it
        // meanwhile is theirs to guard, as with any object that is being pickled.
        let here: &[u8] =
            unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance(address), len) };
        Ok(known.bytes()? == here)
    };
    let known = before.as_ref().map(|known| &known.get().core);
    let made = py.detach(|| {
        if let Some(known) = known.filter(|known| known.len() == len && len > 0)
            && is_same(known)?
        {
            return Ok(None);
        }
        // SAFETY: as above.
        unsafe { frozen::Frozen::copy_of(ptr::with_exposed_provenance(address), len) }.map(Some)
    });
    match (made.map_err(|error| raise(py, error))?, before) {
        (Some(core), _) => Py::new(py, Frozen { core }),
        (None, Some(before)) => Ok(before.unbind()),
        (None, None) => unreachable!("it is the same as something"),
    }
}

/// What a buffer is frozen as, and from which byte of that on, when it lies in a view of this
/// process in which nothing has been written; else None.
#[pyfunction]
pub fn find(py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<Option<(Frozen, usize)>> {
    let buffer = PyUntypedBuffer::get(buffer)?;
    let (start, len) = span(&buffer)?;
    let address = start.addr();
    let found = py.detach(|| frozen::find(address, len));
    Ok(found.map(|(core, from)| (Frozen { core }, from)))
}

/// Where a buffer's memory begins in this process, and its length in bytes.
#[pyfunction]
pub fn address(buffer: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let buffer = PyUntypedBuffer::get(buffer)?;
    let (start, len) = span(&buffer)?;
    Ok((start.addr(), len))
}

#[pymethods]
impl Frozen {
    #[staticmethod]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
        nbytes: usize,
    ) -> PyResult<Frozen> {
        frozen::Frozen::open(session, offset, generation, nbytes)
            .map(|core| Frozen { core })
            .map_err(|error| raise(py, error))
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.core.handle().offset()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.core.len()
    }

    #[pyo3(signature = (start, nbytes, shared = false))]
    fn view(&self, py: Python<'_>, start: usize, nbytes: usize, shared: bool) -> PyResult<View> {
        let view = py.detach(|| self.core.view(start, nbytes, shared));
        view.map(|core| View { core })
            .map_err(|error| raise(py, error))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = slf.get().core.bytes();
        let bytes = bytes.map_err(|error| raise(slf.py(), error))?;
        // SAFETY: `view` is Python's to fill; the memory outlives it, because the view holds
        // this object, that its handle, and the mapping is never removed. It is read-only.
        unsafe {
            fill(
                &slf,
                view,
                flags,
                bytes.as_ptr().cast_mut(),
                bytes.len(),
                true,
            )
        }
    }
}

#[pymethods]
impl View {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let (start, len) = (slf.get().core.start(), slf.get().core.len());
        // SAFETY: `view` is Python's to fill; the memory outlives it, because the view holds
        // this object, and that the memory.
        unsafe { fill(&slf, view, flags, start, len, false) }
    }
}
