//! What a task's function is called with, and what the calls return.

use allcores_core::ring::Got;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyIterator, PyList, PyTuple};

use super::collect::load;
use super::{CALL, MAP, ONE, STAR_ONE, STARMAP};
use crate::value::{self, ATOMS, FLOATS, INTS, NONES, PICKLE, RANGE};

/// What a task's function is called with.
pub enum Payload<'py> {
    Call(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>),
    One(Bound<'py, PyAny>),
    Many(Items<'py>, usize),
}

/// The items of a task, one after another.
pub enum Items<'py> {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Nones,
    Range(i64, i64),
    Any(Bound<'py, PyIterator>),
}

impl<'py> Items<'py> {
    #[inline]
    /// The item with this index, which is the one after the last that was asked for.
    pub fn get(&mut self, py: Python<'py>, i: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(Some(match self {
            Items::Ints(ints) => match ints.get(i) {
                Some(int) => int.into_pyobject(py)?.into_any(),
                None => return Ok(None),
            },
            Items::Floats(floats) => match floats.get(i) {
                Some(&float) => PyFloat::new(py, float).into_any(),
                None => return Ok(None),
            },
            Items::Nones => py.None().into_bound(py),
            Items::Range(first, step) => (*first + *step * i as i64).into_pyobject(py)?.into_any(),
            Items::Any(iterator) => return iterator.next().transpose(),
        }))
    }
}

impl<'py> Payload<'py> {
    /// Reads the payload that is written in a task from byte `at` on.
    pub fn read(
        py: Python<'py>,
        group: u8,
        encoding: u8,
        got: Got,
        at: usize,
    ) -> PyResult<Payload<'py>> {
        if matches!(group, MAP | STARMAP) && encoding != PICKLE {
            let bytes = got.bytes().get(at..).ok_or_else(value::nonsense)?;
            let words = || value::words(bytes);
            return Ok(match encoding {
                INTS => {
                    let ints: Vec<_> = words().map(i64::from_ne_bytes).collect();
                    let count = ints.len();
                    Payload::Many(Items::Ints(ints), count)
                }
                FLOATS => {
                    let floats: Vec<_> = words().map(f64::from_ne_bytes).collect();
                    let count = floats.len();
                    Payload::Many(Items::Floats(floats), count)
                }
                NONES => {
                    let count = words().next().map(u64::from_ne_bytes);
                    Payload::Many(Items::Nones, count.ok_or_else(value::nonsense)? as usize)
                }
                RANGE => {
                    let all: Vec<_> = words().map(i64::from_ne_bytes).collect();
                    let &[first, step, count] = all.as_slice() else {
                        return Err(value::nonsense());
                    };
                    Payload::Many(Items::Range(first, step), count.max(0) as usize)
                }
                _ => return Err(value::nonsense()),
            });
        }
        if group == CALL && encoding == ATOMS {
            let bytes = got.bytes().get(at..).ok_or_else(value::nonsense)?;
            return Ok(Payload::Call(value::atoms(py, bytes)?, None));
        }
        let loaded = load(py, encoding, got, at)?;
        Ok(match group {
            CALL => {
                let (args, kwargs): (Bound<'py, PyAny>, Bound<'py, PyDict>) = loaded.extract()?;
                let kwargs = (!kwargs.is_empty()).then_some(kwargs);
                Payload::Call(as_tuple(args)?, kwargs)
            }
            ONE => Payload::One(loaded),
            STAR_ONE => Payload::Call(as_tuple(loaded)?, None),
            _ => {
                let count = loaded.len()?;
                Payload::Many(Items::Any(loaded.try_iter()?), count)
            }
        })
    }
}

/// Results of the items of a task, as compact as they are.
pub enum Values<'py> {
    None(usize),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Objects(Bound<'py, PyList>),
}

impl<'py> Values<'py> {
    #[inline]
    /// Adds the next one.
    pub fn push(&mut self, py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<()> {
        match self {
            Values::Ints(ints) => {
                if let Ok(int) = value.cast_exact::<PyInt>()
                    && let Ok(int) = int.extract::<i64>()
                {
                    ints.push(int);
                    return Ok(());
                }
            }
            Values::None(count) => {
                if value.is_none() {
                    *count += 1;
                    return Ok(());
                }
                if *count == 0 {
                    if value
                        .cast_exact::<PyInt>()
                        .is_ok_and(|i| i.extract::<i64>().is_ok())
                    {
                        *self = Values::Ints(Vec::new());
                        return self.push(py, value);
                    }
                    if let Ok(float) = value.cast_exact::<PyFloat>() {
                        *self = Values::Floats(vec![float.value()]);
                        return Ok(());
                    }
                }
            }
            Values::Floats(floats) => {
                if let Ok(float) = value.cast_exact::<PyFloat>() {
                    floats.push(float.value());
                    return Ok(());
                }
            }
            Values::Objects(list) => return list.append(value),
        }
        let list = self.list(py)?;
        list.append(value)?;
        *self = Values::Objects(list);
        Ok(())
    }

    /// All of them.
    pub fn list(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match self {
            Values::None(count) => PyList::new(py, (0..*count).map(|_| py.None())),
            Values::Ints(ints) => PyList::new(py, ints),
            Values::Floats(floats) => PyList::new(py, floats),
            Values::Objects(list) => Ok(list.clone()),
        }
    }
}

/// The arguments that an iterable is.
pub fn as_tuple(object: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyTuple>> {
    match object.cast_into::<PyTuple>() {
        Ok(tuple) => Ok(tuple),
        Err(other) => {
            let object = other.into_inner();
            let Ok(iter) = object.try_iter() else {
                return Err(PyTypeError::new_err(format!(
                    "each item of starmap has to be a tuple of arguments, not {}; map takes items \
                     that are the one argument themselves",
                    object.get_type().name()?,
                )));
            };
            let items: Vec<_> = iter.collect::<PyResult<_>>()?;
            PyTuple::new(object.py(), items)
        }
    }
}
