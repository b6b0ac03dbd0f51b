//! Content that nobody changes any more, and views of it that a process has for itself.
//!
//! A large buffer that is sent is copied into a block of the arena, once, and is frozen by
//! that: nobody writes there again. Who receives it maps the block's pages privately. So it
//! reads them where they are, whoever else does, and what it writes goes into copies of
//! single pages, which the kernel makes for it alone.
//!
//! A private mapping is no snapshot: what others write to pages not yet copied shows
//! through. That is why only frozen blocks are mapped so, and why such a block has its pages
//! for itself.
//!
//! A view in which nothing was written is the frozen content still, and is sent on as that,
//! without a copy ([`find`]).

use std::collections::BTreeMap;

use crate::alloc;
use crate::arena::{Offset, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::object::Kind;
use crate::os;
use crate::spin::{Spin, SpinGuard};

mod spare;
pub use spare::{are_there as are_spares_there, let_go, task_ended};

/// From here on the kernel copies, at first. Into pages that this process has not mapped, `write`
/// takes half the time of a copy, which would fault at each of them (measured: 0.19 against
/// 0.34 s for 1 GB; 0.1 s into pages that are mapped). Below, pages are likely to be: what is
/// free in front is used first.
const BY_WRITE: usize = 4 << 20;
/// Places of this process's latest large copies. Who copies to one of them again is likely to
/// do so once more: then the pages are mapped, which pays from the third time on.
static WRITTEN: Spin<[(Offset, usize); 4]> = Spin::new([(0, 0); 4]);

/// Whether this process has written so much to a place before, lately.
fn comes_again(offset: Offset, len: usize) -> bool {
    let mut written = WRITTEN.lock();
    let is_known = written.iter().any(|&(at, n)| at == offset && n >= len);
    if !is_known {
        written.rotate_right(1);
        written[0] = (offset, len);
    }
    is_known
}

/// Frozen content, kept by its handle.
#[derive(Debug, Clone)]
pub struct Frozen {
    handle: Handle,
    len: usize,
}

impl Frozen {
    /// Freezes a copy of the `len` bytes at `start`. What other threads write there meanwhile
    /// may or may not be in it.
    ///
    /// # Errors
    /// When there is no memory, or `start` can't be read.
    ///
    /// # Safety
    /// There are `len` bytes at `start`, for as long as this takes.
    pub unsafe fn copy_of(start: *const u8, len: usize) -> Result<Frozen> {
        let arena = arena()?;
        let offset = alloc::reserve_whole(Kind::Frozen, len)?;
        let copy = || {
            let to = arena.bytes(offset, len)?;
            if len >= BY_WRITE && comes_again(offset, len) {
                os::populate(to, len);
            // SAFETY: the caller's promise.
            } else if len >= BY_WRITE && unsafe { os::write_at(arena.fd(), start, len, offset) }? {
                return Ok(());
            }
            // SAFETY: the block was just reserved by us, and is that long; the caller's
            // promise for the other side.
            unsafe { std::ptr::copy_nonoverlapping(start, to, len) };
            Ok(())
        };
        let copied = copy();
        crash_point!("frozen.copy: copied");
        if let Err(error) = copied {
            alloc::release(offset)?;
            return Err(error);
        }
        let handle = Handle::publish(offset)?;
        Ok(Frozen { handle, len })
    }

    /// The `len` bytes that another process has frozen.
    ///
    /// # Errors
    /// [`Error::Stale`] when they are gone.
    pub fn open(session: u64, offset: Offset, generation: u32, len: usize) -> Result<Frozen> {
        let handle = Handle::open(session, offset, generation, Kind::Frozen)?;
        if alloc::room(offset)? < len {
            return Err(Error::Stale {
                what: "frozen content of that size",
            });
        }
        Ok(Frozen { handle, len })
    }

    /// What keeps it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn bytes(&self) -> Result<&[u8]> {
        let start = arena()?.bytes(self.handle.offset(), self.len)?;
        // SAFETY: inside the mapping, which is never removed, and nobody writes there.
        Ok(unsafe { std::slice::from_raw_parts(start, self.len) })
    }

    /// A view for this process alone of the `len` bytes from byte `from` on; `shared` when others
    /// are likely to come for the same ones.
    ///
    /// # Errors
    /// [`Error::Stale`] when there are fewer; when there is no memory.
    pub fn view(&self, from: usize, len: usize, shared: bool) -> Result<View> {
        if from.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Error::Stale {
                what: "frozen content of that size",
            });
        }
        let (session, offset, generation) = self.handle.numbers()?;
        if len == 0 {
            return Ok(View::copied(self, Vec::new()));
        }
        let at = offset as usize + from;
        let before = at % os::PAGE;
        let whole = (before + len).next_multiple_of(os::PAGE);
        let key = (offset, generation, from, len);
        let (mapping, again) = spare::take(key, shared);
        let mapping = match mapping {
            Some(mapping) => mapping,
            None => match os::map_private(arena()?.fd(), at - before, whole) {
                Ok(base) => Mapping { base, len: whole },
                // There is a limit on how many mappings a process may have, and another on its
                // address space.
                Err(_) => {
                    return Ok(View::copied(self, self.bytes()?[from..from + len].to_vec()));
                }
            },
        };
        let start = mapping.base.wrapping_add(before);
        VIEWS.lock().insert(
            start.addr(),
            Place {
                len,
                session,
                offset,
                generation,
                from,
                all: self.len,
            },
        );
        Ok(View {
            frozen: self.clone(),
            start,
            len,
            memory: Memory::Mapped(mapping, again.then_some(key)),
        })
    }
}

/// Memory that looks like frozen content, and that this process may write to.
#[derive(Debug)]
pub struct View {
    frozen: Frozen,
    start: *mut u8,
    len: usize,
    memory: Memory,
}

/// Pages of the arena, mapped privately.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the memory is its holder's alone, and every thread sees it alike.
unsafe impl Send for Mapping {}

#[derive(Debug)]
enum Memory {
    /// By what it is to be found again when that is worth while.
    Mapped(Mapping, Option<spare::Key>),
    /// Where there can be no mapping.
    Copied(#[expect(dead_code, reason = "keeps what `start` points to")] Vec<u8>),
}

// SAFETY: the memory is this view's alone, and every thread sees it alike.
unsafe impl Send for View {}
// SAFETY: as above; what is in it is the users' to guard, as with any buffer.
unsafe impl Sync for View {}

impl View {
    fn copied(of: &Frozen, mut bytes: Vec<u8>) -> View {
        View {
            frozen: of.clone(),
            start: bytes.as_mut_ptr(),
            len: bytes.len(),
            memory: Memory::Copied(bytes),
        }
    }

    /// Where the memory begins.
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Memory::Mapped(mapping, again) = self.memory {
            // First, as the next mapping may be at the same address.
            VIEWS.lock().remove(&self.start.addr());
            match again {
                Some(key) => spare::keep(key, mapping, &self.frozen),
                None => os::unmap(mapping.base, mapping.len),
            }
        }
    }
}

/// What a view of this process shows.
struct Place {
    len: usize,
    session: u64,
    offset: Offset,
    generation: u32,
    from: usize,
    all: usize,
}

/// The views of this process, by address. Not shared.
static VIEWS: Spin<BTreeMap<usize, Place>> = Spin::new(BTreeMap::new());

/// What the `len` bytes at `address` are frozen as, and from which of its bytes on: when they
/// lie in a view of this process, and nobody has written there.
pub fn find(address: usize, len: usize) -> Option<(Frozen, usize)> {
    let (numbers, from, all) = {
        let views = VIEWS.lock();
        let (&start, place) = views.range(..=address).next_back()?;
        if address - start + len > place.len {
            return None;
        }
        let numbers = (place.session, place.offset, place.generation);
        (numbers, place.from + (address - start), place.all)
    };
    if os::is_written(address, len) != Ok(false) {
        return None;
    }
    // Not with the views locked: opening takes locks of its own.
    let (session, offset, generation) = numbers;
    let frozen = Frozen::open(session, offset, generation, all).ok()?;
    Some((frozen, from))
}

/// Keeps other threads from the views while this one forks.
pub fn before_fork() {
    std::mem::forget(VIEWS.lock());
    std::mem::forget(WRITTEN.lock());
    spare::before_fork();
}

/// Ends that, in both processes.
pub fn after_fork(in_child: bool) {
    // SAFETY: `before_fork` forgot the guard, in this thread or in the one that it is a copy of.
    let guard: SpinGuard<'_, _> = unsafe { VIEWS.relock() };
    drop(guard);
    // SAFETY: as above.
    let mut written = unsafe { WRITTEN.relock() };
    if in_child {
        *written = [(0, 0); 4]; // nothing of the arena is mapped here yet
    }
    drop(written);
    spare::after_fork(in_child);
}
