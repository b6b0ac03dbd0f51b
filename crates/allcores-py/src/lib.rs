//! `allcores._core`: the Python face of `allcores-core`. Conversions only.

mod block;
mod convert;
mod module;
mod ring;

use pyo3::prelude::*;

/// The shared memory of allcores.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module::add(module)?;
    module.add_class::<block::Block>()?;
    module.add_class::<ring::Ring>()?;
    module.add_class::<ring::Message>()?;
    Ok(())
}
