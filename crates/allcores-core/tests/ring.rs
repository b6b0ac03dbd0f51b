//! A ring keeps what is put in, once, in each producer's order, whoever is killed.

mod common;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use allcores_core::arena::arena;
use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::ring::{Lease, Ring};
use allcores_core::wait::{Deadline, SHORT, no_pulse};
use allcores_core::{alloc, crash, slot};
use common::{Random, alone, child};

const SOON: Duration = Duration::from_millis(20);
/// An item that takes so long is lost, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

/// Numbers in shared memory, for what several processes note.
fn ledger(words: usize) -> (Handle, &'static [AtomicU64]) {
    let offset = alloc::reserve(Kind::Raw, words * 8, true).unwrap();
    let handle = Handle::publish(offset).unwrap();
    let start = arena().unwrap().bytes(offset, words * 8).unwrap();
    // SAFETY: inside a block that the handle keeps; aligned to 64.
    let words = unsafe { std::slice::from_raw_parts(start.cast(), words) };
    (handle, words)
}

/// Puts `value` as an item of `len` bytes, waiting for room.
fn put(ring: &Ring, value: u64, len: usize) {
    let mut body = vec![value as u8; len.max(8)];
    body[..8].copy_from_slice(&value.to_ne_bytes());
    if len <= 96 {
        let sent = ring.when_room(&Deadline::NEVER, &mut no_pulse, |r| {
            r.try_put(7, value, &body)
        });
        assert!(sent.unwrap());
    } else {
        let mut draft = ring.draft(&[], body.len(), value).unwrap();
        draft.bytes().copy_from_slice(&body);
        let mut draft = Some(draft);
        let sent = ring.when_room(&Deadline::NEVER, &mut no_pulse, |r| {
            r.try_send(7, value, &mut draft)
        });
        assert!(sent.unwrap());
    }
}

/// Takes an item out and checks it; `None` when none comes soon.
fn get(ring: &Ring, lease: Option<&Lease>, timeout: Duration) -> Option<u64> {
    let deadline = Deadline::after(Some(timeout));
    let got = ring.get(lease, &deadline, &mut no_pulse).unwrap()?;
    let bytes = got.bytes();
    let value = u64::from_ne_bytes(*bytes.first_chunk().unwrap());
    assert_eq!((got.kind, got.tag), (7, value));
    assert!(bytes[8..].iter().all(|&b| b == value as u8));
    Some(value)
}

fn rings() -> Vec<Ring> {
    vec![
        Ring::new(1, false).unwrap(),
        Ring::new(16, false).unwrap(),
        Ring::new(3000, false).unwrap(),
        Ring::new(1, true).unwrap(),
    ]
}

#[test]
fn the_bound_is_exact_and_order_is_kept_around_the_end() {
    let _alone = alone();
    for (ring, bound) in [(1, 1), (5, 5), (16, 16), (100, 100), (3000, 3000)]
        .map(|(n, bound)| (Ring::new(n, false).unwrap(), bound))
    {
        for round in 0..3 {
            for i in 0..bound {
                assert!(ring.try_put(7, i, &(i + round).to_ne_bytes()).unwrap());
            }
            assert!(!ring.try_put(7, 0, &[]).unwrap());
            assert_eq!(ring.waiting(), bound);
            for i in 0..bound {
                let got = ring.try_get(None).unwrap().unwrap();
                assert_eq!((got.tag, got.bytes()), (i, &(i + round).to_ne_bytes()[..]));
            }
            assert!(ring.try_get(None).unwrap().is_none());
        }
    }
}

#[test]
fn many_producers_and_consumers_pass_each_item_once_and_in_order() {
    let _alone = alone();
    const EACH: u64 = 20_000;
    for ring in rings() {
        let sizes = [8, 90, 200, 5000];
        let (_keep, sums) = ledger(8);
        let producers: Vec<_> = (0..2)
            .map(|p| {
                child(|| {
                    for i in 0..EACH {
                        let len = if i % 64 == 0 {
                            sizes[i as usize / 64 % 4]
                        } else {
                            8
                        };
                        put(&ring, p << 32 | i, len);
                    }
                    slot::leave().map_err(|e| eprintln!("{e}")).is_ok()
                })
            })
            .collect();
        let consumers: Vec<_> = (0..2)
            .map(|c: usize| {
                child(|| {
                    let mut last = [None, None];
                    while let Some(value) = get(&ring, None, LONG) {
                        if value == u64::MAX {
                            return slot::leave().is_ok();
                        }
                        let producer = (value >> 32) as usize;
                        assert!(last[producer].is_none_or(|before| before < value));
                        last[producer] = Some(value);
                        sums[c].fetch_add(value, SeqCst);
                        sums[c + 2].fetch_add(1, SeqCst);
                    }
                    false
                })
            })
            .collect();
        for producer in producers {
            assert_eq!(producer.wait(), 0);
        }
        for _ in 0..2 {
            put(&ring, u64::MAX, 8);
        }
        for consumer in consumers {
            assert_eq!(consumer.wait(), 0);
        }
        let sum: u64 = (0..2)
            .flat_map(|p| (0..EACH).map(move |i| p << 32 | i))
            .sum();
        assert_eq!(sums[2].load(SeqCst) + sums[3].load(SeqCst), 2 * EACH);
        assert_eq!(sums[0].load(SeqCst) + sums[1].load(SeqCst), sum);
    }
    slot::recover_all().unwrap();
}

#[test]
fn a_consumer_that_may_not_leaves_the_item_to_another() {
    let _alone = alone();
    let ring = Ring::new(16, false).unwrap();
    let may = AtomicU64::new(0);
    let held = || {
        let deadline = Deadline::after(Some(LONG));
        let got = ring.get_while(None, &deadline, &mut no_pulse, &SHORT, || {
            may.load(SeqCst) == 0
        });
        got.unwrap().is_some()
    };
    let free = || get(&ring, None, LONG);
    for round in 0..100 {
        std::thread::scope(|threads| {
            let first = threads.spawn(held);
            let second = threads.spawn(free);
            if round % 3 > 0 {
                // Mostly asleep by now, at times both of them.
                std::thread::sleep(Duration::from_micros(300 * (round % 3)));
            }
            may.store(1, SeqCst);
            put(&ring, round, 8);
            assert_eq!(second.join().unwrap(), Some(round), "round {round}");
            assert!(!first.join().unwrap(), "round {round}");
        });
        may.store(0, SeqCst);
    }
    // It had not begun to wait when the word changed.
    may.store(1, SeqCst);
    put(&ring, 7, 8);
    assert!(!held());
    may.store(0, SeqCst);
    assert!(held());
}

#[test]
fn a_killed_producer_costs_at_most_its_unfinished_item() {
    let _alone = alone();
    let mut random = Random::seeded();
    for ring in rings() {
        for _ in 0..25 {
            let (_keep, sent) = ledger(1);
            let producer = child(|| {
                for i in 0..300_000 {
                    put(&ring, i, [8, 8, 200, 3000][i as usize % 4]);
                    sent[0].store(i + 1, SeqCst);
                }
                true
            });
            let stop = random.below(3000) as u64;
            let mut next = 0;
            while next < stop {
                assert_eq!(get(&ring, None, LONG), Some(next));
                next += 1;
            }
            producer.kill();
            if random.below(2) == 0 {
                slot::recover_all().unwrap();
            }
            while let Some(value) = get(&ring, None, SOON) {
                assert_eq!(value, next);
                next += 1;
            }
            let sent = sent[0].load(SeqCst);
            assert!(next == sent || next == sent + 1, "{next} of {sent}");
            slot::recover_all().unwrap();
            assert_eq!(ring.waiting(), 0);
            put(&ring, 5, 8);
            assert_eq!(get(&ring, None, SOON), Some(5));
            assert_eq!(ring.unfinished(), next + 1);
            for _ in 0..=next {
                assert!(ring.task_done());
            }
            assert!(!ring.task_done());
        }
    }
}

#[test]
fn an_item_of_a_killed_consumer_is_in_its_lease_or_delivered_again() {
    let _alone = alone();
    let mut random = Random::seeded();
    for ring in rings() {
        for _ in 0..25 {
            const N: u64 = 4000;
            // Word 0: the lease. Then how often each item was taken.
            let (keep, words) = ledger(N as usize + 2);
            let producer = child(|| {
                for i in 1..=N {
                    put(&ring, i, [8, 8, 200, 3000][i as usize % 4]);
                }
                slot::leave().map_err(|e| eprintln!("{e}")).is_ok()
            });
            let consumer = child(|| {
                let lease = Lease::at(keep.offset()).unwrap();
                while let Some(value) = get(&ring, Some(&lease), LONG) {
                    words[value as usize].fetch_add(1, SeqCst);
                    words[0].store(0, SeqCst);
                }
                true
            });
            let stop = random.below(N as usize / 2) + 1;
            while words[stop].load(SeqCst) == 0 {
                std::hint::spin_loop();
            }
            consumer.kill();
            slot::recover_all().unwrap();
            // Taken, but perhaps not noted.
            let leased = words[0].load(SeqCst);
            if leased != 0 && words[leased as usize].load(SeqCst) == 0 {
                words[leased as usize].store(1, SeqCst);
            }
            while (1..=N as usize).any(|i| words[i].load(SeqCst) == 0) {
                let value = get(&ring, None, LONG).expect("an item is lost");
                words[value as usize].fetch_add(1, SeqCst);
            }
            assert_eq!(producer.wait(), 0);
            assert!((1..=N as usize).all(|i| words[i].load(SeqCst) == 1));
            assert_eq!(get(&ring, None, Duration::ZERO), None);
            slot::recover_all().unwrap();
        }
    }
}

#[test]
fn nothing_is_left_when_a_ring_goes_with_items_in_it() {
    let _alone = alone();
    slot::recover_all().unwrap();
    drop(Ring::new(1, false).unwrap());
    let before = alloc::stats().unwrap().live_blocks;
    for ring in rings() {
        let (keep, _) = ledger(1);
        let sender = child(|| {
            let until = ring.capacity().unwrap_or(2000);
            for _ in 0..until {
                let mut draft = Some(ring.draft(&[keep.offset()], 100, 0).unwrap());
                assert!(ring.try_send(0, 0, &mut draft).unwrap());
            }
            slot::leave().is_ok()
        });
        assert_eq!(sender.wait(), 0);
        drop(keep);
        assert!(alloc::stats().unwrap().live_blocks > before + 2);
        assert!(ring.try_get(None).unwrap().is_some());
    }
    slot::recover_all().unwrap();
    assert_eq!(alloc::stats().unwrap().live_blocks, before);
}

#[test]
fn a_ring_is_empty_when_its_only_producer_died_at_its_item() {
    let _alone = alone();
    let mut empty = 0;
    for ring in rings() {
        for _ in 0..40 {
            let (_keep, sent) = ledger(1);
            let producer = child(|| {
                for i in 0..300_000 {
                    put(&ring, i, 8);
                    sent[0].store(i + 1, SeqCst);
                }
                true
            });
            while sent[0].load(SeqCst) == 0 {
                std::hint::spin_loop();
            }
            // Nobody has taken anything out.
            let empty_early = ring.nothing_waits().unwrap();
            producer.kill();
            assert!(!empty_early);
            // Without a recovery first: whoever looks finds out by itself.
            while !ring.nothing_waits().unwrap() {
                assert!(get(&ring, None, Duration::ZERO).is_some());
                empty += 1;
            }
            assert_eq!(get(&ring, None, Duration::ZERO), None);
            assert_eq!(ring.waiting(), 0);
        }
    }
    assert!(empty > 0);
    slot::recover_all().unwrap();
}

#[test]
fn a_consumer_goes_on_where_another_was_killed_without_a_recovery() {
    let _alone = alone();
    let mut random = Random::seeded();
    // In the one of 3000, unlike the others, what the killed one had at the end is in nobody's way.
    for ring in &rings() {
        for _ in 0..40 {
            const N: u64 = 4000;
            let (_keep, taken) = ledger(N as usize);
            let producer = child(|| {
                for i in 0..N {
                    put(ring, i, [8, 8, 200, 3000][i as usize % 4]);
                }
                slot::leave().is_ok()
            });
            let consumer = child(|| {
                while let Some(value) = get(ring, None, LONG) {
                    taken[value as usize].fetch_add(1, SeqCst);
                }
                true
            });
            let stop = random.below(N as usize / 2) + 1;
            while taken[stop].load(SeqCst) == 0 {
                std::hint::spin_loop();
            }
            consumer.kill();
            while taken[N as usize - 1].load(SeqCst) == 0 {
                let value = get(ring, None, LONG).expect("more must come");
                taken[value as usize].fetch_add(1, SeqCst);
            }
            assert_eq!(producer.wait(), 0);
            // What the killed one had may come last, as nobody has recovered it.
            if !ring.nothing_waits().unwrap() {
                let value = get(ring, None, Duration::ZERO).expect("it waits");
                taken[value as usize].fetch_add(1, SeqCst);
            }
            assert!(ring.nothing_waits().unwrap());
            assert_eq!(get(ring, None, Duration::ZERO), None);
            // Or the killed one had it out of the ring and did not come to note it.
            let lost = taken.iter().filter(|n| n.load(SeqCst) == 0).count();
            assert!(lost <= 1, "{lost} items are lost");
            assert!(taken.iter().all(|n| n.load(SeqCst) <= 1));
        }
    }
    slot::recover_all().unwrap();
}

#[test]
fn an_item_taken_beyond_one_under_way_is_not_counted_as_waiting() {
    let _alone = alone();
    for ring in rings() {
        if ring.capacity() == Some(1) {
            continue;
        }
        let slow = child(|| {
            crash::watch(|name| {
                if name == "ring.put: claimed" {
                    // SAFETY: stops this process until the other lets it go on.
                    unsafe { libc::raise(libc::SIGSTOP) };
                }
            });
            put(&ring, 1, 8);
            true
        });
        let mut status = 0;
        // SAFETY: `status` lives for the call; the child is ours.
        unsafe { libc::waitpid(slow.0, &mut status, libc::WUNTRACED) };
        put(&ring, 2, 8);
        assert_eq!(get(&ring, None, SOON), Some(2));
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(slow.0, libc::SIGCONT) };
        assert_eq!(slow.wait(), 0);
        assert_eq!(get(&ring, None, SOON), Some(1));
        assert_eq!(ring.waiting(), 0);
        assert!(ring.nothing_waits().unwrap());
    }
}
