//! Taking items out of a ring.

use crate::atomic::{AtomicU64, Ordering::*};

use super::cell::{self, CONSUMING, Cell, FREE, IN_BLOCK, INLINE, Link, PRODUCING, READY, pack};
use super::message::Parcel;
use super::{Ring, View, spill};
use crate::arena::{Offset, arena};
use crate::crash::crash_point;
use crate::error::Result;
use crate::object::Kind;
use crate::slot::{self, Owner};
use crate::wait::{self, Deadline, Look, Pulse};

/// So often in a row a consumer that lost to others, or is in somebody's way, tries again
/// at once; then it looks at its deadline and signals. A guess.
const MOST_VAIN: u32 = 1000;

/// An item that was taken out.
pub struct Got {
    /// What its sender said it is.
    pub kind: u8,
    /// The sender's number for it.
    pub tag: u64,
    body: Body,
}

enum Body {
    Inline([u8; INLINE], u8),
    Block(Parcel),
}

impl Got {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Inline(bytes, len) => &bytes[..*len as usize],
            Body::Block(parcel) => parcel.bytes(),
        }
    }

    /// The message block when the bytes are in one, else the item itself.
    ///
    /// # Errors
    /// Not a failure: the item, whose bytes are in itself.
    pub fn into_parcel(self) -> std::result::Result<Parcel, Box<Got>> {
        match self.body {
            Body::Block(parcel) => Ok(parcel),
            body => Err(Box::new(Got { body, ..self })),
        }
    }
}

/// A word that tells others which item a consumer has: the first of a block's bytes. It
/// holds the item's tag before the item leaves the ring; when the consumer dies in
/// between, the item is delivered again and the word is 0 again. So after the recovery of
/// a dead consumer exactly one of the two has the item.
pub struct Lease {
    link: Link,
    word: &'static AtomicU64,
}

impl Lease {
    /// The word at the beginning of the block of memory at `offset`.
    ///
    /// # Errors
    /// When `offset` is no such block.
    pub fn at(offset: Offset) -> Result<Lease> {
        let link = Link::to(offset)?;
        link.follow(Kind::Raw)?;
        let word = arena()?.at(offset)?;
        Ok(Lease { link, word })
    }
}

/// Undoes what a dead consumer noted of a cell that it didn't come to free.
pub(super) fn unlease(cell: &Cell) -> Result<()> {
    let link = Link(cell.lease.load(Acquire));
    if link.follow(Kind::Raw).is_ok() {
        let word: &AtomicU64 = arena()?.at(link.offset())?;
        let tag = cell.tag.load(Acquire);
        let _ = word.compare_exchange(tag, 0, SeqCst, SeqCst);
        crash_point!("ring.unlease: not leased");
    }
    Ok(())
}

impl View {
    /// Claims the item at the head, if it is there.
    #[inline]
    fn claim_item(&self, me: Owner) -> Option<(u64, &'static Cell)> {
        loop {
            let head = self.head();
            let cell = self.cell(head);
            let lap = self.lap(head);
            let word = cell.word.load(SeqCst);
            if cell::lap(word) == lap {
                match cell::state(word) {
                    READY => {
                        let mine = pack(lap, me, CONSUMING);
                        let claimed = cell.word.compare_exchange(word, mine, SeqCst, Relaxed);
                        if claimed.is_ok() {
                            crash_point!("ring.get: claimed");
                            View::help(&self.block.head, head);
                            return Some((head, cell));
                        }
                    }
                    CONSUMING => View::help(&self.block.head, head),
                    _ => return None,
                }
            } else if cell::lap(word) == lap.wrapping_add(1) || head != self.head() {
                View::help(&self.block.head, head);
            } else {
                // Still in use from the lap before: nothing has been put here yet.
                return None;
            }
        }
    }

    /// Claims the item in `cell` if `word` says that there is one.
    fn claim_there(&self, me: Owner, cell: &Cell, word: u64) -> bool {
        let mine = pack(cell::lap(word), me, CONSUMING);
        let claimed = cell::state(word) == READY
            && cell
                .word
                .compare_exchange(word, mine, SeqCst, Relaxed)
                .is_ok();
        if claimed {
            crash_point!("ring.get: claimed, not at the head");
        }
        claimed
    }

    /// Whether an item of a dead consumer lies behind the head. Looks without the hint: nobody
    /// may have noticed the death yet.
    pub(super) fn has_orphan(&self) -> Result<bool> {
        let found = self.find_orphan(|_, _| true)?.is_some();
        if found {
            self.block.rare.orphans.store(1, SeqCst);
            crash_point!("ring.has_orphan: there is");
        }
        Ok(found)
    }

    /// Claims an item of a dead consumer that lies behind the head.
    #[cold]
    fn claim_orphan(&self, me: Owner) -> Result<Option<(u64, &'static Cell)>> {
        let found = self.find_orphan(|cell, word| self.claim_there(me, cell, word))?;
        if found.is_some() {
            // There may be more.
            self.block.rare.orphans.store(1, SeqCst);
            crash_point!("ring.claim_orphan: there may be more");
        }
        Ok(found)
    }

    /// The first item of a dead consumer that lies behind the head and that `wanted`
    /// agrees to; its lap and cell.
    fn find_orphan(
        &self,
        wanted: impl Fn(&'static Cell, u64) -> bool,
    ) -> Result<Option<(u64, &'static Cell)>> {
        self.block.rare.orphans.store(0, SeqCst);
        crash_point!("ring.find_orphan: none, perhaps");
        let head = self.head();
        let inside = head & (self.cells.len() as u64 - 1);
        for (i, cell) in self.cells.iter().enumerate() {
            let word = cell.word.load(SeqCst);
            let behind = self.lap(head).wrapping_sub(cell::lap(word));
            if !(behind == 1 || behind == 0 && (i as u64) < inside) {
                continue;
            }
            if cell::state(word) == CONSUMING && !slot::is_alive(cell::owner(word)) {
                self.redeliver(cell, word)?;
            }
            let lap = cell::lap(word);
            let word = cell.word.load(SeqCst);
            // With another lap it is a new item, ahead of the head.
            if cell::lap(word) == lap && cell::state(word) == READY && wanted(cell, word) {
                return Ok(Some((cell::lap(word) as u64, cell)));
            }
        }
        Ok(None)
    }

    /// Claims an item in front of which a producer is at work, or was: one that died is
    /// passed over, one that was stopped doesn't stop us. Another item of that producer's
    /// thread cannot be there, so the order of each producer is kept.
    #[cold]
    fn claim_beyond(&self, me: Owner) -> Result<Option<(u64, &'static Cell)>> {
        let tail = self.tail();
        for position in (self.head()..tail).take(self.cells.len()) {
            let cell = self.cell(position);
            let word = cell.word.load(SeqCst);
            if cell::lap(word) != self.lap(position) {
                continue;
            }
            match cell::state(word) {
                PRODUCING if !slot::is_alive(cell::owner(word)) => self.bury(cell, word)?,
                READY if self.was_overtaken(position) => return Ok(None),
                READY if self.claim_there(me, cell, word) => return Ok(Some((position, cell))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether there is an item before `position`, which was still under way just now. The
    /// one at `position`, seen before, may be of the same producer, and is not the first then.
    fn was_overtaken(&self, position: u64) -> bool {
        (self.head()..position)
            .take(self.cells.len())
            .any(|before| {
                let word = self.cell(before).word.load(SeqCst);
                cell::lap(word) == self.lap(before) && cell::state(word) == READY
            })
    }

    /// Takes the item out of a cell that was claimed, and frees the cell.
    #[inline]
    fn empty(&self, me: Owner, cell: &Cell, lease: Option<&Lease>) -> Result<Got> {
        let word = cell.word.load(Relaxed);
        debug_assert_eq!(cell::owner(word), me);
        let shape = cell.shape.load(Relaxed);
        let tag = cell.tag.load(Relaxed);
        let kind = (shape >> 32) as u8;
        let body = if kind & IN_BLOCK == 0 {
            let len = (shape as u32 as usize).min(INLINE);
            let mut bytes = [0; INLINE];
            // SAFETY: INLINE bytes from there on are the cell's, which is ours meanwhile.
            unsafe {
                let from = cell.payload.as_ptr().cast::<u8>();
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len);
            }
            Ok(Body::Inline(bytes, len as u8))
        } else {
            Parcel::take(Link(cell.payload[0].load(Relaxed))).map(Body::Block)
        };
        if let Some(lease) = lease {
            cell.lease.store(lease.link.0, SeqCst);
            crash_point!("ring.get: lease noted");
            lease.word.store(tag, SeqCst);
            crash_point!("ring.get: leased");
        }
        // Also when the item makes no sense: it must not come again.
        let free = pack(cell::lap(word).wrapping_add(1), 0, FREE);
        cell.word.swap(free, SeqCst);
        crash_point!("ring.get: FREE");
        self.wake_producer();
        Ok(Got {
            kind: kind & !IN_BLOCK,
            tag,
            body: body?,
        })
    }

    /// Wakes a producer, but not for each single place: it would fill that and sleep again.
    /// With an eighth of the room free it has something to do. (With less it looks by
    /// itself at the end of its slice.)
    #[inline]
    fn wake_producer(&self) {
        if self.limit == u64::MAX {
            return;
        }
        let space = &self.block.space;
        if !space.any() {
            return;
        }
        // An item that was taken out beyond one under way left the head behind.
        self.pass_by();
        if self.len().saturating_add(self.limit.min(1 << 20) / 8) <= self.limit {
            space.wake(1);
        }
    }
}

impl Ring {
    /// Takes an item out if there is one at once.
    ///
    /// # Errors
    /// When this process cannot take part in the arena, or shared memory makes no sense.
    #[inline]
    pub fn try_get(&self, lease: Option<&Lease>) -> Result<Option<Got>> {
        let me = slot::me()?;
        let view = &self.view;
        let rare = &view.block.rare;
        if rare.orphans.load(Relaxed) != 0
            && let Some((_, cell)) = view.claim_orphan(me)?
        {
            return view.empty(me, cell, lease).map(Some);
        }
        if let Some((_, cell)) = view.claim_item(me) {
            return view.empty(me, cell, lease).map(Some);
        }
        if rare.spilled.load(SeqCst) != 0 {
            spill::refill(view)?;
            if let Some((_, cell)) = view.claim_item(me) {
                return view.empty(me, cell, lease).map(Some);
            }
        }
        Ok(None)
    }

    /// Like [`Ring::try_get`], but looks behind the head and beyond what is under way.
    #[cold]
    fn try_harder(&self, lease: Option<&Lease>) -> Result<Option<Got>> {
        let me = slot::me()?;
        let view = &self.view;
        let found = match view.claim_orphan(me)? {
            Some(found) => Some(found),
            None => view.claim_beyond(me)?,
        };
        match found {
            Some((_, cell)) => view.empty(me, cell, lease).map(Some),
            None => self.try_get(lease),
        }
    }

    /// Takes an item out, waiting for one until `deadline`; `None` when there was none.
    ///
    /// # Errors
    /// What `pulse` says; see [`Ring::try_get`].
    pub fn get(
        &self,
        lease: Option<&Lease>,
        deadline: &Deadline,
        pulse: Pulse,
    ) -> Result<Option<Got>> {
        self.get_while(lease, deadline, pulse, &wait::SHORT, || true)
    }

    /// Like [`Ring::get`], as long as `may` says so: it is asked before each try, and once it
    /// says no there is nothing for this consumer. What it was woken for goes to another.
    /// `look` is how it looks before it sleeps.
    ///
    /// # Errors
    /// What `pulse` says; see [`Ring::try_get`].
    pub fn get_while(
        &self,
        lease: Option<&Lease>,
        deadline: &Deadline,
        pulse: Pulse,
        look: &Look,
        may: impl Fn() -> bool,
    ) -> Result<Option<Got>> {
        let view = &self.view;
        let items = &view.block.items;
        // Rounds in which there was something, but not for us.
        let mut vain = 0u32;
        loop {
            if !may() {
                if view.has_item() {
                    items.wake(1);
                }
                return Ok(None);
            }
            if let Some(got) = self.try_get(lease)? {
                return Ok(Some(got));
            }
            // An item whose producer is at it in this moment is worth a look, too, for who
            // doesn't want to wait. But not again and again: it may be one in the spill, with
            // a dead process in the only cell that it can come to.
            let coming = view.tail() > view.head();
            if vain.is_multiple_of(2)
                && (coming || !deadline.passed())
                && look.spin(|| view.has_item() || !may())
            {
                vain += 1;
                continue;
            }
            if let Some(got) = self.try_harder(lease)? {
                return Ok(Some(got));
            }
            let ticket = items.enter();
            if vain < MOST_VAIN && view.has_item() {
                items.leave(ticket);
                vain += 1;
                continue;
            }
            vain = 0;
            let slept = items.sleep(ticket, deadline, pulse);
            items.leave(ticket);
            if !slept? {
                return if may() { self.try_get(lease) } else { Ok(None) };
            }
        }
    }
}
