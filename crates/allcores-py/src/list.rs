//! The shared list. Pickling runs outside of the list: before an item goes in, and after
//! it has come out.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use allcores_core::Error;
use allcores_core::item::{Found, Fresh};
use allcores_core::list::{Inside, List as Core, Slice};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyTuple, PyType};

use crate::convert::{numbers, raise, waiting};
use crate::gate::Gate;
use crate::item;
use crate::life::{self, Life};

/// Items that an iterator fetches at a time.
const CHUNK: usize = 256;

/// A list that processes share; the base of `allcores.shared.lists.List`.
#[pyclass(frozen, weakref, subclass, sequence, module = "allcores._core")]
pub struct List {
    core: Core,
    /// The life of the manager that it came from, if it came from one.
    life: Option<Py<Life>>,
}

type Any<'py> = Bound<'py, PyAny>;

impl List {
    fn enter(&self, py: Python<'_>) -> PyResult<Inside<'_>> {
        if let Some(life) = &self.life {
            life.get().check(py)?;
        }
        match self.core.try_enter() {
            Ok(Some(inside)) => Ok(inside),
            Ok(None) => {
                let wait = || waiting(py, |pulse| self.core.enter(pulse));
                life::waiting(py, self.life.as_ref(), wait)
            }
            Err(error) => Err(raise(py, error)),
        }
    }

    fn decode<'py>(&self, py: Python<'py>, found: Found) -> PyResult<Any<'py>> {
        item::decode(py, found, self.life.as_ref())
    }

    fn decode_all<'py>(&self, py: Python<'py>, found: Vec<Found>) -> PyResult<Bound<'py, PyList>> {
        item::decode_all(py, found, self.life.as_ref())
    }

    fn encode(&self, obj: &Any<'_>) -> PyResult<Fresh> {
        item::encode(obj, self.core.handle().offset(), "the list item")
    }

    fn encode_all(&self, items: &Any<'_>) -> PyResult<Vec<Fresh>> {
        if let Ok(list) = items.cast_exact::<PyList>() {
            return list.iter().map(|item| self.encode(&item)).collect();
        }
        items.try_iter()?.map(|item| self.encode(&item?)).collect()
    }

    fn change<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Inside<'_>) -> Result<R, Error>,
    ) -> PyResult<R> {
        let mut inside = self.enter(py)?;
        work(&mut inside).map_err(|error| raise(py, error))
    }
}

/// An index, or the slice that it is.
enum Key {
    Index(i64),
    Slice(Slice),
}

fn key(key: &Any<'_>) -> PyResult<Key> {
    if let Ok(slice) = key.cast_exact::<PySlice>() {
        let step = bound(slice, "step")?;
        if step == Some(0) {
            return Err(PyValueError::new_err("slice step cannot be zero"));
        }
        return Ok(Key::Slice(Slice {
            start: bound(slice, "start")?,
            stop: bound(slice, "stop")?,
            step,
        }));
    }
    index(key).map(Key::Index)
}

/// One of a slice's numbers. What is too large for a list is as good as its end.
fn bound(slice: &Bound<'_, PySlice>, name: &str) -> PyResult<Option<i64>> {
    let value = slice.getattr(name)?;
    if value.is_none() {
        return Ok(None);
    }
    let py = value.py();
    // SAFETY: `value` is an object, and the GIL is held. NULL asks for clipping.
    let number = unsafe { ffi::PyNumber_AsSsize_t(value.as_ptr(), std::ptr::null_mut()) };
    match (number, PyErr::take(py)) {
        (_, Some(_)) => Err(PyTypeError::new_err(
            "slice indices must be integers or None or have an __index__ method",
        )),
        (number, None) => Ok(Some(number as i64)),
    }
}

fn index(key: &Any<'_>) -> PyResult<i64> {
    // SAFETY: `key` is an object, and the GIL is held.
    let number = unsafe {
        if ffi::PyIndex_Check(key.as_ptr()) == 0 {
            return Err(PyTypeError::new_err(format!(
                "list indices must be integers or slices, not {}",
                key.get_type().name()?
            )));
        }
        ffi::PyNumber_AsSsize_t(key.as_ptr(), ffi::PyExc_IndexError)
    };
    match PyErr::take(key.py()) {
        Some(error) if number == -1 => Err(error),
        _ => Ok(number as i64),
    }
}

fn out_of_range(what: &str) -> PyErr {
    PyIndexError::new_err(format!("{what} index out of range"))
}

#[pymethods]
impl List {
    #[new]
    #[pyo3(signature = (iterable=None, /, *, handle=None, life=None))]
    fn make(
        py: Python<'_>,
        iterable: Option<&Any<'_>>,
        handle: Option<(u64, u64, u32)>,
        life: Option<Py<Life>>,
    ) -> PyResult<List> {
        let life = life.or_else(|| handle.and_then(|_| life::current(py)));
        let core = match handle {
            Some((session, offset, generation)) => Core::open(session, offset, generation),
            None => Core::create(),
        };
        let list = List {
            core: core.map_err(|error| raise(py, error))?,
            life,
        };
        if let Some(iterable) = iterable {
            list.extend(iterable, None)?;
        }
        Ok(list)
    }

    #[classmethod]
    fn from_handle<'py>(
        class: &Bound<'py, PyType>,
        session: u64,
        offset: u64,
        generation: u32,
    ) -> PyResult<Any<'py>> {
        let named = PyDict::new(class.py());
        named.set_item("handle", (session, offset, generation))?;
        class.call((), Some(&named))
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.core.handle().offset()
    }

    #[getter]
    fn life(&self, py: Python<'_>) -> Option<Py<Life>> {
        self.life.as_ref().map(|life| life.clone_ref(py))
    }

    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        if let Some(life) = &self.life {
            life.get().check(py)?;
        }
        Ok(self.core.version())
    }

    #[getter]
    fn lock(slf: &Bound<'_, Self>) -> Gate {
        Gate::new(slf.as_any(), slf.get().core.gate(), slf.get().life.as_ref())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.change(py, |inside| inside.len())
    }

    fn __getitem__<'py>(&self, py: Python<'py>, at: &Any<'py>) -> PyResult<Any<'py>> {
        match key(at)? {
            Key::Index(at) => match self.change(py, |inside| inside.get(at))? {
                Some(found) => self.decode(py, found),
                None => Err(out_of_range("list")),
            },
            Key::Slice(slice) => {
                let found = self.change(py, |inside| inside.read(slice))?;
                self.decode_all(py, found).map(Bound::into_any)
            }
        }
    }

    fn __setitem__(&self, py: Python<'_>, at: &Any<'_>, value: &Any<'_>) -> PyResult<()> {
        let slice = match key(at)? {
            Key::Index(at) => {
                let fresh = self.encode(value)?;
                return match self.change(py, |inside| inside.set(at, fresh))? {
                    true => Ok(()),
                    false => Err(out_of_range("list assignment")),
                };
            }
            Key::Slice(slice) => slice,
        };
        if value.try_iter().is_err() {
            return Err(PyTypeError::new_err("can only assign an iterable"));
        }
        let fresh = self.encode_all(value)?;
        let given = fresh.len();
        match self.change(py, |inside| inside.replace(slice, fresh))? {
            None => Ok(()),
            Some(wanted) => Err(PyValueError::new_err(format!(
                "attempt to assign sequence of size {given} to extended slice of size {wanted}"
            ))),
        }
    }

    fn __delitem__(&self, py: Python<'_>, at: &Any<'_>) -> PyResult<()> {
        let slice = match key(at)? {
            Key::Slice(slice) => slice,
            Key::Index(at) => {
                return match self.change(py, |inside| inside.pop(at))? {
                    Some(_) => Ok(()),
                    None => Err(out_of_range("list assignment")),
                };
            }
        };
        self.change(py, |inside| inside.delete(slice))
    }

    fn __iter__(slf: Bound<'_, Self>) -> ListIterator {
        ListIterator {
            list: slf.unbind(),
            next: AtomicUsize::new(0),
            ahead: std::sync::Mutex::new(Ahead::default()),
        }
    }

    fn append(&self, py: Python<'_>, value: &Any<'_>) -> PyResult<()> {
        let fresh = self.encode(value)?;
        self.change(py, |inside| inside.append(fresh))
    }

    #[pyo3(signature = (iterable, expected=None, /))]
    fn extend(&self, iterable: &Any<'_>, expected: Option<u64>) -> PyResult<bool> {
        let fresh = self.encode_all(iterable)?;
        self.change(iterable.py(), |inside| inside.extend(fresh, expected))
    }

    fn insert(&self, py: Python<'_>, at: i64, value: &Any<'_>) -> PyResult<()> {
        let fresh = self.encode(value)?;
        self.change(py, |inside| inside.insert(at, fresh))
    }

    #[pyo3(signature = (value, front, most, /))]
    fn push(&self, value: &Any<'_>, front: bool, most: Option<usize>) -> PyResult<()> {
        let fresh = self.encode(value)?;
        let most = most.unwrap_or(usize::MAX);
        self.change(value.py(), |inside| inside.push(fresh, front, most))
    }

    #[pyo3(signature = (index=-1, /))]
    fn pop<'py>(&self, py: Python<'py>, index: i64) -> PyResult<Any<'py>> {
        let (found, empty) = self.change(py, |inside| {
            let empty = inside.is_empty()?;
            Ok((inside.pop(index)?, empty))
        })?;
        match found {
            Some(found) => self.decode(py, found),
            None if empty => Err(PyIndexError::new_err("pop from empty list")),
            None => Err(out_of_range("pop")),
        }
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |inside| inside.clear())
    }

    fn reverse(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |inside| inside.reverse())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, u64)> {
        let (found, version) = self.change(py, |inside| {
            Ok((inside.read(Slice::default())?, inside.version()))
        })?;
        Ok((self.decode_all(py, found)?, version))
    }

    fn reorder(&self, py: Python<'_>, order: Vec<usize>, expected: u64) -> PyResult<bool> {
        self.change(py, |inside| inside.reorder(&order, expected))
    }

    fn delete_if(&self, py: Python<'_>, index: usize, expected: u64) -> PyResult<bool> {
        self.change(py, |inside| {
            let same = inside.version() == expected;
            if same {
                inside.delete(Slice::run(index, 1))?;
            }
            Ok(same)
        })
    }
}

/// What an iterator has fetched and not given out yet; good while the list is unchanged.
#[derive(Default)]
struct Ahead {
    /// Index of the first of them.
    at: usize,
    found: std::vec::IntoIter<Found>,
    version: u64,
}

/// An iterator over a list that others may change meanwhile: like a list's own, it goes by
/// the index, and each item is the one that is there when it is asked for.
#[pyclass(frozen, module = "allcores._core")]
pub struct ListIterator {
    list: Py<List>,
    /// Index of the next item; `usize::MAX` when it came to the end.
    next: AtomicUsize,
    ahead: std::sync::Mutex<Ahead>,
}

#[pymethods]
impl ListIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Any<'py>>> {
        let list = self.list.get();
        for fetched in [false, true] {
            if fetched {
                // Without the mutex: a thread that waits here lets others run.
                let at = self.next.load(Relaxed);
                let fetched = list.change(py, |inside| {
                    let found = inside.read(Slice::run(at, CHUNK))?.into_iter();
                    let version = inside.version();
                    Ok(Ahead { at, found, version })
                })?;
                let Ok(mut ahead) = self.ahead.lock() else {
                    break;
                };
                *ahead = fetched;
            }
            let Ok(mut ahead) = self.ahead.lock() else {
                break;
            };
            let at = self.next.load(Relaxed);
            if at == usize::MAX {
                break;
            }
            // What was fetched just now counts, even if the list has changed again.
            let current = ahead.found.len() > 0 && ahead.version == list.core.version();
            if current || fetched && ahead.at == at {
                let found = ahead.found.next();
                let next = if found.is_some() { at + 1 } else { usize::MAX };
                self.next.store(next, Relaxed);
                ahead.at = next;
                drop(ahead);
                return found.map(|found| list.decode(py, found)).transpose();
            }
        }
        Ok(None)
    }

    fn __length_hint__(&self, py: Python<'_>) -> PyResult<usize> {
        let at = self.next.load(Relaxed);
        Ok(self.list.get().__len__(py)?.saturating_sub(at))
    }
}
