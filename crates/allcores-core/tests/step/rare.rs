//! Waits that come to nothing, and what is rarely gone through.

use allcores_core::barrier::{Barrier, Waited};
use allcores_core::condition::Condition;
use allcores_core::event::Event;
use allcores_core::mutex::Mutex;
use allcores_core::ring::Ring;
use allcores_core::semaphore::Semaphore;
use allcores_core::slot;
use allcores_core::wait::{Deadline, no_pulse};

use crate::case::{Case, Operation, ensure, patience};
use crate::sync::{say, shared, soon, takes};
use crate::trace::End;

pub const OPERATIONS: &[Operation] = &[
    operation("Lock", "wait until late, release", lock_late),
    operation("Semaphore", "wait until late, release", semaphore_late),
    operation("Event", "wait until late, set", event_late),
    operation("ring", "get until late", get_late),
    operation("ring", "put until late", put_late),
    operation("ring", "join until late, done", join_late),
    operation("Barrier", "leave", barrier_leave),
    operation("all", "make and drop", make_and_drop),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

/// The survivor has the lock; the victim waits in vain, then lets go in its place.
fn lock_late() -> Case {
    let lock = Mutex::new(false).unwrap();
    lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
    let its = lock.clone();
    let run = move || {
        assert!(!its.acquire(&soon(), &mut no_pulse).unwrap());
        its.release(false).unwrap();
    };
    let check = move |end: Option<End>| {
        let held = lock.is_our_process();
        ensure(held || end.is_some(), || "not ours".into())?;
        ensure(!held || end != Some(End::Over), || "not released".into())?;
        if held {
            say(lock.release(false))?;
        }
        takes(&lock)?;
        ensure(say(lock.acquire(&patience(), &mut no_pulse))?, || {
            "not to be had".into()
        })
    };
    Case::new(run, check).early()
}

fn semaphore_late() -> Case {
    let (semaphore, its) = shared(Semaphore::new(0, 1).unwrap());
    let run = move || {
        assert!(!its.acquire(&soon(), &mut no_pulse).unwrap());
        its.release().unwrap();
    };
    let check = move |end: Option<End>| {
        let value = semaphore.value();
        let fine = value == 1 || (value == 0 && end != Some(End::Over));
        ensure(fine, || format!("value {value}"))?;
        if value == 0 {
            say(semaphore.release())?;
        }
        ensure(semaphore.release().is_err(), || "above its maximum".into())?;
        ensure(say(semaphore.acquire(&patience(), &mut no_pulse))?, || {
            "no unit".into()
        })
    };
    Case::new(run, check).early()
}

fn event_late() -> Case {
    let event = Event::new().unwrap();
    let its = event.clone();
    let run = move || {
        assert!(!its.wait(&soon(), &mut no_pulse).unwrap());
        its.set();
    };
    let check = move |end: Option<End>| {
        ensure(event.is_set() || end != Some(End::Over), || {
            "not set".into()
        })?;
        event.set();
        ensure(say(event.wait(&patience(), &mut no_pulse))?, || {
            "not set after set".into()
        })?;
        event.clear();
        Ok(())
    };
    Case::new(run, check).early()
}

fn get_late() -> Case {
    let (ring, its) = shared(Ring::new(4, false).unwrap());
    let run = move || {
        assert!(its.get(None, &soon(), &mut no_pulse).unwrap().is_none());
    };
    let check = move |_| {
        // Whoever is announced and dead is woken in vain.
        ensure(say(ring.try_put(1, 1, b"1"))?, || "no room".into())?;
        let got = say(ring.get(None, &patience(), &mut no_pulse))?;
        ensure(got.is_some_and(|got| got.bytes() == b"1"), || {
            "not what was put".into()
        })?;
        ensure(ring.task_done() && !ring.task_done(), || "tasks".into())
    };
    Case::new(run, check).early()
}

fn put_late() -> Case {
    const ROOM: u64 = 16;
    let (ring, its) = shared(Ring::new(ROOM, false).unwrap());
    let run = move || {
        let put = its.when_room(&soon(), &mut no_pulse, |ring| {
            ring.try_put(1, ROOM, b"late")
        });
        assert!(!put.unwrap());
    };
    let check = move |end: Option<End>| {
        if end.is_some() {
            for n in 0..ROOM {
                let got = say(ring.get(None, &patience(), &mut no_pulse))?;
                ensure(got.is_some_and(|got| got.tag == n), || {
                    format!("not item {n}")
                })?;
                ensure(ring.task_done(), || "task_done too early".into())?;
            }
            ensure(say(ring.nothing_waits())? && !ring.task_done(), || {
                "an item too many".into()
            })?;
        }
        for n in 0..ROOM {
            ensure(say(ring.try_put(1, n, b"early"))?, || "no room".into())?;
        }
        Ok(())
    };
    Case::new(run, check).early()
}

fn join_late() -> Case {
    let (ring, its) = shared(Ring::new(4, false).unwrap());
    let run = move || {
        assert!(!its.join(&soon(), &mut no_pulse).unwrap());
        assert!(its.task_done());
        assert!(its.join(&Deadline::NEVER, &mut no_pulse).unwrap());
    };
    let check = move |end: Option<End>| {
        if end.is_some() {
            let done = !ring.task_done();
            ensure(done || end == Some(End::Killed), || "not done".into())?;
            ensure(say(ring.join(&patience(), &mut no_pulse))?, || {
                "not joined".into()
            })?;
        }
        ensure(say(ring.try_put(1, 1, b"1"))?, || "no room".into())?;
        ensure(say(ring.try_get(None))?.is_some(), || "no item".into())
    };
    Case::new(run, check).early()
}

/// A process that leaves doesn't break a barrier that it has passed.
fn barrier_leave() -> Case {
    let (barrier, its) = shared(Barrier::new(1).unwrap());
    let run = move || {
        let waited = its.wait(false, &Deadline::NEVER, &mut no_pulse).unwrap();
        assert_eq!(waited, Waited::Passed(0));
        slot::leave().unwrap();
    };
    let check = move |end: Option<End>| {
        ensure(end != Some(End::Over) || !barrier.is_broken(), || {
            "broken by one who left".into()
        })?;
        say(barrier.reset())?;
        let waited = say(barrier.wait(false, &patience(), &mut no_pulse))?;
        ensure(waited == Waited::Passed(0), || format!("{waited:?}"))
    };
    Case::new(run, check)
}

fn make_and_drop() -> Case {
    let run = || {
        drop(Mutex::new(false).unwrap());
        drop(Mutex::new(true).unwrap());
        drop(Semaphore::new(3, 3).unwrap());
        drop(Event::new().unwrap());
        drop(Condition::new().unwrap());
        drop(Barrier::new(2).unwrap());
        drop(Ring::new(20, false).unwrap());
    };
    Case::new(run, |_| Ok(()))
}
