//! The core's protocols, explored.
//!
//! Lock, ring, reference counts and semaphore are compiled here from the core's own files,
//! with other atomics below them and stand-ins for what touches the system: README.md
//! says which, and what the models prove.

// The core's files have more than the models call.
#![allow(dead_code)]

pub mod atomic;
pub mod explore;
pub mod local;
pub mod rt;

/// For the core's files: a variable of a thread is one of a process, which has one thread.
macro_rules! thread_local {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const $init:block;)*) => {
        $(
            $(#[$doc])*
            static $name: $crate::local::Local<$type> = $crate::local::Local::new(|| $init);
        )*
    };
}

/// Where the core's tests kill: the models do it everywhere.
pub mod crash {
    macro_rules! crash_point {
        ($($what:tt)*) => {
            ()
        };
    }
    pub(crate) use crash_point;
}

// The core itself.
#[path = "../../allcores-core/src/error.rs"]
pub mod error;
#[path = "../../allcores-core/src/lock.rs"]
pub mod lock;
#[path = "../../allcores-core/src/object.rs"]
pub mod object;
#[path = "../../allcores-core/src/refs.rs"]
pub mod refs;
#[path = "../../allcores-core/src/ring/mod.rs"]
pub mod ring;
#[path = "../../allcores-core/src/semaphore.rs"]
pub mod semaphore;

// Stand-ins.
pub mod alloc;
pub mod arena;
pub mod handle;
pub mod os;
pub mod slot;
pub mod spin;
pub mod wait;

pub use error::{Error, Result};

/// Modules of the core that the models leave out: no block of theirs is ever made.
macro_rules! absent {
    ($($name:ident)*) => {
        $(
            /// Left out of the models.
            pub mod $name {
                use crate::arena::Offset;
                use crate::error::Result;
                use crate::slot::Owner;

                /// Never called.
                ///
                /// # Errors
                /// None.
                pub fn tear_down(_: Offset) -> Result<()> {
                    Ok(())
                }

                /// Never called.
                ///
                /// # Errors
                /// None.
                pub fn bereave(_: Offset, _: Owner) -> Result<()> {
                    Ok(())
                }
            }
        )*
    };
}
absent!(barrier condition dict item list mutex);

/// More entries than fit into an object itself: never, here.
pub mod pieces {
    use crate::arena::Offset;
    use crate::atomic::AtomicU64;
    use crate::error::Result;

    /// As many as the core's.
    pub const WORDS: usize = 1 << 16;

    /// Stands for the core's links to more entries.
    #[derive(Debug)]
    pub struct Pieces([u64; 4]);

    impl Pieces {
        /// None.
        ///
        /// # Errors
        /// Never.
        pub fn word(&self, _: usize) -> Result<Option<&'static AtomicU64>> {
            Ok(None)
        }

        /// None.
        ///
        /// # Errors
        /// Never.
        pub fn grow(&self, _: usize) -> Result<bool> {
            Ok(false)
        }

        /// Nothing.
        ///
        /// # Errors
        /// Never.
        pub fn tear_down(&self) -> Result<()> {
            Ok(())
        }
    }

    /// Never.
    ///
    /// # Errors
    /// Never.
    pub fn is_reachable(_: Offset) -> Result<bool> {
        Ok(false)
    }
}
