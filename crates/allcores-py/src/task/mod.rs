//! The loops of a pool that are gone through once for each task: bring tasks to the ring,
//! do them, collect results. python/allcores/task/README.md draws the way; what happens
//! seldom is Python's.
//!
//! ```text
//! task    kind: what to do, how the payload is written | tag: job 32, part 32
//!         head: function number 64, offset 64, generation 32, bytes 32, flags 32
//!         the function, when its offset is 0 | the payload
//! result  kind: what it is, how it is written | tag | for LIST: nanoseconds 64 | the value
//! ```

mod collect;
mod items;
mod known;
mod lease;
mod post;
mod serve;

use pyo3::prelude::*;

use crate::value;

// What to do with a task's payload: the upper bits of its kind.
const CALL: u8 = 0;
const MAP: u8 = 1;
const STARMAP: u8 = 2;
const ONE: u8 = 3;
const STAR_ONE: u8 = 4;
const STOP: u8 = 7;

// What a result is.
const VALUE: u8 = 0;
const LIST: u8 = 1;
const FAILURE: u8 = 2;
const UNSENDABLE: u8 = 3;
const POKE: u8 = 5;

/// Bytes of a task's head.
const HEAD: usize = 28;

/// What a task begins with: which function it is, and where that is.
struct Head {
    number: u64,
    offset: u64,
    generation: u32,
    nbytes: u32,
    flags: u32,
}

impl Head {
    fn read(task: &[u8]) -> PyResult<Head> {
        let head: &[u8; HEAD] = task.first_chunk().ok_or_else(value::nonsense)?;
        let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| head[at + i]));
        let long = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| head[at + i]));
        Ok(Head {
            number: long(0),
            offset: long(8),
            generation: word(16),
            nbytes: word(20),
            flags: word(24),
        })
    }

    /// Whether unpacking the function sets globals of `__main__`.
    fn sets_globals(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Bytes of the function that follow the head.
    fn inline(&self) -> usize {
        match self.offset {
            0 => self.nbytes as usize,
            _ => 0,
        }
    }
}

fn split(kind: u8) -> (u8, u8) {
    (kind >> 4 & 7, kind & 15)
}

/// Adds the loops to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(post::post, module)?)?;
    module.add_function(wrap_pyfunction!(post::post_each, module)?)?;
    module.add_function(wrap_pyfunction!(post::post_items, module)?)?;
    module.add_function(wrap_pyfunction!(collect::collect, module)?)?;
    module.add_function(wrap_pyfunction!(lease::take_back, module)?)?;
    module.add_function(wrap_pyfunction!(lease::doom, module)?)?;
    module.add_function(wrap_pyfunction!(lease::set_gate, module)?)?;
    module.add_class::<serve::Server>()
}
