//! The survivor of one operation: it starts victims, and looks at what each leaves.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use allcores_core::{alloc, arena, slot};

use crate::case::{Case, Check, Operation, ensure};
use crate::common::Random;
use crate::memory::nothing_is_lost;
use crate::progress::Progress;
use crate::proof;
use crate::trace::{End, Victim, Way};
use crate::trap::{Control, Death, NOWHERE, Work};

/// An operation of more steps than this is cut off there.
const MOST_STEPS: usize = 400_000;
/// In a sample, operations of no more places are stepped through for so many steps.
const SHORT: u64 = 5;
const SHORT_STEPS: u64 = 300;
/// So much more memory than at first may be in use for small blocks of other sizes. What is
/// lost again and again is more than that in the end.
const SLACK: u64 = 32 * arena::CHUNK as u64;
/// Exit code of a survivor where the system forbids what the victims need.
pub const UNTRACEABLE: i32 = 77;

/// How victims are brought to where they die.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Before each store and system call; see trap.rs.
    Stores,
    /// After each instruction, by single steps; see trace.rs.
    Instructions,
    /// Nobody dies: between two places nothing changes; see proof.rs.
    Proof,
}

/// What is tried of an operation.
#[derive(Clone, Copy)]
pub struct Plan {
    pub way: Mode,
    /// All places, or as many as the time is enough for, spread evenly.
    pub all: bool,
    pub seed: u64,
    /// For one operation.
    pub time: Duration,
    /// Kills of the recovery: all of them when there are not more than so many.
    pub pairs: u64,
}

/// In an order that spreads them evenly, should the time be over before all are tried.
fn spread(count: usize) -> Vec<usize> {
    let bits = count.next_power_of_two().trailing_zeros();
    if bits == 0 {
        return (0..count).collect();
    }
    (0..1usize << bits)
        .map(|i| i.reverse_bits() >> (usize::BITS - bits))
        .filter(|&i| i < count)
        .collect()
}

/// A survivor and what it started with.
struct Survivor {
    case: Case,
    blocks: u64,
    /// Bytes in chunks that are not free.
    bytes: u64,
    control: &'static Control,
    progress: &'static Progress,
}

/// The whole work of a survivor, from one trial on.
pub fn survive(operation: &Operation, plan: Plan, from: u64, progress: &'static Progress) -> Check {
    let mut case = (operation.build)();
    slot::me().map_err(|e| e.to_string())?;
    // Twice: the first time may bring what stays.
    (case.check)(None)?;
    (case.check)(Some(End::Killed))?;
    let stats = alloc::stats().map_err(|e| e.to_string())?;
    let mut survivor = Survivor {
        blocks: stats.live_blocks,
        bytes: in_use(&stats),
        case,
        control: Control::new(),
        progress,
    };
    match plan.way {
        Mode::Stores => survivor.stores(plan, from),
        Mode::Instructions => survivor.instructions(plan, from),
        Mode::Proof => survivor.prove(proof::MOST),
    }
}

impl Survivor {
    /// A victim of the operation that dies at `target`.
    fn victim(&self, target: u64, kill_asleep: bool) -> Death {
        let work = Work {
            before: &*self.case.before,
            run: &*self.case.run,
            follow: self.case.birth,
        };
        let victim = self.control.start(&work, target);
        let mut killed = false;
        if let Some(wake) = &self.case.wake
            && victim.asleep()
        {
            if kill_asleep {
                victim.kill();
                killed = true;
            } else {
                wake();
            }
        }
        let mut death = victim.wait().unwrap_or_else(|| untraceable());
        if killed {
            death.end = End::Killed;
        }
        death
    }

    /// Another process that recovers, and dies at `target`.
    fn saviour(&self, target: u64) -> Death {
        let work = Work {
            before: &|| {},
            run: &|| assert!(slot::recover_all().is_ok()),
            follow: false,
        };
        let saviour = self.control.start(&work, target);
        saviour.wait().unwrap_or_else(|| untraceable())
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
        nothing_is_lost()?;
        let left = slot::recover_all().map_err(corrupt)?;
        ensure(left == 0, || format!("{left} slots were left"))?;
        let living = slot::living().map_err(corrupt)?.len() - self.case.helpers;
        ensure(living == 1, || format!("{living} processes seem to live"))?;
        let stats = alloc::stats().map_err(corrupt)?;
        let blocks = stats.live_blocks;
        ensure(blocks == self.blocks, || {
            format!("{blocks} blocks instead of {}:{}", self.blocks, inventory())
        })?;
        let bytes = in_use(&stats);
        ensure(bytes <= self.bytes + SLACK, || {
            format!("{bytes} bytes are in use instead of {}", self.bytes)
        })
    }

    /// A kill before each store and system call, then the same of the recoveries.
    fn stores(&mut self, plan: Plan, from: u64) -> Check {
        let progress = self.progress;
        let whole = self.victim(NOWHERE, false);
        self.look(whole.end, false)
            .map_err(|e| format!("nobody was killed: {e}"))?;
        let n = whole.places;
        progress.places.fetch_max(n, SeqCst);
        if plan.all {
            let steps = self.steps();
            progress.steps.fetch_max(steps as u64, SeqCst);
        } else if n <= SHORT && from == 0 {
            self.prove(SHORT_STEPS)?;
        }
        let begin = Instant::now();
        let over = |begin: Instant| !plan.all && begin.elapsed() > plan.time;
        let ways = 1 + u64::from(self.case.early);
        let mut trial = 0;
        // A run may be a little longer than the one that was counted: on to the end.
        let order: Box<dyn Iterator<Item = u64>> = if plan.all {
            Box::new(0..)
        } else {
            Box::new(spread(n as usize + 1).into_iter().map(|n| n as u64))
        };
        for place in order {
            let mut ended = false;
            for way in 0..ways {
                trial += 1;
                if trial <= from {
                    continue;
                }
                progress.begin(trial);
                let death = self.victim(place, false);
                progress.kills.fetch_add(1, SeqCst);
                progress.places.fetch_max(death.places, SeqCst);
                self.look(death.end, way == 1).map_err(|e| {
                    format!(
                        "killed before place {place} of {n}, {}: {e}",
                        spot(death.at)
                    )
                })?;
                ended |= death.end == End::Over;
            }
            if over(begin) || (plan.all && ended && place >= n) {
                break;
            }
        }
        if self.case.wake.is_some() {
            for way in 0..ways {
                trial += 1;
                if trial <= from {
                    continue;
                }
                progress.begin(trial);
                let death = self.victim(NOWHERE, true);
                progress.kills.fetch_add(1, SeqCst);
                self.look(death.end, way == 1)
                    .map_err(|e| format!("killed while asleep: {e}"))?;
            }
        }
        self.pairs(plan, n, trial, from)
    }

    /// A second process recovers, and is killed as well.
    fn pairs(&mut self, plan: Plan, n: u64, mut trial: u64, from: u64) -> Check {
        let progress = self.progress;
        let mut random = Random(plan.seed);
        let mut places: Vec<u64> = (0..=n).collect();
        if !plan.all {
            places = (0..plan.pairs.div_ceil(2))
                .map(|_| random.below(n as usize + 1) as u64)
                .collect();
        }
        // How much there is to recover depends on where the first one died.
        let mut recoveries = Vec::new();
        for place in places {
            trial += 1;
            if trial == from {
                continue;
            }
            progress.begin(trial);
            let death = self.victim(place, false);
            let saved = self.saviour(NOWHERE);
            if let End::Broke(status) = saved.end {
                return Err(format!(
                    "killed before place {place}: the recovery failed, status {status}"
                ));
            }
            self.look(death.end, false).map_err(|e| {
                let spot = spot(death.at);
                format!("killed before place {place}, {spot}, another process recovered: {e}")
            })?;
            recoveries.push((place, saved.places));
        }
        let all: u64 = recoveries.iter().map(|(_, n)| n).sum();
        progress.all_pairs.store(all, SeqCst);
        let exhaustive = plan.all && all <= plan.pairs;
        for i in 0..all.min(plan.pairs) {
            let mut number = if exhaustive {
                i
            } else {
                random.below(all as usize) as u64
            };
            trial += 1;
            if trial <= from {
                continue;
            }
            progress.begin(trial);
            let mut at = recoveries.iter();
            let (place, second) = loop {
                let &(place, n) = at.next().expect("a number below the sum");
                if number < n {
                    break (place, number);
                }
                number -= n;
            };
            let death = self.victim(place, false);
            let saved = self.saviour(second);
            progress.pairs.fetch_add(1, SeqCst);
            self.look(death.end, false).map_err(|e| {
                let (first, at) = (spot(death.at), spot(saved.at));
                format!(
                    "killed before place {place}, {first}, its recovery before place {second}, {at}: {e}"
                )
            })?;
        }
        Ok(())
    }

    /// Whether a tracer can step through the operation.
    fn is_stepped(&self) -> bool {
        self.case.wake.is_none() && !self.case.birth
    }

    fn traced(&self) -> Option<Victim> {
        Victim::start(|| (self.case.before)(), || (self.case.run)())
    }

    /// How many instructions the operation has; 0 when that can't be told.
    fn steps(&mut self) -> usize {
        if !self.is_stepped() {
            return 0;
        }
        let Some((way, end)) = self.traced().map(|victim| victim.record(MOST_STEPS)) else {
            return 0;
        };
        self.look(end, false).map_or(0, |()| way.len())
    }

    /// A kill after each instruction.
    fn instructions(&mut self, plan: Plan, from: u64) -> Check {
        if !self.is_stepped() {
            return Ok(());
        }
        let progress = self.progress;
        let victim = |s: &Survivor| s.traced().unwrap_or_else(|| untraceable());
        let (way, end) = victim(self).record(MOST_STEPS);
        self.look(end, false)?;
        progress.steps.store(way.len() as u64, SeqCst);
        let begin = Instant::now();
        for (trial, n) in spread(way.len() + 1)
            .into_iter()
            .enumerate()
            .skip(from as usize)
        {
            progress.begin(trial as u64 + 1);
            if begin.elapsed() > plan.time {
                break;
            }
            let (end, _) = victim(self).run(n, &way);
            progress.kills.fetch_add(1, SeqCst);
            self.look(end, n % 2 == 1)
                .map_err(|e| format!("killed after {n} of {} steps: {e}", way.len()))?;
        }
        // And some recoveries.
        let mut random = Random(plan.seed);
        let begin = Instant::now();
        while begin.elapsed() < plan.time.min(Duration::from_secs(3600)) / 4 {
            progress.begin(way.len() as u64 + 2);
            let n = random.below(way.len() + 1);
            let (end, _) = victim(self).run(n, &way);
            let saviour = Victim::start(|| {}, || assert!(slot::recover_all().is_ok()))
                .unwrap_or_else(|| untraceable());
            let most = 16 << random.below(12);
            let m = random.below(most);
            let (_, _) = saviour.run(m, &Way::default());
            drop(saviour);
            progress.pairs.fetch_add(1, SeqCst);
            self.look(end, false)
                .map_err(|e| format!("killed after {n} steps, its recovery after {m}: {e}"))?;
        }
        Ok(())
    }

    /// Between two places nothing changes.
    fn prove(&mut self, most: u64) -> Check {
        if !self.is_stepped() || self.case.helpers > 0 {
            return Ok(());
        }
        let before = || {
            (self.case.before)();
            proof::close();
        };
        let victim = Victim::start(before, || (self.case.run)());
        // A system that forbids ptrace may know the traps all the same.
        let Some(victim) = victim else { return Ok(()) };
        let proven = proof::follow(&victim, most, self.progress)?;
        drop(victim);
        self.look(proven, false)
    }
}

fn in_use(stats: &alloc::Stats) -> u64 {
    stats.committed - stats.warm_bytes
}

fn untraceable() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(UNTRACEABLE) }
}

/// Where an instruction is, for addr2line.
fn spot(at: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut base = ("", 0);
    for line in maps.lines() {
        let Some((range, rest)) = line.split_once(' ') else {
            continue;
        };
        let name = rest.rsplit('/').next().unwrap_or("");
        let mut ends = range.split('-').map(|n| u64::from_str_radix(n, 16));
        let (Some(Ok(start)), Some(Ok(end))) = (ends.next(), ends.next()) else {
            continue;
        };
        if base.0 != name {
            base = (name, start);
        }
        if (start..end).contains(&at) {
            return format!("{name}+{:#x}", at - base.1);
        }
    }
    format!("{at:#x}")
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
