//! Waiting without a clock: a look takes no time, a sleep ends with a wake-up, or, as a
//! slice would, once after each death.

use crate::atomic::AtomicU32;
use crate::error::Result;
use crate::rt;

/// When a wait gives up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(bool);

impl Deadline {
    /// Waits as long as it takes.
    pub const NEVER: Deadline = Deadline(false);
    /// Is over already.
    pub const NOW: Deadline = Deadline(true);

    /// Whether the time is over.
    pub fn passed(&self) -> bool {
        self.0
    }
}

/// See the core.
pub type Pulse<'a> = &'a mut dyn FnMut() -> Result<()>;

/// See the core.
///
/// # Errors
/// Never.
pub fn no_pulse() -> Result<()> {
    Ok(())
}

/// How long one looks; here as short as can be.
pub struct Look;

/// For any wait.
pub static SHORT: Look = Look;

impl Look {
    /// One look. Who looks again and again lets the others get on in between.
    pub fn spin(&self, ready: impl FnMut() -> bool) -> bool {
        spin(ready)
    }
}

/// For any wait.
pub fn spin(mut ready: impl FnMut() -> bool) -> bool {
    let ready = ready();
    if ready {
        rt::looked();
    }
    ready
}

/// One sleep while `word` holds `expected`; false when the deadline has passed.
///
/// # Errors
/// What `pulse` says.
pub fn sleep(word: &AtomicU32, expected: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    if deadline.passed() {
        return Ok(false);
    }
    rt::sleep(word.as_ptr().addr(), expected);
    pulse()?;
    Ok(true)
}

/// See the core.
///
/// # Errors
/// What `pulse` says.
pub fn doze(word: &AtomicU32, expected: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    sleep(word, expected, deadline, pulse)
}
