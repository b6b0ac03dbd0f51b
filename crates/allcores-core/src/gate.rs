//! The gate of a container: the lock that a user holds for several operations together.
//!
//! A container has two locks. Its own is held for one operation, by this crate only, and what
//! a dead holder left is put right by the next. The gate is held by a user's thread for as long
//! as it likes, with Python running meanwhile, and keeps all other threads out of the container.
//!
//! ```text
//! an operation:     take the own lock; is the gate another's? then let go, and wait at the gate
//! waiting there:    take the gate; take the own lock; let go of the gate
//! ```
//!
//! Nobody waits for the gate with the own lock in hand, so the two can't block each other. Who
//! has looked at the gate under the own lock is before the first operation of whoever takes the
//! gate after that, as that needs the own lock.
//!
//! A process that dies with the gate leaves what its operations made, each of them whole. The
//! gate's word says then that its owner died, as a Lock's does.

use crate::atomic::AtomicU32;
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::lock;
use crate::mutex::{LockBlock, Mutex};
use crate::wait::{Deadline, Pulse};

/// Takes a container's own lock if that can be had at once, and nobody else has the gate.
///
/// # Errors
/// When this process cannot take part in the arena.
#[inline]
pub fn try_enter(gate: &LockBlock, own: &AtomicU32) -> Result<bool> {
    if !lock::try_lock(own)? {
        return Ok(false);
    }
    if gate.keeps_out() {
        lock::unlock(own)?;
        return Ok(false);
    }
    Ok(true)
}

/// Takes a container's own lock, waiting for whoever has it or the gate.
///
/// # Errors
/// What `pulse` says, or when this process cannot take part in the arena.
pub fn enter(mutex: &Mutex, gate: &LockBlock, own: &AtomicU32, pulse: Pulse) -> Result<()> {
    lock::lock(own, &Deadline::NEVER, pulse)?;
    if !gate.keeps_out() {
        return Ok(());
    }
    lock::unlock(own)?;
    mutex.acquire(&Deadline::NEVER, pulse)?;
    crash_point!("gate.enter: has the gate");
    let entered = lock::lock(own, &Deadline::NEVER, pulse);
    let open = mutex.release(true).map_err(|_| Error::Corrupt {
        what: "the gate of a container",
    });
    entered?;
    if open.is_err() {
        lock::unlock(own)?;
    }
    open
}
