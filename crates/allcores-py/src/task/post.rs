//! Tasks go onto the ring.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyRange, PyTuple};

use super::CALL;
use crate::ring::Ring;
use crate::value;

thread_local! {
    /// A task's bytes on their way to the ring.
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Larger buffers are not kept for the next task.
const KEEP: usize = 1 << 20;
/// After so many bytes the caller looks whether there is room for more.
const ENOUGH: usize = 1 << 23;

/// Puts a task together with `write`, which says how the payload is written, and sends it.
/// Returns how many bytes it has; none when `write` can't do it.
fn send(
    py: Python<'_>,
    ring: &Ring,
    tag: u64,
    head: &[u8],
    group: u8,
    write: impl FnOnce(&mut Vec<u8>) -> Option<u8>,
) -> PyResult<usize> {
    // Taken out, as sending may run signal handlers, and these may send as well.
    let mut body = BODY.take();
    body.clear();
    body.extend_from_slice(head);
    let Some(encoding) = write(&mut body) else {
        BODY.replace(body);
        return Ok(0);
    };
    let nbytes = body.len();
    let sent = ring.put_bytes(py, group << 4 | encoding, &body, &[], tag, None);
    if body.capacity() <= KEEP {
        BODY.replace(body);
    }
    sent.map(|_| nbytes)
}

/// Posts one task whose payload needs no pickle, and says how many bytes it has; 0 when it
/// does need one.
#[pyfunction]
pub fn post(
    ring: &Bound<'_, Ring>,
    tag: u64,
    head: &[u8],
    group: u8,
    payload: &Bound<'_, PyAny>,
) -> PyResult<usize> {
    send(
        ring.py(),
        ring.get(),
        tag,
        head,
        group,
        |out| match payload.cast_exact::<PyTuple>() {
            Ok(tuple) if group == CALL => value::encode_atoms(tuple, out),
            _ if group == CALL => None,
            _ => value::encode(payload, out),
        },
    )
}

/// Posts a task for each item from `start` to `stop`, with tags that count up from `tag`, as
/// far as they need no pickle, and until they are very many bytes; says how many tasks and
/// bytes it were.
#[pyfunction]
pub fn post_each(
    ring: &Bound<'_, Ring>,
    tag: u64,
    head: &[u8],
    group: u8,
    items: &Bound<'_, PyAny>,
    start: usize,
    stop: usize,
) -> PyResult<(usize, usize)> {
    let py = ring.py();
    let list = items.cast_exact::<PyList>();
    let tuple = items.cast_exact::<PyTuple>();
    let range = items.cast_exact::<PyRange>();
    let mut nbytes = 0;
    for i in start..stop {
        let item = if let Ok(list) = &list {
            // The list may become shorter meanwhile.
            list.get_item(i)?
        } else if let Ok(tuple) = &tuple {
            tuple.get_item(i)?
        } else if let Ok(range) = &range {
            range.get_item(i)?
        } else {
            return Ok((i - start, nbytes));
        };
        let tag = tag + (i - start) as u64;
        let sent = send(py, ring.get(), tag, head, group, |out| {
            value::encode(&item, out)
        })?;
        if sent == 0 {
            return Ok((i - start, nbytes));
        }
        nbytes += sent;
        if nbytes >= ENOUGH {
            return Ok((i + 1 - start, nbytes));
        }
    }
    Ok((stop.saturating_sub(start), nbytes))
}

/// Posts one task with the items from `start` to `stop`, and says how many bytes it has; 0
/// when they need a pickle.
#[pyfunction]
pub fn post_items(
    ring: &Bound<'_, Ring>,
    tag: u64,
    head: &[u8],
    group: u8,
    items: &Bound<'_, PyAny>,
    start: usize,
    stop: usize,
) -> PyResult<usize> {
    send(ring.py(), ring.get(), tag, head, group, |out| {
        value::encode_items(items, start, stop, out)
    })
}
