//! One anonymous shared memory for a program and all its processes.
//!
//! The first process that needs it makes a memfd (or another file without a name) and maps a reservation that is
//! far larger than the file; children map the same file. The file only grows, so
//! an address that was valid once stays valid, and a page that another process
//! added is visible at once without mapping anything again. The kernel frees it
//! with the last process that has it mapped.
//!
//! ```text
//! offset 0      header, one page
//! SLOTS_AT      4096 slots, committed as they are used
//! chunks_at     a descriptor for each chunk       (committed with the chunk)
//! metas_at      the words of each chunk's blocks  (committed with the chunk)
//! data_at       chunks of 64 KiB
//! ```
//!
//! Nothing is committed (backed by memory) before it is needed, and only by calls that
//! can fail: running out is an error there, and never a SIGBUS later.

use std::ffi::c_int;
use std::mem::{align_of, size_of};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};

use crate::alloc::{CLASSES, GROUPS};
use crate::error::{Error, Result};
use crate::os;
use crate::slot::{SLOT_BYTES, SLOTS};
use crate::spin::Spin;

/// A place in the arena: bytes from its start. Zero is nowhere.
pub type Offset = u64;

/// Bytes of a chunk, the unit in which memory is taken from the system.
pub const CHUNK: usize = 64 << 10;
/// Bytes of a chunk's descriptor: a cache line, as two processes may use neighbours.
pub const CHUNK_DESCRIPTOR: usize = 64;
/// Bytes of words for the blocks of one chunk.
pub const CHUNK_METAS: usize = CHUNK / 64 * 16;
/// Where the slots begin.
pub const SLOTS_AT: usize = os::PAGE;

const MAGIC: u64 = u64::from_le_bytes(*b"allcores");
/// Changes whenever the meaning of any byte in the arena does: processes of different
/// builds must not share one.
const LAYOUT: u64 = 3;

/// Marks types that may lie in shared memory: valid for every bit pattern, all
/// fields atomic, no padding that matters, no drop.
///
/// # Safety
/// The implementer promises exactly that.
pub unsafe trait Shared {}

// SAFETY: atomics of integers accept all bit patterns.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array of such types is such a type.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Keeps what some write out of the cache lines that others use. Processors fetch lines in
/// pairs.
#[repr(C, align(128))]
pub struct Apart<T>(T);

impl<T> std::ops::Deref for Apart<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// What is known of the blocks of one size class: hints, all of it.
#[repr(C)]
pub struct Class {
    /// About how many blocks are free.
    pub free: AtomicU64,
    /// Where to go on looking for room.
    pub scan: AtomicU64,
    /// For each group of processes: the chunk + 1 where one of them gave a block back lately.
    pub hints: [AtomicU64; GROUPS],
}

/// The first page.
#[repr(C)]
pub struct Header {
    // Read with each operation, and hardly ever changed.
    magic: AtomicU64,
    layout: AtomicU64,
    session: AtomicU64,
    /// Number of chunks that the reservation has room for; fixes the places of all else.
    chunks: AtomicU64,
    /// Slots below this index have been used; recovery looks no further.
    pub slots_used: AtomicU64,
    /// Chunks below this index have been used.
    pub chunks_used: AtomicU64,
    /// When somebody last looked for the dead just because it had time; `os::monotonic`.
    pub looked: AtomicU64,
    /// Guards the states of chunks. Whoever waits for it looks at it again and again, so what is
    /// changed under it lies elsewhere.
    pub chunk_lock: Apart<AtomicU32>,
    /// A change of chunk states under way: first chunk and count, 0 when none is.
    pub chunk_intent: [AtomicU64; 2],
    /// No chunk below this index is free. A hint.
    pub chunk_first_free: AtomicU64,
    /// Free chunks that still have memory behind them.
    pub chunks_warm: AtomicU64,
    /// When a large block was last given back; `os::monotonic`.
    pub warm_at: AtomicU64,
    /// By size class.
    pub classes: [Apart<Class>; CLASSES],
}
// SAFETY: atomics only.
unsafe impl Shared for Header {}

const _: () = assert!(size_of::<Header>() <= os::PAGE);

/// This process's view of the arena.
pub struct Arena {
    base: *mut u8,
    mapped: usize,
    fd: c_int,
    session: u64,
    chunks: usize,
    chunks_at: usize,
    metas_at: usize,
    data_at: usize,
    /// The file has at least so many bytes: what is mapped behind its end is not there to
    /// be touched.
    known: AtomicUsize,
}

// SAFETY: the mapping is never moved or removed, and all access through it is atomic
// or to blocks that the caller owns.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

static ARENA: OnceLock<Arena> = OnceLock::new();

/// Where things are in an arena of so many chunks: (chunks_at, metas_at, data_at, end).
fn places(chunks: usize) -> (usize, usize, usize, usize) {
    let up = |at: usize| at.next_multiple_of(CHUNK);
    let chunks_at = up(SLOTS_AT + SLOTS * SLOT_BYTES);
    let metas_at = up(chunks_at + chunks * CHUNK_DESCRIPTOR);
    let data_at = up(metas_at + chunks * CHUNK_METAS);
    (chunks_at, metas_at, data_at, data_at + chunks * CHUNK)
}

/// The arena of this program; makes it when there is none yet.
///
/// # Errors
/// When the system refuses the memory or the mapping.
pub fn arena() -> Result<&'static Arena> {
    match ARENA.get() {
        Some(arena) => Ok(arena),
        None => create(),
    }
}

/// The arena when this process has one.
pub fn existing() -> Option<&'static Arena> {
    ARENA.get()
}

/// Keeps two threads from making an arena each.
static CREATING: Spin<()> = Spin::new(());

fn create() -> Result<&'static Arena> {
    let _only_one = CREATING.lock();
    if let Some(arena) = ARENA.get() {
        return Ok(arena);
    }
    let (total, _) = os::memory();
    // Address space costs nothing, so take plenty: twice the machine's memory, at least
    // 64 GiB. Under limits of address space or file size go down until it fits.
    let mut chunks = (64usize << 30).max((total as usize * 2).next_power_of_two()) / CHUNK;
    if let Some(limit) = os::address_space_limit() {
        // The rest of the program needs address space too.
        let share = (limit as usize / 4).max(16 << 20);
        chunks = chunks.min(share / (CHUNK + CHUNK_METAS + CHUNK_DESCRIPTOR));
    }
    if let Some(limit) = os::file_size_limit() {
        // The words lie before the data, so without this the file would soon be too long.
        let share = (limit as usize).saturating_sub(places(0).3 + 3 * CHUNK);
        chunks = chunks.min(share / (CHUNK + CHUNK_METAS + CHUNK_DESCRIPTOR));
    }
    // Smaller ones aren't worth having; if even this is refused, that is an error.
    chunks = chunks.max(64);
    let session = os::random()? | 1;
    let fd = os::anonymous(c"allcores")?;
    let made = (|| {
        let base = loop {
            let len = places(chunks).3;
            match os::fix_length(fd, len).and_then(|()| os::map_shared(fd, len)) {
                Ok(base) => break base,
                Err(_) if chunks > 64 => chunks /= 2,
                Err(error) => return Err(error),
            }
        };
        let arena = view(base, fd, chunks);
        arena.commit(0, SLOTS_AT).map(|()| arena)
    })();
    let arena = match made {
        Ok(arena) => arena,
        Err(error) => {
            os::close(fd);
            return Err(error);
        }
    };
    let header = arena.header();
    header.layout.store(LAYOUT, SeqCst);
    header.session.store(session, SeqCst);
    header.chunks.store(chunks as u64, SeqCst);
    header.magic.store(MAGIC, SeqCst);
    install(Arena { session, ..arena })
}

/// Takes part in the arena that a parent handed over as `fd`. Once per process.
///
/// # Errors
/// When `fd` is no arena of this build, is not the session that the parent meant, or
/// when the process has another arena already.
pub fn attach(fd: c_int, session: u64) -> Result<()> {
    let _only_one = CREATING.lock();
    if let Some(arena) = ARENA.get() {
        return if arena.session == session {
            Ok(())
        } else {
            Err(Error::Invalid {
                what: "this process has an arena of its own already; attach before anything else",
            })
        };
    }
    if os::file_size(fd)? < SLOTS_AT as u64 {
        return Err(Error::Stale { what: "arena" });
    }
    let base = os::map_shared(fd, SLOTS_AT)?;
    let header = view(base, fd, 0);
    let header = header.header();
    let chunks = header.chunks.load(SeqCst) as usize;
    let fits = header.magic.load(SeqCst) == MAGIC
        && header.layout.load(SeqCst) == LAYOUT
        && header.session.load(SeqCst) == session
        && chunks < (1 << 40) / CHUNK;
    os::unmap(base, SLOTS_AT);
    if !fits {
        return Err(Error::Stale { what: "arena" });
    }
    let base = os::map_shared(fd, places(chunks).3)?;
    os::set_close_on_exec(fd)?;
    let arena = view(base, fd, chunks);
    install(Arena { session, ..arena })?;
    Ok(())
}

fn view(base: *mut u8, fd: c_int, chunks: usize) -> Arena {
    let (chunks_at, metas_at, data_at, mapped) = places(chunks);
    Arena {
        base,
        mapped,
        fd,
        session: 0,
        chunks,
        chunks_at,
        metas_at,
        data_at,
        known: AtomicUsize::new(SLOTS_AT),
    }
}

fn install(arena: Arena) -> Result<&'static Arena> {
    let arena = ARENA.get_or_init(|| arena);
    crate::handle::watch_forks();
    Ok(arena)
}

impl Arena {
    /// The one descriptor of the arena that this process has. Never close or duplicate
    /// it: closing any descriptor of the file would declare this process dead.
    pub fn fd(&self) -> c_int {
        self.fd
    }

    /// Commits memory to a range: afterwards loads and stores there cannot fail. What is
    /// there already stays.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], and never a signal later.
    pub fn commit(&self, offset: Offset, len: usize) -> Result<()> {
        os::commit(self.fd, self.base, offset as usize, len)
    }

    /// Gives the memory of a range of whole pages back; it reads as zero then.
    ///
    /// # Errors
    /// When the system refuses every way to do that.
    pub fn give_back(&self, offset: Offset, len: usize) -> Result<()> {
        os::give_back(self.fd, self.base, offset as usize, len)
    }

    /// A random number that tells this arena from all others.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Chunks that the reservation has room for.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The first page.
    pub fn header(&self) -> &'static Header {
        // SAFETY: the first page is mapped and committed before any view is made;
        // Header is Shared and the base is page-aligned.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Whether the file, and the mapping, go as far as `end`. Touching a page behind the
    /// file's end would be a SIGBUS; one that is not committed before it is just zero.
    #[inline]
    fn reaches(&self, end: usize) -> bool {
        end <= self.known.load(Relaxed) || self.has_grown_to(end)
    }

    /// The file only grows, so what is known of its size may be less than it has.
    #[cold]
    fn has_grown_to(&self, end: usize) -> bool {
        if end > self.mapped {
            return false;
        }
        let size = os::file_size(self.fd).map_or(0, |size| size as usize);
        self.known
            .fetch_max(size.min(self.mapped), Relaxed)
            .max(size)
            >= end
    }

    /// Chunks below this index have been used. The header says so, but no more of them than
    /// the file has room for.
    pub fn chunks_used(&self) -> usize {
        let used = self.header().chunks_used.load(Acquire) as usize;
        let used = used.min(self.chunks);
        if self.reaches(self.data_at + used * CHUNK) {
            return used;
        }
        self.known.load(Relaxed).saturating_sub(self.data_at) / CHUNK
    }

    /// The `T` at `offset`, checked for bounds and alignment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when `offset` cannot be one.
    pub fn at<T: Shared>(&self, offset: Offset) -> Result<&'static T> {
        let offset = offset as usize;
        let end = offset.checked_add(size_of::<T>());
        if offset == 0
            || !offset.is_multiple_of(align_of::<T>())
            || end.is_none_or(|end| !self.reaches(end))
        {
            return Err(Error::Corrupt { what: "an offset" });
        }
        // SAFETY: inside the mapping, which is never removed, and the file; aligned; T is Shared, so
        // any bytes are a valid one and shared access is what its fields are made for.
        Ok(unsafe { &*self.base.add(offset).cast::<T>() })
    }

    /// Where in the arena `thing` lies.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it lies elsewhere.
    pub fn offset_of<T: Shared>(&self, thing: &T) -> Result<Offset> {
        let offset = (&raw const *thing).addr().wrapping_sub(self.base.addr());
        if offset == 0 || offset >= self.mapped {
            return Err(Error::Corrupt {
                what: "a place outside of the arena",
            });
        }
        Ok(offset as Offset)
    }

    /// The `n` words at `offset`, checked like [`Arena::at`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they cannot be there.
    pub fn words(&self, offset: Offset, n: usize) -> Result<&'static [AtomicU64]> {
        let bytes = n
            .checked_mul(8)
            .ok_or(Error::Corrupt { what: "a length" })?;
        let start = self.bytes(offset, bytes)?.cast::<AtomicU64>();
        if !start.is_aligned() {
            return Err(Error::Corrupt { what: "an offset" });
        }
        // SAFETY: inside the mapping, which is never removed; aligned; any bytes are valid
        // atomics, and shared access is what they are made for.
        Ok(unsafe { std::slice::from_raw_parts(start, n) })
    }

    /// Address of `len` bytes at `offset`, checked for bounds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they are not inside the arena.
    pub fn bytes(&self, offset: Offset, len: usize) -> Result<*mut u8> {
        let start = offset as usize;
        if start == 0 || start.checked_add(len).is_none_or(|end| !self.reaches(end)) {
            return Err(Error::Corrupt {
                what: "a range of bytes",
            });
        }
        // SAFETY: inside the mapping.
        Ok(unsafe { self.base.add(start) })
    }

    /// Place of the descriptor of a chunk.
    pub fn chunk_at(&self, index: usize) -> Offset {
        (self.chunks_at + index * CHUNK_DESCRIPTOR) as Offset
    }

    /// Place of the words of a chunk's blocks.
    pub fn metas_at(&self, index: usize) -> Offset {
        (self.metas_at + index * CHUNK_METAS) as Offset
    }

    /// Place of a chunk's memory.
    pub fn data_at(&self, index: usize) -> Offset {
        (self.data_at + index * CHUNK) as Offset
    }

    /// Index of the chunk that `offset` lies in, and how far into it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it lies in none.
    pub fn chunk_of(&self, offset: Offset) -> Result<(usize, usize)> {
        let offset = offset as usize;
        if offset < self.data_at || offset >= self.mapped {
            return Err(Error::Corrupt {
                what: "a block's place",
            });
        }
        let inside = offset - self.data_at;
        Ok((inside / CHUNK, inside % CHUNK))
    }
}
