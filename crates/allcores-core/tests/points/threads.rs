//! Two threads of a victim, for what one alone doesn't come past.

use allcores_core::condition::Condition;
use allcores_core::mutex::Mutex;
use allcores_core::wait::{Deadline, no_pulse};

use crate::case::{Case, Operation, ensure};
use crate::sync::{say, shared, takes};

pub const OPERATIONS: &[Operation] = &[Operation {
    structure: "Condition",
    name: "notify a thread that waits",
    build: notify,
}];

fn notify() -> Case {
    let (lock, held) = shared(Mutex::new(true).unwrap());
    let (condition, its) = shared(Condition::new().unwrap());
    let run = move || {
        let (lock, condition) = (&*held, &*its);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
                let notified = condition.wait(lock, &Deadline::NEVER, &mut no_pulse);
                assert!(notified.unwrap());
                lock.release(true).unwrap();
            });
            // It waits from before it lets go of the lock on.
            while condition.waiters() == 0 {
                std::thread::yield_now();
            }
            lock.acquire(&Deadline::NEVER, &mut no_pulse).unwrap();
            assert_eq!(condition.notify(1).unwrap(), 1);
            lock.release(true).unwrap();
        });
    };
    Case::new(run, move |_| {
        takes(&lock)?;
        ensure(condition.waiters() == 0, || "a dead process waits".into())?;
        ensure(say(condition.notify(1))? == 0, || "it was woken".into())
    })
}
