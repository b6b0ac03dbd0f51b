//! The semaphore: what `with` took comes back, whoever dies where, and no release is lost.

use std::cell::Cell;
use std::rc::Rc;

use allcores_models::arena::{BLOCKS_AT, Offset};
use allcores_models::explore::{Fault, Plan, Site};
use allcores_models::semaphore::Semaphore;
use allcores_models::wait::{Deadline, no_pulse};
use allcores_models::{rt, slot};

const SEMAPHORE: Offset = BLOCKS_AT as Offset;

fn open() -> Semaphore {
    Semaphore::open(0, SEMAPHORE, 0).unwrap()
}

/// `n` processes use one unit with `with`, `times` times; process `n + 1` recovers the
/// first when it dies.
fn with(n: usize, times: usize) -> impl Fn() + Send + Sync {
    move || {
        let semaphore = Semaphore::new(1, 1).unwrap();
        let inside = Rc::new(Cell::new(0));
        for process in 1..=n {
            let inside = inside.clone();
            rt::spawn(process, move || {
                let semaphore = open();
                for _ in 0..times {
                    assert!(semaphore.enter(&mut no_pulse).unwrap());
                    let other = inside.replace(process);
                    assert!(
                        other == 0 || rt::has_died(other),
                        "{process} beside {other}"
                    );
                    inside.set(0);
                    semaphore.leave().unwrap();
                }
            });
        }
        rt::spawn(n + 1, || {
            if rt::watch(1) {
                slot::recover(slot::of(1)).unwrap();
            }
        });
        rt::join();
        for process in 1..=n + 1 {
            if rt::has_died(process) {
                slot::recover(slot::of(process)).unwrap();
            }
        }
        assert_eq!(semaphore.value(), 1, "units came back");
    }
}

/// As many releases as acquires, each by another process.
fn pass(n: usize) -> impl Fn() + Send + Sync {
    move || {
        let semaphore = Semaphore::new(0, 9).unwrap();
        for process in 1..=n {
            rt::spawn(process, || {
                let taken = open().acquire(&Deadline::NEVER, &mut no_pulse);
                assert!(taken.unwrap());
            });
        }
        rt::spawn(n + 1, move || {
            for _ in 0..n {
                open().release().unwrap();
            }
        });
        rt::join();
        assert_eq!(semaphore.value(), 0);
    }
}

#[test]
fn no_release_is_lost() {
    Plan::loom(2, 3).check("semaphore, 1 sleeper", pass(1));
    Plan::walks(5_000).check("semaphore, 3 sleepers", pass(3));
}

#[test]
fn units_of_the_dead_come_back() {
    Plan::walks(5_000)
        .killing(&[1])
        .check("semaphore, 1 of 3 dies", with(3, 2));
    Plan::walks(5_000)
        .killing(&[1, 3])
        .check("semaphore, recoverer dies", with(2, 2));
}

#[test]
fn broken_semaphores_fail() {
    let help = Site::new(
        "semaphore.rs",
        "let _ = word.compare_exchange(seen, next, AcqRel, Relaxed)",
    );
    let giving = Site::new(
        "semaphore.rs",
        "word.compare_exchange(seen, giving, AcqRel, Relaxed).is_ok()",
    );
    Plan::loom(2, 2)
        .broken(Fault::NoWake)
        .fails("nobody woken", "deadlock", pass(1));
    for (name, fault) in [
        (
            "an entry isn't completed before its trace goes",
            Fault::Skip(help),
        ),
        ("a unit is given back unannounced", Fault::Skip(giving)),
    ] {
        Plan::walks(5_000)
            .killing(&[1])
            .broken(fault)
            .fails(name, "", with(3, 2));
    }
}
