//! Locks and the like.

use std::time::Duration;

use allcores_core::barrier::{Barrier, Waited};
use allcores_core::condition::Condition;
use allcores_core::event::Event;
use allcores_core::mutex::Mutex;
use allcores_core::semaphore::{MAX, Semaphore};
use allcores_core::slot;
use allcores_core::wait::{Deadline, no_pulse};

use crate::case::{Case, Check, Operation, ensure, patience};
use crate::trace::End;

pub const OPERATIONS: &[Operation] = &[
    operation("Lock", "acquire and release", || lock(false)),
    operation("Lock", "release for a holder that has ended", for_the_dead),
    operation("RLock", "acquire and release twice", || lock(true)),
    operation("Semaphore", "with", semaphore_with),
    operation(
        "Semaphore",
        "with, more than 56 holders",
        semaphore_with_many,
    ),
    operation("Semaphore", "acquire and release", semaphore_plain),
    operation("Event", "set and clear", event),
    operation("Condition", "notify, nobody waits", condition_notify),
    operation("Condition", "wait until late", condition_wait),
    operation("Barrier", "arrive first", barrier_first),
    operation("Barrier", "arrive last, with an action", barrier_last),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

pub fn say<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}

/// A late deadline that is over soon.
pub fn soon() -> Deadline {
    Deadline::after(Some(Duration::from_millis(1)))
}

/// The survivor takes the lock, and hears of a holder's death.
pub fn takes(lock: &Mutex) -> Check {
    let recursive = lock.is_recursive();
    ensure(say(lock.acquire(&patience(), &mut no_pulse))?, || {
        "the lock is not to be had".into()
    })?;
    if lock.owner_died() {
        ensure(lock.mark_consistent(), || "not marked".into())?;
    }
    ensure(lock.depth() == 1, || format!("depth {}", lock.depth()))?;
    say(lock.release(recursive))?;
    ensure(!lock.is_locked() && !lock.owner_died(), || {
        "the lock is not free after its release".into()
    })
}

fn use_lock(lock: &Mutex) {
    lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
    lock.mark_consistent();
    lock.release(lock.is_recursive()).unwrap();
}

fn lock(recursive: bool) -> Case {
    let lock = Mutex::new(recursive).unwrap();
    let (its, again) = (lock.clone(), lock.clone());
    let run = move || {
        for _ in 0..1 + usize::from(recursive) {
            its.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        }
        for _ in 0..1 + usize::from(recursive) {
            its.release(recursive).unwrap();
        }
    };
    let check = move |end| {
        if end == Some(End::Over) {
            ensure(!lock.owner_died(), || "a free lock's owner died".into())?;
        }
        takes(&lock)
    };
    let again = move || use_lock(&again);
    Case::new(run, check).early().again(again)
}

/// The victim's own child takes the lock and ends; the victim releases it, which works once.
fn for_the_dead() -> Case {
    let lock = Mutex::new(false).unwrap();
    let (its, taken) = (lock.clone(), lock.clone());
    let before = move || {
        // SAFETY: the child takes the lock and ends at once.
        unsafe {
            match libc::fork() {
                0 => {
                    let _ = taken.acquire(&Deadline::NEVER, &mut no_pulse);
                    libc::_exit(0);
                }
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            }
        };
        slot::recover_all().unwrap();
    };
    let run = move || {
        its.release(false).unwrap();
        assert!(its.release(false).is_err());
    };
    Case::new(run, move |_| takes(&lock)).before(before)
}

pub fn shared<T>(thing: T) -> (std::rc::Rc<T>, std::rc::Rc<T>) {
    let thing = std::rc::Rc::new(thing);
    (thing.clone(), thing)
}

fn semaphore_with() -> Case {
    // Not bounded, or a unit that comes back twice would be refused.
    let (semaphore, its) = shared(Semaphore::new(3, MAX).unwrap());
    let run = move || {
        its.enter(&mut no_pulse).unwrap();
        assert!(its.try_enter().unwrap());
        its.leave().unwrap();
        its.leave().unwrap();
    };
    let check = move |_| {
        let value = semaphore.value();
        ensure(value == 3, || format!("value {value} instead of 3"))?;
        for _ in 0..3 {
            ensure(say(semaphore.try_enter())?, || "no unit".into())?;
        }
        ensure(!say(semaphore.try_enter())?, || "too many units".into())?;
        for _ in 0..3 {
            say(semaphore.leave())?;
        }
        Ok(())
    };
    Case::new(run, check)
}

/// The entries in the block run out, so a piece is made.
fn semaphore_with_many() -> Case {
    let run = || {
        let semaphore = Semaphore::new(100, 100).unwrap();
        for _ in 0..58 {
            semaphore.enter(&mut no_pulse).unwrap();
        }
        for _ in 0..58 {
            semaphore.leave().unwrap();
        }
    };
    Case::new(run, |_| Ok(()))
}

/// A unit without `with` may stay with a dead process, but never becomes two.
fn semaphore_plain() -> Case {
    let (semaphore, its) = shared(Semaphore::new(2, 2).unwrap());
    let run = move || {
        its.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        its.release().unwrap();
    };
    let check = move |end| {
        let value = semaphore.value();
        let over = end != Some(End::Killed);
        ensure(value == 2 || (value == 1 && !over), || {
            format!("value {value}")
        })?;
        if value == 1 {
            say(semaphore.release())?;
        }
        ensure(semaphore.release().is_err(), || "above its maximum".into())
    };
    Case::new(run, check).early()
}

fn event() -> Case {
    let event = Event::new().unwrap();
    let its = event.clone();
    let run = move || {
        its.set();
        its.clear();
    };
    let check = move |end| {
        ensure(end == Some(End::Killed) || !event.is_set(), || {
            "is set".into()
        })?;
        event.set();
        ensure(say(event.wait(&patience(), &mut no_pulse))?, || {
            "not set after set".into()
        })?;
        event.clear();
        ensure(!say(event.wait(&soon(), &mut no_pulse))?, || {
            "set after clear".into()
        })
    };
    Case::new(run, check).early()
}

fn condition_notify() -> Case {
    let lock = Mutex::new(true).unwrap();
    let (condition, its) = shared(Condition::new().unwrap());
    let held = lock.clone();
    let run = move || {
        held.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        its.notify(1).unwrap();
        held.release(true).unwrap();
    };
    Case::new(run, move |_| {
        takes(&lock)?;
        ensure(condition.waiters() == 0, || "somebody waits".into())
    })
}

fn condition_wait() -> Case {
    let lock = Mutex::new(true).unwrap();
    let (condition, its) = shared(Condition::new().unwrap());
    let (held, again) = (lock.clone(), (lock.clone(), its.clone()));
    let run = move || {
        held.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        its.wait(&held, &soon(), &mut no_pulse).unwrap();
        held.release(true).unwrap();
    };
    let check = move |_| {
        takes(&lock)?;
        ensure(condition.waiters() == 0, || "a dead process waits".into())?;
        say(lock.acquire(&patience(), &mut no_pulse))?;
        let woken = say(condition.notify(1))?;
        say(lock.release(true))?;
        ensure(woken == 0, || "a dead process was woken".into())
    };
    // Wakes whoever looks as if it still waited.
    Case::new(run, check).again(move || {
        let (lock, condition) = &again;
        lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        condition.notify(1).unwrap();
        lock.release(true).unwrap();
    })
}

fn barrier_first() -> Case {
    let (barrier, its) = shared(Barrier::new(2).unwrap());
    let again = barrier.clone();
    let run = move || {
        its.wait(false, &soon(), &mut no_pulse).unwrap();
    };
    let check = move |_| {
        ensure(barrier.is_broken() || barrier.waiting() == 0, || {
            "waits for a dead party".into()
        })?;
        say(barrier.reset())?;
        ensure(!barrier.is_broken() && barrier.waiting() == 0, || {
            "not like new after reset".into()
        })
    };
    Case::new(run, check).again(move || again.reset().unwrap())
}

fn barrier_last() -> Case {
    let (barrier, its) = shared(Barrier::new(1).unwrap());
    let run = move || {
        for action in [false, true] {
            if let Waited::Act { phase, .. } =
                its.wait(action, &Deadline::NEVER, &mut no_pulse).unwrap()
            {
                its.action_done(phase);
            }
        }
    };
    let check = move |_| {
        // It may be broken: a party that came lately is counted on.
        say(barrier.reset())?;
        let waited = say(barrier.wait(false, &patience(), &mut no_pulse))?;
        ensure(waited == Waited::Passed(0), || format!("{waited:?}"))
    };
    Case::new(run, check)
}
