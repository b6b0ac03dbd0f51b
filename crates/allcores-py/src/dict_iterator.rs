//! The iterator over a shared dict.

use std::sync::{Mutex, PoisonError};

use allcores_core::item::Found;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::dict::Dict;

type Any<'py> = Bound<'py, PyAny>;

/// An iterator over the keys that were there when it was made. As a dict's own it fails when
/// the number of keys is another one by then, whoever changed it.
#[pyclass(frozen, module = "allcores._core")]
pub struct DictIterator {
    dict: Py<Dict>,
    size: usize,
    keys: Mutex<Option<std::vec::IntoIter<Found>>>,
}

impl DictIterator {
    /// Over a dict, in its order or backwards.
    pub fn over(dict: Bound<'_, Dict>, backwards: bool) -> PyResult<DictIterator> {
        let mut keys = dict.get().inside(dict.py(), |inside| inside.keys())?;
        if backwards {
            keys.reverse();
        }
        Ok(DictIterator {
            dict: dict.unbind(),
            size: keys.len(),
            keys: Mutex::new(Some(keys.into_iter())),
        })
    }
}

#[pymethods]
impl DictIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Any<'py>>> {
        // Before the mutex: a thread that waits here lets others run.
        let same = self.dict.get().__len__(py)? == self.size;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match keys.as_mut() {
            None => return Ok(None),
            Some(_) if !same => {
                return Err(PyRuntimeError::new_err(
                    "dictionary changed size during iteration; iterate over keys(), values() or \
                     items(), which go over what is there when they begin",
                ));
            }
            Some(keys) => keys.next(),
        };
        if next.is_none() {
            *keys = None;
        }
        drop(keys);
        next.map(|found| self.dict.get().decode(py, found))
            .transpose()
    }

    fn __length_hint__(&self) -> usize {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref().map_or(0, |keys| keys.len())
    }
}
