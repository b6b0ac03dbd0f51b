//! The ring: every item goes to exactly one consumer, in the order of its producer, whoever
//! dies where.

use std::cell::RefCell;
use std::rc::Rc;

use allcores_models::arena::{Offset, arena};
use allcores_models::atomic::{AtomicU64, Ordering::*};
use allcores_models::explore::{Fault, Plan, Site};
use allcores_models::object::Kind;
use allcores_models::ring::Ring;
use allcores_models::wait::{Deadline, no_pulse};
use allcores_models::{alloc, rt, slot};

/// Where the ring of a scenario is: the first block.
const RING: Offset = allcores_models::arena::BLOCKS_AT as Offset;

/// A ring of so few cells as no program gets: its sizes stand at its beginning.
fn make(cells: u64, limit: u64) -> Ring {
    assert_eq!(alloc::reserve(Kind::Ring, 1024, true).unwrap(), RING);
    let word = |at| arena().unwrap().at::<AtomicU64>(RING + at).unwrap();
    word(0).store(cells, Relaxed);
    word(8).store(limit, Relaxed);
    alloc::publish(RING, 1).unwrap();
    open()
}

fn open() -> Ring {
    Ring::open(0, RING, 0).unwrap()
}

/// What was delivered: consumer, producer, number.
#[derive(Clone, Default)]
struct Ledger(Rc<RefCell<Vec<(usize, u64, u64)>>>);

impl Ledger {
    /// Gets up to `n` items, as long as there are any.
    fn get(&self, ring: &Ring, n: usize) -> usize {
        self.wait(ring, n, &Deadline::NOW)
    }

    fn wait(&self, ring: &Ring, n: usize, deadline: &Deadline) -> usize {
        for i in 0..n {
            let Some(got) = ring.get(None, deadline, &mut no_pulse).unwrap() else {
                return i;
            };
            let body = u64::from_ne_bytes(got.bytes().try_into().unwrap());
            assert_eq!(
                body, got.tag,
                "the bytes of one item, the number of another"
            );
            self.0
                .borrow_mut()
                .push((rt::process(), body >> 8, body & 255));
        }
        n
    }

    /// Gets all there is. What the dead left in the way may take a second look.
    fn drain(&self, ring: &Ring) {
        let mut vain = 0;
        while vain < 3 {
            vain = match self.get(ring, 1) {
                0 => vain + 1,
                _ => 0,
            };
        }
    }

    /// Each of `put` went to one consumer; `lost` may be in the hands of the dead.
    fn check(&self, put: &[(u64, u64)], lost: usize) {
        let got = self.0.borrow();
        let mut missing = 0;
        for &(producer, number) in put {
            let times = got
                .iter()
                .filter(|g| (g.1, g.2) == (producer, number))
                .count();
            assert!(
                times <= 1,
                "item {number} of {producer} came {times} times: {got:?}"
            );
            missing += usize::from(times == 0);
        }
        assert!(
            got.len() + missing == put.len(),
            "items that nobody put: {got:?}"
        );
        assert!(missing <= lost, "{missing} of {put:?} lost: {got:?}");
    }

    /// No consumer had an item of a producer before an earlier one of it.
    fn check_order(&self) {
        let got = self.0.borrow();
        for (i, a) in got.iter().enumerate() {
            for b in &got[i..] {
                let same = a.0 == b.0 && a.1 == b.1;
                assert!(!same || a.2 <= b.2, "out of order: {got:?}");
            }
        }
    }
}

fn put(ring: &Ring, producer: u64, number: u64) -> bool {
    let id = producer << 8 | number;
    ring.try_put(1, id, &id.to_ne_bytes()).unwrap()
}

fn put_waiting(ring: &Ring, producer: u64, number: u64) {
    assert!(
        ring.when_room(&Deadline::NEVER, &mut no_pulse, |ring| Ok(put(
            ring, producer, number
        )))
        .unwrap()
    );
}

/// Two consumers empty a ring of 2 cells whose spill has `spilled` items.
fn drain_spill(spilled: u64, each: usize) -> impl Fn() + Send + Sync {
    move || {
        let ring = make(2, 2 + spilled);
        let items: Vec<_> = (1..=2 + spilled).map(|n| (7, n)).collect();
        for &(producer, number) in &items {
            assert!(put(&ring, producer, number));
        }
        let ledger = Ledger::default();
        for process in [1, 2] {
            let ledger = ledger.clone();
            rt::spawn(process, move || {
                ledger.get(&open(), each);
            });
        }
        rt::join();
        ledger.drain(&ring);
        let dead = usize::from(rt::has_died(1)) + usize::from(rt::has_died(2));
        ledger.check(&items, dead);
        if dead == 0 {
            ledger.check_order();
        }
    }
}

/// Like [`drain_spill`], with the end of a segment of the spill between its items.
fn drain_segments(spilled: u64, in_first: u64, each: usize) -> impl Fn() + Send + Sync {
    move || {
        const SEGMENT: u64 = 32 << 10;
        let ring = make(2, 2 + spilled);
        let items: Vec<_> = (1..=2 + spilled).map(|n| (7, n)).collect();
        for &(producer, number) in &items[..3] {
            assert!(put(&ring, producer, number));
        }
        // The first record moves to where only so many more fit behind it.
        let segment = RING + allcores_models::arena::BLOCK as u64;
        let word = |at: u64| arena().unwrap().at::<AtomicU64>(segment + at).unwrap();
        let bytes = |at: u64| arena().unwrap().bytes(segment + at, 8).unwrap();
        let at = SEGMENT - 32 * in_first;
        for i in 0..3 {
            word(at + 8 * i).store(word(64 + 8 * i).load(Relaxed), Relaxed);
        }
        // SAFETY: both in the segment, and nobody else is there yet.
        unsafe { bytes(at + 24).copy_from(bytes(64 + 24), 8) };
        word(24).store(at, Relaxed);
        word(32).store(at + 32, Relaxed);
        for &(producer, number) in &items[3..] {
            assert!(put(&ring, producer, number));
        }
        let ledger = Ledger::default();
        for process in [1, 2] {
            let ledger = ledger.clone();
            rt::spawn(process, move || {
                ledger.get(&open(), each);
            });
        }
        rt::join();
        ledger.drain(&ring);
        let dead = usize::from(rt::has_died(1)) + usize::from(rt::has_died(2));
        ledger.check(&items, dead);
        if dead == 0 {
            ledger.check_order();
        }
    }
}

/// Two producers and two consumers, some items in the spill.
fn traffic(cells: u64, limit: u64, each: u64, ordered: bool) -> impl Fn() + Send + Sync {
    move || {
        let ring = make(cells, limit);
        let ledger = Ledger::default();
        let mut items = Vec::new();
        let sent = Rc::new(RefCell::new(Vec::new()));
        for producer in [1, 2] {
            items.extend((1..=each).map(|n| (producer as u64, n)));
            let sent = sent.clone();
            rt::spawn(producer, move || {
                let ring = open();
                for n in 1..=each {
                    if put(&ring, producer as u64, n) {
                        sent.borrow_mut().push((producer as u64, n));
                    }
                }
            });
        }
        for consumer in [3, 4] {
            let ledger = ledger.clone();
            rt::spawn(consumer, move || {
                ledger.get(&open(), each as usize);
            });
        }
        rt::join();
        ledger.drain(&ring);
        // An item whose producer died may have been put, or not. (Not the next one after what
        // it noted, if there was no room for that.)
        for n in [1, 2] {
            if rt::has_died(n) {
                let mut sent = sent.borrow_mut();
                let got = ledger.0.borrow();
                let extra = got.iter().map(|g| (g.1, g.2)).find(|item| {
                    let later = sent.iter().all(|s| s.0 != item.0 || s.1 < item.1);
                    item.0 == n as u64 && later
                });
                sent.extend(extra);
            }
        }
        let dead = usize::from(rt::has_died(3)) + usize::from(rt::has_died(4));
        ledger.check(&sent.borrow(), dead);
        if ordered && dead == 0 {
            ledger.check_order();
        }
    }
}

/// A producer and consumers that sleep when there is no room, or nothing there.
fn hand_over(cells: u64, items: u64, consumers: usize) -> impl Fn() + Send + Sync {
    move || {
        make(cells, cells);
        let ledger = Ledger::default();
        rt::spawn(1, move || {
            let ring = open();
            for n in 1..=items {
                put_waiting(&ring, 1, n);
            }
        });
        for consumer in 2..2 + consumers {
            let ledger = ledger.clone();
            let share = items as usize / consumers;
            rt::spawn(consumer, move || {
                ledger.wait(&open(), share, &Deadline::NEVER);
            });
        }
        rt::join();
        let put: Vec<_> = (1..=items).map(|n| (1, n)).collect();
        ledger.check(&put, 0);
        ledger.check_order();
    }
}

/// A survivor recovers process 1 while it takes items itself, and may die at that.
fn drain_and_recover() {
    let ring = make(2, 6);
    let items: Vec<_> = (1..=6).map(|n| (7, n)).collect();
    for &(producer, number) in &items {
        assert!(put(&ring, producer, number));
    }
    let ledger = Ledger::default();
    let others = [ledger.clone(), ledger.clone(), ledger.clone()];
    let [first, second, third] = others;
    rt::spawn(1, move || {
        first.get(&open(), 3);
    });
    rt::spawn(2, move || {
        second.get(&open(), 2);
    });
    rt::spawn(3, move || {
        if rt::watch(1) {
            sweep(1);
            third.get(&open(), 2);
        }
    });
    rt::join();
    for process in [3, 1] {
        if rt::has_died(process) {
            sweep(process);
        }
    }
    ledger.drain(&ring);
    let dead = usize::from(rt::has_died(1)) + usize::from(rt::has_died(3));
    ledger.check(&items, dead);
    assert_eq!(ring.waiting(), 0, "counted, and not there");
}

fn sweep(process: usize) {
    slot::recover(slot::of(process)).unwrap();
}

#[test]
fn nobody_sleeps_beside_an_item_or_room() {
    Plan::loom(2, 3).check("ring, 1 to 1", hand_over(2, 3, 1));
    Plan::loom(1, 2).check("ring, 1 to 2", hand_over(2, 2, 2));
}

#[test]
fn each_item_comes_once() {
    Plan::loom(1, 2)
        .killing(&[1])
        .every(2)
        .check("spill, a consumer dies", drain_spill(2, 2));
}

#[test]
fn recovery_may_be_cut_short() {
    Plan::walks(5_000)
        .killing(&[1, 3])
        .check("spill, recoverer dies", drain_and_recover);
}

/// Items that were taken from beyond the head leave it behind; whoever moves it on has to
/// wake a producer.
#[test]
fn room_is_told_when_the_head_moves() {
    Plan::walks(10_000).check("ring, 1 to 3", hand_over(2, 9, 3));
}

/// A consumer that looks beyond a cell in PRODUCING can be overtaken: what was PRODUCING
/// when it looked is there by now, and so is its producer's next item, which it takes.
#[test]
fn each_producers_order_is_kept() {
    Plan::walks(15_000).check("traffic, in order", traffic(2, 5, 4, true));
}

#[test]
fn broken_rings_fail() {
    let ready = Site::new(
        "ring/mod.rs",
        "cell.word.swap(pack(self.lap(position), 0, READY)",
    );
    let enter = Site::new("ring/eventcount.rs", "self.0.fetch_add(ONE, SeqCst)");
    let cases = [
        ("an item is let go without release", Fault::Relax(ready), ""),
        (
            "a sleeper doesn't announce itself",
            Fault::Skip(enter),
            "deadlock",
        ),
        ("nobody woken", Fault::NoWake, "deadlock"),
    ];
    for (name, fault, how) in cases {
        Plan::loom(2, 2)
            .broken(fault)
            .fails(name, how, hand_over(2, 3, 1));
    }
    let spot = Site::new(
        "ring/spill.rs",
        "record.spot.store(position.wrapping_add(1), SeqCst)",
    );
    let passed = Site::new(
        "ring/spill.rs",
        "first.header.read.store(read + record.size()",
    );
    let again = Site::new("ring/mod.rs", "cell.word.compare_exchange(word, ready");
    let cases = [
        (
            "a record doesn't say where it goes",
            Fault::Skip(spot),
            "times",
        ),
        (
            "a repair forgets what had arrived",
            Fault::Skip(passed),
            "times",
        ),
        (
            "what a dead consumer had stays there",
            Fault::Skip(again),
            "no end in sight",
        ),
        ("the dead seem to live", Fault::Undead, ""),
    ];
    for (name, fault, how) in cases {
        Plan::walks(5_000)
            .killing(&[1])
            .broken(fault)
            .fails(name, how, drain_spill(4, 4));
    }
}

#[test]
fn walks_drain_a_spill() {
    Plan::walks(5_000)
        .killing(&[1])
        .check("spill, a consumer dies", drain_spill(4, 4));
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("spill, both die", drain_spill(4, 4));
}

#[test]
fn walks_over_the_end_of_a_segment() {
    Plan::walks(5_000)
        .killing(&[1])
        .check("segments, a consumer dies", drain_segments(5, 3, 5));
    Plan::walks(5_000)
        .killing(&[1, 2])
        .check("segments, both die", drain_segments(4, 2, 4));
}

#[test]
fn walks_through_traffic() {
    Plan::walks(5_000)
        .killing(&[3])
        .check("traffic, a consumer dies", traffic(2, 5, 4, false));
    Plan::walks(5_000).killing(&[1, 4]).check(
        "traffic, a producer, a consumer die",
        traffic(2, 5, 4, false),
    );
}
