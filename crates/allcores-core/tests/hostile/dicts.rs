//! Everything that can be done to a dict.

use std::hint::black_box;

use allcores_core::Result;
use allcores_core::dict::{Dict, How, New, Number, Seen, Token};

use crate::choices::Choices;
use crate::world::{World, enough, fresh, key, pair};

pub fn on_dict(dict: &Dict, world: &World, c: &mut Choices) -> Result<()> {
    let at = c.below(80);
    let (mut probe, own) = key(at)?;
    let what = c.below(16);
    // Most of it without the lock, as a reader does.
    black_box((dict.peek_len(), dict.peek(&probe), dict.version()));
    // As the binding does: what only it can compare it compares, and tries again.
    for _ in 0..4 {
        let (_, mut new) = pair(at, c.below(100), &world.raw)?;
        let mut inside = match what {
            15 => match dict.try_enter()? {
                Some(inside) => inside,
                None => return Ok(()),
            },
            _ => dict.enter(&mut enough)?,
        };
        let undecided = match what {
            0..3 => rest(inside.put(&probe, &mut new, How::Always)?),
            3 => rest(inside.put(&probe, &mut new, How::IfMissing)?),
            4 => {
                let token = match inside.get(&probe)? {
                    Seen::Known(found) => found.map(|(_, token)| token),
                    Seen::Undecided(_) => None,
                };
                rest(inside.put(&probe, &mut new, How::IfStill(token))?)
            }
            5 => {
                let value = Some(fresh(at, &world.raw)?);
                rest(inside.put(&probe, &mut New { key: None, value }, How::Always)?)
            }
            6 | 7 => rest(inside.remove(&probe)?),
            8 => rest(inside.get(&probe)?),
            9 => rest(inside.contains(&probe)?),
            10 => {
                let more = c.of(&[Number::Int(1), Number::Int(i64::MAX), Number::Float(0.5)]);
                rest(inside.add(&probe, &mut new.key, more)?)
            }
            11 => {
                for i in 0..c.below(40) {
                    let (probe, mut new) = pair(at + 5 * i, i, &world.raw)?;
                    let _ = inside.put(&probe, &mut new, How::Always)?;
                }
                return Ok(());
            }
            12 => {
                for _ in 0..c.below(70) {
                    if inside.pop_last()?.is_none() {
                        break;
                    }
                }
                return Ok(());
            }
            13 => return inside.clear(),
            14 => {
                black_box((inside.len()?, inside.is_empty()?));
                black_box((inside.keys()?, inside.values()?));
                return inside.items().map(drop);
            }
            _ => {
                let (session, offset, generation) = dict.handle().numbers()?;
                return Dict::open(session, offset, generation).map(drop);
            }
        };
        drop(inside);
        if undecided.is_empty() {
            break;
        }
        for (i, token) in undecided.into_iter().enumerate() {
            probe.decide(token, i == c.below(8));
        }
    }
    black_box(own);
    Ok(())
}

/// The keys that are still to be compared.
fn rest<T>(seen: Seen<T>) -> Vec<Token> {
    match seen {
        Seen::Known(_) => Vec::new(),
        Seen::Undecided(keys) => keys.into_iter().map(|(token, _)| token).collect(),
    }
}
