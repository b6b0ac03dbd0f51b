//! State machines: any sequence of operations leaves a structure equal to its model, also
//! when a child of fork is killed in the middle of some of them.
//!
//! `PROPTEST_CASES=n` says how many sequences for each, `PROPTEST_RNG_SEED=n` repeats a run.

#![allow(missing_docs)]

mod blocks;
#[path = "../common/mod.rs"]
mod common;
mod dict;
mod list;
mod references;
mod ring;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use allcores_core::{alloc, os, slot};
use common::{Pipe, alone, child};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

/// Operations done so far, those of children not counted.
static DONE: AtomicU64 = AtomicU64::new(0);
/// Children killed so far.
static KILLED: AtomicU64 = AtomicU64::new(0);

pub fn count_one() {
    DONE.fetch_add(1, Relaxed);
}

/// Runs a machine: so many sequences (or `PROPTEST_CASES`) of up to so many operations.
fn run<T: StateMachineTest>(name: &str, cases: u32, most: usize)
where
    <T::Reference as ReferenceStateMachine>::State: 'static,
{
    let _alone = alone();
    let given = Config::default();
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => os::random().unwrap(),
    };
    eprintln!("{name}: PROPTEST_RNG_SEED={seed}");
    let config = Config {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => given.cases,
            None => cases,
        },
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..given
    };
    let (done, killed) = (DONE.load(Relaxed), KILLED.load(Relaxed));
    let strategy = T::Reference::sequential_strategy(1..most);
    let result = TestRunner::new(config.clone()).run(&strategy, |(state, transitions, seen)| {
        T::test_sequential(config.clone(), state, transitions, seen);
        Ok::<(), TestCaseError>(())
    });
    eprintln!(
        "{name}: {} sequences, {} operations, {} children killed",
        config.cases,
        DONE.load(Relaxed) - done,
        KILLED.load(Relaxed) - killed
    );
    if let Err(error) = result {
        panic!("{name}, PROPTEST_RNG_SEED={seed}: {error}");
    }
}

/// Runs `work` in a child that is killed after a moment, and recovers what it leaves.
fn killed_in(moment: u32, work: impl FnOnce()) {
    let ready = Pipe::new();
    let victim = child(|| {
        ready.tell();
        work();
        true
    });
    ready.hear();
    for _ in 0..moment {
        std::hint::spin_loop();
    }
    let status = victim.kill();
    let fine = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL || status == 0;
    assert!(fine, "the child failed by itself: status {status}");
    slot::recover_all().unwrap();
    KILLED.fetch_add(1, Relaxed);
}

fn live_blocks() -> u64 {
    alloc::stats().unwrap().live_blocks
}

#[test]
fn blocks_are_apart() {
    run::<blocks::Blocks>("blocks", 40, 80);
}

#[test]
fn a_list_is_a_vector() {
    run::<list::Lists>("list", 40, 80);
}

#[test]
fn a_dict_is_pairs_in_order() {
    run::<dict::Dicts>("dict", 40, 60);
}

#[test]
fn a_ring_is_a_queue() {
    run::<ring::Rings>("ring", 40, 60);
}

#[test]
fn references_are_counted() {
    run::<references::References>("references", 40, references::MOST);
}
