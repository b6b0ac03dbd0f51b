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

/// How long looking is worth it in this process, in nanoseconds: bounds, and what was learned.
pub struct Look {
    /// At least: what an answer from a process that is looking may take; a small part of a wake-up.
    min: u32,
    max: u32,
    /// Once in so many waits that came to nothing, one looks longer than a wake-up takes.
    /// Without it two processes that talk in turns never find back to looking once both
    /// sleep: each would have to outlast the other's wake-up.
    probe_every: u32,
    probe: u32,
    /// Lets others that are ready have the core meanwhile.
    yields: bool,
    budget: AtomicU32,
    /// Waits so far in which looking came to nothing.
    in_vain: AtomicU32,
}

impl Look {
    const fn new(max: u32, budget: u32, probe_every: u32, probe: u32, yields: bool) -> Look {
        Look {
            min: 3_000,
            max,
            probe_every,
            probe,
            yields,
            budget: AtomicU32::new(budget),
            in_vain: AtomicU32::new(0),
        }
    }
}

/// For any wait.
pub static SHORT: Look = Look::new(50_000, 20_000, 64, 120_000, false);
/// For the workers of a pool and the process that makes their tasks, which are more than there are
/// cores: who only looks would keep just the one from its core that it waits for. Without it
/// workers took 3.5 µs of CPU for a task of nothing, most of it looking; with it 0.5.
pub static POLITE: Look = Look::new(50_000, 20_000, 64, 120_000, true);
/// For who knows that a core has nothing better to do, and that what it waits for takes another
/// process's wake-up, 50 to 150 µs here: to sleep meanwhile would cost as much again.
pub static LONG: Look = Look::new(300_000, 200_000, 16, 300_000, true);

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
pub fn spin(ready: impl FnMut() -> bool) -> bool {
    SHORT.spin(ready)
}

impl Look {
    /// Looks at `ready` again and again for a while; true as soon as it is.
    pub fn spin(&self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        let budget = self.budget.load(Relaxed);
        let probe = self.in_vain.load(Relaxed) % self.probe_every == self.probe_every - 1;
        let end = if probe { self.probe } else { budget };
        let start = Instant::now();
        loop {
            for _ in 0..16 {
                spin_loop();
                if ready() {
                    // Worth it: allow a little more, at least twice what it took.
                    let took = start.elapsed().as_nanos() as u32;
                    let more = (budget + budget / 8).max(took.saturating_mul(2));
                    self.budget.store(more.clamp(self.min, self.max), Relaxed);
                    return true;
                }
            }
            if start.elapsed().as_nanos() as u32 > end {
                self.in_vain.fetch_add(1, Relaxed);
                self.budget
                    .store((budget - budget / 8).max(self.min), Relaxed);
                return false;
            }
            if self.yields {
                std::thread::yield_now(); // perhaps for long: then one more look is due
            }
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
