//! Bytes in the arena that make no sense never lead outside of it or into an endless loop.
//!
//! Each round is a process of its own with an arena of its own: it makes a bit of
//! everything, some of it half done by processes that died, writes nonsense over it and
//! goes on using it. It may get errors, and may wait for what the bytes say a living
//! process has. It must not crash, panic, go round for ever or take much memory.
//!
//! `HOSTILE_SEED=n` repeats one round, `HOSTILE_SECONDS=n` says how long to go on.

#![allow(missing_docs)]

mod choices;
mod damage;
mod dicts;
mod exercise;
mod watch;
mod world;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use allcores_core::{os, slot};
use choices::Choices;
use damage::Map;
use watch::End;
use world::World;

/// Seeds that once found something.
const KNOWN: &[u64] = &[
    1011,
    1186,
    1641,
    6453,
    8705189850086605579,
    6037420380818496627,
];

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = number("HOSTILE_SEED") {
        let end = watch::run(|| round(seed));
        println!("HOSTILE_SEED={seed}: {end:?}");
        std::process::exit(i32::from(matches!(end, End::Badly(_))));
    }
    let time = Duration::from_secs(number("HOSTILE_SECONDS").unwrap_or(8));
    let first = number("HOSTILE_FIRST").unwrap_or_else(|| os::random().unwrap() >> 1);
    // They often wait a little, so several at a time.
    let jobs = number("HOSTILE_JOBS").unwrap_or(4) as usize;
    let start = Instant::now();
    let (mut rounds, mut waiting, mut bad) = (0u64, 0u64, 0u64);
    let fresh = (0..).map(|i| first.wrapping_add(i));
    let mut seeds = KNOWN.iter().copied().chain(fresh);
    let mut running = HashMap::new();
    let mut begun = 0;
    loop {
        let go_on = begun < KNOWN.len() || start.elapsed() < time && bad < 20;
        if go_on && running.len() < jobs {
            let seed = seeds.next().expect("without an end");
            running.insert(watch::start(|| round(seed)), seed);
            begun += 1;
            continue;
        }
        if running.is_empty() {
            break;
        }
        let (pid, end) = watch::wait(-1);
        let seed = running.remove(&pid).expect("one of ours");
        rounds += 1;
        match end {
            End::Well => {}
            End::Waiting => waiting += 1,
            End::Badly(how) => {
                println!("HOSTILE_SEED={seed}: {how}");
                bad += 1;
            }
        }
    }
    println!(
        "hostile: {rounds} rounds from seed {first} in {:.0} s, {waiting} ended in a wait for a \
         living process, {bad} failed",
        start.elapsed().as_secs_f64()
    );
    std::process::exit(i32::from(bad > 0));
}

/// One arena, from its making to its end.
fn round(seed: u64) {
    let c = &mut Choices::from_seed(seed);
    let world = World::build().unwrap();
    let lists = world.lists.iter().map(|list| list.handle().offset());
    let rings = world.rings.iter().map(|ring| ring.handle().offset());
    let dicts = world.dicts.iter().map(|dict| dict.handle().offset());
    watch::know(lists.chain(rings).chain(dicts));
    for _ in 0..c.below(3) {
        let way = c.below(7);
        let child = watch::run(|| world.die(way));
        watch::pass_on(child);
    }
    let map = Map::new();
    let names = world.names();
    // A single wrong word is found out late, many at once.
    for _ in 0..c.of(&[1, 2, 4, 8, 16, 32, 64, 200]) {
        map.damage(c);
    }
    let mut log = std::env::var_os("HOSTILE_LOG").map(|_| 0);
    for _ in 0..10 + c.below(60) {
        if c.once_in(8) {
            map.damage(c);
        }
        let done = if c.once_in(64) {
            let seed = c.word();
            let child = watch::run(|| {
                let c = &mut Choices::from_seed(seed);
                for _ in 0..c.below(10) {
                    let _ = exercise::exercise(&world, c);
                }
                if c.once_in(2) {
                    let _ = slot::leave();
                }
            });
            watch::pass_on(child);
            Ok(())
        } else if c.once_in(16) {
            World::open(&names).map(drop)
        } else {
            exercise::exercise(&world, c)
        };
        if let Some(step) = &mut log {
            *step += 1;
            eprintln!("step {step}: {done:?}");
        }
    }
    let _ = slot::recover_all();
    drop(world);
    let _ = slot::leave();
}
