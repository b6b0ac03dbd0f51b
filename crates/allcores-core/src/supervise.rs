//! Learns at once that a child has died, and gives back what it held.
//!
//! A thread without Python sleeps on the children's pidfds. When one ends, in whatever
//! way, the thread looks through the slots for the dead and recovers them: locks are free
//! and memory is back within a millisecond, whatever the rest of the program is doing.
//! Nothing depends on it: whoever waits for a dead process finds out by looking, a slice
//! later. So where the system refuses pidfds or threads, it is simply not there.
//!
//! The thread exists only while there are children to watch. It ends before every fork of
//! this process, so that a program with one thread stays one in the eyes of the kernel and
//! of CPython, which warns about forking with threads; the next wait or the next child
//! brings it back.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;

use crate::os;
use crate::slot;
use crate::spin::Spin;

/// Children that are watched, and the thread that does it.
struct Watch {
    /// Those that no thread has.
    children: Vec<OwnedFd>,
    /// The thread, and the bell that ends it.
    thread: Option<(JoinHandle<Vec<OwnedFd>>, OwnedFd)>,
}

static WATCH: Spin<Watch> = Spin::new(Watch {
    children: Vec::new(),
    thread: None,
});
/// The thread was ended for a fork and should come back.
static PAUSED: AtomicBool = AtomicBool::new(false);

/// Watches a child of this process from now on; false where the system has no pidfds.
pub fn watch(pid: u32) -> bool {
    let Ok(child) = os::pidfd(pid) else {
        return false;
    };
    let mut state = WATCH.lock();
    stop(&mut state);
    state.children.push(child);
    start(&mut state);
    true
}

/// Brings the thread back after a fork. Cheap when there is nothing to do.
#[inline]
pub fn resume() {
    if PAUSED.load(Relaxed) && PAUSED.swap(false, AcqRel) {
        start(&mut WATCH.lock());
    }
}

/// Starts the thread with all children that are known. Without one the program goes on.
fn start(state: &mut Watch) {
    if state.thread.is_some() || state.children.is_empty() {
        return;
    }
    let Ok((bell, ear)) = os::event() else { return };
    let children = std::mem::take(&mut state.children);
    let spawned = std::thread::Builder::new()
        .name("allcores-supervisor".into())
        .stack_size(128 << 10)
        .spawn(move || run(children, ear));
    if let Ok(thread) = spawned {
        state.thread = Some((thread, bell));
    }
}

/// Ends the thread; the children it still watched come back to `state`.
fn stop(state: &mut Watch) {
    if let Some((thread, bell)) = state.thread.take() {
        os::ring(bell.as_raw_fd());
        if let Ok(children) = thread.join() {
            state.children = children;
        }
    }
}

/// The thread: until the bell rings or no child is left.
fn run(mut children: Vec<OwnedFd>, ear: OwnedFd) -> Vec<OwnedFd> {
    os::block_signals();
    while !children.is_empty() {
        let mut fds: Vec<i32> = children.iter().map(AsRawFd::as_raw_fd).collect();
        fds.push(ear.as_raw_fd());
        let Ok(ready) = os::poll_readable(&fds) else {
            break;
        };
        let rung = ready.last().copied().unwrap_or(true);
        let before = children.len();
        let mut ready = ready.into_iter();
        children.retain(|_| !ready.next().unwrap_or(false));
        if children.len() < before {
            // The kernel drops a process's locks before it lets its pidfd tell. An error
            // here comes out again where somebody waits.
            let _ = slot::recover_all();
        }
        if rung {
            break;
        }
    }
    children
}

/// Before a fork: this process has one thread less.
pub fn before_fork() {
    let mut state = WATCH.lock();
    if state.thread.is_some() {
        stop(&mut state);
        PAUSED.store(!state.children.is_empty(), Release);
    }
    // Held across the fork, so that the child finds it in order.
    std::mem::forget(state);
}

/// After a fork, in the parent.
pub fn after_fork_parent() {
    // SAFETY: `before_fork` forgot the guard, in this thread.
    drop(unsafe { WATCH.relock() });
}

/// After a fork, in the child, whose children these are not.
pub fn after_fork_child() {
    // SAFETY: `before_fork` forgot the guard, in the thread that this one is a copy of.
    let mut state = unsafe { WATCH.relock() };
    PAUSED.store(false, Release);
    state.thread = None;
    state.children.clear();
}
