//! A child whose parent ends before the child's first step keeps what it inherited.

mod common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use allcores_core::arena::SLOTS_AT;
use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::slot::{SLOT_BYTES, SLOTS};
use allcores_core::{Error, alloc, slot};
use common::{Child, alone, child};

/// In shared memory: children of fork wait in their first step.
static HELD: std::sync::OnceLock<&'static AtomicBool> = std::sync::OnceLock::new();

extern "C" fn wait_here() {
    while HELD.get().is_some_and(|held| held.load(SeqCst)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_child_that_comes_after_its_parent_has_ended_has_all_it_inherited() {
    let _alone = alone();
    // SAFETY: a new mapping, which stays; zeroes are a false.
    HELD.get_or_init(|| unsafe {
        let shared = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(shared, libc::MAP_FAILED);
        &*shared.cast()
    });
    // Before the core's own: children run these in the order in which they were added.
    // SAFETY: the function lives as long as the process.
    let added = unsafe { libc::pthread_atfork(None, None, Some(wait_here)) };
    assert_eq!(added, 0);
    let held = HELD.get().unwrap();
    // Grandchildren whose parent has ended are ours to wait for.
    // SAFETY: plain integers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    let offset = alloc::reserve(Kind::Raw, 100, true).unwrap();
    let object = Handle::publish(offset).unwrap();
    let numbers = object.numbers().unwrap();
    for round in 0..20 {
        let parent = child(|| {
            let own = Handle::open(numbers.0, numbers.1, numbers.2, Kind::Raw).unwrap();
            held.store(true, SeqCst);
            // SAFETY: the child ends below, without returning into the harness.
            if unsafe { libc::fork() } == 0 {
                let again = Handle::open(numbers.0, numbers.1, numbers.2, Kind::Raw);
                let fine = again.is_ok() && slot::joined() != 0;
                drop(own);
                // SAFETY: ends the process.
                unsafe { libc::_exit(if fine { 0 } else { 1 }) };
            }
            std::mem::forget(own);
            true
        });
        assert_eq!(parent.wait(), 0);
        // Its parent is dead, and it has not begun.
        slot::recover_all().unwrap();
        held.store(false, SeqCst);
        assert_eq!(Child(-1).wait(), 0, "round {round}");
    }
    slot::recover_all().unwrap();
    drop(object);
    assert!(
        alloc::meta(offset).is_err()
            || alloc::state(alloc::meta(offset).unwrap().word.load(SeqCst)) == alloc::FREE
    );
}

#[test]
fn a_child_for_which_there_is_no_slot_is_told_so() {
    let _alone = alone();
    let me = slot::me().unwrap();
    let held = Handle::publish(alloc::reserve(Kind::Raw, 64, true).unwrap()).unwrap();
    let arena = allcores_core::arena::arena().unwrap();
    let all = SLOTS * SLOT_BYTES;
    arena.commit(SLOTS_AT as u64, all).unwrap();
    let taken = arena.header().slots_used.load(SeqCst) as usize;
    let words = arena.words(SLOTS_AT as u64, all / 8).unwrap();
    let others = || (0..SLOTS).filter(|&i| i != slot::index(me));
    // Nobody's, but not free either: state and generation are the lower half of the first word.
    let before: Vec<_> = others()
        .map(|i| words[i * SLOT_BYTES / 8].load(SeqCst))
        .collect();
    others().for_each(|i| words[i * SLOT_BYTES / 8].store(1 << 2 | 1, SeqCst));
    arena.header().slots_used.store(SLOTS as u64, SeqCst);
    let status = child(|| matches!(slot::me(), Err(Error::TooManyProcesses))).wait();
    for (i, word) in others().zip(before) {
        words[i * SLOT_BYTES / 8].store(word, SeqCst);
    }
    arena.header().slots_used.store(taken as u64, SeqCst);
    assert_eq!(status, 0);
    drop(held);
}
