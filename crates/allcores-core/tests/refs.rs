//! References: an object lives exactly as long as somebody holds it.

#![allow(missing_docs)]

mod common;

use allcores_core::handle::{self, Handle};
use allcores_core::object::Kind;
use allcores_core::{Error, alloc, refs, slot};
use common::{Pipe, Random, alone, child};

fn make() -> Handle {
    Handle::publish(alloc::reserve(Kind::Raw, 100, true).unwrap()).unwrap()
}

fn count(offset: u64) -> u32 {
    refs::count(alloc::meta(offset).unwrap())
}

fn open(numbers: (u64, u64, u32)) -> allcores_core::Result<Handle> {
    Handle::open(numbers.0, numbers.1, numbers.2, Kind::Raw)
}

/// Within a process many handles are one reference; the last one frees the object.
#[test]
fn one_process_is_one_reference() {
    let _alone = alone();
    let first = make();
    let numbers = first.numbers().unwrap();
    let second = first.clone();
    let third = open(numbers).unwrap();
    assert_eq!(count(numbers.1), 1);
    drop((first, second));
    assert!(open(numbers).is_ok());
    drop(third);
    assert!(matches!(open(numbers), Err(Error::Stale { .. })));
}

/// A handle of another session, kind or use of the place is stale.
#[test]
fn foreign_handles_are_stale() {
    let _alone = alone();
    let handle = make();
    let (session, offset, generation) = handle.numbers().unwrap();
    assert!(open((session ^ 2, offset, generation)).is_err());
    assert!(open((session, offset, generation + 1)).is_err());
    assert!(open((session, offset + 64, generation)).is_err());
    assert!(Handle::open(session, offset, generation, Kind::Lock).is_err());
}

/// A child of fork holds what its parent held, from the first instruction on.
#[test]
fn fork_doubles_references() {
    let _alone = alone();
    let handles: Vec<Handle> = (0..1500).map(|_| make()).collect();
    let numbers: Vec<_> = handles.iter().map(|h| h.numbers().unwrap()).collect();
    let (started, go) = (Pipe::new(), Pipe::new());
    let c = child(|| {
        started.tell();
        go.hear();
        // The parent has dropped its own by now.
        numbers.iter().all(|&n| open(n).is_ok())
    });
    started.hear();
    for n in &numbers {
        assert_eq!(count(n.1), 2);
    }
    drop(handles);
    for n in &numbers {
        assert_eq!(count(n.1), 1);
    }
    go.tell();
    assert_eq!(c.wait(), 0);
    slot::recover_all().unwrap();
    for &n in &numbers {
        assert!(open(n).is_err());
    }
}

/// Killed at any moment while it takes and drops references, a process leaves the counts
/// exactly as if it had never held any.
#[test]
fn the_dead_hold_nothing() {
    let _alone = alone();
    slot::recover_all().unwrap();
    let handles: Vec<Handle> = (0..3).map(|_| make()).collect();
    let numbers: Vec<_> = handles.iter().map(|h| h.numbers().unwrap()).collect();
    let before = alloc::stats().unwrap().live_blocks;
    let mut random = Random::seeded();
    for round in 0..300 {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let ready = Pipe::new();
                let numbers = &numbers;
                let inherited = handles.clone();
                let c = child(|| {
                    drop(inherited);
                    slot::leave().unwrap();
                    ready.tell();
                    loop {
                        let own = make();
                        for &n in numbers {
                            drop(open(n).unwrap());
                        }
                        drop(own);
                    }
                });
                ready.hear();
                c
            })
            .collect();
        for _ in 0..random.below(20_000) {
            std::hint::spin_loop();
        }
        for c in workers {
            c.kill();
        }
        slot::recover_all().unwrap();
        for n in &numbers {
            assert_eq!(count(n.1), 1, "round {round}");
        }
        assert_eq!(alloc::stats().unwrap().live_blocks, before, "round {round}");
    }
}

/// A process that leaves gives everything back at once.
#[test]
fn leaving_gives_back() {
    let _alone = alone();
    slot::recover_all().unwrap();
    let handle = make();
    let numbers = handle.numbers().unwrap();
    let c = child(|| {
        let mine = make();
        handle::pin(mine.offset()).unwrap();
        let _other = open(numbers).unwrap();
        slot::leave().unwrap();
        drop(mine);
        true
    });
    assert_eq!(c.wait(), 0);
    assert_eq!(count(numbers.1), 1);
    assert_eq!(slot::recover_all().unwrap(), 0);
}

/// Many processes come and go; slots are used again.
#[test]
fn slots_are_used_again() {
    let _alone = alone();
    slot::me().unwrap();
    for _ in 0..20 {
        let children: Vec<_> = (0..10)
            .map(|_| child(|| slot::is_alive(slot::me().unwrap())))
            .collect();
        for c in children {
            assert_eq!(c.wait(), 0);
        }
    }
    slot::recover_all().unwrap();
    assert_eq!(slot::living().unwrap().len(), 1);
    let c = child(|| slot::index(slot::me().unwrap()) < 64);
    assert_eq!(c.wait(), 0);
}

/// A child that is killed the moment it is born leaves neither slot nor references.
#[test]
fn the_stillborn_leave_nothing() {
    let _alone = alone();
    slot::recover_all().unwrap();
    let handles: Vec<Handle> = (0..5).map(|_| make()).collect();
    let offset = handles[0].offset();
    let before = alloc::stats().unwrap().live_blocks;
    let mut random = Random::seeded();
    for _ in 0..300 {
        let c = child(|| {
            loop {
                std::thread::park();
            }
        });
        for _ in 0..random.below(30_000) {
            std::hint::spin_loop();
        }
        c.kill();
    }
    slot::recover_all().unwrap();
    assert_eq!(count(offset), 1);
    assert_eq!(alloc::stats().unwrap().live_blocks, before);
    assert_eq!(slot::living().unwrap().len(), 1);
}
