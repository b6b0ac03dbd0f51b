//! Spinning, then sleeping on a word, never without an end.
//!
//! A wake-up of a sleeping process costs 50 to 100 µs on virtual machines while a
//! hand-over to one that is looking costs under 1 µs, so every wait looks for a short
//! while first. How long adapts: looking that pays is prolonged, looking in vain is
//! cut, and with more processes than cores it soon ends up near nothing.
//!
//! No sleep is for ever. Each lasts at most a slice; then the caller looks again at
//! what it waits for and at whether the owner still lives. So a wake-up that was lost
//! with a killed process costs a slice, not a hang.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::os;

/// The longest single sleep of who waits for what somebody has: the next waiter has the lock
/// of a dead owner within 100 ms, also where nobody was told of the death, and a quarter of
/// that is left to wake up and recover. Each wake-up for nothing costs 15 to 70 µs, so that an
/// idle waiter takes up to a millisecond of a second (`benches/idle.py`).
pub const SLICE: Duration = Duration::from_millis(75);
/// The longest single sleep of who waits for anything else: an item, room, an event, a unit, the
/// others. A death matters here in the moment between the news and the wake-up, or when it is
/// noticed by nobody else. A guess: what is to be back within a second is looked for four times.
const DOZE: Duration = Duration::from_millis(250);

/// Bounds of the spinning, in nanoseconds. The lower one is what an answer from a
/// process that is looking may take; a small part of a wake-up.
const SPIN_MIN: u32 = 3_000;
const SPIN_MAX: u32 = 50_000;
/// Once in so many waits that came to nothing, one looks longer than a wake-up takes.
/// Without it two processes that talk in turns never find back to looking once both
/// sleep: each would have to outlast the other's wake-up.
const PROBE_EVERY: u32 = 64;
const PROBE: u32 = 120_000;

/// How long spinning is worth it in this process, in nanoseconds.
static SPIN: AtomicU32 = AtomicU32::new(20_000);
/// Waits so far in which spinning came to nothing.
static IN_VAIN: AtomicU32 = AtomicU32::new(0);

/// When a wait gives up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Waits as long as it takes.
    pub const NEVER: Deadline = Deadline(None);

    /// Gives up after `timeout`; `None` is never.
    pub fn after(timeout: Option<Duration>) -> Deadline {
        // A time too far away to be expressed is as good as never.
        Deadline(timeout.and_then(|t| Instant::now().checked_add(t)))
    }

    /// Whether the time is over.
    pub fn passed(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }

    /// The next slice, `most` at most, or `None` when the time is over.
    fn slice(&self, most: Duration) -> Option<Duration> {
        match self.0 {
            None => Some(most),
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(most))
            }
        }
    }
}

/// Called between slices, without any lock held; an error ends the wait. The binding
/// lets Python handle signals here.
pub type Pulse<'a> = &'a mut dyn FnMut() -> Result<()>;

/// A pulse for waits inside the core that must not be interrupted.
pub fn no_pulse() -> Result<()> {
    Ok(())
}

/// Looks at `ready` again and again for a short while; true as soon as it is.
pub fn spin(mut ready: impl FnMut() -> bool) -> bool {
    if ready() {
        return true;
    }
    let budget = SPIN.load(Relaxed);
    let probe = IN_VAIN.load(Relaxed) % PROBE_EVERY == PROBE_EVERY - 1;
    let end = if probe { PROBE } else { budget };
    let start = Instant::now();
    loop {
        for _ in 0..16 {
            spin_loop();
            if ready() {
                // Worth it: allow a little more, at least twice what it took.
                let took = start.elapsed().as_nanos() as u32;
                let more = budget + budget / 8;
                SPIN.store(more.max(took * 2).clamp(SPIN_MIN, SPIN_MAX), Relaxed);
                return true;
            }
        }
        if start.elapsed().as_nanos() as u32 > end {
            IN_VAIN.fetch_add(1, Relaxed);
            SPIN.store((budget - budget / 8).max(SPIN_MIN), Relaxed);
            return false;
        }
    }
}

/// One sleep while `word` holds `expected`: until somebody wakes it, the slice or the
/// deadline is over, or a signal comes. False when the deadline has passed.
///
/// # Errors
/// What `pulse` says.
pub fn sleep(word: &AtomicU32, expected: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    sleep_for(SLICE, word, expected, deadline, pulse)
}

/// Like [`sleep`], in longer slices: for what no single process has, as it has a lock.
///
/// # Errors
/// What `pulse` says.
pub fn doze(word: &AtomicU32, expected: u32, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
    sleep_for(DOZE, word, expected, deadline, pulse)
}

fn sleep_for(
    most: Duration,
    word: &AtomicU32,
    expected: u32,
    deadline: &Deadline,
    pulse: Pulse,
) -> Result<bool> {
    let Some(slice) = deadline.slice(most) else {
        return Ok(false);
    };
    crate::supervise::resume();
    let start = Instant::now();
    os::futex_wait(word, expected, slice);
    // A signal cuts a sleep short just like a wake-up does. Asking Python costs its
    // lock, so a wake-up that comes quickly is taken for one; handlers then run when
    // the caller returns or at the end of the next slice.
    if start.elapsed() >= Duration::from_millis(1) {
        pulse()?;
    }
    Ok(true)
}
