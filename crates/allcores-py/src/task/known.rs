//! The functions that a worker has unpacked and may be sent tasks of again.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;

/// How many are remembered; each may hold large data.
const REMEMBERED: usize = 8;

struct Function {
    number: u64,
    func: Py<PyAny>,
    sets_globals: bool,
}

/// The functions used last, the latest first.
#[derive(Default)]
pub struct Known(Mutex<Vec<Function>>);

impl Known {
    fn functions(&self) -> MutexGuard<'_, Vec<Function>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The function of this number. None has number 0.
    pub fn find<'py>(&self, py: Python<'py>, number: u64) -> Option<Bound<'py, PyAny>> {
        let mut functions = self.functions();
        let i = functions.iter().position(|known| known.number == number)?;
        functions.swap(i, 0);
        Some(functions[0].func.bind(py).clone())
    }

    /// Remembers one, unless its number is 0. `sets_globals`: its unpacking has set globals of
    /// `__main__`, so that those of others which do so are no longer there.
    pub fn add(&self, number: u64, func: &Bound<'_, PyAny>, sets_globals: bool) {
        let mut gone = Vec::new();
        let mut functions = self.functions();
        if sets_globals {
            gone.extend(functions.extract_if(.., |known| known.sets_globals));
        }
        if number != 0 {
            let func = func.clone().unbind();
            functions.insert(
                0,
                Function {
                    number,
                    func,
                    sets_globals,
                },
            );
        }
        if functions.len() > REMEMBERED {
            gone.extend(functions.pop());
        }
        drop(functions);
        // Their end may run Python code.
        drop(gone);
    }
}
