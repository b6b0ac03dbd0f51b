//! Places where a test can kill a process: [`crash_point!`].
//!
//! A point stands after each store to shared memory that matters, so each window between two
//! stores has one. Its name is the place's and what has just happened there:
//! `crash_point!("ring.put: claimed")`. No name stands twice. `tests/points` kills a
//! process at every point of every operation, and fails when there is a point that no
//! operation passes.
//!
//! Points exist in builds with debug assertions, which is what `cargo test` makes anyway.
//! In any other build, so in every wheel, they are nothing at all: no code, no names.

/// See [`crate::crash`].
#[cfg(debug_assertions)]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::crash::pass($name)
    };
}

/// See [`crate::crash`].
#[cfg(not(debug_assertions))]
macro_rules! crash_point {
    ($name:literal) => {};
}

pub(crate) use crash_point;

#[cfg(debug_assertions)]
mod watch {
    use std::sync::OnceLock;

    /// What a test does when this process passes a point.
    pub type Watcher = fn(&'static str);

    /// Memory of this process and of its children of fork, not shared.
    static WATCHER: OnceLock<Watcher> = OnceLock::new();

    /// From now on `watcher` is called at each point that this process passes. It may end
    /// the process there. False when there is one already: it stays.
    pub fn watch(watcher: Watcher) -> bool {
        WATCHER.set(watcher).is_ok()
    }

    /// Here is a point.
    #[inline]
    pub fn pass(name: &'static str) {
        if let Some(watcher) = WATCHER.get() {
            watcher(name);
        }
    }
}

#[cfg(debug_assertions)]
pub use watch::{Watcher, pass, watch};
