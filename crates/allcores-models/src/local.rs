//! Variables of which each process has its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::rt;

/// A variable of each process.
pub struct Local<T: 'static>(fn() -> T);

thread_local! {
    /// By process, then by what makes the variable.
    static ALL: RefCell<HashMap<(usize, usize), &'static dyn std::any::Any>> = RefCell::default();
}

/// Forgets all of them, before a run.
pub fn clear() {
    ALL.take();
}

impl<T: 'static> Local<T> {
    /// One that begins as what `init` makes.
    pub const fn new(init: fn() -> T) -> Local<T> {
        Local(init)
    }

    fn get(&self) -> &'static T {
        let key = (rt::process(), (&raw const *self).addr());
        let found = ALL.with_borrow(|all| all.get(&key).copied());
        let any = found.unwrap_or_else(|| {
            let new: &'static dyn std::any::Any = Box::leak(Box::new((self.0)()));
            ALL.with_borrow_mut(|all| all.insert(key, new));
            new
        });
        any.downcast_ref().expect("each variable has one type")
    }
}

impl<T> Local<RefCell<T>> {
    /// See the standard library.
    pub fn with_borrow_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.get().borrow_mut())
    }
}

impl<T> Local<Cell<T>> {
    /// See the standard library.
    pub fn replace(&self, value: T) -> T {
        self.get().replace(value)
    }

    /// See the standard library.
    pub fn set(&self, value: T) {
        self.get().set(value);
    }
}
