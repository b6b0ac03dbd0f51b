//! Memory of the arena as a Python buffer.

use std::ffi::c_int;

use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::{alloc, arena};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::buffer::fill;
use crate::convert::{numbers, raise};

/// Shared memory that lives as long as any process holds it.
#[pyclass(frozen, weakref, module = "allcores._core")]
pub struct Block {
    handle: Handle,
    start: *mut u8,
    nbytes: usize,
}

// SAFETY: `start` points into the arena's mapping, which every thread sees alike and
// which is never removed.
unsafe impl Send for Block {}
// SAFETY: as above; what is in the memory is the users' to guard, as with any shared array.
unsafe impl Sync for Block {}

impl Block {
    fn new(handle: Handle, nbytes: usize) -> allcores_core::Result<Block> {
        let start = arena::arena()?.bytes(handle.offset(), nbytes)?;
        Ok(Block {
            handle,
            start,
            nbytes,
        })
    }
}

impl Block {
    /// Where the memory begins.
    pub fn offset(&self) -> u64 {
        self.handle.offset()
    }

    /// How long it is.
    pub fn nbytes(&self) -> usize {
        self.nbytes
    }
}

#[pymethods]
impl Block {
    #[new]
    fn make(py: Python<'_>, nbytes: i64) -> PyResult<Block> {
        let nbytes = usize::try_from(nbytes).map_err(|_| {
            PyValueError::new_err(format!("size must be 0 or more bytes, not {nbytes}"))
        })?;
        py.detach(|| {
            let offset = alloc::reserve(Kind::Raw, nbytes, true)?;
            Block::new(Handle::publish(offset)?, nbytes)
        })
        .map_err(|error| raise(py, error))
    }

    #[staticmethod]
    fn from_handle(
        py: Python<'_>,
        session: u64,
        offset: u64,
        generation: u32,
        nbytes: usize,
    ) -> PyResult<Block> {
        let open = || {
            let handle = Handle::open(session, offset, generation, Kind::Raw)?;
            if alloc::room(offset)? < nbytes {
                return Err(allcores_core::Error::Stale {
                    what: "block of that size",
                });
            }
            Block::new(handle, nbytes)
        };
        open().map_err(|error| raise(py, error))
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, &self.handle)
    }

    #[getter(offset)]
    fn get_offset(&self) -> u64 {
        self.offset()
    }

    #[getter(nbytes)]
    fn get_nbytes(&self) -> usize {
        self.nbytes
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let block = slf.get();
        // SAFETY: `view` is Python's to fill; the memory outlives it, because the view
        // holds the block, the block its handle, and the mapping is never removed.
        unsafe { fill(&slf, view, flags, block.start, block.nbytes, false) }
    }
}
