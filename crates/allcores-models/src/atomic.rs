//! What `std::sync::atomic` is to the core, with every access to the arena explored.
//!
//! The types have the size and the place of the real ones, so the core's layouts hold; an
//! atomic outside of the arena belongs to one process and is what it always is.

use std::panic::Location;
use std::sync::atomic as real;
pub use std::sync::atomic::Ordering;

use crate::rt::{self, Op, Width};

macro_rules! atomic {
    ($name:ident, $value:ty, $width:expr) => {
        /// In the place of the standard library's type of this name.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(real::$name);

        impl $name {
            /// See the standard library.
            pub const fn new(value: $value) -> $name {
                $name(real::$name::new(value))
            }

            /// See the standard library.
            ///
            /// # Safety
            /// As there.
            pub unsafe fn from_ptr<'a>(at: *mut $value) -> &'a $name {
                // SAFETY: the caller's, and the types are of one size.
                unsafe { &*at.cast::<$name>() }
            }

            /// See the standard library.
            pub fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }

            #[track_caller]
            fn access(&self, op: Op, order: Ordering) -> Option<Result<$value, $value>> {
                let at = Location::caller();
                rt::access(self.0.as_ptr().addr(), $width, op, order, at)
                    .map(|done| done.map(|v| v as $value).map_err(|v| v as $value))
            }

            /// See the standard library.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                match self.access(Op::Load, order) {
                    Some(Ok(value) | Err(value)) => value,
                    None => self.0.load(order),
                }
            }

            /// See the standard library.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                if self.access(Op::Store(value as u64), order).is_none() {
                    self.0.store(value, order);
                }
            }

            /// See the standard library.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                match self.access(Op::Swap(value as u64), order) {
                    Some(Ok(value) | Err(value)) => value,
                    None => self.0.swap(value, order),
                }
            }

            /// See the standard library; a failure is as weak as it may be.
            ///
            /// # Errors
            /// The value that was there.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                fail: Ordering,
            ) -> Result<$value, $value> {
                let op = Op::Exchange(old as u64, new as u64, fail);
                match self.access(op, order) {
                    Some(done) => done,
                    None => self.0.compare_exchange(old, new, order, fail),
                }
            }

            atomic!(@fetch $value, fetch_add Add, fetch_sub Sub, fetch_or Or, fetch_and And, fetch_max Max);
        }
    };
    (@fetch $value:ty, $($method:ident $op:ident),*) => {
        $(
            /// See the standard library.
            #[track_caller]
            pub fn $method(&self, value: $value, order: Ordering) -> $value {
                match self.access(Op::$op(value as u64), order) {
                    Some(Ok(value) | Err(value)) => value,
                    None => self.0.$method(value, order),
                }
            }
        )*
    };
}

atomic!(AtomicU32, u32, Width::Half);
atomic!(AtomicU64, u64, Width::Full);
