//! A process that must end well, whatever it finds in its arena.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use allcores_core::{alloc, arena, slot};

/// Exit code: it waits for a lock that, by the bytes, a living process holds.
const WAITS: i32 = 77;
/// Exit code: it neither computes nor comes back.
const STUCK: i32 = 78;
/// Exit code: a panic.
const PANIC: i32 = 79;

/// Between two looks at a process that is late.
const TICK_MS: u64 = 300;
/// After so many looks it hangs: two minutes, as others may have the processor meanwhile.
const MOST_LOOKS: u32 = 400;
/// Processor time that a process may take; far more than it needs, even unoptimised.
const CPU_S: u64 = 4;
/// Ordinary memory that it may take in addition to what it starts with.
const MEMORY: u64 = 256 << 20;

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Well,
    /// In a wait for something that somebody living is said to have.
    Waiting,
    Badly(String),
}

/// Starts `work` in a child of fork under all limits; its pid.
pub fn start(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this program has one thread; the child does not return from here.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        limit();
        watch();
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
        // SAFETY: ends the process without the exit handlers of the harness.
        unsafe { libc::_exit(if fine { 0 } else { PANIC }) };
    }
    pid
}

/// Like [`start`], and waits for its end.
pub fn run(work: impl FnOnce()) -> End {
    wait(start(work)).1
}

/// Waits for the end of this child, or of any when that is -1.
pub fn wait(pid: libc::pid_t) -> (libc::pid_t, End) {
    let mut status = 0;
    // SAFETY: our own child.
    let pid = unsafe { libc::waitpid(pid, &mut status, 0) };
    let end = match status {
        0 => End::Well,
        _ if libc::WIFEXITED(status) => match libc::WEXITSTATUS(status) {
            WAITS => End::Waiting,
            STUCK => End::Badly("it hangs".into()),
            PANIC => End::Badly("it panicked".into()),
            code => End::Badly(format!("exit code {code}")),
        },
        _ => match libc::WTERMSIG(status) {
            libc::SIGXCPU | libc::SIGKILL => End::Badly("an endless loop".into()),
            signal => End::Badly(format!("signal {signal}")),
        },
    };
    (pid, end)
}

/// In a child of a process that [`run`] runs: what became of this child's own.
pub fn pass_on(end: End) {
    let code = match end {
        End::Well => return,
        End::Waiting => WAITS,
        End::Badly(how) => {
            eprintln!("in a child: {how}");
            1
        }
    };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) };
}

fn limit() {
    let set = |what, soft: u64, hard: u64| {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: a valid limit; lowering one's own is always allowed.
        unsafe { libc::setrlimit(what, &limit) };
    };
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let data: u64 = statm
        .split(' ')
        .nth(5)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let data = data * 4096 + MEMORY;
    set(libc::RLIMIT_CPU, CPU_S, CPU_S + 1);
    set(libc::RLIMIT_DATA, data, data);
    set(libc::RLIMIT_CORE, 0, 0);
    // SAFETY: nobody outlives the harness.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Looks now and then, from a signal handler, whether this process is waiting for good.
fn watch() {
    let tick = libc::timeval {
        tv_sec: 0,
        tv_usec: (TICK_MS * 1000) as i64,
    };
    let every = libc::itimerval {
        it_interval: tick,
        it_value: tick,
    };
    let handler: extern "C" fn(libc::c_int) = look;
    // SAFETY: `look` is async-signal-safe: atomics, fcntl, clock_gettime and _exit.
    unsafe {
        libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
        libc::setitimer(libc::ITIMER_REAL, &every, std::ptr::null_mut());
    }
}

extern "C" fn look(_: libc::c_int) {
    static LATEST: AtomicU64 = AtomicU64::new(u64::MAX);
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    // SAFETY: plain data, then a valid pointer.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
    let latest = LATEST.swap(now, SeqCst);
    let idle = now.saturating_sub(latest) * 10 < TICK_MS && latest != u64::MAX;
    if idle && is_excused() {
        // SAFETY: ends the process.
        unsafe { libc::_exit(WAITS) };
    }
    if LOOKS.fetch_add(1, SeqCst) > MOST_LOOKS {
        // SAFETY: ends the process.
        unsafe { libc::_exit(STUCK) };
    }
}

/// Objects whose locks count even when their block says that it is free.
static KNOWN: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Notes where the objects are whose locks may be waited for.
pub fn know(offsets: impl Iterator<Item = u64>) {
    for (place, offset) in KNOWN.iter().zip(offsets) {
        place.store(offset, SeqCst);
    }
}

/// Whether a lock of the core that is waited for without an end has, by its word, a living
/// owner: of the chunks, of a list or a dict (its first word), of a ring's spill (word 24).
fn is_excused() -> bool {
    let Some(arena) = arena::existing() else {
        return false;
    };
    let lives = |word: &AtomicU32| {
        let owner = word.load(SeqCst) & slot::OWNER_MASK;
        owner != 0 && slot::is_alive(owner)
    };
    let mut found = lives(&arena.header().chunk_lock);
    let mut look = |offset: u64| {
        for at in [offset, offset + 192] {
            found |= arena.at(at).is_ok_and(lives);
        }
    };
    let _ = alloc::for_each(|offset, _| {
        look(offset);
        Ok(())
    });
    for place in &KNOWN {
        look(place.load(SeqCst));
    }
    found
}
