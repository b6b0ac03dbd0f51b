//! A bit of everything that can be in an arena.

use std::time::Duration;

use allcores_core::arena::Offset;
use allcores_core::barrier::Barrier;
use allcores_core::condition::Condition;
use allcores_core::dict::{Canonical, Dict, How, New, Probe};
use allcores_core::event::Event;
use allcores_core::handle::Handle;
use allcores_core::item::{Fresh, Origin};
use allcores_core::list::List;
use allcores_core::mutex::Mutex;
use allcores_core::object::Kind;
use allcores_core::ring::{Lease, Ring};
use allcores_core::semaphore::Semaphore;
use allcores_core::wait::{Deadline, no_pulse};
use allcores_core::{Error, Result, alloc};

/// An object's three numbers.
pub type Numbers = (u64, Offset, u32);

/// One or more of each sort of object.
pub struct World {
    pub rings: Vec<Ring>,
    pub lists: Vec<List>,
    pub dicts: Vec<Dict>,
    pub locks: Vec<Mutex>,
    pub semaphore: Semaphore,
    pub condition: Condition,
    pub barrier: Barrier,
    pub event: Event,
    pub raw: Vec<Handle>,
}

/// The numbers of all of them, in the same order.
#[derive(Clone)]
pub struct Names {
    rings: Vec<Numbers>,
    lists: Vec<Numbers>,
    dicts: Vec<Numbers>,
    locks: Vec<Numbers>,
    single: [Numbers; 4],
    raw: Vec<Numbers>,
}

pub fn soon() -> Deadline {
    Deadline::after(Some(Duration::from_micros(300)))
}

pub fn at_once() -> Deadline {
    Deadline::after(Some(Duration::ZERO))
}

/// An item for a list, of each form in turn.
pub fn fresh(number: usize, held: &[Handle]) -> Result<Fresh> {
    match number % 5 {
        0 => Ok(Fresh::int(number as i64).unwrap()),
        1 => Fresh::text(&"x".repeat(number % 300)),
        2 => Fresh::bytes(&[7; 40]),
        3 => Fresh::float(f64::MAX),
        _ => {
            let held: Vec<Offset> = held.iter().map(Handle::offset).take(3).collect();
            Fresh::pickle(&[number as u8; 90], &held)
        }
    }
}

/// What a key of a dict is looked up by, and the key, of each form in turn.
pub fn key(number: usize) -> Result<(Probe, Fresh)> {
    let name = format!("the key number {number}");
    let bytes = |tag: u8| Canonical::Bytes([&[tag], name.as_bytes()].concat());
    let (canonical, origin) = match number % 5 {
        0 => (
            Canonical::Word(Fresh::int(number as i64).unwrap().word()),
            None,
        ),
        1 => (bytes(b's'), None),
        2 => (bytes(b'b'), None),
        3 => (bytes(b'k'), None),
        // Some that only the caller can compare: of several processes, with the same form.
        _ => {
            let (process, hash) = (number as u64 % 3, number as u64);
            (
                Canonical::Bytes(b"?".to_vec()),
                Some(Origin { process, hash }),
            )
        }
    };
    let key = match number % 5 {
        0 => Fresh::int(number as i64).unwrap(),
        1 => Fresh::text(&name)?,
        2 => Fresh::bytes(name.as_bytes())?,
        _ => Fresh::key(&canonical.to_bytes(), origin, name.as_bytes(), &[])?,
    };
    Ok((Probe::new(canonical, origin)?, key))
}

/// A key and its value, to be put into a dict.
pub fn pair(at: usize, value: usize, held: &[Handle]) -> Result<(Probe, New)> {
    let (probe, key) = key(at)?;
    let new = New {
        key: Some(key),
        value: Some(fresh(value, held)?),
    };
    Ok((probe, new))
}

/// Puts an item, in a message of its own when it is long.
pub fn put(ring: &Ring, tag: u64, len: usize, held: &[Handle]) -> Result<bool> {
    if len <= 96 && held.is_empty() {
        return ring.try_put(3, tag, &vec![tag as u8; len]);
    }
    let held: Vec<Offset> = held.iter().map(Handle::offset).take(3).collect();
    let mut draft = ring.draft(&held, len, tag)?;
    draft.bytes().fill(tag as u8);
    ring.try_send(3, tag, &mut Some(draft))
}

fn number(handle: &Handle) -> Numbers {
    handle.numbers().unwrap()
}

impl World {
    /// Makes it all, some of it in use.
    pub fn build() -> Result<World> {
        let raw: Vec<Handle> = [64, 64, 300, 5000, 200_000]
            .iter()
            .map(|&len| Handle::publish(alloc::reserve(Kind::Raw, len, true)?))
            .collect::<Result<_>>()?;
        let world = World {
            rings: vec![
                Ring::new(4, false)?,
                Ring::new(300, true)?,
                Ring::new(2000, false)?,
            ],
            lists: vec![List::create()?, List::create()?],
            dicts: vec![Dict::create()?, Dict::create()?],
            locks: vec![Mutex::new(false)?, Mutex::new(true)?],
            semaphore: Semaphore::new(70, 80)?,
            condition: Condition::new()?,
            barrier: Barrier::new(3)?,
            event: Event::new()?,
            raw,
        };
        for i in 0..1100 {
            let long = i % 97 == 0;
            let held: &[Handle] = if long { &world.raw } else { &[] };
            put(&world.rings[2], i, if long { 400 } else { 20 }, held)?;
            if i < 330 {
                put(&world.rings[1], i, (i % 90) as usize, &[])?;
            }
        }
        put(&world.rings[0], 1, 8, &[])?;
        put(&world.rings[0], 2, 3000, &world.raw)?;
        let mut inside = world.lists[0].enter(&mut no_pulse)?;
        for i in 0..40 {
            inside.append(fresh(i, &world.raw)?)?;
        }
        inside.pop(3)?;
        drop(inside);
        for i in 0..60 {
            let (probe, mut new) = pair(i, i, &world.raw)?;
            let dict = &world.dicts[usize::from(i > 50)];
            let mut inside = dict.enter(&mut no_pulse)?;
            let _ = inside.put(&probe, &mut new, How::Always)?;
            if i % 7 == 6 {
                let _ = inside.remove(&probe)?;
            }
        }
        // More units than there are entries in the block itself.
        for _ in 0..60 {
            world.semaphore.try_enter()?;
        }
        Ok(world)
    }

    pub fn names(&self) -> Names {
        Names {
            rings: self.rings.iter().map(|r| number(r.handle())).collect(),
            lists: self.lists.iter().map(|l| number(l.handle())).collect(),
            dicts: self.dicts.iter().map(|d| number(d.handle())).collect(),
            locks: self.locks.iter().map(|l| number(l.handle())).collect(),
            single: [
                number(self.semaphore.handle()),
                number(self.condition.handle()),
                number(self.barrier.handle()),
                number(self.event.handle()),
            ],
            raw: self.raw.iter().map(number).collect(),
        }
    }

    /// Opens all that can be opened; an error when one cannot.
    pub fn open(names: &Names) -> Result<World> {
        let all = |them: &[Numbers]| -> Vec<Numbers> { them.to_vec() };
        let [semaphore, condition, barrier, event] = names.single;
        Ok(World {
            rings: all(&names.rings)
                .into_iter()
                .map(|n| Ring::open(n.0, n.1, n.2))
                .collect::<Result<_>>()?,
            lists: all(&names.lists)
                .into_iter()
                .map(|n| List::open(n.0, n.1, n.2))
                .collect::<Result<_>>()?,
            dicts: all(&names.dicts)
                .into_iter()
                .map(|n| Dict::open(n.0, n.1, n.2))
                .collect::<Result<_>>()?,
            locks: all(&names.locks)
                .into_iter()
                .enumerate()
                .map(|(i, n)| Mutex::open(n.0, n.1, n.2, i == 1))
                .collect::<Result<_>>()?,
            semaphore: Semaphore::open(semaphore.0, semaphore.1, semaphore.2)?,
            condition: Condition::open(condition.0, condition.1, condition.2)?,
            barrier: Barrier::open(barrier.0, barrier.1, barrier.2)?,
            event: Event::open(event.0, event.1, event.2)?,
            raw: all(&names.raw)
                .into_iter()
                .map(|n| Handle::open(n.0, n.1, n.2, Kind::Raw))
                .collect::<Result<_>>()?,
        })
    }

    /// What a process was at when it died. Does not come back.
    pub fn die(&self, way: usize) -> ! {
        let end = || -> ! {
            // SAFETY: ends this process as a kill would: nothing is given back.
            unsafe { libc::_exit(0) }
        };
        let mut end_while_waiting = || -> Result<()> { end() };
        // Long enough for a wait to ask whether to go on.
        let asks = Deadline::after(Some(Duration::from_micros(1500)));
        match way % 7 {
            0 => {
                let _held = self.locks[0].try_acquire();
                let _inside = self.lists[0].enter(&mut no_pulse);
                end()
            }
            1 => {
                let _ = self.semaphore.try_enter();
                let _ = self.locks[1].try_acquire();
                let _draft = self.rings[0].draft(&[self.raw[0].offset()], 900, 5);
                end()
            }
            2 => {
                let lease = Lease::at(self.raw[1].offset());
                let _got = self.rings[2].try_get(lease.as_ref().ok());
                end()
            }
            3 => {
                let _ = self.locks[1].acquire(&asks, &mut end_while_waiting);
                let lock = &self.locks[1];
                let _ = self.condition.wait(lock, &asks, &mut end_while_waiting);
                end()
            }
            4 => {
                let _ = self.barrier.wait(false, &asks, &mut end_while_waiting);
                end()
            }
            5 => {
                let item = pair(4, 3, &self.raw);
                let _inside = self.dicts[0].enter(&mut no_pulse);
                let _inside = self.dicts[1].enter(&mut no_pulse);
                std::mem::forget(item);
                end()
            }
            _ => {
                let item = fresh(4, &self.raw);
                let _block = alloc::reserve(Kind::Spill, 900, false);
                let _more = self.rings[1].draft(&[], 70_000, 5);
                std::mem::forget(item);
                end()
            }
        }
    }
}

/// What a wait is told that asks whether to go on.
pub fn enough() -> Result<()> {
    Err(Error::Interrupted)
}
