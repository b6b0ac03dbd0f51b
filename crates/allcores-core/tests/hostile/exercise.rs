//! Everything that can be done to the objects of an arena.

use std::hint::black_box;

use allcores_core::barrier::Waited;
use allcores_core::handle::{self, Handle};
use allcores_core::list::{List, Slice};
use allcores_core::mutex::Mutex;
use allcores_core::object::Kind;
use allcores_core::ring::{Lease, Ring};
use allcores_core::{Result, alloc, slot};

use crate::choices::Choices;
use crate::dicts::on_dict;
use crate::world::{World, at_once, enough, fresh, put, soon};

/// Does one thing. Errors are fine; that it comes back is what counts.
pub fn exercise(world: &World, c: &mut Choices) -> Result<()> {
    match c.below(19) {
        0..4 => on_ring(&world.rings[c.below(world.rings.len())], world, c),
        4..7 => on_list(&world.lists[c.below(world.lists.len())], world, c),
        7..10 => on_dict(&world.dicts[c.below(world.dicts.len())], world, c),
        10 => on_lock(&world.locks[c.below(world.locks.len())], c),
        11 => on_semaphore(world, c),
        12 => on_condition(world, c),
        13 => on_barrier(world, c),
        14 => on_event(world, c),
        15 => on_blocks(c),
        16 => on_handles(world, c),
        17 => slot::recover_all().map(drop),
        _ => {
            alloc::stats()?;
            slot::living().map(drop)
        }
    }
}

fn on_ring(ring: &Ring, world: &World, c: &mut Choices) -> Result<()> {
    let pulse = &mut enough;
    match c.below(10) {
        0 => put(ring, 9, c.below(97), &[]).map(drop),
        1 => put(ring, 10, c.below(3000), &world.raw).map(drop),
        2 => {
            for i in 0..c.below(200) {
                put(ring, i as u64, 30, &[])?;
            }
            Ok(())
        }
        3 => ring.get(None, &at_once(), pulse).map(drop),
        4 => {
            for _ in 0..c.below(200) {
                if ring.try_get(None)?.is_none() {
                    break;
                }
            }
            Ok(())
        }
        5 => {
            let lease = Lease::at(world.raw[0].offset())?;
            if let Some(got) = ring.get(Some(&lease), &soon(), pulse)? {
                let _sum: u64 = got.bytes().iter().map(|&b| b as u64).sum();
            }
            Ok(())
        }
        6 => {
            ring.task_done();
            ring.join(&soon(), pulse).map(drop)
        }
        7 => {
            black_box((ring.waiting(), ring.unfinished(), ring.capacity()));
            ring.nothing_waits().map(drop)
        }
        8 => ring
            .when_room(&soon(), pulse, |r| put(r, 1, 5, &[]))
            .map(drop),
        _ => {
            let (session, offset, generation) = ring.handle().numbers()?;
            Ring::open(session, offset, generation).map(drop)
        }
    }
}

fn on_list(list: &List, world: &World, c: &mut Choices) -> Result<()> {
    let pulse = &mut enough;
    let slice = Slice {
        start: Some(c.below(50) as i64 - 5),
        stop: (!c.once_in(4)).then(|| c.below(50) as i64 - 5),
        step: c.of(&[None, None, Some(1), Some(2), Some(-1)]),
    };
    let at = c.below(50) as i64 - 5;
    let items = |c: &mut Choices| -> Result<Vec<_>> {
        let first = c.below(100);
        (first..first + c.below(6))
            .map(|i| fresh(i, &world.raw))
            .collect()
    };
    let what = c.below(14);
    let mut inside = match what {
        13 => match list.try_enter()? {
            Some(inside) => inside,
            None => return Ok(()),
        },
        _ => list.enter(pulse)?,
    };
    match what {
        0 => inside.append(fresh(c.below(100), &world.raw)?),
        1 => inside.insert(at, fresh(c.below(100), &world.raw)?),
        2 => inside.pop(at).map(drop),
        3 => inside.set(at, fresh(c.below(100), &world.raw)?).map(drop),
        4 => inside.get(at).map(drop),
        5 => inside.read(Slice::default()).map(drop),
        6 => inside.read(slice).map(drop),
        7 => inside.delete(slice),
        8 => inside.replace(slice, items(c)?).map(drop),
        9 => inside.extend(items(c)?, None).map(drop),
        10 => inside.reverse(),
        11 => {
            let len = inside.len()?.min(1 << 16);
            let order: Vec<usize> = (0..len).rev().collect();
            inside.reorder(&order, inside.version()).map(drop)
        }
        12 => inside.clear(),
        _ => inside.is_empty().map(drop),
    }
}

fn on_lock(lock: &Mutex, c: &mut Choices) -> Result<()> {
    let taken = match c.below(3) {
        0 => lock.try_acquire()?,
        1 => lock.acquire_fast(lock.is_recursive())?,
        _ => lock.acquire(&soon(), &mut enough)?,
    };
    black_box((lock.is_mine(), lock.is_locked()));
    black_box((lock.depth(), lock.owner_died()));
    lock.mark_consistent();
    if taken || c.once_in(3) {
        let _ = lock.release(lock.is_recursive());
    }
    Ok(())
}

fn on_semaphore(world: &World, c: &mut Choices) -> Result<()> {
    let semaphore = &world.semaphore;
    let pulse = &mut enough;
    match c.below(6) {
        0 => semaphore.try_acquire().map(drop),
        1 => semaphore.acquire(&soon(), pulse).map(drop),
        2 => semaphore.try_enter().map(drop),
        3 => semaphore.enter(pulse).map(drop),
        4 => {
            let _ = semaphore.release();
            Ok(())
        }
        _ => {
            let _ = semaphore.leave();
            Ok(())
        }
    }
}

fn on_condition(world: &World, c: &mut Choices) -> Result<()> {
    let (condition, lock) = (&world.condition, &world.locks[1]);
    let pulse = &mut enough;
    condition.waiters();
    match c.below(3) {
        0 => condition.notify(1).map(drop),
        1 => condition.notify(usize::MAX).map(drop),
        _ => {
            if lock.acquire(&soon(), pulse)? {
                let _ = condition.wait(lock, &soon(), pulse);
                let _ = lock.release_all();
            }
            Ok(())
        }
    }
}

fn on_barrier(world: &World, c: &mut Choices) -> Result<()> {
    let barrier = &world.barrier;
    let pulse = &mut enough;
    black_box((barrier.parties(), barrier.waiting(), barrier.is_broken()));
    match c.below(4) {
        0 => barrier.reset(),
        1 => {
            barrier.abort();
            Ok(())
        }
        kind => {
            if let Waited::Act { phase, .. } = barrier.wait(kind == 2, &soon(), pulse)? {
                if c.once_in(2) {
                    barrier.action_done(phase);
                } else {
                    barrier.action_failed(phase);
                }
            }
            Ok(())
        }
    }
}

fn on_event(world: &World, c: &mut Choices) -> Result<()> {
    match c.below(3) {
        0 => world.event.set(),
        1 => world.event.clear(),
        _ => drop(world.event.wait(&soon(), &mut enough)?),
    }
    Ok(())
}

fn on_blocks(c: &mut Choices) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..c.below(20) {
        let len = c.of(&[1, 64, 100, 500, 4096, 20_000, 32_768, 70_000, 300_000]);
        let zeroed = c.once_in(2);
        let kind = c.of(&[Kind::Raw, Kind::Raw, Kind::Item, Kind::Waiters]);
        all.push((alloc::reserve(kind, len, zeroed)?, kind, len));
    }
    for (offset, kind, len) in all {
        if kind == Kind::Raw && c.once_in(3) {
            drop(Handle::publish(offset)?);
            continue;
        }
        if alloc::room(offset)? < len {
            continue;
        }
        alloc::release(offset)?;
    }
    Ok(())
}

fn on_handles(world: &World, c: &mut Choices) -> Result<()> {
    let handle = &world.raw[c.below(world.raw.len())];
    let (session, offset, generation) = handle.numbers()?;
    match c.below(4) {
        0 => Handle::open(session, offset, generation, Kind::Raw).map(drop),
        1 => Handle::hold(offset).map(drop),
        2 => handle::pin(offset),
        _ => {
            drop(handle.clone());
            Ok(())
        }
    }
}
