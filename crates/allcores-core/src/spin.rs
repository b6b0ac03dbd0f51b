//! A lock among the threads of one process, that can be held across fork.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::*};

/// Guards data of this process for a few instructions at a time. Unlike the standard
/// library's it can be locked in one function and opened in another: fork handlers lock
/// it before the fork, and the child, which has only the forking thread, opens its copy.
pub struct Spin<T> {
    locked: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: the data is only reached with the lock held, by one thread at a time.
unsafe impl<T: Send> Sync for Spin<T> {}

/// Gives access, and opens the lock at the end of its scope.
pub struct SpinGuard<'a, T>(&'a Spin<T>);

impl<T> Spin<T> {
    /// An open one.
    pub const fn new(data: T) -> Spin<T> {
        Spin {
            locked: AtomicBool::new(false),
            data: UnsafeCell::new(data),
        }
    }

    /// Locks until the guard goes.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let mut tries = 0u32;
        while self.locked.swap(true, Acquire) {
            tries += 1;
            if tries.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                spin_loop();
            }
        }
        SpinGuard(self)
    }

    /// The guard of a lock that this thread has locked and whose guard it has forgotten.
    ///
    /// # Safety
    /// This is so: one forgotten guard, one call.
    pub unsafe fn relock(&self) -> SpinGuard<'_, T> {
        SpinGuard(self)
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held as long as the guard lives, and `self` is borrowed alone.
        unsafe { &mut *self.0.data.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        self.0.locked.store(false, Release);
    }
}
