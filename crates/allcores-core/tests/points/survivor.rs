//! The survivor of one operation: it starts victims, and looks at what each leaves.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use allcores_core::{alloc, slot};

use crate::case::{Case, Check, Operation, ensure};
use crate::common::Random;
use crate::journal::{Journal, NOWHERE};
use crate::memory::nothing_is_lost;
use crate::trace::End;
use crate::victim::{self, Death, Deed};

/// What is tried of an operation.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// For one operation, when not everything is tried: half of it for pairs.
    pub time: Option<Duration>,
}

/// After one of so many pairs a third process is killed, too, at one of as many passages.
const THIRD: usize = 16;

/// Where the first was killed; whether the next one uses the structure as well; the points that
/// it passes.
type Recovery = (u64, bool, Vec<Option<usize>>);

/// A survivor and what it started with.
struct Survivor {
    case: Case,
    blocks: u64,
    journal: &'static Journal,
    plan: Plan,
    /// Trials up to this one were done by a survivor before us.
    from: u64,
    trial: u64,
}

/// The whole work of a survivor, from one trial on.
pub fn survive(operation: &Operation, plan: Plan, from: u64, journal: &'static Journal) -> Check {
    victim::watch(journal);
    let mut case = (operation.build)();
    slot::me().map_err(|e| e.to_string())?;
    // Twice: the first time may bring what stays.
    (case.check)(None)?;
    (case.check)(Some(End::Killed))?;
    let mut survivor = Survivor {
        blocks: alloc::stats().map_err(|e| e.to_string())?.live_blocks,
        case,
        journal,
        plan,
        from,
        trial: 0,
    };
    let recoveries = survivor.singles()?;
    survivor.pairs(recoveries)
}

impl Survivor {
    /// Whether the next trial is one for us.
    fn next(&mut self) -> bool {
        self.trial += 1;
        if self.trial <= self.from {
            return false;
        }
        self.journal.begin(self.trial);
        true
    }

    /// One process dies in the operation.
    fn victim(&self, target: u64) -> Death {
        let case = &self.case;
        let operation = Deed {
            before: &*case.before,
            run: &*case.run,
            birth: case.birth,
        };
        operation.die(self.journal, target, case.wake.as_deref())
    }

    /// Another recovers, perhaps uses the structure before and after, and dies of that.
    fn saviour(&self, uses: bool, target: u64) -> Death {
        let again = self.case.again.as_ref().filter(|_| uses);
        let recovery = Deed {
            before: &|| {},
            run: &|| {
                again.inspect(|again| again());
                slot::recover_all().unwrap();
                again.inspect(|again| again());
            },
            birth: false,
        };
        recovery.die(self.journal, target, None)
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
        let blocks = alloc::stats().map_err(corrupt)?.live_blocks;
        ensure(blocks == self.blocks, || {
            format!("{blocks} blocks instead of {}", self.blocks)
        })
    }

    /// The same each time, for a survivor that goes on where another stopped.
    fn shuffle<T>(&self, all: &mut [T]) {
        let mut random = Random(self.plan.seed);
        for i in (1..all.len()).rev() {
            all.swap(i, random.below(i + 1));
        }
    }

    /// The passages to be killed at: those that no run may leave out first, which are the
    /// first and the last one of each point, then the rest. One more is the operation's end.
    fn order(&self, passages: u64) -> (Vec<u64>, Vec<u64>) {
        let mut ends: HashMap<usize, (u64, u64)> = HashMap::new();
        for passage in 0..passages {
            if let Some(point) = self.journal.point(passage) {
                ends.entry(point).or_insert((passage, passage)).1 = passage;
            }
        }
        let first: BTreeSet<u64> = ends.into_values().flat_map(|(a, b)| [a, b]).collect();
        let mut rest: Vec<u64> = (0..=passages).filter(|n| !first.contains(n)).collect();
        self.shuffle(&mut rest);
        (first.into_iter().collect(), rest)
    }

    /// A kill at each passage, and how many passages the recovery from it has.
    fn singles(&mut self) -> Result<Vec<Recovery>, String> {
        let whole = self.victim(NOWHERE);
        let (first, rest) = self.order(whole.passages);
        self.look(whole.end, false)
            .map_err(|e| format!("nobody was killed: {e}"))?;
        self.journal.way.fetch_max(whole.passages, SeqCst);
        let begin = Instant::now();
        let mut recoveries = Vec::new();
        for passage in &first {
            recoveries.extend(self.single(*passage)?);
        }
        for passage in &rest {
            if self
                .plan
                .time
                .is_some_and(|time| begin.elapsed() > time / 2)
            {
                break;
            }
            recoveries.extend(self.single(*passage)?);
        }
        Ok(recoveries)
    }

    fn single(&mut self, passage: u64) -> Result<Vec<Recovery>, String> {
        for way in 0..1 + u64::from(self.case.early) {
            if !self.next() {
                continue;
            }
            let death = self.victim(passage);
            self.journal.kills.fetch_add(1, SeqCst);
            self.look(death.end, way == 1)
                .map_err(|e| format!("killed at passage {passage}, {:?}: {e}", death.place()))?;
        }
        let mut recoveries = Vec::new();
        for uses in [false, true] {
            if (uses && self.case.again.is_none()) || !self.next() {
                continue;
            }
            let (_, saved) = self.die_twice(passage, uses, NOWHERE, None)?;
            let points = (0..saved.passages).map(|n| self.journal.point(n));
            recoveries.push((passage, uses, points.collect()));
        }
        Ok(recoveries)
    }

    /// One dies in the operation, another in the recovery from that, and we go on.
    fn die_twice(
        &mut self,
        first: u64,
        uses: bool,
        second: u64,
        third: Option<u64>,
    ) -> Result<(Death, Death), String> {
        let death = self.victim(first);
        let saved = self.saviour(uses, second);
        let told = |e| {
            let (at, then) = (death.place(), saved.place());
            let user = if uses { " and use" } else { "" };
            format!("killed at passage {first}, {at:?}, the recovery{user} at {then:?}: {e}")
        };
        if let End::Broke(status) = saved.end {
            return Err(told(format!("the recovery failed, status {status}")));
        }
        if let Some(third) = third
            && let End::Broke(status) = self.saviour(true, third).end
        {
            return Err(told(format!("the third process failed, status {status}")));
        }
        let uses = uses || third.is_some();
        // A user that was killed may have left something of its own.
        let end = if uses { End::Killed } else { death.end };
        self.look(end, false).map_err(told)?;
        Ok((death, saved))
    }

    /// Kills at a passage, and at a passage of the recovery from that.
    fn pairs(&mut self, recoveries: Vec<Recovery>) -> Check {
        let mut pairs = Vec::new();
        for (first, uses, points) in recoveries {
            let seconds = points.into_iter().zip(0..);
            pairs.extend(seconds.map(|(point, second)| (first, uses, point, second)));
        }
        self.journal.all_pairs.fetch_max(pairs.len() as u64, SeqCst);
        // In an order of chance, as the time may be over before all are tried. But no run may
        // leave out a kill at each point of a recovery.
        self.shuffle(&mut pairs);
        let mut seen = HashSet::new();
        let (one_each, rest): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|pair| seen.insert(pair.2));
        let wanted = one_each.len();
        let mut random = Random(self.plan.seed);
        let begin = Instant::now();
        for (n, (first, uses, _, second)) in one_each.into_iter().chain(rest).enumerate() {
            let is_over = |time| n >= wanted && begin.elapsed() > time / 2;
            if self.plan.time.is_some_and(is_over) {
                break;
            }
            if self.next() {
                self.journal.pairs.fetch_add(1, SeqCst);
                // Now and then a third one dies as well.
                let third = random.below(THIRD) as u64;
                let third = (random.below(THIRD) == 0).then_some(third);
                self.die_twice(first, uses, second, third)?;
            }
        }
        Ok(())
    }
}
