//! What a key is looked up by.
//!
//! Equal keys have the same *canonical* form, in every process: a word (see [`crate::item`])
//! for small integers, short texts and the like, else bytes that the binding makes. So
//! `1`, `1.0` and `True` are one word. A hash of that form places the key.
//!
//! For objects whose equality only they themselves can tell, the form says no more than
//! which of them may be equal. What an entry of that kind is to the probe is *undecided*
//! then, until the caller has compared the two, outside of the dict, and says so in the
//! probe. The verdict names the entry's block and its use, so it stays true whatever
//! happens to the dict meanwhile.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::sync::atomic::Ordering::Relaxed;

use crate::alloc;
use crate::arena::arena;
use crate::error::Result;
use crate::item::{self, Origin, View, Word};

/// A word at a moment: the same word and, if it names a block, the same use of the block.
pub type Token = (Word, u32);

/// The token of a word.
///
/// # Errors
/// When shared memory makes no sense.
pub fn token(word: Word) -> Result<Token> {
    match item::block(word) {
        0 => Ok((word, 0)),
        block => Ok((
            word,
            alloc::generation(alloc::meta(block)?.word.load(Relaxed)),
        )),
    }
}

/// The form that equal keys share.
#[derive(Debug)]
pub enum Canonical {
    /// A word without a block.
    Word(Word),
    /// Bytes. The first tells the kinds apart: `s` text, `b` bytes; the others are the
    /// binding's, but `w`.
    Bytes(Vec<u8>),
}

impl Canonical {
    /// The form as bytes, whichever it is.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Canonical::Word(word) => {
                let mut bytes = vec![b'w'];
                bytes.extend_from_slice(&word.to_le_bytes());
                bytes
            }
            Canonical::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// What a key is looked up by.
#[derive(Debug)]
pub struct Probe {
    hash: u64,
    canonical: Canonical,
    /// Where an object that compares itself comes from.
    origin: Option<Origin>,
    equal: Option<Token>,
    different: BTreeSet<Token>,
}

/// What an entry is to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same key.
    Same,
    /// Another key.
    Other,
    /// The caller has to compare them.
    Undecided,
}

impl Probe {
    /// For keys with this canonical form, and an origin if they compare themselves.
    ///
    /// # Errors
    /// When there is no arena.
    pub fn new(canonical: Canonical, origin: Option<Origin>) -> Result<Probe> {
        // The arena's random number, so that nobody outside can prepare keys that collide.
        let seed = arena()?.session();
        let hash = match &canonical {
            Canonical::Word(word) => mix(word ^ seed),
            Canonical::Bytes(bytes) => {
                // The same in all processes of a program, as they run the same build.
                let mut hasher = std::hash::DefaultHasher::new();
                hasher.write_u64(seed);
                hasher.write(bytes);
                hasher.finish()
            }
        };
        Ok(Probe {
            hash,
            canonical,
            origin,
            equal: None,
            different: BTreeSet::new(),
        })
    }

    /// The hash of the canonical form.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The canonical form.
    pub fn canonical(&self) -> &Canonical {
        &self.canonical
    }

    /// Where the key comes from.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The caller has compared the key that `token` names with its own.
    pub fn decide(&mut self, token: Token, equal: bool) {
        if equal {
            self.equal = Some(token);
        } else {
            self.different.insert(token);
        }
    }

    /// What an entry with this key and the probe's hash is; `None` when that takes a look
    /// at a block.
    #[inline]
    pub fn verdict_without_blocks(&self, key: Word) -> Option<Verdict> {
        // Different words have different hashes, so the hash alone decides among words.
        (item::block(key) == 0).then_some(match self.canonical {
            Canonical::Word(_) => Verdict::Same,
            Canonical::Bytes(_) => Verdict::Other,
        })
    }

    /// What an entry with this key and the probe's hash is. The caller holds the lock.
    ///
    /// # Errors
    /// When shared memory makes no sense.
    pub fn verdict(&self, key: Word) -> Result<Verdict> {
        if let Some(verdict) = self.verdict_without_blocks(key) {
            return Ok(verdict);
        }
        let token = token(key)?;
        item::view(item::block(key), |view| match view {
            View::Text(text) => same(self.is_tagged(b's', text)),
            View::Bytes(bytes) => same(self.is_tagged(b'b', bytes)),
            View::Key { canonical, origin } => {
                let equal = match &self.canonical {
                    Canonical::Bytes(bytes) => bytes == canonical,
                    word => word.to_bytes() == canonical,
                };
                match (equal, origin, self.origin) {
                    (true, Some(its), Some(own)) => self.compared(token, its, own),
                    (equal, ..) => same(equal),
                }
            }
            View::Other => Verdict::Other,
        })
    }

    fn is_tagged(&self, tag: u8, content: &[u8]) -> bool {
        match &self.canonical {
            Canonical::Bytes(bytes) => bytes.first() == Some(&tag) && &bytes[1..] == content,
            Canonical::Word(_) => false,
        }
    }

    fn compared(&self, token: Token, its: Origin, own: Origin) -> Verdict {
        if self.equal == Some(token) {
            Verdict::Same
        } else if self.different.contains(&token) || its.process == own.process && its != own {
            // Hashes from the same process can be compared: equal objects have equal ones.
            Verdict::Other
        } else {
            Verdict::Undecided
        }
    }
}

fn same(equal: bool) -> Verdict {
    if equal { Verdict::Same } else { Verdict::Other }
}

/// Spreads the bits of a word; no two words become the same. (The finalizer of
/// `MurmurHash3`.)
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}
