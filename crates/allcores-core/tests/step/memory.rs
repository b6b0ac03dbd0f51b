//! Blocks, references and slots.

use std::sync::atomic::Ordering::SeqCst;

use allcores_core::frozen::{Frozen, View};
use allcores_core::handle::Handle;
use allcores_core::object::Kind;
use allcores_core::{alloc, arena, refs, slot};

use crate::case::{Case, Check, Operation, ensure};

pub const OPERATIONS: &[Operation] = &[
    operation("block", "reserve and release 100 bytes", || {
        blocks(&[100], false)
    }),
    operation("block", "reserve and release, zeroed", || {
        blocks(&[1000], true)
    }),
    operation("block", "reserve in a new chunk", || {
        blocks(&[32_000; 4], false)
    }),
    operation("block", "close chunks", || blocks(&[32_000; 24], false)),
    operation("block", "reserve and release 200 KB", || {
        blocks(&[200_000], false)
    }),
    operation("block", "reserve 300 KB beyond a gap", beyond_a_gap),
    operation("block", "release 200 KB, enough is warm", enough_is_warm),
    operation("block", "give back what is warm", cool_down),
    operation("block", "reserve where there is no room", no_room),
    operation("frozen", "freeze 100 KB, view them, drop", freeze),
    operation("frozen", "open what is frozen, and view it", open_frozen),
    operation("reference", "make and drop", make_and_drop),
    operation("reference", "open and drop", open_and_drop),
    operation("reference", "open beside 600 others", open_beside_many),
    operation("slot", "leave and join", leave_and_join),
    operation("slot", "fork", fork),
];

const fn operation(structure: &'static str, name: &'static str, build: fn() -> Case) -> Operation {
    Operation {
        structure,
        name,
        build,
    }
}

pub fn raw() -> Handle {
    Handle::publish(alloc::reserve(Kind::Raw, 64, true).unwrap()).unwrap()
}

pub fn count(offset: u64) -> u32 {
    refs::count(alloc::meta(offset).unwrap())
}

/// No chunk is neither free nor has a block.
pub fn nothing_is_lost() -> Check {
    let lost = || alloc::stats().map(|stats| stats.lost_bytes);
    if lost().map_err(|e| e.to_string())? == 0 {
        return Ok(());
    }
    // A change that a death cut short is undone by the next one who makes such a change.
    let next = alloc::reserve(Kind::Raw, 100_000, false);
    let still = next.and_then(alloc::release).and_then(|()| lost());
    let still = still.map_err(|e| e.to_string())?;
    ensure(still == 0, || format!("{still} bytes are lost"))
}

/// What is reserved is ours alone, whatever happened before.
fn usable() -> Check {
    let mut all: Vec<(u64, usize, u8)> = Vec::new();
    for (i, &len) in [64, 100, 1000, 32_000, 32_000, 32_000, 150_000, 100]
        .iter()
        .enumerate()
    {
        let offset = alloc::reserve(Kind::Raw, len, i % 2 == 0).map_err(|e| e.to_string())?;
        let start = arena::arena().unwrap().bytes(offset, len).unwrap();
        // SAFETY: the block was just reserved.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
        ensure(i % 2 != 0 || bytes.iter().all(|&b| b == 0), || {
            "not zeroed".into()
        })?;
        bytes.fill(i as u8 + 1);
        all.push((offset, len, i as u8 + 1));
    }
    for &(offset, len, byte) in &all {
        let start = arena::arena().unwrap().bytes(offset, len).unwrap();
        // SAFETY: reserved above.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        ensure(bytes.iter().all(|&b| b == byte), || "blocks overlap".into())?;
    }
    for (offset, ..) in all {
        alloc::release(offset).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn blocks(sizes: &'static [usize], zeroed: bool) -> Case {
    let run = move || {
        let all: Vec<u64> = sizes
            .iter()
            .map(|&len| alloc::reserve(Kind::Raw, len, zeroed).unwrap())
            .collect();
        for offset in all {
            alloc::release(offset).unwrap();
        }
    };
    Case::new(run, |_| usable()).early()
}

/// What is free in front is too little.
fn beyond_a_gap() -> Case {
    let large = |len| alloc::reserve(Kind::Raw, len, false).unwrap();
    let (gap, behind) = (large(200_000), large(200_000));
    alloc::release(gap).unwrap();
    let run = move || alloc::release(large(300_000)).unwrap();
    let check = move |_| {
        usable()?;
        let word = alloc::meta(behind).unwrap().word.load(SeqCst);
        ensure(alloc::state(word) == alloc::RESERVED, || {
            "the block behind the gap is gone".into()
        })
    };
    Case::new(run, check).early()
}

/// The memory of a large block goes back to the system.
fn enough_is_warm() -> Case {
    let run = || {
        let offset = alloc::reserve(Kind::Raw, 200_000, false).unwrap();
        alloc::release(offset).unwrap();
    };
    let check = |_| {
        usable()?;
        // More than are ever kept; a repair counts anew.
        let warm = &arena::arena().unwrap().header().chunks_warm;
        warm.store(1 << 20, SeqCst);
        Ok(())
    };
    Case::new(run, check).early()
}

/// Free memory that nobody has used for a while goes back to the system.
fn cool_down() -> Case {
    let before = || {
        alloc::release(alloc::reserve(Kind::Raw, 200_000, false).unwrap()).unwrap();
        let header = arena::arena().unwrap().header();
        // More than stays warm for good; a repair counts anew.
        header.chunks_warm.store(1 << 20, SeqCst);
        header.warm_at.store(0, SeqCst);
    };
    Case::new(|| alloc::cool().unwrap(), |_| usable())
        .before(before)
        .early()
}

/// What free chunks keep goes back, as if that were too little memory, before a block is refused.
fn no_room() -> Case {
    let before = || alloc::release(alloc::reserve(Kind::Raw, 200_000, false).unwrap()).unwrap();
    let run = || {
        // As much as the whole arena has room for, of which a part is in use.
        let all = arena::arena().unwrap().chunks() * arena::CHUNK;
        alloc::reserve(Kind::Raw, all, false).unwrap_err();
    };
    Case::new(run, |_| usable()).before(before).early()
}

fn freeze_bytes(bytes: &[u8]) -> Frozen {
    // SAFETY: they live for the call.
    unsafe { Frozen::copy_of(bytes.as_ptr(), bytes.len()) }.unwrap()
}

fn content(view: &View) -> &[u8] {
    // SAFETY: as many bytes as the view has, which nobody writes to meanwhile.
    unsafe { std::slice::from_raw_parts(view.start(), view.len()) }
}

fn freeze() -> Case {
    let bytes = vec![7; 100_000];
    let run = move || {
        let frozen = freeze_bytes(&bytes);
        let view = frozen.view(1, 99_999, false).unwrap();
        assert_eq!(content(&view), &bytes[1..]);
    };
    Case::new(run, |_| usable()).early()
}

/// The victim writes to its view, which changes nothing for the others.
fn open_frozen() -> Case {
    let frozen = std::rc::Rc::new(freeze_bytes(&[7; 100_000]));
    let (session, offset, generation) = frozen.handle().numbers().unwrap();
    let kept = frozen.clone();
    let run = move || {
        // SAFETY: a second owner of the same handle, in a process that dies before the first
        // one is dropped.
        drop(unsafe { std::ptr::read(&*kept) });
        let mine = Frozen::open(session, offset, generation, 100_000).unwrap();
        let view = mine.view(0, 100_000, false).unwrap();
        // SAFETY: the view's first byte.
        unsafe { view.start().write_volatile(8) };
    };
    let check = move |_| {
        let found = count(frozen.handle().offset());
        ensure(found == 1, || format!("count {found} instead of 1"))?;
        let same = frozen.bytes().unwrap().iter().all(|&byte| byte == 7);
        ensure(same, || "frozen content has changed".into())
    };
    Case::new(run, check)
}

fn make_and_drop() -> Case {
    Case::new(|| drop(raw()), |_| usable())
}

fn open(numbers: (u64, u64, u32)) -> Handle {
    Handle::open(numbers.0, numbers.1, numbers.2, Kind::Raw).unwrap()
}

/// The victim lets go of what it got by fork, and opens and drops it again.
fn open_and_drop() -> Case {
    let handle = std::rc::Rc::new(raw());
    let numbers = handle.numbers().unwrap();
    let kept = handle.clone();
    let run = move || {
        // SAFETY: a second owner of the same handle, in a process that dies before the first
        // one is dropped.
        drop(unsafe { std::ptr::read(&*kept) });
        drop(open(numbers));
        let mine = open(numbers);
        drop(mine.clone());
        drop(mine);
    };
    let check = move |_| {
        let found = count(handle.offset());
        ensure(found == 1, || format!("count {found} instead of 1"))
    };
    Case::new(run, check)
}

/// The victim's table of references gets another piece.
fn open_beside_many() -> Case {
    let many: Vec<Handle> = (0..510).map(|_| raw()).collect();
    let run = || {
        let more: Vec<Handle> = (0..3).map(|_| raw()).collect();
        drop(more);
    };
    let check = move |_| {
        let wrong = many.iter().filter(|h| count(h.offset()) != 1).count();
        ensure(wrong == 0, || format!("{wrong} counts are wrong"))
    };
    Case::new(run, check)
}

fn leave_and_join() -> Case {
    let handle = raw();
    let run = || {
        slot::leave().unwrap();
        slot::me().unwrap();
    };
    let check = move |_| {
        let found = count(handle.offset());
        ensure(found == 1, || format!("count {found} instead of 1"))?;
        let word = alloc::meta(handle.offset()).unwrap().word.load(SeqCst);
        ensure(alloc::state(word) == alloc::LIVE, || {
            "the block is gone".into()
        })
    };
    Case::new(run, check)
}

/// A process is killed while it forks; its child ends by itself.
fn fork() -> Case {
    // SAFETY: this process waits for orphans below.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let handle = raw();
    let run = || {
        // SAFETY: the child ends at once.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(0),
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            }
        };
    };
    let check = move |_| {
        // SAFETY: collects orphans; there is no other child.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL) } > 0 {}
        slot::recover_all().map_err(|e| e.to_string())?;
        let found = count(handle.offset());
        ensure(found == 1, || format!("count {found} instead of 1"))
    };
    Case::new(run, check)
}
