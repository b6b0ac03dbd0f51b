//! Operations while another process sleeps in the structure: it has to go on, whatever
//! becomes of the one that should wake it.

use std::rc::Rc;

use allcores_core::barrier::{Barrier, Waited};
use allcores_core::condition::Condition;
use allcores_core::event::Event;
use allcores_core::mutex::Mutex;
use allcores_core::ring::Ring;
use allcores_core::semaphore::Semaphore;
use allcores_core::wait::{Deadline, no_pulse};

use crate::case::{Case, Operation, ensure, patience};
use crate::sleeper::Sleeper;
use crate::sync::{say, takes};
use crate::trace::End;

pub const OPERATIONS: &[Operation] = &[
    operation("Lock", "release, one sleeps", || lock(false)),
    operation("RLock", "release, one sleeps", || lock(true)),
    operation("Semaphore", "release, one sleeps", semaphore_release),
    operation("Semaphore", "leave, one sleeps", semaphore_leave),
    operation("Event", "set, two sleep", event),
    operation("Condition", "notify one of two", || condition(1)),
    operation("Condition", "notify all of two", || condition(usize::MAX)),
    operation("Barrier", "arrive last, two sleep", barrier),
    operation("ring", "put, a consumer sleeps", put),
    operation("ring", "get, a producer sleeps", get),
    operation("ring", "task_done, one joins", task_done),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

/// What a sleeper comes back with that got what it waited for.
const GOT: u64 = 1;

/// Takes the lock and lets go of it again, right as the data may be.
fn visit(lock: &Mutex) -> u64 {
    lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
    if lock.owner_died() {
        lock.mark_consistent();
    }
    lock.release(lock.is_recursive()).unwrap();
    GOT
}

fn lock(recursive: bool) -> Case {
    let lock = Mutex::new(recursive).unwrap();
    let (held, its, wanted) = (lock.clone(), lock.clone(), lock.clone());
    let sleeper = Rc::new(Sleeper::new(move || visit(&wanted)));
    let sent = sleeper.clone();
    let before = move || {
        held.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        sent.send();
    };
    let check = move |_| {
        if sleeper.was_sent() {
            sleeper.comes_back_with(GOT)?;
        }
        takes(&lock)
    };
    Case::new(move || its.release(recursive).unwrap(), check)
        .before(before)
        .helpers(1)
        .early()
}

fn semaphore_release() -> Case {
    let semaphore = Rc::new(Semaphore::new(0, 2).unwrap());
    let (its, wanted) = (semaphore.clone(), semaphore.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        wanted.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
        GOT
    }));
    let sent = sleeper.clone();
    let check = move |end| {
        if !sleeper.was_sent() {
            return Ok(());
        }
        // First the value: with a unit there the sleeper needs nobody's help, and when it
        // has taken one it does not sleep any more.
        if semaphore.value() == 0 && !sleeper.settled() {
            ensure(end == Some(End::Killed), || "a unit is lost".into())?;
            say(semaphore.release())?;
        }
        sleeper.comes_back_with(GOT)?;
        let value = semaphore.value();
        ensure(value == 0, || format!("value {value} instead of 0"))
    };
    Case::new(move || its.release().unwrap(), check)
        .before(move || sent.send())
        .helpers(1)
        .early()
}

fn semaphore_leave() -> Case {
    let semaphore = Rc::new(Semaphore::new(1, 1).unwrap());
    let (held, its, wanted) = (semaphore.clone(), semaphore.clone(), semaphore.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        wanted.enter(&mut no_pulse).unwrap();
        wanted.leave().unwrap();
        GOT
    }));
    let sent = sleeper.clone();
    let before = move || {
        held.enter(&mut no_pulse).unwrap();
        sent.send();
    };
    let check = move |_| {
        if sleeper.was_sent() {
            sleeper.comes_back_with(GOT)?;
        }
        let value = semaphore.value();
        ensure(value == 1, || format!("value {value} instead of 1"))
    };
    // The sleeper looks after the holder itself.
    Case::new(move || its.leave().unwrap(), check)
        .before(before)
        .helpers(1)
        .early()
}

fn event() -> Case {
    let event = Event::new().unwrap();
    let its = event.clone();
    let sleepers = Rc::new([0, 1].map(|_| {
        let wanted = event.clone();
        Sleeper::new(move || u64::from(wanted.wait(&Deadline::NEVER, &mut no_pulse).unwrap()))
    }));
    let sent = sleepers.clone();
    let check = move |end| {
        for sleeper in &*sleepers {
            if sleeper.was_sent() {
                if !event.is_set() {
                    ensure(end == Some(End::Killed), || "is not set".into())?;
                    event.set();
                }
                sleeper.comes_back_with(GOT)?;
            }
        }
        event.clear();
        Ok(())
    };
    Case::new(move || its.set(), check)
        .before(move || sent.iter().for_each(Sleeper::send))
        .helpers(2)
        .early()
}

/// Waits until `ready`; the operation would be another one before.
fn until(ready: impl Fn() -> bool) {
    while !ready() {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

fn condition(n: usize) -> Case {
    let lock = Mutex::new(true).unwrap();
    let condition = Rc::new(Condition::new().unwrap());
    let sleepers = Rc::new([0, 1].map(|_| {
        let (lock, condition) = (lock.clone(), condition.clone());
        Sleeper::new(move || {
            lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
            let woken = condition.wait(&lock, &Deadline::NEVER, &mut no_pulse);
            if lock.owner_died() {
                lock.mark_consistent();
            }
            lock.release(true).unwrap();
            u64::from(woken.unwrap())
        })
    }));
    let (sent, held, line) = (sleepers.clone(), lock.clone(), condition.clone());
    let before = move || {
        sent.iter().for_each(Sleeper::send);
        until(|| line.waiters() == 2);
        held.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
    };
    let (its, its_lock) = (condition.clone(), lock.clone());
    let run = move || {
        its.notify(n).unwrap();
        its_lock.release(true).unwrap();
    };
    let check = move |end| {
        let sent = sleepers.each_ref().map(Sleeper::was_sent);
        if sent != [true, true] {
            return Ok(());
        }
        // Who is not in the line any more needs nobody's help.
        let waiting = condition.waiters();
        ensure(
            end == Some(End::Killed) || waiting == 2usize.saturating_sub(n),
            || format!("{waiting} wait on"),
        )?;
        let begin = patience();
        let back = || sleepers.iter().filter(|s| s.is_back()).count();
        until(|| back() + waiting >= 2 || begin.passed());
        ensure(back() + waiting >= 2, || {
            format!("{waiting} wait on, and only {} came back", back())
        })?;
        ensure(say(lock.acquire(&patience(), &mut no_pulse))?, || {
            "the lock is not to be had".into()
        })?;
        say(condition.notify(usize::MAX))?;
        if lock.owner_died() {
            lock.mark_consistent();
        }
        say(lock.release(true))?;
        for sleeper in &*sleepers {
            sleeper.comes_back_with(GOT)?;
        }
        ensure(condition.waiters() == 0, || "somebody waits".into())?;
        takes(&lock)
    };
    Case::new(run, check).before(before).helpers(2).early()
}

/// The barrier was broken.
const BROKEN: u64 = 2;

fn barrier() -> Case {
    let barrier = Rc::new(Barrier::new(3).unwrap());
    let sleepers = Rc::new([0, 1].map(|_| {
        let barrier = barrier.clone();
        Sleeper::new(
            move || match barrier.wait(false, &Deadline::NEVER, &mut no_pulse) {
                Ok(Waited::Passed(_)) => GOT,
                Ok(Waited::Broken) => BROKEN,
                other => panic!("{other:?}"),
            },
        )
    }));
    let (sent, filled, its) = (sleepers.clone(), barrier.clone(), barrier.clone());
    let before = move || {
        sent.iter().for_each(Sleeper::send);
        until(|| filled.waiting() == 2);
    };
    let run = move || {
        its.wait(false, &Deadline::NEVER, &mut no_pulse).unwrap();
    };
    let check = move |end| {
        if sleepers.each_ref().map(Sleeper::was_sent) == [true, true] {
            if !barrier.is_broken() && barrier.waiting() == 2 {
                // It died before it was a party: nobody knows that it was to come.
                ensure(end == Some(End::Killed), || "not passed".into())?;
                let waited = say(barrier.wait(false, &patience(), &mut no_pulse))?;
                ensure(waited == Waited::Passed(2), || format!("{waited:?}"))?;
            }
            let [first, second] = sleepers.each_ref().map(Sleeper::back);
            let (first, second) = (first?, second?);
            let fine = first == second && (first == GOT || end == Some(End::Killed));
            ensure(fine, || format!("{first} and {second} of {end:?}"))?;
        }
        say(barrier.reset())?;
        ensure(!barrier.is_broken() && barrier.waiting() == 0, || {
            "not like new after reset".into()
        })
    };
    Case::new(run, check).before(before).helpers(2)
}

fn put() -> Case {
    let ring = Rc::new(Ring::new(8, false).unwrap());
    let (its, wanted) = (ring.clone(), ring.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        let got = wanted.get(None, &Deadline::NEVER, &mut no_pulse).unwrap();
        got.unwrap().tag
    }));
    let sent = sleeper.clone();
    let check = move |end| {
        if !sleeper.was_sent() {
            return Ok(());
        }
        let tag = match ring.unfinished() {
            0 => {
                ensure(end == Some(End::Killed), || "an item is lost".into())?;
                ensure(say(ring.try_put(7, 6, &[]))?, || "no room".into())?;
                6
            }
            _ => 5,
        };
        sleeper.comes_back_with(tag)?;
        ensure(ring.task_done() && !ring.task_done(), || {
            "not one item".into()
        })?;
        ensure(ring.waiting() == 0, || "an item too many".into())
    };
    Case::new(move || assert!(its.try_put(7, 5, &[]).unwrap()), check)
        .before(move || sent.send())
        .helpers(1)
}

/// All items that are there, in the order of their numbers.
pub fn drained(ring: &Ring) -> Result<Vec<u64>, String> {
    let mut all = Vec::new();
    let now = Deadline::after(Some(std::time::Duration::ZERO));
    while let Some(got) = say(ring.get(None, &now, &mut no_pulse))? {
        all.push(got.tag);
        ensure(ring.task_done(), || "task_done too early".into())?;
    }
    all.sort_unstable();
    Ok(all)
}

fn get() -> Case {
    let ring = Rc::new(Ring::new(2, false).unwrap());
    let (its, wanted) = (ring.clone(), ring.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        let put = |ring: &Ring| ring.try_put(7, 3, &[]);
        u64::from(
            wanted
                .when_room(&Deadline::NEVER, &mut no_pulse, put)
                .unwrap(),
        )
    }));
    let sent = sleeper.clone();
    let check = move |end: Option<End>| {
        if sleeper.was_sent() {
            let mut all = Vec::new();
            if ring.waiting() == 2 && !sleeper.settled() {
                ensure(end == Some(End::Killed), || "nothing was taken".into())?;
                all.push(say(ring.try_get(None))?.ok_or("nothing there")?.tag);
                ensure(ring.task_done(), || "task_done too early".into())?;
            }
            sleeper.comes_back_with(GOT)?;
            all.extend(drained(&ring)?);
            let rest: &[u64] = if all.len() == 3 { &[1, 2, 3] } else { &[2, 3] };
            let fine = all == rest && (end == Some(End::Killed) || all.len() == 2);
            ensure(fine, || format!("{end:?}, and {all:?} were left"))?;
            // What the victim took nobody else has worked off.
            while ring.task_done() {}
        } else {
            drained(&ring)?;
        }
        for tag in [1, 2] {
            ensure(say(ring.try_put(7, tag, &[]))?, || "no room".into())?;
        }
        Ok(())
    };
    Case::new(move || drop(its.try_get(None).unwrap().unwrap()), check)
        .before(move || sent.send())
        .helpers(1)
}

fn task_done() -> Case {
    let ring = Rc::new(Ring::new(2, false).unwrap());
    let (its, wanted) = (ring.clone(), ring.clone());
    let sleeper = Rc::new(Sleeper::new(move || {
        u64::from(wanted.join(&Deadline::NEVER, &mut no_pulse).unwrap())
    }));
    let sent = sleeper.clone();
    let check = move |end| {
        if sleeper.was_sent() {
            if ring.unfinished() == 1 {
                ensure(end == Some(End::Killed), || "not done".into())?;
                ensure(ring.task_done(), || "task_done too early".into())?;
            }
            sleeper.comes_back_with(GOT)?;
        }
        let left = ring.unfinished();
        if left == 0 {
            ensure(say(ring.try_put(7, 1, &[]))?, || "no room".into())?;
            ensure(say(ring.try_get(None))?.is_some(), || "no item".into())?;
        }
        Ok(())
    };
    Case::new(move || assert!(its.task_done()), check)
        .before(move || sent.send())
        .helpers(1)
        .early()
}
