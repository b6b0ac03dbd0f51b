//! Learns at once that a child has died, and gives back what it held.
//!
//! A thread without Python sleeps on the children's pidfds. When one ends, in whatever
//! way, the thread looks through the slots for the dead and recovers them: locks are free
//! and memory is back within a millisecond, whatever the rest of the program is doing.
//! Nothing depends on it: whoever waits for a dead process finds out by looking, a slice
//! later. So where the system refuses threads, it is simply not there. Where it refuses
//! pidfds, the thread looks for the dead every quarter of a second instead; so it does while
//! others take part that it can't watch, because nobody told it of their birth: children that
//! a program forked by itself, and children of the dead.
//!
//! The thread exists only while there is somebody to watch. It ends before every fork of
//! this process, so that a program with one thread stays one in the eyes of the kernel and
//! of CPython, which warns about forking with threads; the next wait or the next child
//! brings it back.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::os;
use crate::slot;
use crate::spin::Spin;

/// How often the thread looks where it can't be told. A guess between the promise (memory
/// is back within a second) and the cost of looking (a system call for each process).
const LOOK: Duration = Duration::from_millis(250);

/// Children that are watched, and the thread that does it.
struct Watch {
    children: Vec<(u32, OwnedFd)>,
    /// There may be others, who are found in the slots.
    strangers: bool,
    /// Those for whom there is no pidfd.
    pids: Vec<u32>,
    /// The thread, and the bell that makes it look at all this again.
    thread: Option<(JoinHandle<()>, Arc<Bell>)>,
    /// During a fork: the thread should come back after it.
    due: bool,
}

impl Watch {
    fn is_idle(&self) -> bool {
        self.children.is_empty() && self.pids.is_empty() && !self.strangers
    }
}

/// How one thread is spoken to. Each has its own: while one is ending for a fork, another
/// Python thread may have a new one started.
struct Bell {
    event: os::Event,
    /// The thread shall end.
    quit: AtomicBool,
}

static WATCH: Spin<Watch> = Spin::new(Watch {
    children: Vec::new(),
    strangers: false,
    pids: Vec::new(),
    thread: None,
    due: false,
});
/// The thread was ended for a fork, which is over, and should come back.
static PAUSED: AtomicBool = AtomicBool::new(false);

/// Watches a child of this process from now on; false where the system has no pidfds, so
/// that it takes a moment until the news is here.
pub fn watch(pid: u32) -> bool {
    let child = os::pidfd(pid);
    let told = child.is_ok();
    let mut state = WATCH.lock();
    match child {
        Ok(child) => state.children.push((pid, child)),
        Err(_) if os::exists(pid) => state.pids.push(pid),
        Err(_) => {}
    }
    match &state.thread {
        Some((_, bell)) => bell.event.ring(),
        None => start(&mut state),
    }
    told
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
    if state.thread.is_some() || state.is_idle() {
        return;
    }
    let Ok(event) = os::Event::new() else { return };
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
    bell.event.ring();
    let _ = thread.join();
    true
}

/// The thread: until it shall end or there is no child left.
fn run(bell: &Bell) {
    loop {
        let (mut fds, looking): (Vec<i32>, bool) = {
            let mut state = WATCH.lock();
            if bell.quit.load(Acquire) {
                return;
            }
            if state.is_idle() {
                state.thread = None;
                return;
            }
            let fds = state
                .children
                .iter()
                .map(|(_, fd)| fd.as_raw_fd())
                .collect();
            (fds, !state.pids.is_empty() || state.strangers)
        };
        fds.push(bell.event.as_raw_fd());
        // Only the thread that shall not end takes children off the list, so as long as
        // this is that one, their descriptors stay open.
        let Ok(ready) = os::poll_readable(&fds, looking.then_some(LOOK)) else {
            return;
        };
        bell.event.hush();
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
                .retain(|(_, child)| !dead.contains(&child.as_raw_fd()));
            state.pids.retain(|&pid| os::exists(pid));
        }
        if !dead.is_empty() || looking {
            // The kernel drops a process's locks before it lets its pidfd tell. An error
            // here comes out again where somebody waits.
            let _ = slot::recover_all();
        }
        let living = slot::living().unwrap_or_default();
        let mut state = WATCH.lock();
        if bell.quit.load(Acquire) {
            return;
        }
        let known = |pid| state.children.iter().any(|(child, _)| *child == pid);
        state.strangers = living
            .iter()
            .any(|&(owner, pid)| owner != slot::joined() && !known(pid));
    }
}

/// Before a fork: this process has one thread less. Ends with WATCH held, which the other
/// two let go of.
pub fn before_fork() {
    let mut due = false;
    loop {
        due |= stop();
        let mut state = WATCH.lock();
        // Another thread may have begun to watch a child meanwhile.
        if state.thread.is_none() {
            // The fork handlers may have to wait for the allocator's lock. With PAUSED set, that
            // wait would want to bring the thread back, and wait for WATCH, which is held here.
            state.due = PAUSED.swap(false, AcqRel) || due;
            std::mem::forget(state);
            return;
        }
    }
}

/// After a fork, in the parent; `takes_part` when the child does.
pub fn after_fork_parent(takes_part: bool) {
    // SAFETY: `before_fork` forgot the guard, in this thread.
    let mut state = unsafe { WATCH.relock() };
    state.strangers |= takes_part;
    if std::mem::take(&mut state.due) || takes_part {
        PAUSED.store(true, Release);
    }
}

/// After a fork, in the child, whose children these are not.
pub fn after_fork_child() {
    // SAFETY: `before_fork` forgot the guard, in the thread that this one is a copy of.
    let mut state = unsafe { WATCH.relock() };
    PAUSED.store(false, Release);
    state.due = false;
    state.thread = None;
    state.children.clear();
    state.strangers = false;
    state.pids.clear();
}

/// For good: this process is about to leave.
pub fn end() {
    stop();
    let mut state = WATCH.lock();
    state.children.clear();
    state.strangers = false;
    state.pids.clear();
}
