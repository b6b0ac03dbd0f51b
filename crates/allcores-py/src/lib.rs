//! `allcores._core`: the Python face of `allcores-core`. Conversions only.

mod barrier;
mod block;
mod buffer;
mod condition;
mod convert;
mod dict;
mod dict_iterator;
mod event;
mod frozen;
mod gate;
mod importer;
mod item;
mod key;
mod life;
mod list;
mod lock;
mod locked;
mod module;
mod quick;
mod ring;
mod semaphore;
mod surroundings;
mod task;
mod travel;
mod value;

use pyo3::prelude::*;

/// The shared memory of allcores.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    convert::note_main_thread(module.py())?;
    module::add(module)?;
    module.add_class::<block::Block>()?;
    module.add_class::<frozen::Frozen>()?;
    module.add_class::<frozen::View>()?;
    module.add_function(wrap_pyfunction!(frozen::freeze, module)?)?;
    module.add_function(wrap_pyfunction!(frozen::find, module)?)?;
    module.add_function(wrap_pyfunction!(frozen::address, module)?)?;
    module.add_class::<ring::Ring>()?;
    module.add_class::<ring::Message>()?;
    module.add_class::<lock::Lock>()?;
    module.add_class::<lock::RLock>()?;
    module.add_class::<semaphore::Semaphore>()?;
    module.add_class::<semaphore::BoundedSemaphore>()?;
    quick::install::<lock::Lock>(module.py())?;
    quick::install::<lock::RLock>(module.py())?;
    quick::install::<semaphore::Semaphore>(module.py())?;
    module.add_class::<event::Event>()?;
    module.add_class::<condition::Condition>()?;
    module.add_class::<barrier::Barrier>()?;
    module.add_class::<life::Life>()?;
    module.add_class::<locked::LockedValue>()?;
    module.add_class::<list::List>()?;
    module.add_class::<dict::Dict>()?;
    module.add_class::<importer::Importer>()?;
    module.add_class::<surroundings::Surroundings>()?;

    task::add(module)?;
    Ok(())
}
