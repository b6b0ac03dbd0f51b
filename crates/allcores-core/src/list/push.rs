//! Adding to a list that may only have so many items: what is too much leaves at the other
//! end in the same step.

use std::sync::atomic::Ordering::*;

use super::Inside;
use crate::alloc;
use crate::crash::crash_point;
use crate::error::Result;
use crate::item::{self, Fresh};

impl Inside<'_> {
    /// Adds an item at the front or the back. When the list has `most` items already, the one
    /// at the other end goes; one store of the span does both.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; the list is as it was then.
    pub fn push(&mut self, fresh: Fresh, front: bool, most: usize) -> Result<()> {
        if self.len()? < most {
            return if front {
                self.insert(0, fresh)
            } else {
                self.append(fresh)
            };
        }
        if most == 0 {
            return Ok(());
        }
        let mut table = self.with_room(usize::from(front), usize::from(!front))?;
        let items = table.items();
        let (room, leaving) = if front {
            let before = table.before();
            (&before[before.len() - 1], &items[items.len() - 1..])
        } else {
            (&table.behind()[0], &items[..1])
        };
        let result = (|| {
            room.store(fresh.word(), Release);
            crash_point!("list.push: named");
            if item::block(fresh.word()) != 0 {
                alloc::publish(fresh.word(), 0)?;
            }
            self.touch();
            if front {
                table.stretch(1, -1);
            } else {
                table.stretch(-1, 1);
            }
            Ok(())
        })();
        self.settled(result)?;
        fresh.linked();
        let result = self.forget(leaving);
        self.settled(result)
    }
}
