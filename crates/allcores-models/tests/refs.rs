//! Reference counts: a count is the number of its entries, whoever dies where, and the
//! last one takes the block apart, once.

use allcores_models::arena::{BLOCKS_AT, OWN, Offset, arena};
use allcores_models::atomic::{AtomicU64, Ordering::*};
use allcores_models::explore::{Fault, Plan, Site};
use allcores_models::object::Kind;
use allcores_models::{alloc, refs, rt, slot};

/// The object that is shared: the first block.
const OBJECT: Offset = BLOCKS_AT as Offset;
const HELD: u64 = 1;

/// The entry of a process.
fn entry(process: usize) -> Offset {
    OWN + 8 * process as Offset
}

fn word(process: usize) -> &'static AtomicU64 {
    arena().unwrap().at(entry(process)).unwrap()
}

fn make() {
    assert_eq!(alloc::reserve(Kind::Raw, 64, true).unwrap(), OBJECT);
    refs::adopt(entry(0), OBJECT).unwrap();
    alloc::publish(OBJECT, 1).unwrap();
}

/// Gives back what `dead` held: [`refs::give_up`], whose table here is one entry.
fn recover(dead: usize) {
    let table = slot::by_index(dead).unwrap();
    refs::give_up(table).unwrap();
    // A recoverer that died at this entry is asked first.
    let seen = word(dead).load(SeqCst);
    if seen & 63 > HELD {
        let other = slot::by_index((seen >> 52) as usize).unwrap();
        refs::give_up(other).unwrap();
    }
    refs::drop_entry(entry(dead)).unwrap();
    refs::destroy_queued().unwrap();
}

fn count() -> u32 {
    refs::count(alloc::meta(OBJECT).unwrap())
}

fn check() {
    let held = (0..rt::MOST)
        .filter(|&p| word(p).load(SeqCst) & 63 == HELD)
        .count();
    assert_eq!(
        count() as usize,
        held,
        "the count is not that of the entries"
    );
}

/// Takes a reference and drops it, `times` times.
fn use_it(times: usize) {
    let me = rt::process();
    for _ in 0..times {
        refs::take(entry(me), OBJECT, 0).unwrap();
        refs::destroy_queued().unwrap();
        refs::drop_entry(entry(me)).unwrap();
        refs::destroy_queued().unwrap();
    }
}

/// `n` processes take and drop; those that died are recovered at the end.
fn share(n: usize, times: usize) -> impl Fn() + Send + Sync {
    move || {
        make();
        for process in 1..=n {
            rt::spawn(process, move || use_it(times));
        }
        rt::join();
        for process in 1..=n {
            if rt::has_died(process) {
                recover(process);
            }
        }
        check();
        assert_eq!(count(), 1, "only process 0 holds it");
    }
}

/// Process 2 recovers process 1, and may die at it, while process 3 takes and drops.
fn recover_meanwhile() {
    make();
    rt::spawn(1, || use_it(1));
    rt::spawn(3, || use_it(2));
    rt::spawn(2, || {
        if rt::watch(1) {
            recover(1);
        }
    });
    rt::join();
    for process in [2, 1, 3] {
        if rt::has_died(process) {
            recover(process);
        }
    }
    check();
    assert_eq!(count(), 1, "only process 0 holds it");
}

/// The last two entries go at once; one of the two may die.
fn last_ones() {
    make();
    for process in [1, 2] {
        refs::take(entry(process), OBJECT, 0).unwrap();
    }
    refs::drop_entry(entry(0)).unwrap();
    for process in [1, 2] {
        rt::spawn(process, move || {
            refs::drop_entry(entry(process)).unwrap();
            refs::destroy_queued().unwrap();
        });
    }
    rt::join();
    for process in [1, 2] {
        if rt::has_died(process) {
            recover(process);
            // What the sweep does with blocks whose count is 0, or which the dead retired.
            let owner = slot::of(process);
            allcores_models::object::serve_survivors(owner).unwrap();
            allcores_models::object::sweep(owner, slot::by_index(process).unwrap()).unwrap();
        }
    }
    let meta = alloc::meta(OBJECT).unwrap().word.load(SeqCst);
    assert_eq!(
        alloc::state(meta),
        alloc::FREE,
        "nobody holds it, and it is still there"
    );
    assert_eq!(alloc::generation(meta), 1, "taken apart more than once");
}

#[test]
fn counts_are_exact() {
    Plan::loom(3, 4).check("references, 2", share(2, 1));
    Plan::loom(2, 3)
        .killing(&[1])
        .check("references, 1 of 2 dies", share(2, 1));
    Plan::loom(1, 2)
        .killing(&[1, 2])
        .every(2)
        .check("references, 2 of 2 die", share(2, 1));
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("references, 2 of 3 die", share(3, 3));
}

#[test]
fn recovery_may_be_cut_short() {
    Plan::loom(1, 2)
        .killing(&[1, 2])
        .every(3)
        .check("references, recoverer dies", recover_meanwhile);
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("references, recoverer dies", recover_meanwhile);
}

#[test]
fn the_last_entry_takes_it_apart() {
    Plan::loom(2, 3)
        .killing(&[1])
        .check("references, the last ones", last_ones);
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("references, the last ones", last_ones);
}

#[test]
fn broken_counts_fail() {
    let ack = Site::new("refs.rs", "slot.ref_acked.compare_exchange(seen, seq");
    let dropping = Site::new("refs.rs", "word.store(pack(me, offset, DROPPING)");
    let taking = Site::new("refs.rs", "word.store(pack(me, offset, TAKING)");
    let change = Site::new("refs.rs", "meta.refs.compare_exchange(word, next");
    /// The entry is cleared before the count is changed.
    fn early() {
        let entry = word(rt::process());
        if entry.load(SeqCst) & 63 == 3 {
            entry.store(0, SeqCst);
        }
    }
    let cases = [
        ("nobody notes what is written over", Fault::Skip(ack)),
        ("a drop is not announced", Fault::Skip(dropping)),
        ("a take is not announced", Fault::Skip(taking)),
        (
            "an entry goes before its count",
            Fault::Before(change, early),
        ),
    ];
    for (name, fault) in cases {
        Plan::loom(2, 2)
            .killing(&[1])
            .broken(fault)
            .fails(name, "count", share(2, 1));
    }
}
