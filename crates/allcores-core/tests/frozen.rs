//! Frozen content: seen by everybody, changed by nobody, sent on without a copy.

#![allow(missing_docs)]

mod common;

use std::time::{Duration, Instant};

use allcores_core::frozen::{Frozen, View, find, let_go, task_ended};
use allcores_core::{Error, alloc};
use common::{alone, child};

fn freeze(bytes: &[u8]) -> Frozen {
    // SAFETY: they live for the call.
    unsafe { Frozen::copy_of(bytes.as_ptr(), bytes.len()) }.unwrap()
}

fn bytes(view: &View) -> &[u8] {
    // SAFETY: as many bytes as the view has, which nobody writes to meanwhile.
    unsafe { std::slice::from_raw_parts(view.start(), view.len()) }
}

fn write(view: &View, at: usize, byte: u8) {
    assert!(at < view.len());
    // SAFETY: a byte of the view.
    unsafe { view.start().add(at).write_volatile(byte) };
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 4096) as u8).collect()
}

/// A view shows what was frozen, from any byte on, whatever becomes of the original.
#[test]
fn views_show_what_was_frozen() {
    let _alone = alone();
    for len in [1, 4096, 70_000, 3 << 20] {
        let mut original = pattern(len);
        let expected = original.clone();
        let frozen = freeze(&original);
        original.fill(0);
        for from in [0, 1, len / 2, len - 1] {
            let view = frozen.view(from, len - from, false).unwrap();
            assert_eq!(bytes(&view), &expected[from..], "{len} from {from}");
        }
        assert!(frozen.view(1, len, false).is_err());
        assert_eq!(bytes(&frozen.view(0, 0, false).unwrap()), &[]);
    }
}

/// What one writes to its view is its own, and ends with the view.
#[test]
fn a_view_is_private() {
    let _alone = alone();
    let original = pattern(300_000);
    let frozen = freeze(&original);
    let (one, other) = (
        frozen.view(0, 300_000, false).unwrap(),
        frozen.view(0, 300_000, false).unwrap(),
    );
    for at in 0..300_000 {
        write(&one, at, 1);
    }
    assert_eq!(bytes(&other), &original);
    assert_eq!(frozen.bytes().unwrap(), &original);
}

/// What nobody has written to is found again, and only that.
#[test]
fn an_untouched_view_is_found() {
    let _alone = alone();
    let frozen = freeze(&pattern(300_000));
    let view = frozen.view(10, 200_000, false).unwrap();
    let start = view.start().addr();
    let (found, from) = find(start + 5000, 100).unwrap();
    assert_eq!(found.handle().offset(), frozen.handle().offset());
    assert_eq!((from, found.len()), (5010, 300_000));
    assert!(find(start, 200_001).is_none(), "longer than the view");
    assert!(find(start - 1, 10).is_none(), "before it");
    // Reading is no writing.
    assert_eq!(bytes(&view)[..100], pattern(300_000)[10..110]);
    assert!(find(start, 200_000).is_some());
    write(&view, 100_000, 1);
    assert!(find(start, 200_000).is_none());
    assert!(find(start, 90_000).is_some(), "another page");
    drop(view);
    assert!(find(start, 10).is_none());
}

/// Its memory lives as long as a view of it, and then goes.
#[test]
fn a_view_keeps_it() {
    let _alone = alone();
    drop(freeze(&[1])); // this process's table of references is a block, too
    let before = alloc::stats().unwrap().live_blocks;
    let frozen = freeze(&pattern(100_000));
    let (session, offset, generation) = frozen.handle().numbers().unwrap();
    let view = frozen.view(0, 100_000, false).unwrap();
    drop(frozen);
    assert_eq!(bytes(&view), &pattern(100_000));
    drop(view);
    let gone = Frozen::open(session, offset, generation, 100_000).unwrap_err();
    assert!(matches!(gone, Error::Stale { .. }));
    assert_eq!(alloc::stats().unwrap().live_blocks, before);
}

/// A child of fork has views of its own, and finds them.
#[test]
fn views_go_through_a_fork() {
    let _alone = alone();
    let frozen = freeze(&pattern(100_000));
    let view = frozen.view(0, 100_000, false).unwrap();
    let ours = child(|| {
        let same = bytes(&view) == pattern(100_000);
        let known = find(view.start().addr(), 100_000).is_some();
        write(&view, 0, 99);
        same && known && find(view.start().addr(), 100_000).is_none()
    });
    assert_eq!(ours.wait(), 0);
    assert_eq!(bytes(&view), &pattern(100_000));
    assert!(find(view.start().addr(), 100_000).is_some());
}

/// Memory that can't be read is an error, and nothing is lost.
#[test]
fn what_cannot_be_read_is_an_error() {
    let _alone = alone();
    // In a process that has written to no place before: the kernel copies then.
    let ours = child(|| {
        drop(freeze(&[1]));
        let before = alloc::stats().unwrap().live_blocks;
        // SAFETY: none: the kernel finds out that nothing is there.
        let refused = unsafe { Frozen::copy_of(std::ptr::without_provenance(4096), 8 << 20) };
        let expected = Error::Os {
            call: "pwrite",
            errno: libc::EFAULT,
        };
        refused.err() == Some(expected) && alloc::stats().unwrap().live_blocks == before
    });
    assert_eq!(ours.wait(), 0);
}

/// What was large and free for a while goes back to the system, but for some.
#[test]
fn free_memory_cools() {
    let _alone = alone();
    let frozen = freeze(&vec![1; 200 << 20]);
    let freed = Instant::now();
    drop(frozen);
    let warm = alloc::stats().unwrap().warm_bytes;
    assert!(warm >= 200 << 20, "{warm} bytes are warm");
    alloc::cool().unwrap();
    let left = alloc::stats().unwrap().warm_bytes;
    // (Unless this process was held up for as long as it takes.)
    let at_once = freed.elapsed() < Duration::from_secs(4);
    assert!(!at_once || left == warm, "{left} of {warm} at once");
    let header = allcores_core::arena::arena().unwrap().header();
    for _ in 0..10 {
        // As if it had been long ago.
        header
            .warm_at
            .store(0, std::sync::atomic::Ordering::Relaxed);
        alloc::cool().unwrap();
    }
    let warm = alloc::stats().unwrap().warm_bytes;
    assert_eq!(warm, 64 << 20, "{warm} bytes stay warm");
    // And is there again when it is wanted.
    let again = freeze(&vec![2; 100 << 20]);
    assert!(again.bytes().unwrap().iter().all(|&byte| byte == 2));
}

/// What comes in task after task is mapped once, until it is written to or the worker goes idle.
#[test]
fn a_worker_keeps_what_comes_again() {
    let _alone = alone();
    let content = pattern(300_000);
    let frozen = freeze(&content);
    let (session, offset, generation) = frozen.handle().numbers().unwrap();
    let view = || frozen.view(0, 300_000, false).unwrap();
    task_ended();
    let start = |view: &View| view.start().addr();
    drop(view());
    let second = view();
    let place = start(&second);
    drop(second);
    assert!(find(place, 10).is_none(), "nobody uses it");
    task_ended();
    let third = view();
    assert_eq!(start(&third), place);
    assert!(find(place, 10).is_some());
    let beside = view();
    assert_ne!(start(&beside), place);
    write(&third, 5, 99);
    drop(third);
    task_ended();
    let fresh = view();
    assert_eq!(
        bytes(&fresh),
        &content,
        "what was written to is not used again"
    );
    drop((fresh, beside));
    drop(frozen);
    let exists = || Frozen::open(session, offset, generation, 300_000).is_ok();
    task_ended();
    assert!(exists(), "for one more task");
    task_ended();
    assert!(!exists(), "and no longer");
    let other = freeze(&content);
    let (session, offset, generation) = other.handle().numbers().unwrap();
    for _ in 0..3 {
        drop(other.view(0, 300_000, false).unwrap());
    }
    drop(other);
    assert!(Frozen::open(session, offset, generation, 300_000).is_ok());
    let_go();
    assert!(Frozen::open(session, offset, generation, 300_000).is_err());
}
