//! Values that travel as they are, without a pickle: numbers, texts, bytes, and what is made
//! of them in the ways that tasks need.
//!
//! The bytes are only read by processes of the same program, so numbers are in native order.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyFloat, PyInt, PyList, PyNone, PyRange, PyRangeMethods, PyString, PyTuple,
};

use crate::item::small_int;

/// A pickle.
pub const PICKLE: u8 = 0;
/// An int of 64 bits.
pub const INT: u8 = 1;
/// A float.
pub const FLOAT: u8 = 2;
/// `None`
pub const NONE: u8 = 3;
/// `False`
pub const FALSE: u8 = 4;
/// `True`
pub const TRUE: u8 = 5;
/// Bytes.
pub const BYTES: u8 = 6;
/// A text in UTF-8.
pub const STR: u8 = 7;
/// Several ints of 64 bits.
pub const INTS: u8 = 8;
/// Several floats.
pub const FLOATS: u8 = 9;
/// So many times `None`.
pub const NONES: u8 = 10;
/// A range: start, step, length.
pub const RANGE: u8 = 11;
/// A tuple of up to 255 of the first seven: `kind 8 | length 32 | bytes` for each.
pub const ATOMS: u8 = 12;

/// A longer text is copied once less by a pickle. A guess.
const LONG: usize = 16 << 10;

/// The error about bytes that mean nothing.
pub fn nonsense() -> PyErr {
    PyRuntimeError::new_err("an item of a ring makes no sense")
}

/// Appends a value's bytes and returns its kind; `None`, with nothing appended, when only a
/// pickle can bring it. Runs no Python code.
#[inline]
pub fn encode(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Option<u8> {
    if let Ok(number) = object.cast_exact::<PyInt>() {
        out.extend_from_slice(&small_int(number)?.to_ne_bytes());
        Some(INT)
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        out.extend_from_slice(&number.value().to_ne_bytes());
        Some(FLOAT)
    } else if object.is_none() {
        Some(NONE)
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        // Not one with lone surrogates.
        let text = text.to_str().ok().filter(|text| text.len() < LONG)?;
        out.extend_from_slice(text.as_bytes());
        Some(STR)
    } else if let Ok(truth) = object.cast_exact::<PyBool>() {
        Some(if truth.is_true() { TRUE } else { FALSE })
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        let bytes = bytes.as_bytes();
        if bytes.len() >= LONG {
            return None;
        }
        out.extend_from_slice(bytes);
        Some(BYTES)
    } else {
        None
    }
}

/// Like [`encode`], for the arguments of a call.
pub fn encode_atoms(tuple: &Bound<'_, PyTuple>, out: &mut Vec<u8>) -> Option<u8> {
    let start = out.len();
    out.push(u8::try_from(tuple.len()).ok()?);
    for item in tuple.iter_borrowed() {
        let head = out.len();
        out.extend_from_slice(&[0; 5]);
        let Some(kind) = encode(&item, out) else {
            out.truncate(start);
            return None;
        };
        let len = (out.len() - head - 5) as u32;
        out[head] = kind;
        out[head + 1..head + 5].copy_from_slice(&len.to_ne_bytes());
    }
    Some(ATOMS)
}

/// Like [`encode`], for the items from `start` to `stop` of a list, a tuple or a range.
pub fn encode_items(
    items: &Bound<'_, PyAny>,
    start: usize,
    stop: usize,
    out: &mut Vec<u8>,
) -> Option<u8> {
    let before = out.len();
    let found = if let Ok(list) = items.cast_exact::<PyList>() {
        let stop = stop.min(list.len());
        encode_run(
            (start..stop).map(|i| {
                // SAFETY: below the length; nothing runs meanwhile that could shorten the list.
                unsafe { list.get_item_unchecked(i) }
            }),
            out,
        )
    } else if let Ok(tuple) = items.cast_exact::<PyTuple>() {
        let stop = stop.min(tuple.len());
        encode_run(
            tuple.iter().skip(start).take(stop.saturating_sub(start)),
            out,
        )
    } else if let Ok(range) = items.cast_exact::<PyRange>() {
        let (first, step) = (range.start().ok()?, range.step().ok()?);
        let first = (start as i64)
            .checked_mul(step as i64)?
            .checked_add(first as i64)?;
        let len = stop.saturating_sub(start) as i64;
        // The last one must be a word as well.
        len.checked_mul(step as i64)?.checked_add(first)?;
        for word in [first, step as i64, len] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        Some(RANGE)
    } else {
        None
    };
    if found.is_none() {
        out.truncate(before);
    }
    found
}

fn encode_run<'py>(
    mut items: impl Iterator<Item = Bound<'py, PyAny>>,
    out: &mut Vec<u8>,
) -> Option<u8> {
    let first = items.next()?;
    let all = std::iter::once(first.clone()).chain(items);
    if first.cast_exact::<PyInt>().is_ok() {
        for item in all {
            let number = small_int(item.cast_exact::<PyInt>().ok()?)?;
            out.extend_from_slice(&number.to_ne_bytes());
        }
        Some(INTS)
    } else if first.cast_exact::<PyFloat>().is_ok() {
        for item in all {
            let number = item.cast_exact::<PyFloat>().ok()?.value();
            out.extend_from_slice(&number.to_ne_bytes());
        }
        Some(FLOATS)
    } else if first.is_none() {
        let mut count = 0u64;
        for item in all {
            if !item.is_none() {
                return None;
            }
            count += 1;
        }
        out.extend_from_slice(&count.to_ne_bytes());
        Some(NONES)
    } else {
        None
    }
}

/// The words that `bytes` are.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 8]> + '_ {
    bytes.chunks_exact(8).map(|word| {
        let mut copy = [0; 8];
        copy.copy_from_slice(word);
        copy
    })
}

fn one(bytes: &[u8]) -> PyResult<[u8; 8]> {
    bytes.first_chunk().copied().ok_or_else(nonsense)
}

/// The value that [`encode`] or [`encode_atoms`] wrote down.
#[inline]
pub fn decode<'py>(py: Python<'py>, kind: u8, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(match kind {
        INT => i64::from_ne_bytes(one(bytes)?)
            .into_pyobject(py)?
            .into_any(),
        FLOAT => PyFloat::new(py, f64::from_ne_bytes(one(bytes)?)).into_any(),
        NONE => PyNone::get(py).to_owned().into_any(),
        FALSE => PyBool::new(py, false).to_owned().into_any(),
        TRUE => PyBool::new(py, true).to_owned().into_any(),
        BYTES => PyBytes::new(py, bytes).into_any(),
        STR => PyString::from_bytes(py, bytes)?.into_any(),
        ATOMS => atoms(py, bytes)?.into_any(),
        _ => return Err(nonsense()),
    })
}

/// The arguments that [`encode_atoms`] wrote down.
pub fn atoms<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let (&count, mut rest) = bytes.split_first().ok_or_else(nonsense)?;
    let mut values = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (head, after) = rest.split_at_checked(5).ok_or_else(nonsense)?;
        let len = u32::from_ne_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (body, after) = after.split_at_checked(len).ok_or_else(nonsense)?;
        if head[0] == ATOMS {
            return Err(nonsense());
        }
        values.push(decode(py, head[0], body)?);
        rest = after;
    }
    PyTuple::new(py, values)
}

/// The list that [`encode_items`] wrote down.
pub fn decode_items<'py>(py: Python<'py>, kind: u8, bytes: &[u8]) -> PyResult<Bound<'py, PyList>> {
    match kind {
        INTS => PyList::new(py, exact(words(bytes).map(i64::from_ne_bytes), bytes)),
        FLOATS => PyList::new(py, exact(words(bytes).map(f64::from_ne_bytes), bytes)),
        NONES => {
            let count = u64::from_ne_bytes(one(bytes)?);
            let list = PyList::new(py, [py.None()])?;
            let all = list.as_sequence().repeat(count as usize)?;
            Ok(all.cast_into::<PyList>()?)
        }
        _ => Err(nonsense()),
    }
}

/// An iterator that knows its length.
struct Exact<I>(I, usize);

fn exact<I>(items: I, bytes: &[u8]) -> Exact<I> {
    Exact(items, bytes.len() / 8)
}

impl<I: Iterator> Iterator for Exact<I> {
    type Item = I::Item;
    fn next(&mut self) -> Option<I::Item> {
        let item = self.0.next();
        self.1 = self.1.saturating_sub(1);
        item
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

impl<I: Iterator> ExactSizeIterator for Exact<I> {}
