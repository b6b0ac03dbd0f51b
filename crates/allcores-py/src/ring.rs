//! A ring, and the messages that come out of it.

use std::ffi::c_int;
use std::ptr;

use allcores_core::ring::{self, Draft, Got, INLINE, Lease, Parcel};
use allcores_core::wait::{self, Deadline, Look};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};

use crate::block::Block;
use crate::buffer::fill;
use crate::convert::{deadline, numbers, raise, seconds, waiting};
use crate::value::{self, BYTES, FALSE, FLOAT, INT, NONE, PICKLE, STR, TRUE};

/// Copies from this size on let other threads run. A guess: 25 µs.
const LARGE: usize = 256 << 10;

/// A queue of items between processes.
#[pyclass(frozen, weakref, module = "allcores._core")]
pub struct Ring {
    pub(crate) core: ring::Ring,
}

#[pymethods]
impl Ring {
    #[new]
    #[pyo3(signature = (capacity, unbounded = false))]
    fn make(py: Python<'_>, capacity: i64, unbounded: bool) -> PyResult<Ring> {
        let capacity = u64::try_from(capacity)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "capacity must be 1 item or more, not {capacity}; a ring without a bound is \
                     Ring(capacity, unbounded=True)"
                ))
            })?;
        ring::Ring::new(capacity, unbounded)
            .map(|core| Ring { core })
            .map_err(|error| raise(py, error))
    }

    #[staticmethod]
    fn from_handle(py: Python<'_>, session: u64, offset: u64, generation: u32) -> PyResult<Ring> {
        ring::Ring::open(session, offset, generation)
            .map(|core| Ring { core })
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
    fn capacity(&self) -> Option<u64> {
        self.core.capacity()
    }

    fn qsize(&self) -> u64 {
        self.core.waiting()
    }

    fn empty(&self, py: Python<'_>) -> PyResult<bool> {
        self.core.nothing_waits().map_err(|error| raise(py, error))
    }

    #[pyo3(signature = (data, refs = Vec::new(), tag = 0, timeout = None, kind = PICKLE))]
    fn put(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        refs: Vec<u64>,
        tag: u64,
        timeout: Option<&Bound<'_, PyAny>>,
        kind: u8,
    ) -> PyResult<bool> {
        if kind > 127 {
            return Err(PyValueError::new_err("kind must be from 0 to 127"));
        }
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return self.put_bytes(py, kind, bytes.as_bytes(), &refs, tag, timeout);
        }
        let buffer = PyUntypedBuffer::get(data)?;
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err(
                "the buffer's memory has gaps; send a contiguous copy, bytes(data) for one",
            ));
        }
        let start = buffer.buf_ptr().cast::<u8>();
        let bytes = if start.is_null() {
            &[]
        } else {
            // SAFETY: the buffer is contiguous and held until the end of this call.
            unsafe { std::slice::from_raw_parts(start, buffer.len_bytes()) }
        };
        self.put_bytes(py, kind, bytes, &refs, tag, timeout)
    }

    #[pyo3(signature = (obj, timeout = None))]
    fn put_object(
        &self,
        py: Python<'_>,
        obj: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<bool>> {
        let done = if let Ok(number) = obj.cast_exact::<PyInt>() {
            match number.extract::<i64>() {
                Ok(value) => self.put_small(py, INT, &value.to_ne_bytes(), timeout),
                // Too large for a word.
                Err(_) => return Ok(None),
            }
        } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
            self.put_bytes(py, BYTES, bytes.as_bytes(), &[], 0, timeout)
        } else if let Ok(text) = obj.cast_exact::<PyString>() {
            match text.to_str() {
                Ok(text) => self.put_bytes(py, STR, text.as_bytes(), &[], 0, timeout),
                // Lone surrogates.
                Err(_) => return Ok(None),
            }
        } else if let Ok(number) = obj.cast_exact::<PyFloat>() {
            self.put_small(py, FLOAT, &number.value().to_ne_bytes(), timeout)
        } else if obj.is_none() {
            self.put_small(py, NONE, &[], timeout)
        } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
            let kind = if truth.is_true() { TRUE } else { FALSE };
            self.put_small(py, kind, &[], timeout)
        } else {
            return Ok(None);
        };
        done.map(Some)
    }

    #[pyo3(signature = (timeout = None, lease = None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'_, PyAny>>,
        lease: Option<&Bound<'_, Block>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let lease = match lease {
            None => None,
            Some(block) => {
                if block.get().nbytes() < 8 {
                    return Err(PyValueError::new_err(
                        "a lease needs a block of 8 bytes or more",
                    ));
                }
                let offset = block.get().offset();
                Some(Lease::at(offset).map_err(|error| raise(py, error))?)
            }
        };
        let Some(got) = self.take(py, timeout, lease.as_ref(), &wait::SHORT)? else {
            return Ok(py.None().into_bound(py));
        };
        match got.into_parcel() {
            Ok(parcel) => Ok(Bound::new(py, Message { parcel })?.into_any()),
            Err(got) => Ok(PyBytes::new(py, got.bytes()).into_any()),
        }
    }

    #[pyo3(signature = (timeout, loads, nothing))]
    fn get_object<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'_, PyAny>>,
        loads: &Bound<'py, PyAny>,
        nothing: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(got) = self.take(py, timeout, None, &wait::SHORT)? else {
            return Ok(nothing.clone());
        };
        match got.kind {
            BYTES => Ok(new_bytes(py, got.bytes())?.into_any()),
            PICKLE => match got.into_parcel() {
                // The message, and with it what it refers to, lives until the object
                // that is made of it holds that itself.
                Ok(parcel) => loads.call1((Bound::new(py, Message { parcel })?,)),
                Err(got) => loads.call1((PyBytes::new(py, got.bytes()),)),
            },
            kind => value::decode(py, kind, got.bytes()),
        }
    }

    fn unfinished(&self) -> u64 {
        self.core.unfinished()
    }

    fn task_done(&self) -> bool {
        self.core.task_done()
    }

    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let deadline = deadline(timeout)?;
        waiting(py, |pulse| self.core.join(&deadline, pulse))
    }
}

impl Ring {
    /// Puts an item that fits into a cell.
    #[inline]
    fn put_small(
        &self,
        py: Python<'_>,
        kind: u8,
        body: &[u8],
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        // Before the first attempt: a wrong timeout is an error whether it is needed or not.
        let time = seconds(timeout)?;
        if self
            .core
            .try_put(kind, 0, body)
            .map_err(|error| raise(py, error))?
        {
            return Ok(true);
        }
        let deadline = Deadline::after(time);
        waiting(py, |pulse| {
            self.core
                .when_room(&deadline, pulse, |ring| ring.try_put(kind, 0, body))
        })
    }

    pub(crate) fn put_bytes(
        &self,
        py: Python<'_>,
        kind: u8,
        data: &[u8],
        refs: &[u64],
        tag: u64,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let time = seconds(timeout)?;
        let small = data.len() <= INLINE && refs.is_empty();
        let write = || -> allcores_core::Result<Option<Draft>> {
            if small {
                return Ok(None);
            }
            let mut draft = self.core.draft(refs, data.len(), tag)?;
            draft.bytes().copy_from_slice(data);
            Ok(Some(draft))
        };
        let mut draft = match data.len() < LARGE {
            true => write(),
            false => py.detach(write),
        }
        .map_err(|error| raise(py, error))?;
        let mut attempt = |ring: &ring::Ring| match small {
            true => ring.try_put(kind, tag, data),
            false => ring.try_send(kind, tag, &mut draft),
        };
        if attempt(&self.core).map_err(|error| raise(py, error))? {
            return Ok(true);
        }
        let deadline = Deadline::after(time);
        waiting(py, |pulse| self.core.when_room(&deadline, pulse, attempt))
    }

    /// Takes an item out if there is one at once.
    #[inline]
    pub(crate) fn take_now(&self, py: Python<'_>) -> PyResult<Option<Got>> {
        self.core.try_get(None).map_err(|error| raise(py, error))
    }

    #[inline]
    pub(crate) fn take(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        lease: Option<&Lease>,
        look: &Look,
    ) -> PyResult<Option<Got>> {
        let time = seconds(timeout)?;
        let got = self.core.try_get(lease).map_err(|error| raise(py, error))?;
        if got.is_some() {
            return Ok(got);
        }
        let deadline = Deadline::after(time);
        waiting(py, |pulse| {
            self.core.get_while(lease, &deadline, pulse, look, || true)
        })
    }
}

/// `bytes` in one copy; large ones while other threads run.
fn new_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if bytes.len() < LARGE {
        return Ok(PyBytes::new(py, bytes));
    }
    // SAFETY: the object is new, so its memory, `bytes.len()` long, is only ours; it is
    // written completely before anybody else sees it.
    unsafe {
        let length = bytes.len() as ffi::Py_ssize_t;
        let made = ffi::PyBytes_FromStringAndSize(ptr::null(), length);
        let made = Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked::<PyBytes>();
        let to = ffi::PyBytes_AsString(made.as_ptr()).cast::<u8>();
        let to = std::slice::from_raw_parts_mut(to, bytes.len());
        py.detach(|| to.copy_from_slice(bytes));
        Ok(made)
    }
}

/// The bytes of an item, read-only and without a copy. As long as it lives, so does what
/// the item refers to.
#[pyclass(frozen, weakref, module = "allcores._core")]
pub struct Message {
    parcel: Parcel,
}

impl Message {
    pub(crate) fn new(parcel: Parcel) -> Message {
        Message { parcel }
    }
}

#[pymethods]
impl Message {
    fn __len__(&self) -> usize {
        self.parcel.bytes().len()
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = slf.get().parcel.bytes();
        let (start, len) = (bytes.as_ptr().cast_mut(), bytes.len());
        // SAFETY: `view` is Python's to fill; the memory outlives it, because the view
        // holds the message and the message its block. Read-only.
        unsafe { fill(&slf, view, flags, start, len, true) }
    }
}
