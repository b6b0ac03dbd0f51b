//! Where decisions come from: random numbers, the same ones for the same seed.

/// xorshift64*.
pub struct Choices(u64);

impl Choices {
    pub fn from_seed(seed: u64) -> Choices {
        // Neighbouring seeds shall have nothing in common.
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Choices((mixed ^ mixed >> 31) | 1)
    }

    /// `n` bytes as a number.
    fn take(&mut self, n: usize) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> (64 - 8 * n)
    }

    /// Any word.
    pub fn word(&mut self) -> u64 {
        self.take(8)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        let bytes = match n {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        self.take(bytes) as usize % n.max(1)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }
}
