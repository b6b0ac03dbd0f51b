//! What a container holds, as Python objects. Pickling runs outside of the container: before
//! an item goes in, and after it has come out.

use allcores_core::Error;
use allcores_core::item::{Constant, Data, Found, Fresh};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyEllipsis, PyFloat, PyInt, PyList, PyString};

use crate::convert::raise;
use crate::life::{self, Life};

type Any<'py> = Bound<'py, PyAny>;

/// Turns a Python object into an item of the container at `own`, before that is entered.
/// `what` it is opens the message of an error.
pub fn encode(obj: &Any<'_>, own: u64, what: &'static str) -> PyResult<Fresh> {
    match plain(obj) {
        Some(made) => made.map_err(|error| raise(obj.py(), error)),
        None => {
            if nests(obj) {
                return nest(obj, own);
            }
            let (bytes, refs, _kept) = pickle(obj, own, what)?;
            Fresh::pickle(bytes.as_bytes(), &refs).map_err(|error| raise(obj.py(), error))
        }
    }
}

/// An item that needs no pickle; `None` when this object does.
fn plain(obj: &Any<'_>) -> Option<Result<Fresh, Error>> {
    let py = obj.py();
    Some(if obj.is_none() {
        Ok(Fresh::constant(Constant::Nothing))
    } else if let Ok(truth) = obj.cast_exact::<PyBool>() {
        Ok(Fresh::constant(if truth.is_true() {
            Constant::True
        } else {
            Constant::False
        }))
    } else if let Ok(int) = obj.cast_exact::<PyInt>() {
        Ok(Fresh::int(small_int(int)?)?)
    } else if let Ok(float) = obj.cast_exact::<PyFloat>() {
        Fresh::float(float.value())
    } else if let Ok(text) = obj.cast_exact::<PyString>() {
        // Not those with lone surrogates.
        Fresh::text(text.to_str().ok()?)
    } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        Fresh::bytes(bytes.as_bytes())
    } else if obj.is(PyEllipsis::get(py)) {
        Ok(Fresh::constant(Constant::Ellipsis))
    } else {
        return None;
    })
}

/// An int of up to 64 bits.
pub fn small_int(int: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: `int` is an int, and the GIL is held.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(int.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(value)
}

/// Pickles an object that goes into the container at `own`: its bytes, the objects it refers
/// to, and what keeps those until the item does.
pub fn pickle<'py>(
    obj: &Any<'py>,
    own: u64,
    what: &'static str,
) -> PyResult<(Bound<'py, PyBytes>, Vec<u64>, Any<'py>)> {
    static PACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = obj.py();
    let pack = PACK.import(py, "allcores.shared.items", "pack")?;
    let packed = pack.call1((obj, what))?;
    let (bytes, refs): (Bound<'_, PyBytes>, Vec<u64>) = packed.extract()?;
    // An item that refers to its own container would keep it for ever; who reads the item
    // holds the container anyway.
    let refs = refs.into_iter().filter(|&offset| offset != own).collect();
    Ok((bytes, refs, packed))
}

/// Whether an object becomes a shared one in a container, with what is in it.
pub fn nests(obj: &Any<'_>) -> bool {
    obj.is_exact_instance_of::<PyList>() || obj.is_exact_instance_of::<PyDict>()
}

/// Makes a plain list or dict a shared one, for the container at `own`: a pickle of its handle.
fn nest(obj: &Any<'_>, own: u64) -> PyResult<Fresh> {
    static NEST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = obj.py();
    let nest = NEST.import(py, "allcores.shared.nested", "nest")?;
    let (bytes, shared): (Bound<'_, PyBytes>, Any<'_>) = nest.call1((obj,))?.extract()?;
    let offset: u64 = shared.getattr(intern!(py, "offset"))?.extract()?;
    // As with a pickle, none of its own.
    let refs = [offset];
    let refs = if offset == own { &[][..] } else { &refs[..] };
    Fresh::pickle(bytes.as_bytes(), refs).map_err(|error| raise(py, error))
}

/// Turns an item into a Python object, after it has left the container, whose `life` what
/// it refers to belongs to as well.
pub fn decode<'py>(py: Python<'py>, found: Found, life: Option<&Py<Life>>) -> PyResult<Any<'py>> {
    Ok(match found {
        Found::Int(value) => value.into_pyobject(py)?.into_any(),
        Found::Float(value) => PyFloat::new(py, value).into_any(),
        Found::Constant(Constant::Nothing) => py.None().into_bound(py),
        Found::Constant(Constant::True) => PyBool::new(py, true).to_owned().into_any(),
        Found::Constant(Constant::False) => PyBool::new(py, false).to_owned().into_any(),
        Found::Constant(Constant::Ellipsis) => PyEllipsis::get(py).to_owned().into_any(),
        Found::Text(data) => match std::str::from_utf8(data.as_slice()) {
            Ok(text) => PyString::new(py, text).into_any(),
            Err(_) => return Err(raise(py, Error::Corrupt { what: "text" })),
        },
        Found::Bytes(data) => PyBytes::new(py, data.as_slice()).into_any(),
        Found::Pickle(data, held) => {
            let object = life::opening(py, life, || unpickle(py, &data));
            drop(held);
            object?
        }
    })
}

/// Turns several items into a list of Python objects.
pub fn decode_all<'py>(
    py: Python<'py>,
    found: Vec<Found>,
    life: Option<&Py<Life>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for item in found {
        list.append(decode(py, item, life)?)?;
    }
    Ok(list)
}

fn unpickle<'py>(py: Python<'py>, data: &Data) -> PyResult<Any<'py>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let loads = LOADS.import(py, "allcores.pickling", "loads")?;
    loads.call1((PyBytes::new(py, data.as_slice()),))
}
