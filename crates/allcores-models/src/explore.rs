//! How a scenario is explored: all interleavings within a bound (loom), or random ones.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::rt::{self, MOST, Setting, Touched};

/// A line of the core, found by what stands there: when that changes, so must the model.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    file: &'static str,
    line: u32,
}

impl Site {
    /// The only line of `file` (below the core's `src`) that contains `text`.
    ///
    /// # Panics
    /// When there is none or more than one.
    pub fn new(file: &'static str, text: &str) -> Site {
        let path = format!("{}/../allcores-core/src/{file}", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(&path).expect("the core is next to its models");
        let lines: Vec<_> = source
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(text))
            .collect();
        assert_eq!(lines.len(), 1, "{file}: lines with {text:?}: {lines:?}");
        Site {
            file,
            line: lines[0].0 as u32 + 1,
        }
    }

    /// The line `n` lines further down.
    pub fn below(self, n: u32) -> Site {
        Site {
            line: self.line + n,
            ..self
        }
    }

    pub(crate) fn is(&self, at: &Location) -> bool {
        at.line() == self.line && at.file().ends_with(self.file)
    }
}

/// What is broken in a variant that has to fail.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The access there isn't made, and seems to succeed.
    Skip(Site),
    /// It has no ordering.
    Relax(Site),
    /// Something is done before it.
    Before(Site, fn()),
    /// Nobody is ever woken.
    NoWake,
    /// The dead seem to live.
    Undead,
}

/// See the head of this file.
#[derive(Clone)]
pub struct Plan {
    /// loom's bound on preemptions, or the number of random walks.
    way: Way,
    victims: Vec<usize>,
    faults: Vec<Fault>,
    stride: usize,
}

#[derive(Clone, Copy)]
enum Way {
    Loom(usize),
    Walks(usize),
}

/// What was explored.
#[derive(Debug, Default, Clone, Copy)]
pub struct Report {
    /// Executions.
    pub executions: usize,
    /// Of so many choices of who dies where.
    pub deaths: usize,
}

/// Longer runs are asked for: `MODELS=long`.
pub fn long() -> bool {
    std::env::var("MODELS").is_ok_and(|value| value == "long")
}

impl Plan {
    /// All interleavings with at most `short` preemptions; `longer` with `MODELS=long`.
    pub fn loom(short: usize, longer: usize) -> Plan {
        Plan::new(Way::Loom(if long() { longer } else { short }))
    }

    /// So many random walks; 50 times as many with `MODELS=long`.
    pub fn walks(n: usize) -> Plan {
        Plan::new(Way::Walks(if long() { n * 50 } else { n }))
    }

    fn new(way: Way) -> Plan {
        Plan {
            way,
            victims: Vec::new(),
            faults: Vec::new(),
            stride: 1,
        }
    }

    /// Each of these processes dies, at every step (loom), or at any or none.
    pub fn killing(mut self, victims: &[usize]) -> Plan {
        self.victims = victims.to_vec();
        self
    }

    /// Only every `n`-th step under loom, in short runs.
    pub fn every(mut self, n: usize) -> Plan {
        self.stride = if long() { 1 } else { n };
        self
    }

    /// With something broken.
    pub fn broken(mut self, fault: Fault) -> Plan {
        self.faults.push(fault);
        self
    }

    /// Explores, and prints what.
    ///
    /// # Panics
    /// When something the scenario asserts isn't so, or somebody sleeps for ever.
    pub fn check(&self, name: &str, scenario: impl Fn() + Send + Sync + 'static) -> Report {
        let start = std::time::Instant::now();
        let report = self.explore(Arc::new(scenario));
        println!(
            "{name}: {} executions, {} choices of deaths, {:.1} s",
            report.executions,
            report.deaths,
            start.elapsed().as_secs_f32()
        );
        report
    }

    /// Explores what has to fail, with a message that contains `how`.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn fails(&self, name: &str, how: &str, scenario: impl Fn() + Send + Sync + 'static) {
        let scenario: Arc<dyn Fn() + Send + Sync> = Arc::new(scenario);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.explore(scenario)));
        match outcome {
            Ok(report) => panic!("{name}: broken, and nothing seen of it: {report:?}"),
            Err(payload) => {
                let text = text(&*payload);
                println!("{name}: fails as it should: {text}");
                assert!(text.contains(how), "{name}: not by {how:?}: {text}");
            }
        }
    }

    fn explore(&self, scenario: Arc<dyn Fn() + Send + Sync>) -> Report {
        match self.way {
            Way::Walks(n) => self.walk(n, &scenario, &mut Touched::new(), &mut [0; MOST]),
            Way::Loom(bound) => self.search(bound, &scenario),
        }
    }

    fn walk(
        &self,
        n: usize,
        scenario: &Arc<dyn Fn() + Send + Sync>,
        touched: &mut Touched,
        most: &mut [usize; MOST],
    ) -> Report {
        let first = std::env::var("MODELS_SEED")
            .ok()
            .and_then(|s| s.parse().ok());
        let mut report = Report::default();
        for i in 0..if first.is_some() { 1 } else { n as u64 } {
            let seed = first.unwrap_or((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            // Where somebody dies is a matter of the seed alone, so that it can be replayed.
            let mut deaths = Vec::new();
            for (k, &victim) in self.victims.iter().enumerate() {
                let roll = (seed >> (8 + 9 * k)) as usize % 512;
                if roll < 440 {
                    deaths.push((victim, 1 + roll % 220));
                }
            }
            let setting = Setting {
                deaths,
                faults: self.faults.clone(),
                touched: Touched::new(),
                seed: Some(seed),
            };
            match rt::run_walk(&setting, scenario.clone()) {
                Ok(ran) => {
                    touched.extend(ran.touched);
                    for (most, steps) in most.iter_mut().zip(ran.steps) {
                        *most = steps.max(*most);
                    }
                }
                Err(payload) => panic!(
                    "after {i} walks, MODELS_SEED={seed}, deaths {:?}: {}",
                    setting.deaths,
                    text(&*payload)
                ),
            }
            report.executions += 1;
            report.deaths += usize::from(!setting.deaths.is_empty());
        }
        report
    }

    fn search(&self, bound: usize, scenario: &Arc<dyn Fn() + Send + Sync>) -> Report {
        let mut report = Report::default();
        let touched = Arc::new(Mutex::new(Touched::new()));
        let mut most = [0; MOST];
        // Which words are used, and how many steps there are.
        if self.faults.is_empty() {
            self.walk(300, scenario, &mut touched.lock().unwrap(), &mut most);
        } else {
            let healthy = Plan {
                faults: Vec::new(),
                ..self.clone()
            };
            healthy.walk(300, scenario, &mut touched.lock().unwrap(), &mut most);
        }
        let ends: Vec<usize> = self.victims.iter().map(|&v| most[v]).collect();
        let mut at: Vec<usize> = vec![1; self.victims.len()];
        loop {
            let deaths: Vec<_> = self
                .victims
                .iter()
                .copied()
                .zip(at.iter().copied())
                .collect();
            report.executions += self.model(bound, deaths, scenario, &touched);
            report.deaths += usize::from(!self.victims.is_empty());
            // Counts up like an odometer.
            let Some(i) = (0..at.len()).find(|&i| at[i] + self.stride <= ends[i]) else {
                return report;
            };
            at[..i].fill(1);
            at[i] += self.stride;
        }
    }

    fn model(
        &self,
        bound: usize,
        deaths: Vec<(usize, usize)>,
        scenario: &Arc<dyn Fn() + Send + Sync>,
        touched: &Arc<Mutex<Touched>>,
    ) -> usize {
        loop {
            let known = touched.lock().unwrap().clone();
            let setting = Setting {
                deaths: deaths.clone(),
                faults: self.faults.clone(),
                touched: known.clone(),
                seed: None,
            };
            let setting = Arc::new(Shareable(setting));
            let executions = Arc::new(AtomicUsize::new(0));
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(bound);
            builder.max_branches = 20_000;
            let (count, scenario, found) = (executions.clone(), scenario.clone(), touched.clone());
            let result = catch_unwind(AssertUnwindSafe(|| {
                builder.check(move || {
                    count.fetch_add(1, Relaxed);
                    rt::run_loom(&setting.0, &*scenario, |ran| {
                        found.lock().unwrap().extend(ran.touched);
                    });
                });
            }));
            match result {
                Ok(()) => return executions.load(Relaxed),
                // A word that was not known of is made by a thread, which loom may refuse.
                Err(_) if *touched.lock().unwrap() != known => {}
                Err(payload) => panic!("deaths {deaths:?}: {}", text(&*payload)),
            }
        }
    }
}

/// Sites and functions: nothing in them is changed.
struct Shareable(Setting);

fn text(payload: &dyn std::any::Any) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()))
        .unwrap_or_else(|| "failed".into())
}
