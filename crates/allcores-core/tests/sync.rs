//! Locks, semaphores, conditions and barriers among processes that are killed.

#![allow(missing_docs)]

mod common;

use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::Duration;

use allcores_core::barrier::{Barrier, Waited};
use allcores_core::condition::Condition;
use allcores_core::event::Event;
use allcores_core::handle::Handle;
use allcores_core::mutex::Mutex;
use allcores_core::object::Kind;
use allcores_core::semaphore::Semaphore;
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{alloc, arena, slot};
use common::{Pipe, Random, alone, child};

const NEVER: Deadline = Deadline::NEVER;

/// A number that all processes see.
fn shared() -> (Handle, &'static AtomicU64) {
    let offset = alloc::reserve(Kind::Raw, 64, true).unwrap();
    let number = arena::arena().unwrap().at(offset).unwrap();
    (Handle::publish(offset).unwrap(), number)
}

/// Nothing is counted twice or lost under a lock whose holders are killed at random, and
/// what a holder left is known to be half done.
#[test]
fn a_lock_survives_its_holders() {
    let _alone = alone();
    let mut random = Random::seeded();
    let mutex = Mutex::new(false).unwrap();
    let (_one, first) = shared();
    let (_two, second) = shared();
    let mut repaired = 0;
    for _ in 0..60 {
        let ready = Pipe::new();
        let victim = child(|| {
            ready.tell();
            loop {
                mutex.acquire(&NEVER, &mut no_pulse).unwrap();
                if mutex.owner_died() {
                    second.store(first.load(Relaxed), Relaxed);
                    mutex.mark_consistent();
                }
                first.fetch_add(1, Relaxed);
                second.fetch_add(1, Relaxed);
                mutex.release(false).unwrap();
            }
        });
        ready.hear();
        std::thread::sleep(Duration::from_micros(random.below(500) as u64));
        victim.kill();
        mutex.acquire(&NEVER, &mut no_pulse).unwrap();
        if mutex.owner_died() {
            second.store(first.load(Relaxed), Relaxed);
            mutex.mark_consistent();
            repaired += 1;
        }
        assert_eq!(first.load(Relaxed), second.load(Relaxed));
        mutex.release(false).unwrap();
        slot::recover_all().unwrap();
    }
    eprintln!("{repaired} of 60 died inside");
}

/// Units that were taken by `with` come back, wherever their holder is killed.
#[test]
fn a_semaphore_gets_its_units_back() {
    let _alone = alone();
    let mut random = Random::seeded();
    // More than fit into the block, so that pieces take part.
    let semaphore = Semaphore::new(100, 100).unwrap();
    for round in 0..100 {
        let ready = Pipe::new();
        let victim = child(|| {
            ready.tell();
            loop {
                for _ in 0..80 {
                    semaphore.enter(&mut no_pulse).unwrap();
                }
                for _ in 0..80 {
                    semaphore.leave().unwrap();
                }
            }
        });
        ready.hear();
        // Others change the word meanwhile, which completes what the victim is at.
        for _ in 0..random.below(2000) {
            if semaphore.try_acquire().unwrap() {
                semaphore.release().unwrap();
            }
        }
        victim.kill();
        slot::recover_all().unwrap();
        assert_eq!(semaphore.value(), 100, "round {round}");
    }
}

/// Whoever waits for units finds out by itself that their holder is dead.
#[test]
fn a_waiter_gets_the_units_of_the_dead_without_a_recovery() {
    let _alone = alone();
    for units in [1, 20, 100] {
        let semaphore = Semaphore::new(units, units).unwrap();
        let ready = Pipe::new();
        let victim = child(|| {
            for _ in 0..units {
                semaphore.enter(&mut no_pulse).unwrap();
            }
            ready.tell();
            loop {
                std::thread::park();
            }
        });
        ready.hear();
        let survivor = child(|| semaphore.acquire(&NEVER, &mut no_pulse).unwrap());
        victim.kill();
        assert_eq!(survivor.wait(), 0);
        slot::recover_all().unwrap();
        assert_eq!(semaphore.value(), units - 1);
    }
}

/// Each of many notifications reaches a living waiter, though waiters are killed.
#[test]
fn a_condition_loses_no_notification() {
    let _alone = alone();
    let mutex = Mutex::new(true).unwrap();
    let condition = Condition::new().unwrap();
    let (_one, woken) = shared();
    for _ in 0..20 {
        woken.store(0, SeqCst);
        let wait = || {
            mutex.acquire(&NEVER, &mut no_pulse).unwrap();
            assert!(condition.wait(&mutex, &NEVER, &mut no_pulse).unwrap());
            woken.fetch_add(1, SeqCst);
            mutex.release(true).unwrap();
            true
        };
        let victim = child(wait);
        while condition.waiters() < 1 {}
        let survivor = child(wait);
        while condition.waiters() < 2 {}
        // The victim is first in line, and can't have the lock before it is dead.
        mutex.acquire(&NEVER, &mut no_pulse).unwrap();
        condition.notify(1).unwrap();
        victim.kill();
        mutex.release(true).unwrap();
        assert_eq!(survivor.wait(), 0);
        assert_eq!(woken.load(SeqCst), 1);
        slot::recover_all().unwrap();
        assert_eq!(condition.waiters(), 0);
    }
}

/// A barrier with a dead party breaks for who waits, and is as good as new after a reset.
#[test]
fn a_barrier_breaks_with_a_party() {
    let _alone = alone();
    let barrier = Barrier::new(2).unwrap();
    for _ in 0..5 {
        let victim = child(|| {
            loop {
                barrier.wait(false, &NEVER, &mut no_pulse).unwrap();
            }
        });
        for _ in 0..100 {
            let waited = barrier.wait(false, &NEVER, &mut no_pulse).unwrap();
            assert!(matches!(waited, Waited::Passed(0 | 1)));
        }
        victim.kill();
        while barrier.wait(false, &NEVER, &mut no_pulse).unwrap() != Waited::Broken {}
        assert!(barrier.is_broken());
        slot::recover_all().unwrap();
        barrier.reset().unwrap();
        assert!(!barrier.is_broken());
    }
}

/// All that wait for an event go on, and a killed one among them changes nothing.
#[test]
fn an_event_wakes_all() {
    let _alone = alone();
    let event = Event::new().unwrap();
    let ready = Pipe::new();
    let wait = || {
        ready.tell();
        event.wait(&NEVER, &mut no_pulse).unwrap()
    };
    let victim = child(wait);
    let others = [child(wait), child(wait)];
    for _ in 0..3 {
        ready.hear();
    }
    victim.kill();
    event.set();
    for other in others {
        assert_eq!(other.wait(), 0);
    }
    slot::recover_all().unwrap();
}

/// Objects give back all that they had, the pieces for many users too.
#[test]
fn nothing_is_left() {
    let _alone = alone();
    slot::recover_all().unwrap();
    slot::me().unwrap();
    drop(Event::new().unwrap());
    let before = alloc::stats().unwrap().live_blocks;
    for _ in 0..2 {
        let semaphore = Semaphore::new(3000, 3000).unwrap();
        for _ in 0..3000 {
            assert!(semaphore.try_enter().unwrap());
        }
        assert!(alloc::stats().unwrap().live_blocks > before + 1);
        drop(semaphore);
        drop((Mutex::new(true).unwrap(), Condition::new().unwrap()));
        drop(Barrier::new(3).unwrap());
    }
    assert_eq!(alloc::stats().unwrap().live_blocks, before);
}
