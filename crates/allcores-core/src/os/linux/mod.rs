//! Linux: memfd, mappings, futexes, byte locks, fork handlers.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{Error as IoError, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::error::{Error, Result};

mod file;
mod memory;
mod pages;
mod refused;
pub use file::{anonymous, commit, fix_length, give_back, mapped_by, write_at};
pub use memory::{anonymous_memory, memory};
pub use pages::is_written;
use refused::Call;
pub use refused::fallbacks;

/// Size of a page on every system that is supported.
pub const PAGE: usize = 4096;

/// The failed call with the system's reason.
fn last(call: &'static str) -> Error {
    Error::Os {
        call,
        errno: IoError::last_os_error().raw_os_error().unwrap_or(0),
    }
}

/// Sets whether `fd` is closed when this process executes another program.
pub fn set_close_on_exec(fd: c_int) -> Result<()> {
    // SAFETY: plain integers.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(last("fcntl(F_SETFD)")),
    }
}

/// Size in bytes of the file behind `fd`.
pub fn file_size(fd: c_int) -> Result<u64> {
    // SAFETY: an all-zero stat is a valid value, and fstat fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` lives for the call.
    match unsafe { libc::fstat(fd, &mut stat) } {
        0 => Ok(stat.st_size as u64),
        _ => Err(last("fstat")),
    }
}

/// Maps the first `len` bytes of `fd` shared, whether or not the file is that long yet.
pub fn map_shared(fd: c_int, len: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_NORESERVE,
            fd,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(last("mmap"));
    }
    // SAFETY: the mapping was just made with this length. Core files leave it out:
    // it is as large as the reservation.
    unsafe { libc::madvise(base, len, libc::MADV_DONTDUMP) };
    Ok(base.cast())
}

/// Maps `len` bytes of `fd` from `offset` on, both multiples of the page size, for this process
/// alone: what it writes there goes into copies of the pages, and not into the file.
pub fn map_private(fd: c_int, offset: usize, len: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
            fd,
            offset as libc::off_t,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(last("mmap"));
    }
    Ok(base.cast())
}

/// Has the kernel map the pages of a range of a shared mapping, for writing, as far as it can: that
/// takes half the time of faulting at each.
pub fn populate(start: *mut u8, len: usize) {
    let before = start.addr() % PAGE;
    // SAFETY: changes nothing in the memory. Where it fails (before 5.14), stores fault.
    unsafe {
        libc::madvise(
            start.wrapping_sub(before).cast(),
            len + before,
            libc::MADV_POPULATE_WRITE,
        )
    };
}

/// Undoes a mapping that nobody uses.
pub fn unmap(base: *mut u8, len: usize) {
    // SAFETY: the caller made exactly this mapping, and nobody else knows of it any more.
    unsafe { libc::munmap(base.cast::<c_void>(), len) };
}

/// How long a wait sleeps at a time where the system has no futexes to be woken by.
const NAP: Duration = Duration::from_millis(1);

/// How a wait on a futex ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Somebody woke this thread, or the word had changed already, or a signal came.
    Maybe,
    /// The time was over.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, at most for `timeout`.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Waited {
    let time = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the word is a live u32, `time` lives for the call. No PRIVATE flag:
    // other processes wake us.
    let done = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &time as *const libc::timespec,
        )
    };
    if done == 0 {
        return Waited::Maybe;
    }
    match IoError::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Waited::TimedOut,
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            // Nobody can wake anybody here, so everybody looks again soon.
            refused::note(Call::Futex);
            std::thread::sleep(timeout.min(NAP));
            Waited::Maybe
        }
        _ => Waited::Maybe,
    }
}

/// Wakes up to `count` threads of any process that sleep on `word`; says how many.
pub fn futex_wake(word: &AtomicU32, count: u32) -> usize {
    // SAFETY: the kernel only uses the address to find the sleepers.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            count.min(i32::MAX as u32),
        )
    };
    woken.max(0) as usize
}

fn byte_lock(kind: c_int, offset: u64) -> libc::flock {
    // SAFETY: all-zero is a valid flock.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = offset as libc::off_t;
    lock.l_len = 1;
    lock
}

/// Takes the write lock on one byte of `fd` for this process; false when another has it.
///
/// The kernel drops it when the process ends in whatever way, and when the process
/// closes *any* descriptor of the file. Child processes do not inherit it.
pub fn byte_lock_try(fd: c_int, offset: u64) -> Result<bool> {
    let lock = byte_lock(libc::F_WRLCK, offset);
    loop {
        // SAFETY: `lock` lives for the call.
        if unsafe { libc::fcntl(fd, libc::F_SETLK, &lock) } == 0 {
            return Ok(true);
        }
        match IoError::last_os_error().raw_os_error() {
            Some(libc::EINTR) => continue,
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            _ => return Err(last("fcntl(F_SETLK)")),
        }
    }
}

/// Drops this process's lock on one byte.
pub fn byte_unlock(fd: c_int, offset: u64) {
    let lock = byte_lock(libc::F_UNLCK, offset);
    // SAFETY: `lock` lives for the call.
    unsafe { libc::fcntl(fd, libc::F_SETLK, &lock) };
}

/// The pid that holds the lock on one byte, `None` when nobody *else* does.
///
/// A holder in another pid namespace shows as pid 0.
pub fn byte_lock_holder(fd: c_int, offset: u64) -> Result<Option<i32>> {
    let mut lock = byte_lock(libc::F_WRLCK, offset);
    // SAFETY: `lock` lives for the call.
    if unsafe { libc::fcntl(fd, libc::F_GETLK, &mut lock) } != 0 {
        return Err(last("fcntl(F_GETLK)"));
    }
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid))
}

/// This process's id.
pub fn pid() -> u32 {
    std::process::id()
}

/// Ends this process as if it had been killed.
pub fn kill_me() -> ! {
    // SAFETY: neither touches memory.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    // Not reached, but where the kernel refuses to deliver it (to the first process of a
    // namespace).
    std::process::abort()
}

/// A number that tells the threads of this process apart, and is reused only after the
/// thread is gone. Below 2^47 and a multiple of 64.
#[inline]
pub fn thread_id() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    (unsafe { libc::pthread_self() }) as u64
}

/// Nanoseconds of a clock that only goes forward, the same in every process.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// 64 random bits from the kernel.
pub fn random() -> Result<u64> {
    let mut value = 0u64;
    // SAFETY: eight writable bytes.
    if unsafe { libc::getrandom((&raw mut value).cast(), 8, 0) } == 8 {
        return Ok(value);
    }
    let error = last("getrandom");
    refused::note(Call::Random);
    let mut bytes = [0u8; 8];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|_| error)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Whether this is the thread that the process began with: after a fork the one that forked.
pub fn is_first_thread() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() == libc::getpid() }
}

/// Registers functions that run around every `fork()` of this process.
pub fn at_fork(before: extern "C" fn(), in_parent: extern "C" fn(), in_child: extern "C" fn()) {
    // glibc's name for it is only in its static part, so the symbol with the handle
    // of the shared object is what a cdylib can link to.
    // SAFETY: the three functions live as long as the program does.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
}

/// The limit on this process's address space in bytes, when there is one.
pub fn address_space_limit() -> Option<u64> {
    limit(libc::RLIMIT_AS)
}

/// The limit on the size of a file of this process in bytes, when there is one.
pub fn file_size_limit() -> Option<u64> {
    limit(libc::RLIMIT_FSIZE)
}

fn limit(which: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives for the call.
    let done = unsafe { libc::getrlimit(which, &mut limit) };
    (done == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Closes a descriptor that nobody else knows of.
pub fn close(fd: c_int) {
    // SAFETY: a plain integer; the caller gives it up.
    unsafe { libc::close(fd) };
}

/// Takes over a descriptor that a system call has just made.
fn own(fd: i64, call: &'static str) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(last(call));
    }
    // SAFETY: it was just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// A descriptor that becomes readable when the process `pid`, a child of ours, has ended.
pub fn pidfd(pid: u32) -> Result<OwnedFd> {
    // SAFETY: plain integers. Closed on exec by default.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 && refused::for_good() {
        refused::note(Call::Pidfd);
    }
    own(fd, "pidfd_open")
}

/// Whether there is a process with this id, which may be another one than before.
pub fn exists(pid: u32) -> bool {
    // SAFETY: plain integers; signal 0 is none.
    let done = unsafe { libc::kill(pid as libc::pid_t, 0) };
    done == 0 || IoError::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// An event: readable from [`Event::ring`] to [`Event::hush`].
#[derive(Debug)]
pub struct Event {
    readable: OwnedFd,
    /// The writing end where it is a pipe.
    pipe: Option<OwnedFd>,
}

impl Event {
    /// A new one, not readable.
    pub fn new() -> Result<Event> {
        // SAFETY: plain integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 && refused::for_good() {
            refused::note(Call::Eventfd);
            let (readable, pipe) = pipe_with(libc::O_NONBLOCK)?;
            return Ok(Event {
                readable,
                pipe: Some(pipe),
            });
        }
        Ok(Event {
            readable: own(fd as i64, "eventfd")?,
            pipe: None,
        })
    }

    /// Makes it readable.
    pub fn ring(&self) {
        let end = self.pipe.as_ref().unwrap_or(&self.readable);
        // SAFETY: eight readable bytes. A pipe that is full is readable already.
        unsafe { libc::write(end.as_raw_fd(), (&1u64 as *const u64).cast(), 8) };
    }

    /// Makes it unreadable until it is rung again.
    pub fn hush(&self) {
        let mut read = [0u8; 4096];
        // SAFETY: so many writable bytes.
        unsafe { libc::read(self.as_raw_fd(), read.as_mut_ptr().cast(), read.len()) };
    }
}

impl AsRawFd for Event {
    fn as_raw_fd(&self) -> c_int {
        self.readable.as_raw_fd()
    }
}

/// Sleeps until one of `fds` is readable, or for `timeout`; says for each whether it is.
pub fn poll_readable(fds: &[c_int], timeout: Option<Duration>) -> Result<Vec<bool>> {
    let timeout = timeout.map_or(-1, |time| time.as_millis() as c_int);
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    loop {
        // SAFETY: the array lives for the call and has this length.
        let ready =
            unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
        if ready >= 0 {
            return Ok(polled.iter().map(|p| p.revents != 0).collect());
        }
        if IoError::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Err(last("poll"));
        }
    }
}

/// Runs `work` with all signals blocked, which threads that it starts inherit.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: all-zero is a valid set; both live for the calls that fill and read them.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let result = work();
    // SAFETY: the set that the first call filled.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    result
}

/// A pipe, closed on exec: reading end, writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(0)
}

fn pipe_with(flags: c_int) -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as c_int; 2];
    // SAFETY: two writable integers.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | flags) } != 0 {
        return Err(last("pipe2"));
    }
    Ok((own(ends[0] as i64, "pipe2")?, own(ends[1] as i64, "pipe2")?))
}

/// Whether nobody has the writing end of this pipe any more.
pub fn hung_up(end: &OwnedFd) -> bool {
    let mut polled = libc::pollfd {
        fd: end.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd, which lives for the call.
    unsafe { libc::poll(&mut polled, 1, 0) == 1 && polled.revents & libc::POLLHUP != 0 }
}
