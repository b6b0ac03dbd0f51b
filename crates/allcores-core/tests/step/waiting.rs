//! Operations that wait: the victim is killed on its way to sleep, asleep, and after it
//! was woken; what it was woken for has to reach the next one. And births: the victim is a
//! child from its first instruction on.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use allcores_core::barrier::{Barrier, Waited};
use allcores_core::condition::Condition;
use allcores_core::event::Event;
use allcores_core::mutex::Mutex;
use allcores_core::ring::Ring;
use allcores_core::semaphore::Semaphore;
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{arena, slot};

use crate::asleep::drained;
use crate::case::{Case, Operation, ensure, patience};
use crate::memory::{count, raw};
use crate::sleeper::Sleeper;
use crate::sync::{say, takes};
use crate::trace::End;

pub const OPERATIONS: &[Operation] = &[
    operation("Lock", "wait for it, one behind", lock),
    operation("Semaphore", "wait for it, one behind", semaphore),
    operation("Event", "wait until set", event),
    operation("Condition", "wait until notified, one behind", condition),
    operation("Barrier", "wait until full", barrier),
    operation("ring", "wait for an item, one behind", get),
    operation("ring", "wait for room", put),
    operation("slot", "be born, and end", || birth(false)),
    operation("slot", "be born inside a lock, and fork", || birth(true)),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

const GOT: u64 = 1;

fn lock() -> Case {
    let lock = Mutex::new(false).unwrap();
    let visit = |lock: &Mutex| {
        lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        if lock.owner_died() {
            lock.mark_consistent();
        }
        lock.release(false).unwrap();
    };
    let (its, wanted, held) = (lock.clone(), lock.clone(), lock.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        visit(&wanted);
        GOT
    }));
    let sent = sleeper.clone();
    let wake = move || {
        sent.send();
        held.release(false).unwrap();
    };
    let check = move |_| {
        if lock.is_mine() {
            say(lock.release(false))?;
        }
        if sleeper.was_sent() {
            sleeper.comes_back_with(GOT)?;
        }
        takes(&lock)?;
        say(lock.acquire(&patience(), &mut no_pulse)).map(drop)
    };
    Case::new(move || visit(&its), check)
        .wake(wake)
        .helpers(1)
        .early()
}

fn semaphore() -> Case {
    let semaphore = Rc::new(Semaphore::new(1, 1).unwrap());
    let visit = |semaphore: &Semaphore| {
        semaphore.enter(&mut no_pulse).unwrap();
        semaphore.leave().unwrap();
    };
    let (its, wanted, held) = (semaphore.clone(), semaphore.clone(), semaphore.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        visit(&wanted);
        GOT
    }));
    let sent = sleeper.clone();
    let ours = Rc::new(std::cell::Cell::new(false));
    let mine = ours.clone();
    let wake = move || {
        sent.send();
        held.leave().unwrap();
        mine.set(false);
    };
    let check = move |_| {
        if ours.get() {
            say(semaphore.leave())?;
        }
        if sleeper.was_sent() {
            sleeper.comes_back_with(GOT)?;
        }
        let value = semaphore.value();
        ensure(value == 1, || format!("value {value} instead of 1"))?;
        ours.set(say(semaphore.try_enter())?);
        ensure(ours.get(), || "no unit".into())
    };
    Case::new(move || visit(&its), check).wake(wake).helpers(1)
}

fn event() -> Case {
    let event = Event::new().unwrap();
    let (its, waking) = (event.clone(), event.clone());
    let run = move || assert!(its.wait(&Deadline::NEVER, &mut no_pulse).unwrap());
    let check = move |_| {
        event.set();
        ensure(say(event.wait(&patience(), &mut no_pulse))?, || {
            "not set after set".into()
        })?;
        event.clear();
        ensure(!event.is_set(), || "set after clear".into())
    };
    Case::new(run, check).wake(move || waking.set()).early()
}

fn condition() -> Case {
    let lock = Mutex::new(true).unwrap();
    let condition = Rc::new(Condition::new().unwrap());
    let visit = |lock: &Mutex, condition: &Condition, back: &AtomicU64| {
        lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        let woken = condition.wait(lock, &Deadline::NEVER, &mut no_pulse);
        back.store(1, SeqCst);
        if lock.owner_died() {
            lock.mark_consistent();
        }
        lock.release(true).unwrap();
        u64::from(woken.unwrap())
    };
    let notify = |lock: &Mutex, condition: &Condition, n| {
        assert!(lock.acquire(&patience(), &mut no_pulse).unwrap());
        let woken = condition.notify(n).unwrap();
        if lock.owner_died() {
            lock.mark_consistent();
        }
        lock.release(true).unwrap();
        woken
    };
    let [its, wanted, waking] = [0; 3].map(|_| (lock.clone(), condition.clone()));
    let sleeper = Rc::new(Sleeper::new(move || {
        visit(&wanted.0, &wanted.1, &AtomicU64::new(0))
    }));
    let sent = sleeper.clone();
    let wake = move || {
        sent.send();
        while waking.1.waiters() < 2 {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        notify(&waking.0, &waking.1, 1);
    };
    // Set by the victim when it is back.
    let note = raw();
    let back: &AtomicU64 = arena::arena().unwrap().at(note.offset()).unwrap();
    let check = move |end| {
        let _kept = &note;
        let was_back = back.swap(0, SeqCst) != 0;
        if sleeper.was_sent() {
            // The victim waited longest, so the notification was its own.
            let wait = condition.waiters();
            ensure(end != Some(End::Over) || wait == 1, || {
                format!("{wait} wait on")
            })?;
            if !was_back && !lock.owner_died() {
                // It hadn't the lock again, so it was not notified in the end.
                sleeper.comes_back_with(GOT)?;
            }
            notify(&lock, &condition, usize::MAX);
            sleeper.comes_back_with(GOT)?;
        }
        takes(&lock)?;
        ensure(condition.waiters() == 0, || "a dead process waits".into())?;
        let woken = notify(&lock, &condition, 1);
        ensure(woken == 0, || "a dead process was woken".into())
    };
    let run = move || {
        visit(&its.0, &its.1, back);
    };
    Case::new(run, check).wake(wake).helpers(1)
}

fn barrier() -> Case {
    let barrier = Rc::new(Barrier::new(2).unwrap());
    let (its, waking) = (barrier.clone(), barrier.clone());
    let run = move || {
        let waited = its.wait(false, &Deadline::NEVER, &mut no_pulse).unwrap();
        assert_eq!(waited, Waited::Passed(0));
    };
    let wake = move || {
        let waited = waking.wait(false, &patience(), &mut no_pulse).unwrap();
        assert_eq!(waited, Waited::Passed(1));
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
    Case::new(run, check).wake(wake)
}

fn get() -> Case {
    let ring = Rc::new(Ring::new(8, false).unwrap());
    let take = |ring: &Ring| {
        let got = ring.get(None, &Deadline::NEVER, &mut no_pulse).unwrap();
        got.unwrap().tag
    };
    let (its, wanted, waking) = (ring.clone(), ring.clone(), ring.clone());
    let sleeper = Rc::new(Sleeper::new(move || take(&wanted)));
    let sent = sleeper.clone();
    let wake = move || {
        sent.send();
        assert!(waking.try_put(7, 5, &[]).unwrap());
    };
    let check = move |end| {
        let mut left = 0;
        if sleeper.was_sent() {
            left = 5;
            // First the ring: an item that is there the sleeper gets without help.
            if say(ring.nothing_waits())? && !sleeper.settled() {
                ensure(say(ring.try_put(7, 6, &[]))?, || "no room".into())?;
                left = 6;
            }
            sleeper.comes_back_with(left)?;
            ensure(end != Some(End::Over) || left == 6, || {
                "an item came twice".into()
            })?;
        }
        let rest = drained(&ring)?;
        ensure(rest.is_empty(), || format!("{rest:?} is left of {left}"))?;
        while ring.task_done() {}
        Ok(())
    };
    let run = move || {
        take(&its);
    };
    Case::new(run, check).wake(wake).helpers(1)
}

fn put() -> Case {
    let ring = Rc::new(Ring::new(2, false).unwrap());
    let (its, waking) = (ring.clone(), ring.clone());
    let run = move || {
        let put = |ring: &Ring| ring.try_put(7, 3, &[]);
        assert!(its.when_room(&Deadline::NEVER, &mut no_pulse, put).unwrap());
    };
    let taken = Rc::new(std::cell::Cell::new(0));
    let took = taken.clone();
    let wake = move || took.set(waking.try_get(None).unwrap().unwrap().tag);
    let check = move |end: Option<End>| {
        let found = drained(&ring)?;
        let woken = taken.replace(0) == 1;
        let fine = match end {
            None => found.is_empty(),
            Some(End::Killed) if !woken => found == [1, 2],
            Some(End::Killed) => found == [2] || found == [2, 3],
            _ => found == [2, 3],
        };
        ensure(fine, || format!("{end:?}, and {found:?} were left"))?;
        while ring.task_done() {}
        for tag in [1, 2] {
            ensure(say(ring.try_put(7, tag, &[]))?, || "no room".into())?;
        }
        Ok(())
    };
    Case::new(run, check).wake(wake)
}

/// A child is killed between fork and its end. Its parent sees to what it had; it may hold
/// a lock, which the child does not, and the child may fork as well.
fn birth(nested: bool) -> Case {
    // SAFETY: this process waits for orphans below.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let handle = raw();
    let lock = Mutex::new(false).unwrap();
    let held = lock.clone();
    let run = move || {
        if nested {
            held.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        }
        // SAFETY: each child ends without returning from here.
        unsafe {
            match libc::fork() {
                0 => {
                    if nested {
                        match libc::fork() {
                            0 => libc::_exit(0),
                            child => libc::waitpid(child, std::ptr::null_mut(), 0),
                        };
                    }
                    drop(raw());
                    slot::leave().unwrap();
                    libc::_exit(0);
                }
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            }
        };
        slot::recover_all().unwrap();
        if nested {
            assert!(held.is_mine(), "the lock went with a child");
            held.release(false).unwrap();
        }
    };
    let check = move |_| {
        // SAFETY: collects orphans; there is no other child.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
        say(slot::recover_all())?;
        let found = count(handle.offset());
        ensure(found == 1, || format!("count {found} instead of 1"))?;
        takes(&lock)
    };
    Case::new(run, check).birth()
}
