//! The shared dict. Pickling, comparing and every other Python code runs outside of the dict.

use allcores_core::Result as CoreResult;
use allcores_core::dict::{Dict as Core, How, Inside, New, Number, Probe, Put, Seen, Sum};
use allcores_core::item::{Found, Fresh};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyTuple, PyType};

use crate::convert::{numbers, raise, waiting};
use crate::dict_iterator::DictIterator;
use crate::gate::Gate;
use crate::item::{self, small_int};
use crate::key::Key;
use crate::life::{self, Life};

type Any<'py> = Bound<'py, PyAny>;

/// A dict that processes share; the base of `allcores.shared.dicts.Dict`.
#[pyclass(frozen, weakref, subclass, mapping, module = "allcores._core")]
pub struct Dict {
    core: Core,
    /// The life of the manager that it came from, if it came from one.
    life: Option<Py<Life>>,
}

impl Dict {
    /// Looks whether the manager, if any, is still there.
    #[inline]
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        match &self.life {
            Some(life) => life.get().check(py),
            None => Ok(()),
        }
    }

    pub fn decode<'py>(&self, py: Python<'py>, found: Found) -> PyResult<Any<'py>> {
        item::decode(py, found, self.life.as_ref())
    }

    fn decode_all<'py>(&self, py: Python<'py>, found: Vec<Found>) -> PyResult<Bound<'py, PyList>> {
        item::decode_all(py, found, self.life.as_ref())
    }

    fn enter(&self, py: Python<'_>) -> PyResult<Inside<'_>> {
        self.check(py)?;
        match self.core.try_enter() {
            Ok(Some(inside)) => Ok(inside),
            Ok(None) => {
                let wait = || waiting(py, |pulse| self.core.enter(pulse));
                life::waiting(py, self.life.as_ref(), wait)
            }
            Err(error) => Err(raise(py, error)),
        }
    }

    fn own(&self) -> u64 {
        self.core.handle().offset()
    }

    fn encode(&self, value: &Any<'_>) -> PyResult<Fresh> {
        item::encode(value, self.own(), "the dict value")
    }

    /// Does something inside.
    pub fn inside<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Inside<'_>) -> CoreResult<R>,
    ) -> PyResult<R> {
        let mut inside = self.enter(py)?;
        work(&mut inside).map_err(|error| raise(py, error))
    }

    /// Does something with a key; again when keys had to be compared first.
    fn on<R>(
        &self,
        key: &mut Key<'_>,
        mut work: impl FnMut(&mut Inside<'_>, &Probe) -> CoreResult<Seen<R>>,
    ) -> PyResult<R> {
        let py = key.object().py();
        loop {
            let probe = &key.probe;
            match self.inside(py, |inside| work(inside, probe))? {
                Seen::Known(result) => return Ok(result),
                Seen::Undecided(candidates) => key.compare(candidates)?,
            }
        }
    }

    fn find(&self, key: &mut Key<'_>) -> PyResult<Option<Found>> {
        self.check(key.object().py())?;
        if !key.compares_itself()
            && let Some(seen) = self.core.peek(&key.probe)
        {
            return Ok(seen);
        }
        let found = self.on(key, |inside, probe| inside.get(probe))?;
        Ok(found.map(|(found, _)| found))
    }

    /// Puts a value in, with the key only if that turns out to be new.
    fn put(&self, key: &mut Key<'_>, value: Fresh, how: How) -> PyResult<Put> {
        let mut new = New {
            key: key.cheap(),
            value: Some(value),
        };
        loop {
            match self.on(key, |inside, probe| inside.put(probe, &mut new, how))? {
                Put::KeyWanted => new.key = Some(key.fresh(self.own())?),
                put => return Ok(put),
            }
        }
    }

    /// Puts the result of a function of a key's value in its place; starts again when
    /// somebody else has changed it meanwhile.
    fn change<'py>(
        &self,
        key: &mut Key<'py>,
        default: Option<&Any<'py>>,
        function: impl Fn(Any<'py>) -> PyResult<Any<'py>>,
    ) -> PyResult<Any<'py>> {
        let py = key.object().py();
        loop {
            let seen = self.on(key, |inside, probe| inside.get(probe))?;
            let (old, token) = match (seen, default) {
                (Some((found, token)), _) => (self.decode(py, found)?, Some(token)),
                (None, Some(default)) => (default.clone(), None),
                (None, None) => return Err(missing(key.object())),
            };
            let new = function(old)?;
            let value = self.encode(&new)?;
            match self.put(key, value, How::IfStill(token))? {
                Put::Changed => py.check_signals()?,
                _ => return Ok(new),
            }
        }
    }
}

fn missing(key: &Any<'_>) -> PyErr {
    // In a tuple of its own, or a tuple would be taken for several arguments.
    PyKeyError::new_err((key.clone().unbind(),))
}

fn number(object: &Any<'_>) -> Option<Number> {
    if let Ok(int) = object.cast_exact::<PyInt>() {
        small_int(int).map(Number::Int)
    } else {
        let float = object.cast_exact::<PyFloat>().ok()?;
        Some(Number::Float(float.value()))
    }
}

#[pymethods]
impl Dict {
    #[new]
    #[pyo3(signature = (*, handle=None, life=None))]
    fn make(
        py: Python<'_>,
        handle: Option<(u64, u64, u32)>,
        life: Option<Py<Life>>,
    ) -> PyResult<Dict> {
        let life = life.or_else(|| handle.and_then(|_| life::current(py)));
        let core = match handle {
            Some((session, offset, generation)) => Core::open(session, offset, generation),
            None => Core::create(),
        };
        Ok(Dict {
            core: core.map_err(|error| raise(py, error))?,
            life,
        })
    }

    fn handle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        numbers(py, self.core.handle())
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

    #[getter]
    fn offset(&self) -> u64 {
        self.own()
    }

    #[getter]
    fn life(&self, py: Python<'_>) -> Option<Py<Life>> {
        self.life.as_ref().map(|life| life.clone_ref(py))
    }

    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<u64> {
        self.check(py)?;
        Ok(self.core.version())
    }

    #[getter]
    fn lock(slf: &Bound<'_, Self>) -> Gate {
        Gate::new(slf.as_any(), slf.get().core.gate(), slf.get().life.as_ref())
    }

    pub fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.check(py)?;
        match self.core.peek_len() {
            Some(len) => Ok(len),
            None => self.inside(py, |inside| inside.len()),
        }
    }

    fn __contains__(&self, key: &Any<'_>) -> PyResult<bool> {
        self.check(key.py())?;
        let mut key = Key::new(key)?;
        if !key.compares_itself()
            && let Some(seen) = self.core.peek(&key.probe)
        {
            return Ok(seen.is_some());
        }
        self.on(&mut key, |inside, probe| inside.contains(probe))
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &Any<'py>) -> PyResult<Any<'py>> {
        match self.find(&mut Key::new(key)?)? {
            Some(found) => self.decode(py, found),
            None => Err(missing(key)),
        }
    }

    fn __setitem__(&self, key: &Any<'_>, value: &Any<'_>) -> PyResult<()> {
        let mut key = Key::new(key)?;
        let value = self.encode(value)?;
        self.put(&mut key, value, How::Always)?;
        Ok(())
    }

    fn __delitem__(&self, key: &Any<'_>) -> PyResult<()> {
        match self.on(&mut Key::new(key)?, |inside, probe| inside.remove(probe))? {
            Some(_) => Ok(()),
            None => Err(missing(key)),
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::over(slf, false)
    }

    fn __reversed__(slf: Bound<'_, Self>) -> PyResult<DictIterator> {
        DictIterator::over(slf, true)
    }

    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(&self, key: &Any<'py>, default: Option<Any<'py>>) -> PyResult<Option<Any<'py>>> {
        match self.find(&mut Key::new(key)?)? {
            Some(found) => self.decode(key.py(), found).map(Some),
            None => Ok(default),
        }
    }

    #[pyo3(signature = (key, default=None, /))]
    fn setdefault<'py>(
        &self,
        key: &Any<'py>,
        default: Option<Any<'py>>,
    ) -> PyResult<Option<Any<'py>>> {
        let py = key.py();
        let mut key = Key::new(key)?;
        if let Some(found) = self.find(&mut key)? {
            return self.decode(py, found).map(Some);
        }
        let value = match &default {
            Some(value) => self.encode(value)?,
            None => self.encode(py.None().bind(py))?,
        };
        match self.put(&mut key, value, How::IfMissing)? {
            Put::Kept(found) => self.decode(py, found).map(Some),
            // Not the plain list, which nobody else would see changed.
            _ if default.as_ref().is_some_and(item::nests) => match self.find(&mut key)? {
                Some(found) => self.decode(py, found).map(Some),
                None => Ok(default),
            },
            _ => Ok(default),
        }
    }

    #[pyo3(signature = (key, *default))]
    fn pop<'py>(&self, key: &Any<'py>, default: &Bound<'py, PyTuple>) -> PyResult<Any<'py>> {
        if default.len() > 1 {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "pop expected at most 2 arguments, got {}",
                1 + default.len()
            )));
        }
        match self.on(&mut Key::new(key)?, |inside, probe| inside.remove(probe))? {
            Some(found) => self.decode(key.py(), found),
            None => default.get_item(0).map_err(|_| missing(key)),
        }
    }

    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Any<'py>, Any<'py>)> {
        match self.inside(py, |inside| inside.pop_last())? {
            Some((key, value)) => Ok((self.decode(py, key)?, self.decode(py, value)?)),
            None => Err(PyKeyError::new_err("popitem(): dictionary is empty")),
        }
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.inside(py, |inside| inside.clear())
    }

    #[pyo3(signature = (key, n=None, /))]
    fn add<'py>(&self, key: &Any<'py>, n: Option<Any<'py>>) -> PyResult<Any<'py>> {
        let py = key.py();
        let mut key = Key::new(key)?;
        let n = match n {
            Some(n) => n,
            None => 1i64.into_pyobject(py)?.into_any(),
        };
        if let Some(number) = number(&n) {
            let mut new = key.cheap();
            loop {
                let sum = self.on(&mut key, |inside, probe| {
                    inside.add(probe, &mut new, number)
                })?;
                match sum {
                    Sum::KeyWanted => new = Some(key.fresh(self.own())?),
                    Sum::Is(Number::Int(sum)) => return Ok(sum.into_pyobject(py)?.into_any()),
                    Sum::Is(Number::Float(sum)) => return Ok(PyFloat::new(py, sum).into_any()),
                    Sum::Beyond => break,
                }
            }
        }
        let zero = 0i64.into_pyobject(py)?.into_any();
        self.change(&mut key, Some(&zero), |old| old.add(&n))
    }

    #[pyo3(signature = (key, function, /, *default))]
    fn update_key<'py>(
        &self,
        key: &Any<'py>,
        function: &Any<'py>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Any<'py>> {
        let default = default.get_item(0).ok();
        self.change(&mut Key::new(key)?, default.as_ref(), |old| {
            function.call1((old,))
        })
    }

    fn _keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.decode_all(py, self.inside(py, |inside| inside.keys())?)
    }

    fn _values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.decode_all(py, self.inside(py, |inside| inside.values())?)
    }

    fn _items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.snapshot(py)?.0)
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, u64)> {
        let (items, version) = self.inside(py, |inside| Ok((inside.items()?, inside.version())))?;
        let list = PyList::empty(py);
        for (key, value) in items {
            list.append((self.decode(py, key)?, self.decode(py, value)?))?;
        }
        Ok((list, version))
    }
}
