//! Mappings kept from one task to the next, for workers that get the same content in many.
//!
//! To map 64 MB, fault its pages in and unmap it again takes 10 ms; to add it up takes 4. So
//! a worker keeps what it mapped for a content that has come more than once, until it does a
//! task without it, or nothing for a while. Only where nothing was written: then it is as new.

use super::{Frozen, Mapping};
use crate::arena::Offset;
use crate::os;
use crate::spin::{Spin, SpinGuard};

/// Contents that are told from new ones. A guess: tasks seldom share more.
const SEEN: usize = 8;
/// Mappings that are kept.
const KEPT: usize = 4;

/// Which content: of a place in the arena, in its present use, from which byte on and how much.
pub type Key = (Offset, u32, usize, usize);

struct Spare {
    key: Key,
    mapping: Mapping,
    frozen: Frozen,
    /// Tasks that have ended since.
    age: u32,
}

struct Spares {
    /// This process is one that does tasks.
    wanted: bool,
    seen: [Key; SEEN],
    next: usize,
    kept: Vec<Spare>,
}

static SPARES: Spin<Spares> = Spin::new(Spares {
    wanted: false,
    seen: [(0, 0, 0, 0); SEEN],
    next: 0,
    kept: Vec::new(),
});

/// The mapping of a content, if one is kept; and whether one that is made now should be, which
/// `shared` says at once.
pub fn take(key: Key, shared: bool) -> (Option<Mapping>, bool) {
    let mut spares = SPARES.lock();
    if !spares.wanted {
        return (None, false);
    }
    if let Some(i) = spares.kept.iter().position(|spare| spare.key == key) {
        let spare = spares.kept.swap_remove(i);
        drop(spares);
        return (Some(spare.mapping), true);
    }
    if shared || spares.seen.contains(&key) {
        return (None, true);
    }
    let next = spares.next % SEEN;
    spares.seen[next] = key;
    spares.next = next + 1;
    (None, false)
}

/// Keeps a mapping that nobody uses any more, or ends it.
pub fn keep(key: Key, mapping: Mapping, frozen: &Frozen) {
    let (start, len) = (mapping.base.addr(), mapping.len);
    let as_new = SPARES.lock().wanted && os::is_written(start, len) == Ok(false);
    let spare = Spare {
        key,
        mapping,
        frozen: frozen.clone(),
        age: 0,
    };
    let mut spares = SPARES.lock();
    let gone = if !(as_new && spares.wanted) {
        Some(spare)
    } else if spares.kept.len() < KEPT {
        spares.kept.push(spare);
        None
    } else {
        Some(std::mem::replace(&mut spares.kept[0], spare))
    };
    drop(spares);
    end(gone);
}

/// A task has ended: what it didn't use is given back.
pub fn task_ended() {
    let mut spares = SPARES.lock();
    spares.wanted = true;
    for spare in &mut spares.kept {
        spare.age += 1;
    }
    let gone: Vec<_> = spares.kept.extract_if(.., |spare| spare.age > 1).collect();
    drop(spares);
    end(gone);
}

/// Whether there are any.
pub fn are_there() -> bool {
    !SPARES.lock().kept.is_empty()
}

/// There is nothing to do: all is given back.
pub fn let_go() {
    let gone = std::mem::take(&mut SPARES.lock().kept);
    end(gone);
}

/// Not with the lock held: letting go of content takes locks of its own.
fn end(gone: impl IntoIterator<Item = Spare>) {
    for spare in gone {
        os::unmap(spare.mapping.base, spare.mapping.len);
        drop(spare.frozen);
    }
}

/// See [`super::before_fork`].
pub fn before_fork() {
    std::mem::forget(SPARES.lock());
}

/// See [`super::after_fork`]. A child does no tasks.
pub fn after_fork(in_child: bool) {
    // SAFETY: `before_fork` forgot the guard, in this thread or in the one that it is a copy of.
    let mut guard: SpinGuard<'_, Spares> = unsafe { SPARES.relock() };
    if in_child {
        guard.wanted = false;
    }
}
