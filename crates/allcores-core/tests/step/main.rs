//! Kills a process after each instruction of each operation, and looks at what is left.
//!
//! For each operation a *survivor* is forked, with an arena of its own. It forks victims,
//! which are run up to their n-th instruction under ptrace and killed there; then it
//! recovers, checks content and use of the structure, and that nothing is left over: no
//! slot, no block, no reference. A second round kills the recovery as well: one process
//! dies in the operation, the next one in the recovery from that, the survivor goes on.
//!
//! ```text
//! cargo test --release --test step -- --all          every step (make crash)
//! cargo test --test step                             a sample: each 37th step, or fewer
//! cargo test --test step -- ring                     only operations whose name has this
//! ```

mod case;
#[path = "../common/mod.rs"]
mod common;
mod list;
mod memory;
mod ring;
mod sync;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use allcores_core::{alloc, slot};
use case::{Case, Check, Operation, ensure};
use common::Random;
use trace::{End, Victim, Way};

/// An operation of more steps than this is cut off there; in a sample.
const MOST_STEPS: [usize; 2] = [400_000, 10_000];
/// In a sample, each how-manieth step.
const SAMPLE: usize = 37;
/// In a sample, victims whose recovery is killed, too.
const SAMPLE_PAIRS: usize = 3;
/// In a sample, how long it goes on with one operation.
const SAMPLE_TIME: Duration = Duration::from_millis(80);
/// A survivor that gets no further for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so many violations of one operation there is nothing new to learn.
const MOST_VIOLATIONS: u64 = 5;
/// Exit codes of a survivor.
const VIOLATED: i32 = 3;
const UNTRACEABLE: i32 = 77;

/// What a survivor tells, in memory that it shares with the main process.
#[repr(C)]
struct Progress {
    /// The trial that it is at: first those of the steps, then the pairs.
    trial: AtomicU64,
    steps: AtomicU64,
    kills: AtomicU64,
    pairs: AtomicU64,
    beats: AtomicU64,
    said: AtomicU64,
    text: [u8; 1000],
}

impl Progress {
    fn new() -> &'static mut Progress {
        // SAFETY: fresh memory of at least that size, all zero, never given back.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Progress>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            &mut *at.cast()
        }
    }

    fn say(&mut self, text: &str) {
        let len = text.len().min(self.text.len());
        self.text[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.said.store(len as u64, SeqCst);
    }

    fn said(&self) -> String {
        let len = self.said.swap(0, SeqCst) as usize;
        String::from_utf8_lossy(&self.text[..len]).into_owned()
    }
}

/// Which steps of an operation are tried.
#[derive(Clone, Copy)]
struct Plan {
    all: bool,
    seed: u64,
    /// For the steps of one operation, and a part of it for the pairs.
    time: Duration,
}

impl Plan {
    /// In an order that spreads them evenly, should the time be over before all are tried.
    fn steps(&self, of: usize) -> Vec<usize> {
        let mut steps: Vec<usize> = if self.all {
            (0..=of).collect()
        } else {
            let first = Random(self.seed).below(SAMPLE);
            (first..of).step_by(SAMPLE).chain([of]).collect()
        };
        let bits = steps.len().next_power_of_two().trailing_zeros();
        if bits > 0 {
            let mirrored = |i: usize| i.reverse_bits() >> (usize::BITS - bits);
            let spread: Vec<usize> = (0..1 << bits)
                .map(mirrored)
                .filter_map(|i| steps.get(i).copied())
                .collect();
            steps = spread;
        }
        steps
    }

    fn pairs(&self, of: usize) -> usize {
        if self.all {
            (of / 4).clamp(100, 1000)
        } else {
            SAMPLE_PAIRS
        }
    }
}

/// A survivor and what it started with.
struct Survivor {
    case: Case,
    blocks: u64,
}

impl Survivor {
    fn new(operation: &Operation) -> Result<Survivor, String> {
        let mut case = (operation.build)();
        slot::me().map_err(|e| e.to_string())?;
        // Twice: the first time may bring what stays.
        (case.check)(None)?;
        (case.check)(Some(End::Killed))?;
        Ok(Survivor {
            blocks: alloc::stats().map_err(|e| e.to_string())?.live_blocks,
            case,
        })
    }

    fn victim(&self) -> Victim {
        Victim::start(|| (self.case.run)()).unwrap_or_else(|| std::process::exit(UNTRACEABLE))
    }

    /// Looks at everything after a death.
    fn look(&mut self, end: End, early: bool) -> Check {
        let corrupt = |error| format!("recovery: {error}");
        if let End::Broke(status) = end {
            return Err(format!("the operation failed, status {status}"));
        }
        if early && self.case.early {
            (self.case.check)(Some(end)).map_err(|e| format!("before recovery: {e}"))?;
            slot::recover_all().map_err(corrupt)?;
        } else {
            slot::recover_all().map_err(corrupt)?;
            (self.case.check)(Some(end))?;
        }
        let left = slot::recover_all().map_err(corrupt)?;
        ensure(left == 0, || format!("{left} slots were left"))?;
        let living = slot::living().map_err(corrupt)?.len() - self.case.helpers;
        ensure(living == 1, || format!("{living} processes seem to live"))?;
        let blocks = alloc::stats().map_err(corrupt)?.live_blocks;
        ensure(blocks == self.blocks, || {
            format!("{blocks} blocks instead of {}:{}", self.blocks, inventory())
        })
    }
}

/// The blocks that there are, for who has to find out why.
fn inventory() -> String {
    let mut all = String::new();
    let _ = alloc::for_each(|_, meta| {
        let word = meta.word.load(SeqCst);
        let (kind, state) = (alloc::kind(word), alloc::state(word));
        let (owner, refs) = (alloc::owner(word), allcores_core::refs::count(meta));
        all += &format!(" {kind:?}/state {state}/owner {owner:x}/refs {refs}");
        Ok(())
    });
    all
}

/// The whole work of a survivor, from one trial on.
fn survive(operation: &Operation, plan: Plan, from: u64, progress: &mut Progress) -> Check {
    let mut survivor = Survivor::new(operation)?;
    let most = MOST_STEPS[usize::from(!plan.all)];
    let (way, end) = survivor.victim().record(most);
    survivor.look(end, false)?;
    progress.steps.store(way.len() as u64, SeqCst);
    let steps = plan.steps(way.len());
    let singles = steps.len() as u64;
    let begin = Instant::now();
    for (trial, &n) in steps.iter().enumerate().skip(from as usize) {
        progress.trial.store(trial as u64, SeqCst);
        progress.beats.fetch_add(1, SeqCst);
        if begin.elapsed() > plan.time {
            break;
        }
        let (end, _) = survivor.victim().run(n, &way);
        progress.kills.fetch_add(1, SeqCst);
        survivor
            .look(end, n % 2 == 1)
            .map_err(|e| format!("killed after {n} of {} steps: {e}", way.len()))?;
    }
    let nowhere = Way::default();
    let begin = Instant::now();
    for pair in from.saturating_sub(singles)..plan.pairs(way.len()) as u64 {
        progress.trial.store(singles + pair, SeqCst);
        progress.beats.fetch_add(1, SeqCst);
        if begin.elapsed() > plan.time / 4 {
            break;
        }
        let mut random = Random(plan.seed ^ (pair + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let n = random.below(way.len() + 1);
        let (end, _) = survivor.victim().run(n, &way);
        // How long a recovery is depends on what there is to recover.
        let saviour = || Victim::start(|| assert!(slot::recover_all().is_ok()));
        let Some(second) = saviour() else {
            std::process::exit(UNTRACEABLE)
        };
        let most = 16 << random.below(12);
        let m = random.below(most);
        let (_, _) = second.run(m, &nowhere);
        drop(second);
        progress.pairs.fetch_add(1, SeqCst);
        survivor
            .look(end, false)
            .map_err(|e| format!("killed after {n} steps, its recovery after {m}: {e}"))?;
    }
    Ok(())
}

/// Runs survivors until the operation is through; what they found.
fn try_out(operation: &Operation, plan: Plan, progress: &'static mut Progress) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        progress.trial.store(from, SeqCst);
        // SAFETY: the child ends without returning from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
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
                println!("skipped: this system forbids ptrace");
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
        from = trial + 1;
        if found.len() as u64 >= MOST_VIOLATIONS {
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

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let all = args.iter().any(|arg| arg == "--all");
    // The test harness's options mean nothing here, but for a list of tests, which is empty.
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let plan = Plan {
        all,
        seed: Random::seeded().0,
        time: match std::env::var("STEP_SECONDS") {
            Ok(text) => Duration::from_secs(text.parse().expect("STEP_SECONDS is a number")),
            Err(_) if all => Duration::MAX,
            Err(_) => SAMPLE_TIME,
        },
    };
    let begin = Instant::now();
    let mut sum = [0u64; 4];
    println!(
        "{:<10} {:<34} {:>7} {:>7} {:>6} {:>10}",
        "structure", "operation", "steps", "kills", "pairs", "violations"
    );
    for operation in [
        memory::OPERATIONS,
        sync::OPERATIONS,
        ring::OPERATIONS,
        list::OPERATIONS,
    ]
    .concat()
    {
        let name = format!("{} {}", operation.structure, operation.name);
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let progress = Progress::new();
        let shown: &'static Progress = {
            // SAFETY: never given back; only atomics of it are read here.
            unsafe { &*std::ptr::from_ref(progress) }
        };
        let found = try_out(&operation, plan, progress);
        let row = [&shown.steps, &shown.kills, &shown.pairs].map(|n| n.load(SeqCst));
        println!(
            "{:<10} {:<34} {:>7} {:>7} {:>6} {:>10}",
            operation.structure,
            operation.name,
            row[0],
            row[1],
            row[2],
            found.len()
        );
        for (sum, n) in sum
            .iter_mut()
            .zip(row.into_iter().chain([found.len() as u64]))
        {
            *sum += n;
        }
    }
    println!(
        "{:<10} {:<34} {:>7} {:>7} {:>6} {:>10}   {:.0?}",
        "all",
        "",
        sum[0],
        sum[1],
        sum[2],
        sum[3],
        begin.elapsed()
    );
    if sum[3] > 0 {
        std::process::exit(1);
    }
}
