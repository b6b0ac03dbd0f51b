//! What an operation costs while other processes are at the same thing: what of that is cache
//! lines going to and fro shows as the difference between the two columns.
//!
//! ```text
//! cargo run --release --package allcores-core --example contention              1 and 2 processes
//! cargo run --release --package allcores-core --example contention -- 64 lock   64, some cases
//! ```
//!
//! docs/internals/scaling.md says which lines these are. Each process counts what it does in a
//! fifth of a second; the figure is the median of five such rounds, in nanoseconds from one
//! operation to the next of the same process. With more processes than cores it means little.

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::time::{Duration, Instant};

use allcores_core::dict::{Canonical, Dict, How, New, Probe};
use allcores_core::handle::Handle;
use allcores_core::item::Fresh;
use allcores_core::mutex::Mutex;
use allcores_core::object::Kind;
use allcores_core::ring::Ring;
use allcores_core::semaphore::Semaphore;
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{alloc, arena, slot};

type Outcome<T> = Result<T, Box<dyn Error>>;
/// One operation.
type Step<'a> = Box<dyn FnMut() -> Outcome<()> + 'a>;
/// Makes what process `i` of `n` does again and again.
type Work<'a> = &'a dyn Fn(usize, usize) -> Step<'a>;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(200);

/// A word that has a pair of cache lines for itself.
#[repr(C, align(128))]
struct Apart(AtomicU64);

/// What the processes of a round have in common.
#[repr(C)]
struct Board {
    ready: Apart,
    done: [Apart; 256],
}

fn board() -> Outcome<&'static Board> {
    // SAFETY: a new mapping, larger than a Board, aligned to a page and never unmapped; zeros are
    // a valid one.
    unsafe {
        let start = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Board>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if start == libc::MAP_FAILED {
            return Err("no memory for what is counted".into());
        }
        Ok(&*start.cast::<Board>())
    }
}

/// Does the work for a round, which begins when all `n` are there; 16 operations between two
/// looks at the clock.
fn perform(board: &Board, mut step: Step<'_>, i: usize, n: usize) -> Outcome<()> {
    step()?;
    board.ready.0.fetch_add(1, SeqCst);
    while board.ready.0.load(SeqCst) < n as u64 {
        std::hint::spin_loop();
    }
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < ROUND {
        for _ in 0..16 {
            step()?;
        }
        done += 16;
    }
    board.done[i].0.store(done, SeqCst);
    Ok(())
}

/// Nanoseconds from one operation of a process to its next, with `n` of them; those before
/// `first` don't count.
fn round(n: usize, first: usize, work: Work<'_>) -> Outcome<f64> {
    let board = board()?;
    let mut children = Vec::new();
    for i in 0..n {
        // SAFETY: the child does its work and ends without returning from here.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let failed = perform(board, work(i, n), i, n).is_err();
            let _ = slot::leave();
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(failed)) };
        }
        children.push(pid);
    }
    for pid in children {
        let mut status = 0;
        // SAFETY: `status` lives for the call.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        if status != 0 {
            return Err("a process failed".into());
        }
    }
    let first = first.min(n - 1);
    let all: u64 = board.done[first..n]
        .iter()
        .map(|done| done.0.load(SeqCst))
        .sum();
    Ok(ROUND.as_nanos() as f64 * (n - first) as f64 / all as f64)
}

fn median(n: usize, first: usize, work: Work<'_>) -> Outcome<f64> {
    let rounds: Outcome<Vec<f64>> = (0..ROUNDS).map(|_| round(n, first, work)).collect();
    let mut rounds = rounds?;
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

/// Adds to a word, as cheap as a shared write can be.
fn count(word: &AtomicU64) -> Step<'_> {
    Box::new(|| {
        word.fetch_add(1, Relaxed);
        Ok(())
    })
}

/// Takes a block and gives it back.
fn block(bytes: usize) -> Step<'static> {
    Box::new(move || {
        let offset = alloc::reserve(Kind::Raw, bytes, false)?;
        Ok(alloc::release(offset)?)
    })
}

/// Half of the processes put, the other half get; a process alone does both.
fn through(ring: &Ring, i: usize, n: usize) -> Step<'_> {
    let put = move || {
        let deadline = Deadline::after(Some(Duration::from_millis(1)));
        ring.when_room(&deadline, &mut no_pulse, |ring| {
            ring.try_put(1, 2, &[7; 32])
        })
    };
    let get = move || {
        let deadline = Deadline::after(Some(Duration::from_millis(1)));
        ring.get(None, &deadline, &mut no_pulse)
    };
    match (n, i % 2) {
        (1, _) => Box::new(move || {
            put()?;
            black_box(get()?);
            Ok(())
        }),
        (_, 0) => Box::new(move || Ok(put().map(|_| ())?)),
        _ => Box::new(move || Ok(get().map(|got| drop(black_box(got)))?)),
    }
}

fn number(value: i64) -> Outcome<Fresh> {
    Fresh::int(value).ok_or_else(|| "a small number".into())
}

fn store(dict: &Dict, probe: &Probe, key: i64, value: i64) -> Outcome<()> {
    let mut new = New {
        key: Some(number(key)?),
        value: Some(number(value)?),
    };
    dict.enter(&mut no_pulse)?
        .put(probe, &mut new, How::Always)?;
    Ok(())
}

fn main() -> Outcome<()> {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let n = match wanted.first().and_then(|first| first.parse().ok()) {
        Some(n) => {
            wanted.remove(0);
            n
        }
        None => 2,
    };
    if !(2..=256).contains(&n) {
        return Err("2 to 256 processes".into());
    }
    slot::me()?;
    let shared = Mutex::new(false)?;
    let locks = (0..n)
        .map(|_| Mutex::new(false))
        .collect::<Result<Vec<_>, _>>()?;
    let semaphore = Semaphore::new(n as u32, n as u32)?;
    let ring = Ring::new(1000, false)?;
    let object = alloc::reserve(Kind::Raw, 64, true)?;
    let object = Handle::publish(object)?;
    let words = alloc::reserve(Kind::Raw, 128 * n, true)?;
    let words = arena::arena()?.words(words, 16 * n)?;
    let dict = Dict::create()?;
    let probes = [
        Probe::new(Canonical::Word(number(1)?.word()), None)?,
        Probe::new(Canonical::Word(number(2)?.word()), None)?,
    ];
    store(&dict, &probes[0], 1, 1)?;
    store(&dict, &probes[1], 2, 1)?;
    let lock = |lock: &Mutex| -> Outcome<()> {
        lock.acquire(&Deadline::NEVER, &mut no_pulse)?;
        lock.release(false).map_err(|_| "not held".into())
    };
    let cases: [(&str, usize, Work<'_>); 15] = [
        ("a word, one for all", 0, &|_, _| count(&words[0])),
        ("a word each, one line", 0, &|i, _| count(&words[i % 8])),
        ("a word each, far apart", 0, &|i, _| count(&words[16 * i])),
        ("block of 64 bytes", 0, &|_, _| block(64)),
        ("block of 1 KB", 0, &|_, _| block(1000)),
        ("block of 16 KB", 0, &|_, _| block(16_000)),
        ("block of 200 KB", 0, &|_, _| block(200_000)),
        ("lock, one for all", 0, &|_, _| Box::new(|| lock(&shared))),
        ("lock, one for each", 0, &|i, _| {
            let own = &locks[i];
            Box::new(move || lock(own))
        }),
        ("semaphore, acquire", 0, &|_, _| {
            Box::new(|| {
                semaphore.try_acquire()?;
                semaphore.release().map_err(|_| "too often".into())
            })
        }),
        ("semaphore, with", 0, &|_, _| {
            Box::new(|| {
                semaphore.enter(&mut no_pulse)?;
                semaphore.leave().map_err(|_| "too often".into())
            })
        }),
        ("ring, put and get", 0, &|i, n| through(&ring, i, n)),
        ("reference, make and drop", 0, &|_, _| {
            Box::new(|| {
                let word = alloc::meta(object.offset())?.word.load(Relaxed);
                let visit = allcores_core::refs::visit(object.offset(), alloc::generation(word))?;
                drop(black_box(visit));
                Ok(())
            })
        }),
        ("dict, read beside a writer", 1, &|i, n| match (n, i) {
            (2.., 0) => Box::new(|| store(&dict, &probes[0], 1, 2)),
            _ => Box::new(|| {
                black_box(dict.peek(&probes[1]));
                Ok(())
            }),
        }),
        ("dict, all write", 0, &|_, _| {
            Box::new(|| store(&dict, &probes[0], 1, 2))
        }),
    ];
    println!(
        "{:26} {:>10} {:>10}",
        "ns an operation",
        "alone",
        format!("{n} at once")
    );
    for (name, first, work) in cases {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!(
                "{name:26} {:10.0} {:10.0}",
                median(1, 0, work)?,
                median(n, first, work)?
            );
        }
    }
    Ok(())
}
