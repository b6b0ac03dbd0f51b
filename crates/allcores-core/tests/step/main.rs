//! Kills a process at every instruction of each operation, and looks at what is left.
//!
//! Between two instructions where nothing changed that outlives the process it makes no
//! difference at which it dies. So victims are killed before each store to the arena and
//! each system call (trap.rs), which is exhaustive and takes a second where stepping through
//! takes hours. The recovery is killed in the same way: one process dies in the operation,
//! the next one in the recovery from that, and a third goes on. That nothing else changes
//! is tested by itself (proof.rs), and so is the whole by single steps (trace.rs).
//!
//! For each operation a *survivor* is forked, with an arena of its own. It starts the
//! victims, recovers, checks content and use of the structure, and that nothing is left
//! over: no slot, no block, no reference.
//!
//! ```text
//! cargo test --test step                                       a sample
//! cargo test --release --test step -- --all                    every place (make crash)
//! cargo test --release --test step -- --every-instruction      by single steps
//! cargo test --release --test step -- --proof                  nothing changes between places
//! cargo test --test step -- ring                               operations whose name has this
//! ```
//!
//! `STEP_SECONDS` is the time for each operation where not everything is tried, `STEP_PAIRS`
//! the number of kills of the recovery up to which all are.

mod asleep;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod dict;
mod gate;
mod list;
mod memory;
mod progress;
mod proof;
mod rare;
mod ring;
mod sleeper;
mod survivor;
mod sync;
mod trace;
mod trap;
mod waiting;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use case::{LOST, Operation};
use common::Random;
use progress::Progress;
use survivor::{Mode, Plan, UNTRACEABLE, survive};

/// In a sample, how long it goes on with one operation.
const SAMPLE_TIME: Duration = Duration::from_millis(100);
/// In a sample, how often a recovery is killed.
const SAMPLE_PAIRS: u64 = 4;
/// A survivor that gets no further for so long hangs. Some of its waits may be lost before.
const PATIENCE: Duration = LOST.saturating_mul(4);
/// After so many violations of one operation there is nothing new to learn.
const MOST_VIOLATIONS: usize = 5;
/// Exit code of a survivor.
const VIOLATED: i32 = 3;

/// Runs survivors until the operation is through; what they found.
fn try_out(operation: &Operation, plan: Plan, progress: &'static Progress) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // SAFETY: plain integers. It must not outlive a parent that is killed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let work = || survive(operation, plan, from, progress);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err("the survivor panicked".into()));
            let code = match result {
                Ok(()) => 0,
                Err(text) => {
                    progress.say(&text);
                    VIOLATED
                }
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        let text = match wait(pid, progress) {
            Some(0) => return found,
            Some(status) if libc::WEXITSTATUS(status) == UNTRACEABLE => {
                println!("skipped: this system forbids what it takes to stop a process");
                std::process::exit(0);
            }
            Some(status) if libc::WEXITSTATUS(status) == VIOLATED => progress.said(),
            Some(status) => format!("the survivor ended with status {status}"),
            None => "the survivor hangs".into(),
        };
        let trial = progress.trial.load(SeqCst);
        println!(
            "  VIOLATION {}, {}, trial {trial}: {text}",
            operation.structure, operation.name
        );
        found.push(text);
        from = trial;
        if found.len() >= MOST_VIOLATIONS || trial == 0 {
            return found;
        }
    }
}

/// Waits for a survivor's end; kills one that gets no further.
fn wait(pid: libc::pid_t, progress: &Progress) -> Option<i32> {
    let mut seen = (0, Instant::now());
    loop {
        let mut status = 0;
        // SAFETY: `status` lives for the call.
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 => {}
            _ => return Some(status),
        }
        let beats = progress.beats.load(SeqCst);
        if beats != seen.0 {
            seen = (beats, Instant::now());
        } else if seen.1.elapsed() > PATIENCE {
            // SAFETY: our own child, not waited for yet. Its victims go with it.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &mut status, 0);
            }
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// With commas between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line of the table: structure, operation, counts.
fn row(structure: &str, name: &str, counts: [u64; 6]) {
    let [steps, places, kills, pairs, all_pairs, violations] = counts.map(grouped);
    println!(
        "| {structure} | {name} | {steps} | {places} | {kills} | {pairs} | {all_pairs} | {violations} |"
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    // The test harness's options mean nothing here, but for a list of tests, which is empty.
    if has("--list") {
        return;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let all = has("--all");
    let plan = Plan {
        way: match (has("--every-instruction"), has("--proof")) {
            (true, _) => Mode::Instructions,
            (_, true) => Mode::Proof,
            _ => Mode::Stores,
        },
        all,
        seed: Random::seeded().0,
        time: match number("STEP_SECONDS") {
            Some(seconds) => Duration::from_secs(seconds),
            None if has("--every-instruction") => Duration::MAX,
            None => SAMPLE_TIME,
        },
        pairs: number("STEP_PAIRS").unwrap_or(if all { 1000 } else { SAMPLE_PAIRS }),
    };
    let begin = Instant::now();
    let mut sum = [0u64; 6];
    println!(
        "| structure | operation | instructions | stores and calls | kills | kills of the recovery \
         | of possible | violations |\n|---|---|---|---|---|---|---|---|"
    );
    for operation in [
        memory::OPERATIONS,
        sync::OPERATIONS,
        ring::OPERATIONS,
        list::OPERATIONS,
        asleep::OPERATIONS,
        waiting::OPERATIONS,
        rare::OPERATIONS,
        dict::OPERATIONS,
        gate::OPERATIONS,
    ]
    .concat()
    {
        let name = format!("{} {}", operation.structure, operation.name);
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let progress = Progress::new();
        let found = try_out(&operation, plan, progress).len() as u64;
        let [steps, places, kills, pairs, all_pairs] = [
            &progress.steps,
            &progress.places,
            &progress.kills,
            &progress.pairs,
            &progress.all_pairs,
        ]
        .map(|n| n.load(SeqCst));
        let counts = [steps, places, kills, pairs, all_pairs, found];
        row(operation.structure, operation.name, counts);
        for (sum, n) in sum.iter_mut().zip(counts) {
            *sum += n;
        }
    }
    row("all", "", sum);
    println!("{:.0?}", begin.elapsed());
    if sum[5] > 0 {
        std::process::exit(1);
    }
}
