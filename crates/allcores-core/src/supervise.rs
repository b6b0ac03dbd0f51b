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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;

use crate::os;
use crate::slot;
use crate::spin::Spin;

/// Children that are watched, and the thread that does it.
struct Watch {
    children: Vec<OwnedFd>,
    /// The thread, and the bell that makes it look at all this again.
    thread: Option<(JoinHandle<()>, Arc<Bell>)>,
}

/// How one thread is spoken to. Each has its own: while one is ending for a fork, another
/// Python thread may have a new one started.
struct Bell {
    event: OwnedFd,
    /// The thread shall end.
    quit: AtomicBool,
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
    state.children.push(child);
    match &state.thread {
        Some((_, bell)) => os::ring(bell.event.as_raw_fd()),
        None => start(&mut state),
    }
    true
}

/// Brings the thread back after a fork. Cheap when there is nothing to do.
#[inline]
pub fn resume() {
    if PAUSED.load(Relaxed) && PAUSED.swap(false, AcqRel) {
        start(&mut WATCH.lock());
    }
}

/// Starts the thread if there is something to watch. Without one the program goes on.
fn start(state: &mut Watch) {
    if state.thread.is_some() || state.children.is_empty() {
        return;
    }
    let Ok(event) = os::event() else { return };
    let quit = AtomicBool::new(false);
    let bell = Arc::new(Bell { event, quit });
    let heard = bell.clone();
    // The thread inherits that it gets no signals: they are for Python's main thread.
    let spawned = os::without_signals(|| {
        std::thread::Builder::new()
            .name("allcores-supervisor".into())
            .stack_size(128 << 10)
            .spawn(move || run(&heard))
    });
    if let Ok(thread) = spawned {
        state.thread = Some((thread, bell));
    }
}

/// Ends the thread, and waits until it has.
fn stop() -> bool {
    let thread = {
        let mut state = WATCH.lock();
        if let Some((_, bell)) = &state.thread {
            bell.quit.store(true, Release);
        }
        state.thread.take()
    };
    let Some((thread, bell)) = thread else {
        return false;
    };
    os::ring(bell.event.as_raw_fd());
    let _ = thread.join();
    true
}

/// The thread: until it shall end or there is no child left.
fn run(bell: &Bell) {
    loop {
        let mut fds: Vec<i32> = {
            let mut state = WATCH.lock();
            if bell.quit.load(Acquire) {
                return;
            }
            if state.children.is_empty() {
                state.thread = None;
                return;
            }
            state.children.iter().map(AsRawFd::as_raw_fd).collect()
        };
        fds.push(bell.event.as_raw_fd());
        // Only the thread that shall not end takes children off the list, so as long as
        // this is that one, their descriptors stay open.
        let Ok(ready) = os::poll_readable(&fds) else {
            return;
        };
        os::hush(bell.event.as_raw_fd());
        let dead: Vec<i32> = fds[..fds.len() - 1]
            .iter()
            .zip(&ready)
            .filter_map(|(&fd, &ready)| ready.then_some(fd))
            .collect();
        {
            let mut state = WATCH.lock();
            if bell.quit.load(Acquire) {
                return;
            }
            state
                .children
                .retain(|child| !dead.contains(&child.as_raw_fd()));
        }
        if !dead.is_empty() {
            // The kernel drops a process's locks before it lets its pidfd tell. An error
            // here comes out again where somebody waits.
            let _ = slot::recover_all();
        }
    }
}

/// Before a fork: this process has one thread less. Ends with WATCH held, which the other
/// two let go of.
pub fn before_fork() {
    loop {
        if stop() {
            PAUSED.store(true, Release);
        }
        let state = WATCH.lock();
        // Another thread may have begun to watch a child meanwhile.
        if state.thread.is_none() {
            std::mem::forget(state);
            return;
        }
    }
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

/// For good: this process is about to leave.
pub fn end() {
    stop();
    WATCH.lock().children.clear();
}
