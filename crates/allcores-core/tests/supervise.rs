//! The supervisor: a death is noticed without anybody asking.

#![allow(missing_docs)]

mod common;

use std::sync::Barrier;

use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::{alloc, slot, supervise};
use common::{Pipe, alone, child};

/// A test that takes so long hangs, however busy the machine is.
const HANGS_S: u32 = 600;

/// How many threads of this process are supervisors.
fn supervisors() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("allcores-superv"))
        .count()
}

/// What a killed child held comes back although nobody waits for anything.
#[test]
fn a_death_is_noticed_at_once() {
    let _alone = alone();
    slot::me().unwrap();
    // What other tests' children left would go with the first that dies here.
    slot::recover_all().unwrap();
    let before = alloc::stats().unwrap().live_blocks;
    for _ in 0..20 {
        let ready = Pipe::new();
        let c = child(|| {
            let held: Vec<_> = (0..10)
                .map(|_| Handle::publish(alloc::reserve(Kind::Raw, 5000, false).unwrap()).unwrap())
                .collect();
            ready.tell();
            loop {
                std::hint::black_box(&held);
                std::thread::park();
            }
        });
        assert!(supervise::watch(c.0 as u32));
        ready.hear();
        assert!(alloc::stats().unwrap().live_blocks >= before + 10);
        c.kill();
        while alloc::stats().unwrap().live_blocks != before {
            std::thread::yield_now();
        }
    }
}

/// The thread is gone while this process forks, and when there is no child left.
#[test]
fn the_thread_makes_room_for_forks() {
    let _alone = alone();
    slot::me().unwrap();
    // SAFETY: the default action of SIGALRM ends the process; there is no handler to run.
    unsafe { libc::alarm(HANGS_S) };
    let go = Pipe::new();
    let first = child(|| {
        go.hear();
        true
    });
    assert!(supervise::watch(first.0 as u32));
    let second = child(|| supervisors() == 0);
    // The kernel lists a thread for a moment after it can be joined.
    while supervisors() != 0 {
        std::thread::yield_now();
    }
    supervise::resume();
    // A thread gives itself its name.
    while supervisors() != 1 {
        std::thread::yield_now();
    }
    assert_eq!(second.wait(), 0);
    go.tell();
    assert_eq!(first.wait(), 0);
    while supervisors() != 0 {
        std::thread::yield_now();
    }
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
}

/// A thread that brings the supervisor back, while another one forks, doesn't keep it from
/// being ended: the fork gets on.
#[test]
fn a_fork_gets_on_although_others_wait() {
    let _alone = alone();
    slot::me().unwrap();
    // SAFETY: the default action of SIGALRM ends the process; there is no handler to run.
    unsafe { libc::alarm(HANGS_S) };
    let go = Pipe::new();
    let first = child(|| {
        go.hear();
        true
    });
    const TIMES: usize = 300;
    let at_once = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for delay in 0..TIMES {
                at_once.wait();
                for _ in 0..delay * 100 {
                    std::hint::spin_loop();
                }
                supervise::resume();
            }
        });
        for _ in 0..TIMES {
            // Ended for a fork, and back because there is something new to watch.
            assert_eq!(child(|| true).wait(), 0);
            assert!(supervise::watch(first.0 as u32));
            at_once.wait();
            assert_eq!(child(|| supervisors() == 0).wait(), 0);
        }
    });
    go.tell();
    assert_eq!(first.wait(), 0);
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
    while supervisors() != 0 {
        std::thread::yield_now();
    }
}

/// When the alarm ends the parent, nobody else would end its children.
fn end_with_parent() {
    // SAFETY: a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// A fork that has to wait for the allocator, which others are busy in, gets on.
#[test]
fn a_fork_gets_on_while_others_make_room() {
    let _alone = alone();
    let _held = Handle::publish(alloc::reserve(Kind::Raw, 64, false).unwrap()).unwrap();
    // SAFETY: the default action of SIGALRM ends the process; there is no handler to run.
    unsafe { libc::alarm(HANGS_S) };
    let busy: Vec<_> = (0..2)
        .map(|_| {
            child(|| {
                end_with_parent();
                loop {
                    let block = alloc::reserve(Kind::Raw, 72 << 20, false).unwrap();
                    alloc::release(block).unwrap();
                }
            })
        })
        .collect();
    for _ in 0..4 {
        // Each has a table of references, and every few of them need a new chunk for that.
        let idle: Vec<_> = (0..40)
            .map(|_| {
                assert!(supervise::watch(busy[0].0 as u32));
                child(|| {
                    end_with_parent();
                    loop {
                        std::thread::park();
                    }
                })
            })
            .collect();
        for child in idle {
            child.kill();
        }
        slot::recover_all().unwrap();
    }
    for child in busy {
        child.kill();
    }
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
    slot::recover_all().unwrap();
    while supervisors() != 0 {
        std::thread::yield_now();
    }
}
