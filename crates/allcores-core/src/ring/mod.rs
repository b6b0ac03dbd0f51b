//! A bounded queue of items between any number of processes, and what it spills when it
//! must not be full.
//!
//! README.md beside this file draws the protocol; cell.rs has the states of a cell. A
//! position (`head`, `tail`) only ever grows; position `p` is cell `p % cells` in lap
//! `p / cells`. The structure follows Vyukov's bounded queue, with two differences: the
//! cell is claimed before the position moves, so that a claim always names its owner, and
//! whoever finds the position behind moves it along.

mod cell;
mod eventcount;
mod message;
mod spill;
mod take;

use crate::atomic::{AtomicU32, AtomicU64, Ordering::*};

use crate::alloc;
use crate::arena::{Offset, Shared, arena};
use crate::crash::crash_point;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::lock::{DIED, Guard};
use crate::object::Kind;
use crate::slot::{self, OWNER_MASK, Owner};
use crate::wait::{self, Deadline, Pulse};
use cell::{CONSUMING, Cell, FREE, IN_BLOCK, Link, PRODUCING, READY, pack};
use eventcount::EventCount;

pub use cell::INLINE;
pub use message::{Draft, Parcel};
pub use spill::tear_down as tear_down_spill;
pub use take::{Got, Lease};

/// More cells than this never pay: what exceeds them goes to the spill. A guess.
const MOST_CELLS: u64 = 1024;
/// Fewer are not worth the memory saved.
const LEAST_CELLS: u64 = 16;
/// Cells of a queue without a bound: what 2 million items a second need to bridge a
/// wake-up of 100 µs, in one chunk of memory.
const UNBOUNDED_CELLS: u64 = 256;

/// Keeps what one side writes out of the cache lines of the other. Blocks are aligned to
/// 64 bytes, so no type in them may ask for more.
#[repr(C, align(64))]
struct Line<T>(T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The fields that never change.
#[repr(C)]
struct Shape {
    /// Number of cells, a power of two.
    cells: AtomicU64,
    /// Number of items that may wait; `u64::MAX` is any.
    limit: AtomicU64,
}

/// The fields that change now and then and are looked at often.
#[repr(C)]
struct Rare {
    /// Items in the spill. Changed under the spill's lock.
    spilled: AtomicU64,
    /// 1: an item of a dead consumer may lie behind the head. A hint.
    orphans: AtomicU64,
    /// Positions whose producer died. Changed under the spill's lock.
    tombs: AtomicU64,
    /// A change of `tombs` under way: `new value 32 | position 32`, else 0.
    tomb_intent: AtomicU64,
}

/// The list of segments of the spill, see spill.rs.
#[repr(C)]
struct Spill {
    lock: AtomicU32,
    _pad: AtomicU32,
    /// [`Link`] to the segment that is read from.
    first: AtomicU64,
    /// [`Link`] to the one that is written to.
    last: AtomicU64,
}

/// What `task_done` and `join` need.
#[repr(C)]
struct Work {
    done: AtomicU64,
    sleepers: EventCount,
}

/// The block behind a ring; the cells follow it.
#[repr(C)]
pub struct RingBlock {
    shape: Line<Shape>,
    rare: Line<Rare>,
    tail: Line<AtomicU64>,
    // Processors fetch lines in pairs: two lines between what two sides write.
    spill: Line<Spill>,
    items: Line<EventCount>,
    space: Line<EventCount>,
    head: Line<AtomicU64>,
    work: Line<Work>,
}
const _: () = assert!(size_of::<RingBlock>() == 512);
// SAFETY: atomics only; the padding between the lines means nothing.
unsafe impl Shared for RingBlock {}

/// A ring as this process sees it: checked once, then used without further checks.
#[derive(Clone, Copy)]
struct View {
    block: &'static RingBlock,
    cells: &'static [Cell],
    log2: u32,
    limit: u64,
    offset: Offset,
}

impl View {
    /// The ring at `offset`.
    fn new(offset: Offset) -> Result<View> {
        let arena = arena()?;
        let block: &RingBlock = arena.at(offset)?;
        let cells = block.shape.cells.load(Acquire);
        let n = cells as usize;
        if !cells.is_power_of_two()
            || cells > MOST_CELLS
            || alloc::room(offset)? < size_of::<RingBlock>() + n * size_of::<Cell>()
        {
            return Err(Error::Corrupt { what: "a ring" });
        }
        let at = offset + size_of::<RingBlock>() as u64;
        let first = arena.bytes(at, n * size_of::<Cell>())?.cast::<Cell>();
        Ok(View {
            block,
            // SAFETY: inside the mapping, which is never removed; Cell is Shared, and what
            // follows a RingBlock is aligned like one.
            cells: unsafe { std::slice::from_raw_parts(first, n) },
            log2: cells.trailing_zeros(),
            limit: block.shape.limit.load(Acquire),
            offset,
        })
    }

    fn cell(&self, position: u64) -> &'static Cell {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    fn lap(&self, position: u64) -> u32 {
        (position >> self.log2) as u32
    }

    fn guard(&self) -> Result<Guard<'static>> {
        Guard::new(&self.block.spill.lock, || spill::repair(self))
    }

    fn head(&self) -> u64 {
        self.block.head.load(SeqCst)
    }

    fn tail(&self) -> u64 {
        self.block.tail.load(SeqCst)
    }

    /// Items that wait, where nothing moves meanwhile.
    fn len(&self) -> u64 {
        let head = self.head();
        self.tail()
            .saturating_sub(head)
            .saturating_add(self.block.rare.spilled.load(SeqCst))
    }

    /// Moves a position on from `seen`, unless somebody did already.
    fn help(position: &AtomicU64, seen: u64) {
        let moved = position.compare_exchange(seen, seen.wrapping_add(1), SeqCst, Relaxed);
        if moved.is_ok() {
            crash_point!("ring.help: moved on");
        }
    }

    /// Claims the next cell for writing, while fewer than `most` items are in the ring;
    /// `head_seen` is a value that the head once had, kept to spare looking at it.
    #[inline]
    fn claim(&self, me: Owner, most: u64, head_seen: &AtomicU64) -> Option<(u64, &'static Cell)> {
        loop {
            let tail = self.tail();
            if tail.wrapping_sub(head_seen.load(Relaxed)) >= most {
                // Items that were taken out beyond one under way left the head behind.
                self.pass_by();
                let head = self.head();
                head_seen.store(head, Relaxed);
                // A tail read before the head may lie behind it.
                if tail.saturating_sub(head) >= most {
                    return None;
                }
            }
            let cell = self.cell(tail);
            let lap = self.lap(tail);
            let word = cell.word.load(SeqCst);
            if word == pack(lap, 0, FREE) {
                let mine = pack(lap, me, PRODUCING);
                let claimed = cell.word.compare_exchange(word, mine, SeqCst, Relaxed);
                if claimed.is_ok() {
                    crash_point!("ring.put: claimed");
                    View::help(&self.block.tail, tail);
                    return Some((tail, cell));
                }
            } else if cell::lap(word) == lap || tail != self.tail() {
                View::help(&self.block.tail, tail);
            } else if cell::lap(word) == lap.wrapping_add(1) {
                // Through already: the tail is far behind what we read.
                View::help(&self.block.tail, tail);
            } else {
                // Still in use from the lap before.
                return None;
            }
        }
    }

    /// Writes an item into a cell that was claimed, and lets consumers have it.
    #[inline]
    fn fill(&self, position: u64, cell: &Cell, kind: u8, tag: u64, body: &[u8]) {
        debug_assert!(body.len() <= INLINE);
        let len = body.len().min(INLINE);
        cell.shape.store((kind as u64) << 32 | len as u64, Relaxed);
        crash_point!("ring.put: shape");
        cell.tag.store(tag, Relaxed);
        crash_point!("ring.put: tag");
        cell.lease.store(0, Relaxed);
        crash_point!("ring.put: no lease");
        // SAFETY: INLINE bytes from there on are the cell's, which is ours while PRODUCING.
        unsafe {
            let to = cell.payload.as_ptr().cast_mut().cast::<u8>();
            std::ptr::copy_nonoverlapping(body.as_ptr(), to, len);
        }
        crash_point!("ring.put: written");
        cell.word.swap(pack(self.lap(position), 0, READY), SeqCst);
        crash_point!("ring.put: READY");
    }

    /// Whether a consumer would find something. Never true for what [`Ring::try_get`] can't
    /// get: a consumer would look again and again.
    fn has_item(&self) -> bool {
        let rare = &self.block.rare;
        if rare.orphans.load(SeqCst) != 0 {
            return true;
        }
        let head = self.head();
        let word = self.cell(head).word.load(SeqCst);
        let ahead = cell::lap(word).wrapping_sub(self.lap(head));
        // A word of the lap before is a consumer's that was stopped or killed there.
        ahead == 0 && cell::state(word) >= READY
            || ahead == 1
            || rare.spilled.load(SeqCst) != 0 && self.has_free_cell()
    }

    /// Whether the cell at the tail can be claimed.
    fn has_free_cell(&self) -> bool {
        let tail = self.tail();
        self.cell(tail).word.load(SeqCst) == pack(self.lap(tail), 0, FREE) || tail != self.tail()
    }

    /// Whether a producer would find room.
    fn has_space(&self) -> bool {
        if self.len() >= self.limit {
            return false;
        }
        self.limit > self.cells.len() as u64 || self.has_free_cell()
    }

    /// Gives back what a dead owner had in a cell.
    fn bereave(&self, cell: &Cell, word: u64) -> Result<()> {
        match cell::state(word) {
            CONSUMING => self.redeliver(cell, word)?,
            PRODUCING => self.bury(cell, word)?,
            _ => {}
        }
        Ok(())
    }

    /// The item of a dead consumer is there for others again.
    fn redeliver(&self, cell: &Cell, word: u64) -> Result<()> {
        take::unlease(cell)?;
        // Before and after, as we may die between: better a search for nothing.
        let orphans = &self.block.rare.orphans;
        orphans.store(1, SeqCst);
        crash_point!("ring.redeliver: an orphan, soon");
        let ready = pack(cell::lap(word), 0, READY);
        let _ = cell.word.compare_exchange(word, ready, SeqCst, SeqCst);
        crash_point!("ring.redeliver: READY");
        orphans.store(1, SeqCst);
        crash_point!("ring.redeliver: an orphan");
        self.block.items.wake(1);
        Ok(())
    }

    /// The place of a dead producer is passed over.
    fn bury(&self, cell: &Cell, word: u64) -> Result<()> {
        // Under the lock, because a producer that died while it moved an item out of the
        // spill is found out by this word.
        let _guard = self.guard()?;
        if cell.word.load(SeqCst) != word {
            return Ok(());
        }
        let index = (std::ptr::from_ref(cell).addr() - self.cells.as_ptr().addr()) >> 7;
        let position = (cell::lap(word) as u64) << self.log2 | index as u64;
        // It may have died between the two. Nobody may see the place as a tomb before the
        // tail counts it: the difference is what is unfinished.
        View::help(&self.block.tail, position);
        let rare = &self.block.rare;
        let tombs = rare.tombs.load(SeqCst) as u32;
        let next = tombs.wrapping_add(1) as u64;
        rare.tomb_intent
            .store(next << 32 | position as u32 as u64, SeqCst);
        crash_point!("ring.bury: intent");
        let free = pack(cell::lap(word).wrapping_add(1), 0, FREE);
        let _ = cell.word.compare_exchange(word, free, SeqCst, SeqCst);
        crash_point!("ring.bury: FREE");
        rare.tombs.store(next, SeqCst);
        crash_point!("ring.bury: counted");
        rare.tomb_intent.store(0, SeqCst);
        crash_point!("ring.bury: no intent");
        self.pass_by();
        // The place was a claim, so it counted; now it does not.
        self.block.work.sleepers.wake(u32::MAX);
        self.block.space.wake(1);
        self.block.items.wake(1);
        Ok(())
    }

    /// Moves the head on over places whose items are through.
    fn pass_by(&self) {
        for _ in 0..self.cells.len() {
            let head = self.head();
            let word = self.cell(head).word.load(SeqCst);
            if cell::lap(word) != self.lap(head).wrapping_add(1) {
                break;
            }
            View::help(&self.block.head, head);
        }
    }

    /// Finishes a [`View::bury`] that was cut short. The caller holds the lock.
    fn finish_burial(&self) {
        let rare = &self.block.rare;
        let intent = rare.tomb_intent.load(SeqCst);
        if intent != 0 {
            let position = intent as u32 as u64;
            let word = self.cell(position).word.load(SeqCst);
            let bits = u32::MAX >> self.log2;
            let same = (cell::lap(word) ^ self.lap(position)) & bits == 0;
            if !(same && cell::state(word) == PRODUCING) {
                rare.tombs.store(intent >> 32, SeqCst);
                crash_point!("ring.finish_burial: counted");
            }
            rare.tomb_intent.store(0, SeqCst);
            crash_point!("ring.finish_burial: no intent");
        }
    }
}

/// A queue between processes, kept alive by its handle.
pub struct Ring {
    handle: Handle,
    view: View,
    /// A value that the head once had; see [`View::claim`].
    head_seen: AtomicU64,
}

impl Ring {
    /// A new ring for up to `capacity` items, or for any number when `unbounded`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a capacity of 0; when there is no memory.
    pub fn new(capacity: u64, unbounded: bool) -> Result<Ring> {
        if capacity == 0 {
            return Err(Error::Invalid {
                what: "a ring needs room for 1 item or more",
            });
        }
        let cells = match unbounded {
            true => capacity.clamp(UNBOUNDED_CELLS, MOST_CELLS),
            false => capacity.clamp(LEAST_CELLS, MOST_CELLS),
        }
        .next_power_of_two();
        let bytes = size_of::<RingBlock>() + cells as usize * size_of::<Cell>();
        let offset = alloc::reserve(Kind::Ring, bytes, true)?;
        let block: &RingBlock = arena()?.at(offset)?;
        block.shape.cells.store(cells, Relaxed);
        crash_point!("ring.new: cells");
        let limit = if unbounded { u64::MAX } else { capacity };
        block.shape.limit.store(limit, Relaxed);
        crash_point!("ring.new: limit");
        Ring::with(Handle::publish(offset)?)
    }

    /// The ring that another process's handle names.
    ///
    /// # Errors
    /// [`Error::Stale`] when it is gone.
    pub fn open(session: u64, offset: Offset, generation: u32) -> Result<Ring> {
        Ring::with(Handle::open(session, offset, generation, Kind::Ring)?)
    }

    fn with(handle: Handle) -> Result<Ring> {
        let view = View::new(handle.offset())?;
        Ok(Ring {
            head_seen: AtomicU64::new(view.head()),
            view,
            handle,
        })
    }

    /// What keeps the ring alive.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How many items may wait; `None` is any number.
    pub fn capacity(&self) -> Option<u64> {
        (self.view.limit != u64::MAX).then_some(self.view.limit)
    }

    /// How many items wait.
    pub fn waiting(&self) -> u64 {
        // Items that were taken out beyond one under way left the head behind.
        self.view.pass_by();
        self.view.len()
    }

    /// Whether none does: one whose producer is still at it, or died at it, does not.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn nothing_waits(&self) -> Result<bool> {
        let view = &self.view;
        if view.block.rare.spilled.load(SeqCst) != 0 || view.has_orphan()? {
            return Ok(false);
        }
        for position in (view.head()..view.tail()).take(view.cells.len()) {
            let cell = view.cell(position);
            let word = cell.word.load(SeqCst);
            if cell::lap(word) != view.lap(position) {
                continue;
            }
            match cell::state(word) {
                READY => return Ok(false),
                PRODUCING if !slot::is_alive(cell::owner(word)) => view.bury(cell, word)?,
                _ => {}
            }
        }
        Ok(true)
    }

    /// Starts a message of `len` bytes for this ring, with `refs`, blocks that this process
    /// holds, to travel along.
    ///
    /// # Errors
    /// When there is no memory or one of the blocks is gone.
    pub fn draft(&self, refs: &[Offset], len: usize, tag: u64) -> Result<Draft> {
        Draft::new(Link::to(self.view.offset)?, refs, len, tag)
    }

    /// Puts an item of up to [`INLINE`] bytes if there is room at once.
    ///
    /// # Errors
    /// When this process cannot take part in the arena, or there is no memory.
    #[inline]
    pub fn try_put(&self, kind: u8, tag: u64, body: &[u8]) -> Result<bool> {
        self.offer(kind, tag, body, None)
    }

    /// Puts an item whose bytes are in `draft`, which stays the caller's while there is no
    /// room.
    ///
    /// # Errors
    /// See [`Ring::try_put`].
    pub fn try_send(&self, kind: u8, tag: u64, draft: &mut Option<Draft>) -> Result<bool> {
        let Some(letter) = draft.as_ref() else {
            return Err(Error::Invalid {
                what: "the message is sent already",
            });
        };
        let link = letter.link()?.0.to_ne_bytes();
        let sent = self.offer(kind | IN_BLOCK, tag, &link, Some(letter))?;
        if sent && let Some(letter) = draft.take() {
            letter.sent();
        }
        Ok(sent)
    }

    #[inline]
    fn offer(&self, kind: u8, tag: u64, body: &[u8], letter: Option<&Draft>) -> Result<bool> {
        let me = slot::me()?;
        let view = &self.view;
        let cells = view.cells.len() as u64;
        // Behind what was spilled before, or the order of this producer would be lost.
        if view.block.rare.spilled.load(SeqCst) == 0
            && let Some((position, cell)) = view.claim(me, view.limit.min(cells), &self.head_seen)
        {
            if let Some(letter) = letter {
                letter.at(position);
            }
            view.fill(position, cell, kind, tag, body);
            view.block.items.wake(1);
            return Ok(true);
        }
        if view.limit <= cells {
            return Ok(false);
        }
        let spilled = spill::append(view, kind, tag, body, letter)?;
        if spilled {
            view.block.items.wake(1);
        }
        Ok(spilled)
    }

    /// Calls `attempt` until it succeeds or the time is over, waiting for room in between.
    ///
    /// # Errors
    /// What `attempt` and `pulse` say.
    pub fn when_room(
        &self,
        deadline: &Deadline,
        pulse: Pulse,
        mut attempt: impl FnMut(&Ring) -> Result<bool>,
    ) -> Result<bool> {
        let view = &self.view;
        loop {
            if attempt(self)? {
                return Ok(true);
            }
            if deadline.passed() {
                self.unblock()?;
                return attempt(self);
            }
            if wait::spin(|| view.has_space()) {
                continue;
            }
            self.unblock()?;
            let ticket = view.block.space.enter();
            view.pass_by();
            if view.has_space() {
                view.block.space.leave(ticket);
                continue;
            }
            let slept = view.block.space.sleep(ticket, deadline, pulse);
            view.block.space.leave(ticket);
            slept?;
        }
    }

    /// Looks whether the cell that is in a producer's way is a dead process's.
    fn unblock(&self) -> Result<()> {
        let cell = self.view.cell(self.view.tail());
        let word = cell.word.load(SeqCst);
        match cell::state(word) {
            CONSUMING | PRODUCING if !slot::is_alive(cell::owner(word)) => {
                self.view.bereave(cell, word)
            }
            // Perhaps behind the head, with the hint lost.
            READY if cell::lap(word) != self.view.lap(self.view.head()) => {
                self.view.block.rare.orphans.store(1, SeqCst);
                crash_point!("ring.unblock: an orphan");
                self.view.block.items.wake(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Items that were put and for which nobody has called [`Ring::task_done`].
    pub fn unfinished(&self) -> u64 {
        let block = self.view.block;
        let done = block.work.done.load(SeqCst);
        let tombs = block.rare.tombs.load(SeqCst);
        let spilled = block.rare.spilled.load(SeqCst);
        let put = self.view.tail().saturating_add(spilled);
        put.saturating_sub(tombs).saturating_sub(done)
    }

    /// Says that one item that was taken out has been worked off; false when all had been.
    pub fn task_done(&self) -> bool {
        let work = &self.view.block.work;
        let mut done = work.done.load(SeqCst);
        loop {
            let left = self.unfinished();
            if left == 0 {
                return false;
            }
            match work
                .done
                .compare_exchange(done, done.wrapping_add(1), SeqCst, SeqCst)
            {
                Ok(_) => break,
                Err(now) => done = now,
            }
        }
        crash_point!("ring.task_done: counted");
        if self.unfinished() == 0 {
            work.sleepers.wake(u32::MAX);
        }
        true
    }

    /// Waits until [`Ring::task_done`] was called for each item; false when the time was
    /// over first.
    ///
    /// # Errors
    /// What `pulse` says.
    pub fn join(&self, deadline: &Deadline, pulse: Pulse) -> Result<bool> {
        let sleepers = &self.view.block.work.sleepers;
        loop {
            if self.unfinished() == 0 {
                return Ok(true);
            }
            let ticket = sleepers.enter();
            if self.unfinished() == 0 {
                sleepers.leave(ticket);
                return Ok(true);
            }
            let slept = sleepers.sleep(ticket, deadline, pulse);
            sleepers.leave(ticket);
            if !slept? {
                return Ok(self.unfinished() == 0);
            }
        }
    }
}

/// Gives back what is still in a ring that nobody holds any more. Repeatable.
///
/// # Errors
/// When shared memory makes no sense.
pub fn tear_down(offset: Offset) -> Result<()> {
    // One whose maker died before the end has no cells yet, and nothing in it.
    let Ok(view) = View::new(offset) else {
        return Ok(());
    };
    for cell in view.cells {
        let word = cell.word.load(SeqCst);
        let taken = cell::state(word) == CONSUMING && !slot::is_alive(cell::owner(word));
        let kind = (cell.shape.load(Acquire) >> 32) as u8;
        if (cell::state(word) == READY || taken) && kind & IN_BLOCK != 0 {
            message::throw_away(Link(cell.payload[0].load(Acquire)))?;
        }
    }
    spill::discard(&view)
}

/// Repairs what a dead process left in a ring that others use.
///
/// # Errors
/// When shared memory makes no sense.
pub fn bereave(offset: Offset, dead: Owner) -> Result<()> {
    let view = View::new(offset)?;
    for cell in view.cells {
        let word = cell.word.load(SeqCst);
        if cell::owner(word) == dead {
            view.bereave(cell, word)?;
        }
    }
    // An item may have become part of the spill without being counted: nobody would look
    // for it before the next one is spilled. With DIED another process is at the repair.
    let seen = view.block.spill.lock.load(Acquire);
    if seen & OWNER_MASK == dead || seen & DIED != 0 {
        drop(view.guard()?);
        view.block.items.wake(1);
    }
    Ok(())
}

/// Whether a message that a dead process had is in a ring; see [`crate::object`].
///
/// # Errors
/// When shared memory makes no sense.
pub fn is_reachable(kind: Kind, offset: Offset) -> Result<bool> {
    match kind {
        Kind::Message => message::is_reachable(offset),
        Kind::Spill => spill::is_reachable(offset),
        _ => Ok(false),
    }
}

pub use message::tear_down as tear_down_message;
