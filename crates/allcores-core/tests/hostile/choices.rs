//! Where decisions come from: a seed, or the bytes that a fuzzer thinks of.

/// A source of numbers that is the same each time.
pub struct Choices<'a> {
    bytes: Option<&'a [u8]>,
    state: u64,
}

#[allow(dead_code)] // The fuzz target uses one of the two ways, the test the other.
impl<'a> Choices<'a> {
    /// Random numbers (xorshift64*), the same ones for the same seed.
    pub fn from_seed(seed: u64) -> Choices<'static> {
        // Neighbouring seeds shall have nothing in common.
        let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Choices {
            bytes: None,
            state: (mixed ^ mixed >> 31) | 1,
        }
    }

    /// These bytes, then zeros.
    pub fn from_bytes(bytes: &'a [u8]) -> Choices<'a> {
        Choices {
            bytes: Some(bytes),
            state: 0,
        }
    }

    /// Whether all that comes is zeros.
    pub fn ended(&self) -> bool {
        self.bytes.is_some_and(<[u8]>::is_empty)
    }

    /// `n` bytes as a number.
    fn take(&mut self, n: usize) -> u64 {
        match &mut self.bytes {
            Some(bytes) => {
                let (now, rest) = bytes.split_at(n.min(bytes.len()));
                *bytes = rest;
                let mut word = [0; 8];
                word[..now.len()].copy_from_slice(now);
                u64::from_le_bytes(word)
            }
            None => {
                self.state ^= self.state >> 12;
                self.state ^= self.state << 25;
                self.state ^= self.state >> 27;
                self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> (64 - 8 * n)
            }
        }
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
