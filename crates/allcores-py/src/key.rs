//! Keys of the shared dict: from Python's equality to a canonical form, and back to Python
//! where only it can tell.
//!
//! ```text
//! word        small ints (and what equals one), short texts and bytes, None, Ellipsis
//! s… b…       text, bytes
//! S…          text with lone surrogates
//! I…          other integers, as two's complement
//! f…  n       other doubles; every NaN is the same key
//! t…  F…      tuples, frozensets: their parts, each behind its length; sorted in a frozenset
//! x…          what `allcores.shared.keys` makes of other kinds: a name and a part
//! ?…          may be equal to others with this form, and only Python knows whether it is
//! ```

use std::sync::Mutex;

use allcores_core::dict::{Canonical, Probe, Token};
use allcores_core::item::{self as core_item, Constant, Found, Fresh, Origin, Word};
use allcores_core::{os, slot};
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyEllipsis, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple,
};

use crate::convert::raise;
use crate::item::{decode, pickle, small_int};

type Any<'py> = Bound<'py, PyAny>;

/// Keys nested deeper than this are an error. A guess, far below what a thread's stack has
/// room for.
const DEEPEST: usize = 200;
/// From here on not every integer is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A key that is looked up or put in.
pub struct Key<'py> {
    object: Any<'py>,
    pub probe: Probe,
    /// The key itself, when a word is enough for it.
    word: Option<Word>,
}

impl<'py> Key<'py> {
    /// # Errors
    /// When the object can't be a key.
    pub fn new(object: &Any<'py>) -> PyResult<Key<'py>> {
        let mut compares_itself = false;
        let mut canonical = canonical(object, 0, &mut compares_itself)?;
        let mut origin = None;
        if compares_itself {
            let mut bytes = vec![b'?'];
            bytes.extend(canonical.to_bytes());
            canonical = Canonical::Bytes(bytes);
            origin = Some(Origin {
                process: process().map_err(|error| raise(object.py(), error))?,
                hash: object.hash()? as u64,
            });
        }
        let word = match canonical {
            Canonical::Word(word) => own_word(object, word),
            Canonical::Bytes(_) => None,
        };
        Ok(Key {
            object: object.clone(),
            probe: Probe::new(canonical, origin).map_err(|error| raise(object.py(), error))?,
            word,
        })
    }

    /// The object.
    pub fn object(&self) -> &Any<'py> {
        &self.object
    }

    /// Whether an entry may have to be compared by Python.
    pub fn compares_itself(&self) -> bool {
        self.probe.origin().is_some()
    }

    /// The key to put in, if it costs nothing to make.
    pub fn cheap(&self) -> Option<Fresh> {
        self.word.and_then(Fresh::small)
    }

    /// The key to put in.
    pub fn fresh(&self, own: u64) -> PyResult<Fresh> {
        if let Some(fresh) = self.cheap() {
            return Ok(fresh);
        }
        let made = if let Ok(bytes) = self.object.cast_exact::<PyBytes>() {
            Fresh::bytes(bytes.as_bytes())
        } else if let Some(text) = exact_text(&self.object) {
            Fresh::text(text)
        } else {
            let (bytes, refs, _kept) = pickle(&self.object, own, "the dict key")?;
            let canonical = self.probe.canonical().to_bytes();
            Fresh::key(&canonical, self.probe.origin(), bytes.as_bytes(), &refs)
        };
        made.map_err(|error| raise(self.object.py(), error))
    }

    /// Compares keys that may be this one. Runs Python, so without the dict's lock.
    pub fn compare(&mut self, candidates: Vec<(Token, Found)>) -> PyResult<()> {
        let py = self.object.py();
        for (token, found) in candidates {
            let other = decode(py, found, None)?;
            let equal = other.is(&self.object) || other.eq(&self.object)?;
            self.probe.decide(token, equal);
            if equal {
                break;
            }
        }
        Ok(())
    }
}

/// A number for this process that no other has ever had, nor will: hashes made under it
/// were made with the same seed and the same addresses.
fn process() -> allcores_core::Result<u64> {
    static KNOWN: Mutex<(u32, u64)> = Mutex::new((0, 0));
    let me = slot::me()?;
    let mut known = KNOWN.lock().unwrap_or_else(|broken| broken.into_inner());
    if known.0 != me {
        *known = (me, os::random()?);
    }
    Ok(known.1)
}

/// The word of the object itself, when its canonical form is one. Those differ for numbers:
/// the key that was inserted first stays as it was.
fn own_word(object: &Any<'_>, canonical: Word) -> Option<Word> {
    if let Ok(truth) = object.cast_exact::<PyBool>() {
        let truth = if truth.is_true() {
            Constant::True
        } else {
            Constant::False
        };
        return Some(Fresh::constant(truth).word());
    }
    if object.is_exact_instance_of::<PyFloat>() {
        return float_word(object);
    }
    let plain = object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyBytes>()
        || object.is_none()
        || object.is(PyEllipsis::get(object.py()));
    plain.then_some(canonical)
}

fn float_word(object: &Any<'_>) -> Option<Word> {
    let value = object.cast_exact::<PyFloat>().ok()?.value();
    core_item::float_word(value)
}

fn exact_text<'a>(object: &'a Any<'_>) -> Option<&'a str> {
    object.cast_exact::<PyString>().ok()?.to_str().ok()
}

/// The canonical form of an object. `compares_itself` becomes true when that doesn't tell
/// all equal ones from the others.
fn canonical(object: &Any<'_>, depth: usize, compares_itself: &mut bool) -> PyResult<Canonical> {
    let py = object.py();
    if depth > DEEPEST {
        return Err(PyRecursionError::new_err(format!(
            "this key has more than {DEEPEST} levels of tuples in each other; use a flat one"
        )));
    }
    if let Ok(text) = object.cast_exact::<PyString>() {
        return match text.to_str() {
            Ok(text) => Ok(match core_item::text_word(text) {
                Some(word) => Canonical::Word(word),
                None => tagged(b's', text.as_bytes()),
            }),
            Err(_) => {
                let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
                Ok(tagged(b'S', bytes.cast::<PyBytes>()?.as_bytes()))
            }
        };
    }
    if let Ok(truth) = object.cast_exact::<PyBool>() {
        return int(truth.is_true().into());
    }
    if let Ok(whole) = object.cast_exact::<PyInt>() {
        return whole_number(whole);
    }
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        let bytes = bytes.as_bytes();
        return Ok(match core_item::bytes_word(bytes) {
            Some(word) => Canonical::Word(word),
            None => tagged(b'b', bytes),
        });
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        let mut bytes = vec![b't'];
        for part in tuple.iter_borrowed() {
            let part = canonical(&part, depth + 1, compares_itself)?;
            push(&mut bytes, &part.to_bytes());
        }
        return Ok(Canonical::Bytes(bytes));
    }
    if object.is_none() {
        return Ok(Canonical::Word(Fresh::constant(Constant::Nothing).word()));
    }
    if let Ok(float) = object.cast_exact::<PyFloat>() {
        return double(float);
    }
    if object.is(PyEllipsis::get(py)) {
        return Ok(Canonical::Word(Fresh::constant(Constant::Ellipsis).word()));
    }
    if let Ok(set) = object.cast_exact::<PyFrozenSet>() {
        let mut parts = Vec::with_capacity(set.len());
        for part in set.iter() {
            parts.push(canonical(&part, depth + 1, compares_itself)?.to_bytes());
        }
        parts.sort_unstable();
        let mut bytes = vec![b'F'];
        parts.iter().for_each(|part| push(&mut bytes, part));
        return Ok(Canonical::Bytes(bytes));
    }
    other(object, depth, compares_itself)
}

/// What Python has to look at.
fn other(object: &Any<'_>, depth: usize, compares_itself: &mut bool) -> PyResult<Canonical> {
    static REDUCE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    // Says so when it can't be a key.
    object.hash()?;
    let reduce = REDUCE.import(py, "allcores.shared.keys", "reduce")?;
    let (name, part): (Option<Bound<'_, PyString>>, Any<'_>) =
        reduce.call1((object,))?.extract()?;
    let Some(name) = name else {
        return canonical(&part, depth + 1, compares_itself);
    };
    let name = name.to_str()?;
    let part = if name == "?" {
        *compares_itself = true;
        tagged(b'?', part.cast::<PyString>()?.to_str()?.as_bytes())
    } else {
        canonical(&part, depth + 1, compares_itself)?
    };
    let mut bytes = vec![b'x'];
    push(&mut bytes, name.as_bytes());
    push(&mut bytes, &part.to_bytes());
    Ok(Canonical::Bytes(bytes))
}

fn tagged(tag: u8, content: &[u8]) -> Canonical {
    let mut bytes = Vec::with_capacity(1 + content.len());
    bytes.push(tag);
    bytes.extend_from_slice(content);
    Canonical::Bytes(bytes)
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn int(value: i64) -> PyResult<Canonical> {
    Ok(match core_item::int_word(value) {
        Some(word) => Canonical::Word(word),
        None => tagged(b'I', &value.to_le_bytes()),
    })
}

fn whole_number(value: &Bound<'_, PyInt>) -> PyResult<Canonical> {
    if let Some(value) = small_int(value) {
        return int(value);
    }
    let bits: usize = value.call_method0("bit_length")?.extract()?;
    let named = PyDict::new(value.py());
    named.set_item("signed", true)?;
    let bytes = value.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&named))?;
    Ok(tagged(b'I', bytes.cast::<PyBytes>()?.as_bytes()))
}

fn double(float: &Bound<'_, PyFloat>) -> PyResult<Canonical> {
    let value = float.value();
    if value.is_nan() {
        return Ok(tagged(b'n', &[]));
    }
    if value.is_finite() && value.fract() == 0.0 {
        if value.abs() < EXACT {
            return int(value as i64);
        }
        let whole = float.call_method0("__int__")?;
        return whole_number(whole.cast::<PyInt>()?);
    }
    Ok(match core_item::float_word(value) {
        Some(word) => Canonical::Word(word),
        None => tagged(b'f', &value.to_le_bytes()),
    })
}
