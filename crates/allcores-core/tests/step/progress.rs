//! What a survivor tells the main process, in memory that they share.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// See the head of this file.
#[repr(C)]
pub struct Progress {
    /// The trial that it is at.
    pub trial: AtomicU64,
    /// Instructions of the operation.
    pub steps: AtomicU64,
    /// Stores and system calls of it.
    pub places: AtomicU64,
    pub kills: AtomicU64,
    /// Kills of a recovery, and how many there could be.
    pub pairs: AtomicU64,
    pub all_pairs: AtomicU64,
    /// Grows as long as it gets on.
    pub beats: AtomicU64,
    said: AtomicU64,
    text: [AtomicU64; 200],
}

impl Progress {
    pub fn new() -> &'static Progress {
        // SAFETY: fresh memory of at least that size, all zero, never given back; atomics
        // accept any bytes.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Progress>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            &*at.cast::<Progress>()
        }
    }

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
