//! Python's slices.

/// A slice as it is written; what it selects depends on the length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slice {
    /// First index, from the end when negative.
    pub start: Option<i64>,
    /// Index behind the last.
    pub stop: Option<i64>,
    /// From one to the next; `None` is 1. Not 0.
    pub step: Option<i64>,
}

/// What a slice selects in a list of some length.
#[derive(Debug, Clone, Copy)]
pub struct Picked {
    /// The first index.
    pub start: usize,
    /// How many.
    pub count: usize,
    /// From one to the next, not 0.
    pub step: i64,
}

impl Slice {
    /// The items from `start` on, `count` at most.
    pub fn run(start: usize, count: usize) -> Slice {
        Slice {
            start: Some(start as i64),
            stop: Some(start.saturating_add(count).min(i64::MAX as usize) as i64),
            step: None,
        }
    }

    /// Selects, by Python's rules.
    pub fn resolve(&self, len: usize) -> Picked {
        let len = len as i64;
        let step = self.step.unwrap_or(1).max(-i64::MAX);
        let (low, high) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let bound = |at: Option<i64>, missing: i64| match at {
            None => missing,
            Some(at) if at < 0 => at.saturating_add(len).max(low),
            Some(at) => at.min(high),
        };
        let (first, last) = if step < 0 { (high, low) } else { (low, high) };
        let (start, stop) = (bound(self.start, first), bound(self.stop, last));
        let count = match step {
            0 => 0,
            1.. if start < stop => (stop - start - 1) / step + 1,
            ..0 if stop < start => (start - stop - 1) / -step + 1,
            _ => 0,
        };
        Picked {
            start: start.max(0) as usize,
            count: count as usize,
            step,
        }
    }
}

impl Picked {
    /// The indices, in the slice's order.
    pub fn indices(self) -> impl ExactSizeIterator<Item = usize> {
        (0..self.count).map(move |i| (self.start as i64 + i as i64 * self.step) as usize)
    }
}
