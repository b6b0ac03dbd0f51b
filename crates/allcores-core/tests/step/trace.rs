//! A child that is run instruction by instruction, and then killed.

use libc::{c_int, c_long, c_void, pid_t};

/// Where the instruction pointer is among what the kernel shows of a stopped process.
#[cfg(target_arch = "x86_64")]
const POINTER: usize = std::mem::offset_of!(libc::user_regs_struct, rip);

/// How a victim came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Killed inside the operation.
    Killed,
    /// The operation was over; then killed.
    Over,
    /// It ended by itself: a panic, or a signal.
    Broke(c_int),
}

/// A child that is stopped.
pub struct Victim(pub(crate) pid_t);

/// The way of an operation that was recorded: where each instruction is.
#[derive(Default)]
pub struct Way {
    pointers: Vec<usize>,
    /// For each step the last one up to it whose instruction had not been run before. A
    /// breakpoint there leads to that step at full speed.
    landmarks: Vec<usize>,
}

impl Way {
    /// Number of steps.
    pub fn len(&self) -> usize {
        self.landmarks.len()
    }

    fn push(&mut self, pointer: usize, seen: &mut std::collections::HashSet<usize>) {
        let step = self.pointers.len();
        self.pointers.push(pointer);
        let last = self.landmarks.last().copied().unwrap_or(0);
        self.landmarks
            .push(if seen.insert(pointer) { step } else { last });
    }
}

pub(crate) fn ptrace(request: libc::c_uint, pid: pid_t, at: usize, value: usize) -> c_long {
    // SAFETY: addresses in these requests are the traced child's, not ours.
    unsafe { libc::ptrace(request, pid, at as *mut c_void, value as *mut c_void) }
}

impl Victim {
    /// Forks a child that stops between `before` and `work`. `None` when the system forbids
    /// tracing.
    pub fn start(before: impl FnOnce(), work: impl FnOnce()) -> Option<Victim> {
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            if ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                // SAFETY: ends the process.
                unsafe { libc::_exit(77) };
            }
            let both = || {
                before();
                // SAFETY: stops this process, whose tracer goes on from there.
                unsafe { libc::raise(libc::SIGSTOP) };
                work();
            };
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(both)).is_ok();
            // SAFETY: as above, then the end.
            unsafe {
                if fine {
                    libc::raise(libc::SIGSTOP);
                }
                libc::_exit(101)
            }
        }
        let victim = Victim(pid);
        loop {
            let status = victim.wait();
            if !libc::WIFSTOPPED(status) {
                return None;
            }
            // `before` may have children, whose ends stop it, too.
            match libc::WSTOPSIG(status) {
                libc::SIGSTOP => break,
                signal => ptrace(libc::PTRACE_CONT, pid, 0, signal as usize),
            };
        }
        ptrace(
            libc::PTRACE_SETOPTIONS,
            pid,
            0,
            libc::PTRACE_O_EXITKILL as usize,
        );
        Some(victim)
    }

    pub(crate) fn wait(&self) -> c_int {
        let mut status = 0;
        loop {
            // SAFETY: `status` lives for the call.
            let waited = unsafe { libc::waitpid(self.0, &mut status, libc::__WALL) };
            if waited == self.0 {
                return status;
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
        }
    }

    /// One instruction; `None` when the operation goes on.
    fn step(&self) -> Option<End> {
        ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0);
        self.stopped()
    }

    fn stopped(&self) -> Option<End> {
        loop {
            let status = self.wait();
            if !libc::WIFSTOPPED(status) {
                return Some(End::Broke(status));
            }
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP => return None,
                libc::SIGSTOP => return Some(End::Over),
                // Of a child of the victim, which it does not care about.
                libc::SIGCHLD => ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0),
                signal => return Some(End::Broke(signal)),
            };
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub(crate) fn pointer(&self) -> usize {
        ptrace(libc::PTRACE_PEEKUSER, self.0, POINTER, 0) as usize
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn pointer(&self) -> usize {
        0
    }

    /// Runs the operation to its end, and notes its way.
    pub fn record(&self, most: usize) -> (Way, End) {
        let mut way = Way::default();
        let mut seen = std::collections::HashSet::new();
        loop {
            way.push(self.pointer(), &mut seen);
            match self.step() {
                Some(end) => return (way, end),
                None if way.len() >= most => return (way, End::Killed),
                None => {}
            }
        }
    }

    /// Runs so many instructions of the operation; says how many were run one by one.
    pub fn run(&self, steps: usize, way: &Way) -> (End, u64) {
        let landmark = way.landmarks.get(steps).copied().unwrap_or(0);
        let mut done = 0;
        if landmark > 32 {
            match self.jump(way.pointers[landmark]) {
                Some(None) => done = landmark,
                Some(Some(end)) => return (end, 0),
                None => {}
            }
        }
        let mut single = 0;
        while done < steps {
            if let Some(end) = self.step() {
                return (end, single);
            }
            done += 1;
            single += 1;
        }
        (End::Killed, single)
    }

    /// Runs on to the instruction at `pointer`, with a breakpoint in the child's own copy
    /// of the code. `None`, and nothing has happened, where that cannot be. When the way was
    /// another one this time the child comes to its end instead.
    #[cfg(target_arch = "x86_64")]
    fn jump(&self, pointer: usize) -> Option<Option<End>> {
        let (at, shift) = (pointer & !7, (pointer & 7) * 8);
        let code = ptrace(libc::PTRACE_PEEKTEXT, self.0, at, 0) as u64;
        let trap = code & !(0xff << shift) | 0xcc << shift;
        if ptrace(libc::PTRACE_POKETEXT, self.0, at, trap as usize) != 0 {
            return None;
        }
        ptrace(libc::PTRACE_CONT, self.0, 0, 0);
        let end = self.stopped();
        if end.is_none() {
            ptrace(libc::PTRACE_POKETEXT, self.0, at, code as usize);
            ptrace(libc::PTRACE_POKEUSER, self.0, POINTER, pointer);
        }
        Some(end)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn jump(&self, _pointer: usize) -> Option<Option<End>> {
        None
    }
}

impl Drop for Victim {
    /// SIGKILL.
    fn drop(&mut self) {
        // SAFETY: our own child, not yet waited for to its end, so the pid is its.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: `status` lives for the call. When it has ended already there is no child.
        while unsafe { libc::waitpid(self.0, &mut status, libc::__WALL) } == self.0 {
            if !libc::WIFSTOPPED(status) {
                break;
            }
        }
    }
}
