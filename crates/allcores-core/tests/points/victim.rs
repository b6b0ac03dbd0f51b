//! A child that is killed at a point.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use allcores_core::crash;

use crate::journal::Journal;
use crate::source;
use crate::trace::End;
use crate::trap::sleeps;

static JOURNAL: OnceLock<&'static Journal> = OnceLock::new();
/// Who may be killed: nobody, this process and its children of fork, or only these.
static MORTAL: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = 0;
const ALL: u32 = 1;
/// Else all but the process with this pid.
const FIRST_PID: u32 = 2;

fn is_mortal() -> bool {
    match MORTAL.load(SeqCst) {
        NOBODY => false,
        ALL => true,
        parent => std::process::id() != parent,
    }
}

/// Notes the points that this process passes, and its children of fork.
pub fn watch(journal: &'static Journal) {
    let _ = JOURNAL.set(journal);
    crash::watch(passed);
}

fn passed(name: &'static str) {
    let (Some(journal), Some(point)) = (JOURNAL.get(), source::number(name)) else {
        eprintln!("the source has no point {name:?}");
        std::process::abort();
    };
    if journal.pass(point, is_mortal()) {
        // SAFETY: this process ends here.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
    }
}

/// How a victim came to its end, after how many passages.
#[derive(Clone, Copy)]
pub struct Death {
    pub end: End,
    pub passages: u64,
    /// The point where it was killed.
    pub point: Option<usize>,
}

impl Death {
    pub fn place(&self) -> &'static str {
        self.point
            .map_or("nowhere", |point| &source::names()[point])
    }
}

/// What a victim does.
pub struct Deed<'a> {
    /// Before it can be killed.
    pub before: &'a dyn Fn(),
    pub run: &'a dyn Fn(),
    /// Only children that it forks can be.
    pub birth: bool,
}

impl Deed<'_> {
    /// Runs it in a child of fork that is killed at its passage number `target`, or comes to
    /// its end. Children of the victim's own count as it does. When it sleeps, `wake` is
    /// called once.
    pub fn die(&self, journal: &'static Journal, target: u64, wake: Option<&dyn Fn()>) -> Death {
        journal.aim(target);
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // SAFETY: plain integers. It must not outlive a survivor that is killed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let work = || {
                (self.before)();
                let mortal = if self.birth { std::process::id() } else { ALL };
                debug_assert!(mortal == ALL || mortal >= FIRST_PID);
                MORTAL.store(mortal, SeqCst);
                (self.run)();
            };
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
            // The end is a death as well: what an ordinary exit gives back is not tested here.
            // SAFETY: ends the process, without exit handlers.
            unsafe { libc::_exit(if fine { 0 } else { 101 }) };
        }
        if let Some(wake) = wake
            && asleep(pid)
        {
            wake();
        }
        let mut status = 0;
        // SAFETY: our own child; `status` lives for the call.
        while unsafe { libc::waitpid(pid, &mut status, 0) } != pid {}
        let end = if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL {
            End::Killed
        } else if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            End::Over
        } else {
            End::Broke(status)
        };
        Death {
            end,
            passages: journal.passages(),
            point: journal.point(target),
        }
    }
}

/// Waits until a child sleeps on a futex; false when it ended before.
fn asleep(pid: libc::pid_t) -> bool {
    let futex = format!("{} ", libc::SYS_futex);
    loop {
        // SAFETY: all zero is a valid siginfo, which lives for the call.
        let ended = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, pid as u32, &mut info, flags) == 0 && info.si_pid() == pid
        };
        if ended {
            return false;
        }
        // Where the system doesn't tell the call, a sleep is taken for one on a futex.
        match std::fs::read_to_string(format!("/proc/{pid}/syscall")) {
            Ok(call) if call.starts_with(&futex) => return true,
            Err(_) if sleeps(pid) => return true,
            _ => {}
        }
        std::thread::sleep(std::time::Duration::from_micros(30));
    }
}
