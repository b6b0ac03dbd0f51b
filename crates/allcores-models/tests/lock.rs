//! The lock: one at a time inside, what it wrote is seen by the next, nobody sleeps on.

use std::cell::Cell;
use std::rc::Rc;

use allcores_models::arena::{OWN, arena};
use allcores_models::atomic::{AtomicU32, AtomicU64, Ordering::*};
use allcores_models::error::Error;
use allcores_models::explore::{Fault, Plan, Site};
use allcores_models::lock::{self, DIED};
use allcores_models::slot::{self, OWNER_MASK};
use allcores_models::wait::{Deadline, no_pulse};
use allcores_models::{rt, wait};

fn word() -> &'static AtomicU32 {
    arena().unwrap().at(OWN).unwrap()
}

fn data() -> &'static AtomicU64 {
    arena().unwrap().at(OWN + 64).unwrap()
}

/// Who is inside, and what has been done there, known without any access.
#[derive(Clone, Default)]
struct Inside {
    who: Rc<Cell<usize>>,
    done: Rc<Cell<u64>>,
}

impl Inside {
    /// What the holder of the lock does.
    fn enter(&self) {
        let me = rt::process();
        match self.who.replace(me) {
            0 => {}
            other => {
                assert!(rt::has_died(other), "{me} is inside with {other}");
                let seen = word().load(Relaxed);
                assert!(
                    seen & DIED != 0,
                    "{other} died inside, and {me} is not told"
                );
            }
        }
        // No ordering of its own: the lock has to give it.
        let seen = data().load(Relaxed);
        assert_eq!(seen, self.done.get(), "not what the last holder wrote");
        data().store(seen + 1, Relaxed);
        self.done.set(seen + 1);
    }

    fn leave(&self) {
        self.who.set(0);
        lock::unlock(word()).unwrap();
    }
}

/// `n` processes take the lock once each; those in `hasty` give up after a sleep.
fn contend(n: usize, hasty: usize) -> impl Fn() + Send + Sync {
    move || {
        let inside = Inside::default();
        for process in 1..=n {
            let inside = inside.clone();
            rt::spawn(process, move || {
                let mut give_up = || Err(Error::Interrupted);
                let mut go_on = no_pulse;
                let pulse: wait::Pulse = match process <= hasty {
                    true => &mut give_up,
                    false => &mut go_on,
                };
                if lock::lock(word(), &Deadline::NEVER, pulse).is_ok() {
                    inside.enter();
                    inside.leave();
                }
            });
        }
        rt::join();
        let owner = word().load(Relaxed) & OWNER_MASK;
        assert!(owner == 0 || !slot::is_alive(owner), "nobody has it");
        // Whoever comes next gets it.
        lock::lock(word(), &Deadline::NEVER, &mut no_pulse).unwrap();
        inside.enter();
    }
}

/// Like [`contend`] with 2, while a third recovers process 1 if it dies.
fn contend_and_recover() {
    let inside = Inside::default();
    for process in [1, 2] {
        let inside = inside.clone();
        rt::spawn(process, move || {
            lock::lock(word(), &Deadline::NEVER, &mut no_pulse).unwrap();
            inside.enter();
            inside.leave();
        });
    }
    rt::spawn(3, || {
        if rt::watch(1) {
            lock::bereave(word(), slot::of(1));
        }
    });
    rt::join();
    lock::lock(word(), &Deadline::NEVER, &mut no_pulse).unwrap();
    inside.enter();
}

#[test]
fn one_at_a_time() {
    Plan::loom(3, 5).check("lock, 2", contend(2, 0));
    Plan::loom(2, 3).check("lock, 3", contend(3, 0));
    Plan::walks(5_000).check("lock, 4", contend(4, 0));
}

#[test]
fn who_gives_up_passes_the_wakeup_on() {
    Plan::loom(2, 3).check("lock, 1 of 3 gives up", contend(3, 1));
    Plan::walks(5_000).check("lock, 2 of 4 give up", contend(4, 2));
}

#[test]
fn the_dead_let_go() {
    Plan::loom(1, 3)
        .killing(&[1])
        .check("lock, 1 of 3 dies", contend(3, 0));
    Plan::loom(2, 3)
        .killing(&[1, 2])
        .check("lock, 2 of 2 die", contend(2, 0));
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("lock, 2 of 4 die", contend(4, 1));
}

#[test]
fn the_dead_are_recovered() {
    Plan::loom(2, 3)
        .killing(&[1])
        .check("lock, recovered", contend_and_recover);
    Plan::loom(1, 2)
        .killing(&[1, 3])
        .every(2)
        .check("lock, recovery cut short", contend_and_recover);
}

#[test]
fn broken_locks_fail() {
    let fast = Site::new(
        "lock.rs",
        "word.compare_exchange(0, me, Acquire, Relaxed).is_ok()",
    );
    let release = Site::new("lock.rs", "compare_exchange(seen, seen & DIED, Release");
    let pass_on = Site::new("lock.rs", "word.fetch_or(WAITERS, Relaxed)");
    let steal = Site::new("lock.rs", "compare_exchange(seen, next, Acquire, Relaxed)");
    let cases = [
        ("taken without acquire", Fault::Relax(fast), "wrote"),
        ("let go without release", Fault::Relax(release), "wrote"),
        (
            "a taker that doesn't write itself down",
            Fault::Skip(fast),
            "release of a lock that nobody holds",
        ),
        ("nobody woken", Fault::NoWake, "deadlock"),
    ];
    for (name, fault, how) in cases {
        Plan::loom(2, 2)
            .broken(fault)
            .fails(name, how, contend(2, 0));
    }
    Plan::loom(2, 2)
        .broken(Fault::Skip(pass_on.below(3)))
        .fails(
            "a swallowed wake-up stays swallowed",
            "deadlock",
            contend(3, 1),
        );
    Plan::loom(2, 2).killing(&[1]).broken(Fault::Undead).fails(
        "the dead keep it",
        "",
        contend(2, 0),
    );
    Plan::loom(2, 2)
        .killing(&[1])
        .broken(Fault::Relax(steal))
        .fails(
            "taken from the dead without acquire",
            "wrote",
            contend(2, 0),
        );
}
