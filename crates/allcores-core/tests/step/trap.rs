//! A child that is killed just before the n-th place at which it would change something
//! that outlives it: a store to the arena or a system call.
//!
//! The arena is read-only in the child, so each store to it faults (SIGSEGV). The handler
//! counts it, opens the arena and lets this one instruction pass; the next signal (SIGTRAP)
//! closes the arena again. That comes from the processor's trap flag when an instruction is
//! seen for the first time, and then from a breakpoint at the one behind it, because on a
//! virtual machine the flag costs twenty times as much. System calls raise SIGSYS
//! (`PR_SET_SYSCALL_USER_DISPATCH`), whose handler counts them and makes them itself. At
//! the place that is asked for either handler sends SIGKILL to its own process. Between
//! places the child runs at full speed, and no tracer is needed.
//!
//! A `rep stos` or `rep movs` counts once for each page that it writes to.

use std::arch::global_asm;
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};

use allcores_core::arena;
use libc::{pid_t, siginfo_t, ucontext_t};

use crate::trace::End;

const PR_SET_SYSCALL_USER_DISPATCH: i64 = 59;
const SA_RESTORER: u64 = 0x0400_0000;
const TRAP_FLAG: i64 = 0x100;
const PAGE: usize = allcores_core::os::PAGE;
/// No place: the child runs to the end.
pub const NOWHERE: u64 = u64::MAX;
/// Exit code of a child that the system does not let be trapped.
const UNTRAPPABLE: c_int = 78;

/// What a child tells, and is told, in memory shared with its parent.
#[repr(C)]
pub struct Control {
    /// The place to die at.
    target: AtomicU64,
    places: AtomicU64,
    /// Died at its target.
    died: AtomicU64,
    /// The instruction of the latest place.
    at: AtomicU64,
    /// The number of the system call that it is in.
    inside: AtomicU64,
    /// Not the process itself is counted and killed, but its child of fork.
    follow: AtomicU64,
    /// Code that may be written to: start and length.
    code: [[AtomicUsize; 2]; 8],
    /// Instructions that store, and those behind them. Found by one child, used by the next.
    behind: [[AtomicUsize; 2]; BEHIND],
}

/// Places in [`Control::behind`]; of an operation's code only a small part stores.
const BEHIND: usize = 1 << 12;

// In the handlers: this process's own. A child of fork has copies.
static CONTROL: AtomicUsize = AtomicUsize::new(0);
static BASE: AtomicUsize = AtomicUsize::new(0);
static LEN: AtomicUsize = AtomicUsize::new(0);
/// Places count in this process.
static COUNTS: AtomicBool = AtomicBool::new(false);
/// The store that is let pass.
static PASSING: AtomicUsize = AtomicUsize::new(0);
/// Where a breakpoint is, and the byte that belongs there.
static PLANTED: AtomicUsize = AtomicUsize::new(0);
static DUG_UP: AtomicU8 = AtomicU8::new(0);
/// What the kernel looks at: 1 lets system calls trap, 0 does not.
static SELECTOR: AtomicU8 = AtomicU8::new(0);

// System calls from within these bytes never trap.
global_asm!(
    ".pushsection .text",
    ".balign 16",
    "allcores_trap_begin:",
    "allcores_trap_call:", // (number, pointer to six arguments)
    "mov rax, rdi",
    "mov rdi, [rsi]",
    "mov rdx, [rsi + 16]",
    "mov r10, [rsi + 24]",
    "mov r8, [rsi + 32]",
    "mov r9, [rsi + 40]",
    "mov rsi, [rsi + 8]",
    "syscall",
    "ret",
    "allcores_trap_return:",
    "mov eax, 15", // rt_sigreturn
    "syscall",
    "ud2",
    "allcores_trap_end:",
    ".popsection",
);

unsafe extern "C" {
    fn allcores_trap_begin();
    fn allcores_trap_call(number: i64, args: *const [i64; 6]) -> i64;
    fn allcores_trap_return();
    fn allcores_trap_end();
}

/// A system call that does not trap.
fn call(number: i64, args: [i64; 6]) -> i64 {
    // SAFETY: the same as making the call itself, which is up to the callers: they pass on
    // what the program has asked for, or change only protections and signals.
    unsafe { allcores_trap_call(number, &args) }
}

fn control() -> &'static Control {
    // SAFETY: set before there is a handler, to memory that is never given back.
    unsafe { &*(CONTROL.load(SeqCst) as *const Control) }
}

fn protect(protection: c_int) {
    let (base, len) = (BASE.load(SeqCst) as i64, LEN.load(SeqCst) as i64);
    if call(libc::SYS_mprotect, [base, len, protection as i64, 0, 0, 0]) != 0 {
        call(libc::SYS_exit_group, [UNTRAPPABLE as i64, 0, 0, 0, 0, 0]);
    }
}

fn open() {
    protect(libc::PROT_READ | libc::PROT_WRITE);
}

fn close() {
    protect(libc::PROT_READ);
}

fn dispatch_calls() -> i64 {
    let begin = allcores_trap_begin as *const () as i64;
    let len = allcores_trap_end as *const () as i64 - begin;
    let selector = SELECTOR.as_ptr() as i64;
    call(
        libc::SYS_prctl,
        [PR_SET_SYSCALL_USER_DISPATCH, 1, begin, len, selector, 0],
    )
}

/// Counts a place, or dies there.
fn place(at: i64) {
    if !COUNTS.load(SeqCst) {
        return;
    }
    let control = control();
    let number = control.places.load(SeqCst);
    control.at.store(at as u64, SeqCst);
    if number == control.target.load(SeqCst) {
        control.died.store(1, SeqCst);
        let me = call(libc::SYS_getpid, [0; 6]);
        call(libc::SYS_kill, [me, libc::SIGKILL as i64, 0, 0, 0, 0]);
    }
    control.places.store(number + 1, SeqCst);
}

extern "C" fn on_store(_: c_int, info: *mut siginfo_t, context: *mut ucontext_t) {
    // SAFETY: both are valid in a handler with SA_SIGINFO.
    let (address, context) = unsafe { ((*info).si_addr() as usize, &mut *context) };
    let registers = &mut context.uc_mcontext.gregs;
    if address.wrapping_sub(BASE.load(SeqCst)) >= LEN.load(SeqCst) {
        // Not ours: again without a handler, which ends the process.
        let none = KernelAction {
            handler: libc::SIG_DFL,
            flags: SA_RESTORER,
            restorer: allcores_trap_return as *const () as usize,
            mask: 0,
        };
        install(libc::SIGSEGV, &none);
        return;
    }
    place(registers[libc::REG_RIP as usize]);
    open();
    if repeat(registers) {
        close();
        return;
    }
    let at = registers[libc::REG_RIP as usize] as usize;
    match control().behind(at).map(|known| known[1].load(SeqCst)) {
        Some(next) if next != 0 => plant(next),
        _ => {
            PASSING.store(at, SeqCst);
            registers[libc::REG_EFL as usize] |= TRAP_FLAG;
        }
    }
}

const BREAKPOINT: u8 = 0xcc;

fn plant(at: usize) {
    PLANTED.store(at, SeqCst);
    // SAFETY: an instruction of ours, in code that `arm` made writable in this process.
    unsafe {
        DUG_UP.store((at as *const u8).read_volatile(), SeqCst);
        (at as *mut u8).write_volatile(BREAKPOINT);
    }
}

impl Control {
    /// What is known of the instruction at `at`; `None` when there is no room.
    fn behind(&self, at: usize) -> Option<&[AtomicUsize; 2]> {
        let first = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        (0..64)
            .map(|i| &self.behind[(first + i) % BEHIND])
            .find(|known| matches!(known[0].load(SeqCst), 0) || known[0].load(SeqCst) == at)
    }

    /// Notes which instruction follows the store at `at`.
    fn learn(&self, at: usize, next: usize) {
        let is_writable = |range: &[AtomicUsize; 2]| {
            next.wrapping_sub(range[0].load(SeqCst)) < range[1].load(SeqCst)
        };
        if self.code.iter().any(is_writable)
            && let Some(known) = self.behind(at)
        {
            known[0].store(at, SeqCst);
            known[1].store(next, SeqCst);
        }
    }

    /// Notes where the code is.
    fn find_code(&self) {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let ranges = maps.lines().filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            (rest.starts_with("r-xp") && rest.contains('/'))
                .then_some((number(start)?, number(end)?))
        });
        for (place, (start, end)) in self.code.iter().zip(ranges) {
            place[0].store(start, SeqCst);
            place[1].store(end - start, SeqCst);
        }
    }
}

/// Does the part of a `rep stos` or `rep movs` that lies in one page. (With the trap flag
/// it would stop after each byte.)
fn repeat(registers: &mut [i64; 23]) -> bool {
    let code = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: the instruction there was about to be executed, so it can be read, and this
    // does to registers and memory what it would have done.
    unsafe {
        if *code != 0xf3 {
            return false;
        }
        let wide = *code.add(1) == 0x48;
        let unit = match *code.add(1 + usize::from(wide)) {
            0xa4 | 0xaa => 1,
            0xa5 | 0xab => 4 << usize::from(wide),
            _ => return false,
        };
        let moves = *code.add(1 + usize::from(wide)) < 0xa8;
        let to = registers[libc::REG_RDI as usize] as usize;
        let left = registers[libc::REG_RCX as usize] as usize;
        let n = ((PAGE - to % PAGE) / unit).max(1).min(left);
        let from = registers[libc::REG_RSI as usize] as *const u8;
        let value = registers[libc::REG_RAX as usize].to_le_bytes();
        for i in 0..n * unit {
            let byte = if moves {
                from.add(i).read_volatile()
            } else {
                value[i % unit]
            };
            (to as *mut u8).add(i).write_volatile(byte);
        }
        let bytes = (n * unit) as i64;
        registers[libc::REG_RDI as usize] += bytes;
        registers[libc::REG_RSI as usize] += if moves { bytes } else { 0 };
        registers[libc::REG_RCX as usize] -= n as i64;
    }
    true
}

extern "C" fn on_stored(_: c_int, _: *mut siginfo_t, context: *mut ucontext_t) {
    close();
    // SAFETY: valid in a handler with SA_SIGINFO.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as usize;
    match PLANTED.swap(0, SeqCst) {
        0 => {
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
            control().learn(PASSING.load(SeqCst), at);
        }
        planted => {
            // SAFETY: as in `plant`.
            unsafe { (planted as *mut u8).write_volatile(DUG_UP.load(SeqCst)) };
            registers[libc::REG_RIP as usize] = planted as i64;
        }
    }
}

extern "C" fn on_call(_: c_int, _: *mut siginfo_t, context: *mut ucontext_t) {
    // SAFETY: valid in a handler with SA_SIGINFO.
    let context = unsafe { &mut *context };
    let registers = context.uc_mcontext.gregs;
    let number = registers[libc::REG_RAX as usize];
    let args = [
        libc::REG_RDI,
        libc::REG_RSI,
        libc::REG_RDX,
        libc::REG_R10,
        libc::REG_R8,
        libc::REG_R9,
    ]
    .map(|register| registers[register as usize]);
    let result = match number {
        // How often these are made depends on the time.
        libc::SYS_clock_gettime | libc::SYS_sched_yield => call(number, args),
        libc::SYS_rt_sigprocmask => mask(context, args),
        _ => {
            place(registers[libc::REG_RIP as usize]);
            control().inside.store(number as u64, SeqCst);
            let result = call(number, args);
            if result == 0 && matches!(number, libc::SYS_clone | libc::SYS_fork) {
                born();
            } else {
                control().inside.store(NOWHERE, SeqCst);
            }
            result
        }
    };
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
}

/// Signals that are blocked, but never ours. The kernel takes the mask from the context
/// when the handler returns.
fn mask(context: &mut ucontext_t, args: [i64; 6]) -> i64 {
    let [how, new, old, ..] = args;
    let now = (&raw mut context.uc_sigmask).cast::<u64>();
    // SAFETY: the program passed these to the system call, for 8 bytes each.
    unsafe {
        let before = *now;
        if new != 0 {
            let new = *(new as *const u64);
            let next = match how as c_int {
                libc::SIG_BLOCK => before | new,
                libc::SIG_UNBLOCK => before & !new,
                _ => new,
            };
            let ours = [libc::SIGSEGV, libc::SIGTRAP, libc::SIGSYS];
            *now = ours
                .iter()
                .fold(next, |set, signal| set & !(1 << (signal - 1)));
        }
        if old != 0 {
            *(old as *mut u64) = before;
        }
    }
    0
}

/// In a child of fork, which has a closed arena but whose system calls don't trap.
fn born() {
    let follow = control().follow.load(SeqCst) != 0;
    COUNTS.store(follow, SeqCst);
    if follow {
        dispatch_calls();
    } else {
        // It runs as if there were no traps. Its stores would fault one by one else.
        open();
    }
}

/// As the kernel has it.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

fn install(signal: c_int, action: &KernelAction) -> i64 {
    let action = std::ptr::from_ref(action) as i64;
    call(libc::SYS_rt_sigaction, [signal as i64, action, 0, 8, 0, 0])
}

/// From here on places count. False where the system does not know such traps.
fn arm(control: &'static Control) -> bool {
    CONTROL.store(std::ptr::from_ref(control) as usize, SeqCst);
    let arena = arena::arena().expect("the arena is there");
    let end = arena.data_at(arena.chunks()) as usize;
    let first = arena.bytes(PAGE as u64, 1).expect("a place in the arena") as usize;
    BASE.store(first - PAGE, SeqCst);
    LEN.store(end, SeqCst);
    for range in &control.code {
        let [start, len] = [0, 1].map(|i| range[i].load(SeqCst));
        let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        // SAFETY: our own code, in memory that this process does not share.
        if len > 0 && unsafe { libc::mprotect(start as *mut _, len, all) } != 0 {
            return false;
        }
    }
    type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut ucontext_t);
    for (signal, handler) in [
        (libc::SIGSEGV, on_store as Handler),
        (libc::SIGTRAP, on_stored as Handler),
        (libc::SIGSYS, on_call as Handler),
    ] {
        let action = KernelAction {
            handler: handler as usize,
            flags: libc::SA_SIGINFO as u64 | SA_RESTORER,
            restorer: allcores_trap_return as *const () as usize,
            mask: 0,
        };
        install(signal, &action);
    }
    if dispatch_calls() != 0 {
        return false;
    }
    COUNTS.store(control.follow.load(SeqCst) == 0, SeqCst);
    close();
    SELECTOR.store(1, SeqCst);
    true
}

fn disarm() {
    SELECTOR.store(0, SeqCst);
    open();
    COUNTS.store(false, SeqCst);
}

/// How a child ended.
#[derive(Clone, Copy)]
pub struct Death {
    pub end: End,
    /// Places that it passed.
    pub places: u64,
    /// The instruction that it died at.
    pub at: u64,
}

/// A child under way to its place.
pub struct Trapped {
    pid: pid_t,
    control: &'static Control,
}

/// What a new child gets to do.
pub struct Work<'a> {
    /// Before places count.
    pub before: &'a dyn Fn(),
    pub run: &'a dyn Fn(),
    /// Its child of fork is the one to be killed.
    pub follow: bool,
}

impl Control {
    pub fn new() -> &'static Control {
        // SAFETY: fresh memory of at least that size, all zero, never given back.
        unsafe {
            let at = libc::mmap(
                null_mut(),
                size_of::<Control>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            let control = &*at.cast::<Control>();
            control.find_code();
            control
        }
    }

    /// Starts a child that dies at place `target`.
    pub fn start(&'static self, work: &Work, target: u64) -> Trapped {
        self.target.store(target, SeqCst);
        self.places.store(0, SeqCst);
        self.died.store(0, SeqCst);
        self.at.store(0, SeqCst);
        self.inside.store(NOWHERE, SeqCst);
        self.follow.store(work.follow.into(), SeqCst);
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // SAFETY: plain integers. It must not outlive a parent that is killed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (work.before)();
                if !arm(self) {
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(UNTRAPPABLE) };
                }
                (work.run)();
            }));
            disarm();
            // SAFETY: the end of the process, by a signal so that nothing of it runs on.
            unsafe {
                if fine.is_ok() {
                    libc::kill(libc::getpid(), libc::SIGKILL);
                }
                libc::_exit(101)
            }
        }
        Trapped { pid, control: self }
    }
}

impl Trapped {
    /// Waits until the child sleeps on a futex; false when it has ended.
    pub fn asleep(&self) -> bool {
        loop {
            // SAFETY: all zero is a valid siginfo, which lives for the call.
            let ended = unsafe {
                let mut info: siginfo_t = std::mem::zeroed();
                let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
                libc::waitid(libc::P_PID, self.pid as u32, &mut info, flags) == 0
                    && info.si_pid() == self.pid
            };
            if ended {
                return false;
            }
            if self.control.inside.load(SeqCst) == libc::SYS_futex as u64 && sleeps(self.pid) {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_micros(30));
        }
    }

    /// Kills it from outside, wherever it is.
    pub fn kill(&self) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// Waits for the end. `None` where the system does not know such traps.
    pub fn wait(self) -> Option<Death> {
        let mut status = 0;
        loop {
            // SAFETY: `status` lives for the call.
            let waited = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) };
            if waited == self.pid {
                break;
            }
        }
        let control = self.control;
        let end = if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == UNTRAPPABLE {
            return None;
        } else if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGKILL {
            End::Broke(status)
        } else if control.died.load(SeqCst) != 0 {
            End::Killed
        } else {
            End::Over
        };
        Some(Death {
            end,
            places: control.places.load(SeqCst),
            at: control.at.load(SeqCst),
        })
    }
}

/// Whether a process sleeps at this moment.
pub fn sleeps(pid: pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may have anything in it.
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('S'))
}
