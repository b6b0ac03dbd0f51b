//! Functions of the module: the arena itself.

use allcores_core::{alloc, arena, handle, os, slot, supervise};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::raise;

/// Adds the functions.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(arena_fd, module)?)?;
    module.add_function(wrap_pyfunction!(session, module)?)?;
    module.add_function(wrap_pyfunction!(has_arena, module)?)?;
    module.add_function(wrap_pyfunction!(attach, module)?)?;
    module.add_function(wrap_pyfunction!(owner, module)?)?;
    module.add_function(wrap_pyfunction!(is_alive, module)?)?;
    module.add_function(wrap_pyfunction!(recover, module)?)?;
    module.add_function(wrap_pyfunction!(leave, module)?)?;
    module.add_function(wrap_pyfunction!(watch, module)?)?;
    module.add_function(wrap_pyfunction!(pin, module)?)?;
    module.add_function(wrap_pyfunction!(stats, module)?)?;
    module.add_function(wrap_pyfunction!(fallbacks, module)?)?;
    Ok(())
}

#[pyfunction]
fn arena_fd(py: Python<'_>) -> PyResult<i32> {
    arena::arena().map(|a| a.fd()).map_err(|e| raise(py, e))
}

#[pyfunction]
fn session(py: Python<'_>) -> PyResult<u64> {
    arena::arena()
        .map(|a| a.session())
        .map_err(|e| raise(py, e))
}

#[pyfunction]
fn has_arena() -> bool {
    arena::existing().is_some()
}

#[pyfunction]
fn attach(py: Python<'_>, fd: i32, session: u64) -> PyResult<()> {
    arena::attach(fd, session).map_err(|e| raise(py, e))
}

#[pyfunction]
fn owner(py: Python<'_>) -> PyResult<u32> {
    slot::me().map_err(|e| raise(py, e))
}

#[pyfunction]
fn is_alive(owner: u32) -> bool {
    slot::is_alive(owner)
}

#[pyfunction]
fn recover(py: Python<'_>) -> PyResult<usize> {
    py.detach(slot::recover_all).map_err(|e| raise(py, e))
}

#[pyfunction]
fn leave(py: Python<'_>) -> PyResult<()> {
    py.detach(slot::leave).map_err(|e| raise(py, e))
}

#[pyfunction]
fn watch(py: Python<'_>, pid: u32) -> bool {
    py.detach(|| supervise::watch(pid))
}

#[pyfunction]
fn pin(py: Python<'_>, offset: u64) -> PyResult<()> {
    handle::pin(offset).map_err(|e| raise(py, e))
}

#[pyfunction]
fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    if arena::existing().is_some() {
        let stats = py.detach(alloc::stats).map_err(|e| raise(py, e))?;
        dict.set_item("capacity", stats.capacity)?;
        dict.set_item("committed", stats.committed)?;
        dict.set_item("live_blocks", stats.live_blocks)?;
        dict.set_item("live_bytes", stats.live_bytes)?;
        dict.set_item("warm_bytes", stats.warm_bytes)?;
        let living = py.detach(slot::living).map_err(|e| raise(py, e))?;
        dict.set_item("processes", living.len())?;
    }
    Ok(dict)
}

#[pyfunction]
fn fallbacks(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (call, instead) in os::fallbacks() {
        dict.set_item(call, instead)?;
    }
    Ok(dict)
}
