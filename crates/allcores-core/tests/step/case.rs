//! What one operation is, and how to see that its structure is whole.

use std::time::Duration;

use crate::trace::End;
use allcores_core::wait::Deadline;

/// Says what is wrong.
pub type Check = Result<(), String>;

/// One operation of one structure.
pub struct Case {
    /// In the victim, before it can be killed.
    pub before: Box<dyn Fn()>,
    /// In the victim.
    pub run: Box<dyn Fn()>,
    /// In the survivor: content and use; leaves the structure as it was at first. Runs once
    /// before there is a victim, with `None`.
    pub check: Box<dyn FnMut(Option<End>) -> Check>,
    /// Other processes that take part.
    pub helpers: usize,
    /// The check may come before the recovery: whoever uses the structure finds out itself.
    pub early: bool,
    /// In the survivor, as soon as the victim sleeps in the operation: lets it go on.
    pub wake: Option<Box<dyn Fn()>>,
    /// The victim is the child of fork that `run` makes.
    pub birth: bool,
    /// In another process, before the recovery and after it: a use that changes nothing, but
    /// meets what the victim left. For tests/points.
    #[allow(dead_code)]
    pub again: Option<Box<dyn Fn()>>,
}

impl Case {
    pub fn new(
        run: impl Fn() + 'static,
        check: impl FnMut(Option<End>) -> Check + 'static,
    ) -> Case {
        Case {
            before: Box::new(|| {}),
            run: Box::new(run),
            check: Box::new(check),
            helpers: 0,
            early: false,
            wake: None,
            birth: false,
            again: None,
        }
    }

    /// See [`Case::again`].
    pub fn again(self, again: impl Fn() + 'static) -> Case {
        Case {
            again: Some(Box::new(again)),
            ..self
        }
    }

    /// See [`Case::early`].
    pub fn early(self) -> Case {
        Case {
            early: true,
            ..self
        }
    }

    /// See [`Case::before`].
    pub fn before(self, before: impl Fn() + 'static) -> Case {
        Case {
            before: Box::new(before),
            ..self
        }
    }

    /// See [`Case::wake`].
    pub fn wake(self, wake: impl Fn() + 'static) -> Case {
        Case {
            wake: Some(Box::new(wake)),
            ..self
        }
    }

    /// See [`Case::helpers`].
    pub fn helpers(self, helpers: usize) -> Case {
        Case { helpers, ..self }
    }

    /// See [`Case::birth`].
    pub fn birth(self) -> Case {
        Case {
            birth: true,
            ..self
        }
    }
}

/// An operation by name.
#[derive(Clone, Copy)]
pub struct Operation {
    pub structure: &'static str,
    pub name: &'static str,
    pub build: fn() -> Case,
}

/// A wait that takes so long has been lost: longer than a busy machine may hold anybody up.
pub const LOST: Duration = Duration::from_secs(60);

/// Longer than any wait of a survivor may take.
pub fn patience() -> Deadline {
    Deadline::after(Some(LOST))
}

pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}
