//! The shared memory of allcores, without Python in it.
//!
//! From the bottom up; a module uses only what stands above it in this list:
//!
//! - [`os`]: system calls
//! - [`crash`]: places where a test can kill a process
//! - [`spin`]: a lock among the threads of a process, for data that is not shared
//! - [`arena`]: one anonymous shared memory for a program and all its processes
//! - [`slot`]: who takes part, and who is dead
//! - [`wait`]: spinning, then sleeping on a word, never without an end
//! - [`lock`]: a mutex whose dead owner is noticed
//! - [`alloc`]: blocks, each with a word outside of it that says whose it is
//! - [`refs`], [`handle`]: who still holds a block
//! - [`frozen`]: blocks that nobody changes any more, and private views of them
//! - [`item`]: what a container holds
//! - `gate`: a container's lock for several operations of its users
//! - [`pieces`]: more words for an object that has an entry for each of its users
//! - the objects: [`mutex`] (Lock, RLock), [`semaphore`], [`event`], [`condition`], [`barrier`], [`ring`], [`list`], [`dict`]
//! - [`supervise`]: learns at once of a child's death
//! - [`object`]: the kinds of blocks, and what each needs when it goes or its user dies
//!
//! Rules that hold everywhere: shared memory holds offsets and atomics, never
//! pointers. A process may die at any instruction; what it leaves behind is
//! either complete or recognisably unfinished. What is read back is checked,
//! and every loop over it is bounded.

pub mod alloc;
pub mod arena;
pub mod atomic;
pub mod barrier;
pub mod condition;
pub mod crash;
pub mod dict;
pub mod error;
pub mod event;
pub mod frozen;
mod gate;
pub mod handle;
pub mod item;
pub mod list;
pub mod lock;
pub mod mutex;
pub mod object;
pub mod os;
pub mod pieces;
pub mod refs;
pub mod ring;
pub mod semaphore;
pub mod slot;
pub mod spin;
pub mod supervise;
pub mod wait;

pub use error::{Error, Result};
