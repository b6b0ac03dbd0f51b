//! What processes tell each other, in memory that they share and that is not the arena.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::SeqCst};

/// Points that there can be.
const POINTS: usize = 1024;
/// Passages of one victim that are told by name.
const PASSAGES: usize = 1 << 14;
/// Nobody is killed.
pub const NOWHERE: u64 = u64::MAX;

/// See the head of this file.
#[repr(C)]
pub struct Journal {
    /// The passage at which the victim is killed.
    target: AtomicU64,
    /// Passages of the victim so far.
    passages: AtomicU64,
    /// Their points.
    points: [AtomicU16; PASSAGES],
    /// By point: how often it was passed, and how often somebody was killed there.
    passed: [AtomicU64; POINTS],
    killed: [AtomicU64; POINTS],
    /// The trial that the survivor is at.
    pub trial: AtomicU64,
    pub beats: AtomicU64,
    /// Points that the operation passes.
    pub way: AtomicU64,
    pub kills: AtomicU64,
    pub pairs: AtomicU64,
    /// All pairs that there are.
    pub all_pairs: AtomicU64,
    said: AtomicU64,
    text: [AtomicU64; 200],
}

impl Journal {
    pub fn new() -> &'static Journal {
        // SAFETY: fresh memory of at least that size, all zero, which is valid for atomics,
        // and never given back.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Journal>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            &*at.cast::<Journal>()
        }
    }

    /// A victim is about to start.
    pub fn aim(&self, target: u64) {
        self.target.store(target, SeqCst);
        self.passages.store(0, SeqCst);
    }

    /// Notes a passage, of a victim or of the survivor; whether to be killed there.
    pub fn pass(&self, point: usize, mortal: bool) -> bool {
        self.passed[point].fetch_add(1, SeqCst);
        if !mortal {
            return false;
        }
        let passage = self.passages.fetch_add(1, SeqCst);
        if let Some(place) = self.points.get(passage as usize) {
            place.store(point as u16, SeqCst);
        }
        let hit = passage == self.target.load(SeqCst);
        if hit {
            self.killed[point].fetch_add(1, SeqCst);
        }
        hit
    }

    /// Passages of the latest victim.
    pub fn passages(&self) -> u64 {
        self.passages.load(SeqCst)
    }

    /// The point of a passage of the latest victim.
    pub fn point(&self, passage: u64) -> Option<usize> {
        let place = self.points.get(passage as usize)?;
        (passage < self.passages()).then(|| place.load(SeqCst) as usize)
    }

    /// How often a point was passed, and how often somebody was killed there.
    pub fn counts(&self, point: usize) -> (u64, u64) {
        (
            self.passed[point].load(SeqCst),
            self.killed[point].load(SeqCst),
        )
    }

    /// The survivor begins a trial.
    pub fn begin(&self, trial: u64) {
        self.trial.store(trial, SeqCst);
        self.beats.fetch_add(1, SeqCst);
    }

    pub fn say(&self, text: &str) {
        for (word, bytes) in self.text.iter().zip(text.as_bytes().chunks(8)) {
            let mut eight = [b' '; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(eight), SeqCst);
        }
        let len = text.len().min(8 * self.text.len());
        self.said.store(len as u64, SeqCst);
    }

    pub fn said(&self) -> String {
        let bytes: Vec<u8> = self
            .text
            .iter()
            .flat_map(|word| word.load(SeqCst).to_le_bytes())
            .take(self.said.swap(0, SeqCst) as usize)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
