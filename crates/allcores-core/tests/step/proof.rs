//! Why it is enough to kill before each store and system call: steps through an operation,
//! and compares all of the arena after each instruction with what it was before.
//!
//! The arena is read-only in the child, as for trap.rs. An instruction that faults there is
//! a place; so is a system call. At any other instruction nothing may have changed. (For
//! memory that is read-only it hardly can. But there might be another way to it, and this
//! would find that.)

use std::sync::atomic::Ordering::SeqCst;

use allcores_core::arena;
use libc::user_regs_struct;

use crate::progress::Progress;
use crate::trace::{End, Victim, ptrace};

/// An operation of more instructions is not looked at to its end: each costs a comparison.
pub const MOST: u64 = 20_000;

fn range() -> (usize, usize) {
    let arena = arena::arena().expect("the arena is there");
    let page = allcores_core::os::PAGE;
    let first = arena.bytes(page as u64, 1).expect("a place") as usize;
    (first - page, arena.data_at(arena.chunks()) as usize)
}

/// In the child: the arena is read-only from here on.
pub fn close() {
    let (base, len) = range();
    // SAFETY: a mapping of ours. What happens to those who write to it is this test's matter.
    let done = unsafe { libc::mprotect(base as *mut _, len, libc::PROT_READ) };
    assert_eq!(done, 0);
}

/// A copy of what has memory behind it.
struct Copy(Vec<(usize, Vec<u8>)>);

impl Copy {
    fn take() -> Copy {
        let (base, len) = range();
        let fd = arena::arena().expect("the arena is there").fd();
        let seek = |from: usize, what| {
            // SAFETY: plain integers; nobody uses the position of this descriptor.
            let at = unsafe { libc::lseek(fd, from as i64, what) };
            (at >= 0).then_some(at as usize)
        };
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(from) = seek(at, libc::SEEK_DATA) {
            let to = seek(from, libc::SEEK_HOLE).unwrap_or(len);
            // SAFETY: committed and mapped; the only process that might change it is stopped.
            let bytes =
                unsafe { std::slice::from_raw_parts((base + from) as *const u8, to - from) };
            all.push((base + from, bytes.to_vec()));
            at = to;
        }
        Copy(all)
    }

    fn is_true(&self) -> bool {
        self.0.iter().all(|(at, bytes)| {
            // SAFETY: was committed once, and stays so or reads as zero.
            unsafe { libc::memcmp(*at as *const _, bytes.as_ptr().cast(), bytes.len()) == 0 }
        })
    }
}

fn registers(victim: &Victim) -> user_regs_struct {
    // SAFETY: all zero is valid; filled by the call, for which it lives.
    unsafe {
        let mut registers: user_regs_struct = std::mem::zeroed();
        ptrace(
            libc::PTRACE_GETREGS,
            victim.0,
            0,
            (&raw mut registers) as usize,
        );
        registers
    }
}

fn set(victim: &Victim, registers: &user_regs_struct) {
    ptrace(
        libc::PTRACE_SETREGS,
        victim.0,
        0,
        std::ptr::from_ref(registers) as usize,
    );
}

fn step(victim: &Victim) -> i32 {
    ptrace(libc::PTRACE_SINGLESTEP, victim.0, 0, 0);
    victim.wait()
}

fn is_stop(status: i32, signal: i32) -> bool {
    libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == signal
}

/// Has the child change the protection of the arena, at the instruction where it stands,
/// whose bytes are a system call for a moment.
fn protect(victim: &Victim, protection: i32) -> Result<(), String> {
    let before = registers(victim);
    let code = ptrace(libc::PTRACE_PEEKTEXT, victim.0, before.rip as usize, 0);
    let call = code & !0xffff | 0x050f;
    let (base, len) = range();
    ptrace(
        libc::PTRACE_POKETEXT,
        victim.0,
        before.rip as usize,
        call as usize,
    );
    set(
        victim,
        &user_regs_struct {
            rax: libc::SYS_mprotect as u64,
            orig_rax: u64::MAX,
            rdi: base as u64,
            rsi: len as u64,
            rdx: protection as u64,
            ..before
        },
    );
    let status = step(victim);
    let after = registers(victim);
    ptrace(
        libc::PTRACE_POKETEXT,
        victim.0,
        before.rip as usize,
        code as usize,
    );
    set(victim, &before);
    if is_stop(status, libc::SIGTRAP) && after.rax == 0 {
        return Ok(());
    }
    Err(format!(
        "status {status:x}, mprotect said {}",
        after.rax as i64
    ))
}

/// Steps through the operation; says how it ended.
pub fn follow(victim: &Victim, most: u64, progress: &Progress) -> Result<End, String> {
    let mut copy = Copy::take();
    for steps in 0..most {
        progress.beats.fetch_add(1, SeqCst);
        let at = registers(victim);
        let code = ptrace(libc::PTRACE_PEEKTEXT, victim.0, at.rip as usize, 0);
        let is_call = code & 0xffff == 0x050f;
        let mut status = step(victim);
        let mut is_store = false;
        if is_stop(status, libc::SIGSEGV) {
            is_store = true;
            protect(victim, libc::PROT_READ | libc::PROT_WRITE)?;
            status = step(victim);
            protect(victim, libc::PROT_READ)?;
        }
        progress.steps.store(steps + 1, SeqCst);
        if is_stop(status, libc::SIGSTOP) {
            return Ok(End::Over);
        } else if !is_stop(status, libc::SIGTRAP) && !is_stop(status, libc::SIGCHLD) {
            return Ok(End::Broke(status));
        }
        if is_store || is_call {
            copy = Copy::take();
        } else if !copy.is_true() {
            return Err(format!(
                "the arena changed at {:#x}, which is no store to it",
                at.rip
            ));
        }
    }
    Ok(End::Killed)
}
