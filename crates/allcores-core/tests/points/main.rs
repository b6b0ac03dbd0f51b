//! Kills a process at every crash point of each operation, and looks at what is left.
//!
//! A crash point (`src/crash.rs`) stands after each store to shared memory. An operation
//! passes some, often the same one more than once. For each *passage* a victim is killed
//! there, and a survivor checks the operation's structure as tests/step does, whose
//! operations these are. Then a second process recovers, and is killed at each passage of
//! the recovery in turn; a third goes on.
//!
//! ```text
//! cargo test --test points                 each passage, and as many pairs as there is time for
//! cargo test --test points -- --all        all pairs (make points)
//! cargo test --test points -- ring         only operations whose name has this
//! ```
//!
//! `POINTS_SECONDS` is the time for each operation. It fails as well when there is a point
//! in the source that no operation passed.

#![cfg_attr(not(debug_assertions), allow(dead_code, unused_imports))]

#[path = "../step/asleep.rs"]
mod asleep;
#[path = "../step/case.rs"]
mod case;
#[path = "../common/mod.rs"]
mod common;
#[path = "../step/dict.rs"]
mod dict;
#[path = "../step/gate.rs"]
mod gate;
#[path = "../step/list.rs"]
mod list;
#[path = "../step/memory.rs"]
mod memory;
#[path = "../step/rare.rs"]
mod rare;
#[path = "../step/ring.rs"]
mod ring;
#[path = "../step/sleeper.rs"]
mod sleeper;
#[path = "../step/sync.rs"]
mod sync;
#[path = "../step/trace.rs"]
#[allow(dead_code)]
mod trace;
#[path = "../step/trap.rs"]
#[allow(dead_code)]
mod trap;
#[path = "../step/waiting.rs"]
mod waiting;

mod journal;
mod source;
#[cfg(debug_assertions)]
mod survivor;
#[cfg(debug_assertions)]
mod threads;
#[cfg(debug_assertions)]
mod victim;

#[cfg(not(debug_assertions))]
fn main() {
    println!("no crash points in a build without debug assertions: nothing to do");
}

#[cfg(debug_assertions)]
fn main() {
    run::main();
}

#[cfg(debug_assertions)]
mod run;
