//! Goes through all operations, and tells.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::case::{LOST, Operation};
use crate::common::Random;
use crate::journal::Journal;
use crate::survivor::{Plan, survive};
use crate::{asleep, dict, gate, list, memory, rare, ring, source, sync, threads, waiting};

/// In a sample, how long it goes on with one operation.
const SAMPLE_TIME: Duration = Duration::from_millis(600);
/// A survivor that gets no further for so long hangs. Some of its waits may be lost before.
const PATIENCE: Duration = LOST.saturating_mul(4);
/// After so many violations of one operation there is nothing new to learn.
const MOST_VIOLATIONS: usize = 5;
/// Exit code of a survivor.
const VIOLATED: i32 = 3;

/// Runs survivors until the operation is through; what they found.
fn try_out(operation: &Operation, plan: Plan, journal: &'static Journal) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            // SAFETY: plain integers. It must not outlive a parent that is killed.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let work = || survive(operation, plan, from, journal);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err("the survivor panicked".into()));
            let code = match result {
                Ok(()) => 0,
                Err(text) => {
                    journal.say(&text);
                    VIOLATED
                }
            };
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        let text = match wait(pid, journal) {
            Some(0) => return found,
            Some(status) if libc::WEXITSTATUS(status) == VIOLATED => journal.said(),
            Some(status) => format!("the survivor ended with status {status}"),
            None => "the survivor hangs".into(),
        };
        let trial = journal.trial.load(SeqCst);
        println!(
            "  VIOLATION {}, {}, trial {trial}: {text}",
            operation.structure, operation.name
        );
        found.push(text);
        // A survivor that doesn't even get to its first trial would not the next time.
        if found.len() >= MOST_VIOLATIONS || trial <= from {
            return found;
        }
        from = trial;
    }
}

/// Waits for a survivor's end; kills one that gets no further.
fn wait(pid: libc::pid_t, journal: &Journal) -> Option<i32> {
    let mut seen = (0, Instant::now());
    loop {
        let mut status = 0;
        // SAFETY: `status` lives for the call.
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 => {}
            _ => return Some(status),
        }
        let beats = journal.beats.load(SeqCst);
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

pub fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let all = args.iter().any(|arg| arg == "--all");
    // The test harness's options mean nothing here, but for a list of tests, which is empty.
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let plan = Plan {
        seed: Random::seeded().0,
        time: match std::env::var("POINTS_SECONDS") {
            Ok(text) => Some(Duration::from_secs(
                text.parse().expect("POINTS_SECONDS is a number"),
            )),
            Err(_) => (!all).then_some(SAMPLE_TIME),
        },
    };
    let mut wrong = source::complaints();
    let mut counts = vec![(0, 0); source::names().len()];
    let begin = Instant::now();
    let mut sum = [0u64; 4];
    println!(
        "{:<10} {:<34} {:>7} {:>7} {:>9} {:>9} {:>10}",
        "structure", "operation", "points", "kills", "pairs", "of", "violations"
    );
    for operation in [
        memory::OPERATIONS,
        sync::OPERATIONS,
        ring::OPERATIONS,
        list::OPERATIONS,
        dict::OPERATIONS,
        gate::OPERATIONS,
        asleep::OPERATIONS,
        waiting::OPERATIONS,
        rare::OPERATIONS,
        threads::OPERATIONS,
    ]
    .concat()
    {
        let name = format!("{} {}", operation.structure, operation.name);
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let journal = Journal::new();
        let found = try_out(&operation, plan, journal);
        for (point, (passed, killed)) in counts.iter_mut().enumerate() {
            let (more, dead) = journal.counts(point);
            *passed += more;
            *killed += dead;
        }
        let [way, kills, pairs, of] = [
            &journal.way,
            &journal.kills,
            &journal.pairs,
            &journal.all_pairs,
        ]
        .map(|n| n.load(SeqCst));
        println!(
            "{:<10} {:<34} {way:>7} {kills:>7} {pairs:>9} {of:>9} {:>10}",
            operation.structure,
            operation.name,
            found.len()
        );
        for (sum, n) in sum.iter_mut().zip([kills, pairs, of, found.len() as u64]) {
            *sum += n;
        }
    }
    println!(
        "{:<10} {:<34} {:>7} {:>7} {:>9} {:>9} {:>10}   {:.0?}",
        "all",
        "",
        "",
        sum[0],
        sum[1],
        sum[2],
        sum[3],
        begin.elapsed()
    );
    if wanted.is_empty() {
        wrong.extend(unreached(&counts, all));
    }
    for text in &wrong {
        println!("WRONG: {text}");
    }
    if sum[3] > 0 || !wrong.is_empty() {
        std::process::exit(1);
    }
}

/// Points that nobody came past, and exceptions that are none.
fn unreached(counts: &[(u64, u64)], all: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hit = 0;
    for (name, &(passed, killed)) in source::names().iter().zip(counts) {
        let excused = source::ELSEWHERE.iter().any(|(other, _)| other == name);
        hit += u64::from(killed > 0);
        if source::BY_CHANCE.iter().any(|(other, _)| other == name) {
            continue;
        }
        match (excused, passed, killed) {
            (false, 0, _) => wrong.push(format!("no operation passes the point {name:?}")),
            (false, _, 0) if all => println!("passed by survivors only: {name:?}"),
            (true, 1.., _) => wrong.push(format!("{name:?} is an exception, and was passed")),
            _ => {}
        }
    }
    println!("{hit} of {} points had a kill", counts.len());
    wrong
}
