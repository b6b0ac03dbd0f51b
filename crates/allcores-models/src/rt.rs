//! Runs a scenario: its processes, their steps, their deaths and sleeps.
//!
//! Each access to the arena's atomics is a step, at which another process may get its turn
//! and at which the process may die: it unwinds without another access, the others find it
//! dead, and what it did before is visible to who found that out, as it is after the
//! kernel has let go of a dead process's locks.
//!
//! A sleep ends when it is woken, and once after each death, which is what the slices of
//! the core's sleeps are for. So a wake-up that is lost without a death is a deadlock here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::arena::BYTES;
use crate::atomic::Ordering::{self, *};
use crate::explore::Fault;

/// Processes of a scenario, the one that sets it up (number 0) among them.
pub const MOST: usize = 5;
/// Words of a coroutine's stack.
const STACK: usize = 0x4000;
/// More steps than any scenario has: somebody goes round in circles.
const MOST_STEPS: usize = 100_000;

/// What is done to a word.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Op {
    Load,
    Store(u64),
    Swap(u64),
    Exchange(u64, u64, Ordering),
    Add(u64),
    Sub(u64),
    Or(u64),
    And(u64),
    Max(u64),
}

/// Size of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Width {
    Half,
    Full,
}

/// Which words a scenario uses, found by running it.
pub type Touched = BTreeSet<(usize, Width)>;

enum Word {
    Half(loom::sync::atomic::AtomicU32),
    Full(loom::sync::atomic::AtomicU64),
}

/// What loom explores of a run.
struct Loomed {
    words: RefCell<HashMap<usize, Rc<Word>>>,
    deaths: loom::sync::atomic::AtomicU32,
    ids: RefCell<Vec<(usize, loom::thread::Thread)>>,
    joins: RefCell<Vec<loom::thread::JoinHandle<()>>>,
}

/// What a process does.
type Body = Box<dyn FnOnce()>;

/// What the random walk knows of a run.
struct Walk {
    random: Cell<u64>,
    /// Of 256 steps so many are followed by another process's.
    haste: u64,
    current: Cell<usize>,
    ready: RefCell<Vec<(usize, Body)>>,
    running: RefCell<Vec<usize>>,
    failure: RefCell<Option<Box<dyn std::any::Any + Send>>>,
    history: RefCell<Vec<(usize, &'static Location<'static>)>>,
}

enum Way {
    Loom(Loomed),
    Walk(Walk),
}

#[derive(Default, Clone)]
struct Process {
    steps: usize,
    die_at: Option<usize>,
    dead: bool,
    done: bool,
    /// Deaths after which it has woken up.
    deaths_seen: u32,
    sleeps: bool,
    looks: u32,
    /// Who recovers it; itself when that is done.
    recoverer: Option<usize>,
}

struct World {
    way: Way,
    processes: RefCell<Vec<Process>>,
    sleepers: RefCell<Vec<(usize, usize)>>,
    deaths: Cell<u32>,
    steps: Cell<usize>,
    mortal: bool,
    faults: Vec<Fault>,
    touched: RefCell<Touched>,
}

/// Memory that is aligned like a block.
#[repr(C, align(64))]
struct Memory([u8; BYTES]);

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static MEMORY: *mut Memory = Box::into_raw(Box::new(Memory([0; BYTES])));
}

/// The unwinding of a process that dies.
struct Dead;

/// Where the arena begins.
pub fn base() -> *mut u8 {
    MEMORY.with(|memory| memory.cast())
}

fn world() -> Option<Rc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// The number of the process that runs.
pub fn process() -> usize {
    world().map_or(0, |world| world.me())
}

impl World {
    fn me(&self) -> usize {
        match &self.way {
            Way::Walk(walk) => walk.current.get(),
            Way::Loom(loomed) => {
                let id = loom::thread::current().id();
                let ids = loomed.ids.borrow();
                ids.iter().find(|(_, t)| t.id() == id).map_or(0, |t| t.0)
            }
        }
    }

    fn with<T>(&self, process: usize, change: impl FnOnce(&mut Process) -> T) -> T {
        change(&mut self.processes.borrow_mut()[process])
    }

    /// One step of `me`: somebody else's turn, perhaps, or its end.
    fn step(&self, me: usize, at: &'static Location<'static>) {
        self.steps.set(self.steps.get() + 1);
        assert!(self.steps.get() < MOST_STEPS, "no end in sight, at {at}");
        if let Way::Walk(walk) = &self.way {
            if walk.roll() % 256 < walk.haste {
                turn();
            }
            walk.history.borrow_mut().push((me, at));
        }
        let dies = self.with(me, |process| {
            process.steps += 1;
            process.die_at == Some(process.steps)
        });
        if dies {
            self.die(me);
        }
    }

    fn die(&self, me: usize) -> ! {
        if let Way::Loom(loomed) = &self.way {
            loomed.deaths.fetch_add(1, AcqRel);
        }
        self.with(me, |process| process.dead = true);
        self.deaths.set(self.deaths.get() + 1);
        for (_, sleeper) in self.sleepers.take() {
            self.with(sleeper, |process| process.deaths_seen = self.deaths.get());
            self.rouse(sleeper);
        }
        resume_unwind(Box::new(Dead))
    }

    fn rouse(&self, sleeper: usize) {
        self.with(sleeper, |process| process.sleeps = false);
        if let Way::Loom(loomed) = &self.way {
            let ids = loomed.ids.borrow();
            if let Some((_, thread)) = ids.iter().find(|(n, _)| *n == sleeper) {
                thread.unpark();
            }
        }
    }

    /// The word at `address`, for loom; half of one counts as that one.
    fn word(&self, loomed: &Loomed, address: usize, width: Width) -> Rc<Word> {
        let offset = address - base().addr();
        let mut words = loomed.words.borrow_mut();
        if let Some(word) = words.get(&offset) {
            return word.clone();
        }
        if let Some(word) = words.get(&(offset & !7))
            && matches!(**word, Word::Full(_))
        {
            return word.clone();
        }
        let word = Rc::new(match width {
            Width::Half => Word::Half(Default::default()),
            Width::Full => Word::Full(Default::default()),
        });
        self.touched.borrow_mut().insert((offset, width));
        words.insert(offset, word.clone());
        word
    }

    fn perform(&self, address: usize, width: Width, op: Op, order: Ordering) -> Done {
        match &self.way {
            Way::Loom(loomed) => {
                let word = self.word(loomed, address, width);
                let done = match &*word {
                    Word::Half(word) => loom_do!(word, u32, op, order),
                    Word::Full(word) => loom_do!(word, u64, op, order),
                };
                // loom takes a sequentially consistent access for AcqRel, and only fences
                // for what they are. So one follows each such write, which is also what
                // processors have: plain loads, and a barrier in each write.
                if order == SeqCst && !matches!(op, Op::Load) {
                    loom::sync::atomic::fence(SeqCst);
                }
                done
            }
            Way::Walk(_) => {
                self.touched
                    .borrow_mut()
                    .insert((address - base().addr(), width));
                // SAFETY: in the arena, aligned for its type; one coroutine at a time.
                unsafe {
                    match width {
                        Width::Half => {
                            let word = address as *mut u32;
                            let (next, done) = apply(*word as u64, op);
                            *word = next as u32;
                            done
                        }
                        Width::Full => {
                            let word = address as *mut u64;
                            let (next, done) = apply(*word, op);
                            *word = next;
                            done
                        }
                    }
                }
            }
        }
    }

    /// The 32 bits at `address` as they are now.
    fn now(&self, address: usize) -> u32 {
        match &self.way {
            // SAFETY: in the arena, aligned.
            Way::Walk(_) => unsafe { *(address as *const u32) },
            Way::Loom(loomed) => match &*self.word(loomed, address, Width::Half) {
                Word::Half(word) => word.fetch_add(0, AcqRel),
                Word::Full(word) => (word.fetch_add(0, AcqRel) >> (8 * (address & 4))) as u32,
            },
        }
    }
}

impl Walk {
    /// Marsaglia's xorshift.
    fn roll(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x >> 11
    }
}

type Done = Result<u64, u64>;

fn apply(old: u64, op: Op) -> (u64, Done) {
    let next = match op {
        Op::Load => old,
        Op::Store(new) | Op::Swap(new) => new,
        Op::Exchange(expected, new, _) if expected == old => new,
        Op::Exchange(..) => return (old, Err(old)),
        Op::Add(n) => old.wrapping_add(n),
        Op::Sub(n) => old.wrapping_sub(n),
        Op::Or(n) => old | n,
        Op::And(n) => old & n,
        Op::Max(n) => old.max(n),
    };
    (next, Ok(old))
}

macro_rules! loom_do {
    ($word:expr, $type:ty, $op:expr, $order:expr) => {
        match $op {
            Op::Load => Ok($word.load($order) as u64),
            Op::Store(new) => {
                $word.store(new as $type, $order);
                Ok(0)
            }
            Op::Swap(new) => Ok($word.swap(new as $type, $order) as u64),
            Op::Exchange(old, new, fail) => $word
                .compare_exchange(old as $type, new as $type, $order, fail)
                .map(|v| v as u64)
                .map_err(|v| v as u64),
            Op::Add(n) => Ok($word.fetch_add(n as $type, $order) as u64),
            Op::Sub(n) => Ok($word.fetch_sub(n as $type, $order) as u64),
            Op::Or(n) => Ok($word.fetch_or(n as $type, $order) as u64),
            Op::And(n) => Ok($word.fetch_and(n as $type, $order) as u64),
            Op::Max(n) => Ok($word.fetch_max(n as $type, $order) as u64),
        }
    };
}
use loom_do;

/// An access of the running process; `None` when the word is none of the arena's.
pub fn access(
    address: usize,
    width: Width,
    op: Op,
    mut order: Ordering,
    at: &'static Location<'static>,
) -> Option<Done> {
    if address.wrapping_sub(base().addr()) >= BYTES {
        return None;
    }
    // Nothing more is done by who died, or is struck down by a failure.
    let nothing = match op {
        Op::Exchange(old, ..) => old,
        _ => 0,
    };
    if std::thread::panicking() {
        return Some(Ok(nothing));
    }
    let world = world()?;
    world.step(world.me(), at);
    for fault in &world.faults {
        match fault {
            Fault::Skip(site) if site.is(at) => return Some(Ok(nothing)),
            Fault::Relax(site) if site.is(at) => order = Relaxed,
            Fault::Before(site, extra) if site.is(at) => extra(),
            _ => {}
        }
    }
    Some(world.perform(address, width, op, order))
}

/// Whether a process lives.
pub fn is_alive(process: usize) -> bool {
    let Some(world) = world() else { return false };
    if std::thread::panicking() || process == world.me() {
        return true;
    }
    world.step(world.me(), Location::caller());
    if world.faults.iter().any(|f| matches!(f, Fault::Undead)) {
        return true;
    }
    let dead = |world: &World| world.with(process, |p| p.dead);
    if let Way::Loom(loomed) = &world.way
        && world.mortal
    {
        let _ = loomed.deaths.load(Acquire);
        if dead(&world) {
            // The kernel's answer is never an old one.
            loomed.deaths.fetch_add(0, AcqRel);
        }
    }
    !dead(&world)
}

/// Sleeps while the word at `address` holds `expected`.
pub fn sleep(address: usize, expected: u32) {
    let Some(world) = world() else { return };
    if std::thread::panicking() {
        return;
    }
    let me = world.me();
    world.step(me, Location::caller());
    if let Way::Loom(loomed) = &world.way
        && world.mortal
    {
        let _ = loomed.deaths.load(Acquire);
    }
    if world.now(address) != expected {
        return;
    }
    let deaths = world.deaths.get();
    if world.with(me, |p| std::mem::replace(&mut p.deaths_seen, deaths)) != deaths {
        return;
    }
    world.with(me, |p| p.sleeps = true);
    world.sleepers.borrow_mut().push((address, me));
    while world.with(me, |p| p.sleeps) {
        match &world.way {
            Way::Loom(_) => loom::thread::park(),
            Way::Walk(_) => {
                turn();
            }
        }
    }
}

/// Wakes up to `n` who sleep on the word at `address`; how many.
pub fn wake(address: usize, n: u32, at: &'static Location<'static>) -> usize {
    let Some(world) = world() else { return 0 };
    if std::thread::panicking() {
        return 0;
    }
    world.step(world.me(), at);
    let silent = |fault: &Fault| match fault {
        Fault::NoWake => true,
        Fault::Skip(site) => site.is(at),
        _ => false,
    };
    if world.faults.iter().any(silent) {
        return n as usize;
    }
    let _ = world.now(address);
    let mut woken = Vec::new();
    world.sleepers.borrow_mut().retain(|&(at, sleeper)| {
        let mine = at == address && woken.len() < n as usize;
        if mine {
            woken.push(sleeper);
        }
        !mine
    });
    for &sleeper in &woken {
        world.rouse(sleeper);
    }
    woken.len()
}

/// Ends the turn of a random walk's process.
fn turn() {
    // Deprecated in favour of a value that would have to be handed down through the core.
    #[allow(deprecated)]
    generator::yield_with(());
}

/// Somebody looked and saw what it waits for; the third time in a row it lets others on,
/// as it was not for it.
pub fn looked() {
    let Some(world) = world() else { return };
    if std::thread::panicking() {
        return;
    }
    let looks = world.with(world.me(), |p| {
        p.looks += 1;
        p.looks
    });
    if looks.is_multiple_of(3) {
        pause();
    }
}

/// Lets the others get on.
pub fn pause() {
    match world().as_deref().map(|world| &world.way) {
        Some(Way::Loom(_)) => loom::thread::yield_now(),
        Some(Way::Walk(_)) => {
            turn();
        }
        None => {}
    }
}

/// Takes the kernel's lock of a dead process's slot, which its holder's death frees.
pub fn begin_recovery(process: usize) -> bool {
    let Some(world) = world() else { return false };
    if std::thread::panicking() {
        return false;
    }
    let me = world.me();
    world.step(me, Location::caller());
    let holder = world.with(process, |p| p.recoverer);
    let free = holder.is_none_or(|h| h != process && (h == me || has_died(h)));
    if free {
        world.with(process, |p| p.recoverer = Some(me));
    }
    free
}

/// Its slot is free.
pub fn end_recovery(process: usize) {
    if let Some(world) = world() {
        world.with(process, |p| p.recoverer = Some(process));
    }
}

/// Whether a process has died.
pub fn has_died(process: usize) -> bool {
    world().is_some_and(|world| world.with(process, |p| p.dead))
}

/// loom runs all threads of a model on one.
struct OneThread<F>(F);
// SAFETY: never leaves the thread that made it.
unsafe impl<F> Send for OneThread<F> {}
impl<F: FnOnce()> OneThread<F> {
    fn run(self) {
        (self.0)();
    }
}

/// Starts process `number`, once; from 1 on.
pub fn spawn(number: usize, body: impl FnOnce() + 'static) {
    let Some(world) = world() else { return };
    let inside = world.clone();
    let body = move || {
        let result = catch_unwind(AssertUnwindSafe(body));
        if let Err(payload) = result
            && !payload.is::<Dead>()
        {
            match &inside.way {
                Way::Loom(_) => resume_unwind(payload),
                Way::Walk(walk) => *walk.failure.borrow_mut() = Some(payload),
            }
        }
        inside.with(number, |p| p.done = true);
        let watchers = inside.sleepers.borrow().clone();
        for (_, watcher) in watchers.into_iter().filter(|w| w.0 == usize::MAX - number) {
            inside.rouse(watcher);
        }
    };
    match &world.way {
        Way::Walk(walk) => walk.ready.borrow_mut().push((number, Box::new(body))),
        Way::Loom(loomed) => {
            let started = loom::thread::Builder::new().stack_size(STACK).spawn({
                let body = OneThread(body);
                move || body.run()
            });
            let handle = started.expect("loom starts its threads");
            let entry = (number, handle.thread().clone());
            loomed.ids.borrow_mut().push(entry);
            loomed.joins.borrow_mut().push(handle);
        }
    }
}

/// Waits until a process has ended; whether it died.
pub fn watch(process: usize) -> bool {
    let Some(world) = world() else { return false };
    let me = world.me();
    while !world.with(process, |p| p.done) {
        world.with(me, |p| p.sleeps = true);
        let key = usize::MAX - process;
        world.sleepers.borrow_mut().push((key, me));
        while world.with(me, |p| p.sleeps) {
            match &world.way {
                Way::Loom(_) => loom::thread::park(),
                Way::Walk(_) => turn(),
            }
        }
        world.sleepers.borrow_mut().retain(|s| *s != (key, me));
    }
    if let Way::Loom(loomed) = &world.way
        && world.mortal
    {
        // Whoever knows of a death has all that the dead did, as from the kernel's locks.
        loomed.deaths.fetch_add(0, AcqRel);
    }
    has_died(process)
}

/// Waits for the end of all other processes.
pub fn join() {
    let Some(world) = world() else { return };
    match &world.way {
        Way::Loom(loomed) => {
            for handle in loomed.joins.take() {
                let _ = handle.join();
            }
        }
        Way::Walk(walk) => {
            while !walk.ready.borrow().is_empty() || walk.running.borrow().len() > 1 {
                turn();
            }
        }
    }
}

/// How a run goes, given by [`crate::explore`].
pub struct Setting {
    /// `(process, step)`: who dies where.
    pub deaths: Vec<(usize, usize)>,
    /// What is broken.
    pub faults: Vec<Fault>,
    /// Words that are used, for loom.
    pub touched: Touched,
    /// The seed of a random walk; loom otherwise.
    pub seed: Option<u64>,
}

/// What is known after a run.
pub struct Ran {
    /// Steps of each process.
    pub steps: Vec<usize>,
    /// Words that were used.
    pub touched: Touched,
}

fn begin(setting: &Setting) -> Rc<World> {
    let way = match setting.seed {
        None => Way::Loom(Loomed {
            words: RefCell::default(),
            deaths: Default::default(),
            ids: RefCell::new(vec![(0, loom::thread::current())]),
            joins: RefCell::default(),
        }),
        Some(seed) => Way::Walk(Walk {
            random: Cell::new(seed | 1),
            haste: [8, 40, 128][seed as usize / 7 % 3],
            current: Cell::new(0),
            ready: RefCell::default(),
            running: RefCell::default(),
            failure: RefCell::default(),
            history: RefCell::default(),
        }),
    };
    let mut processes = vec![Process::default(); MOST];
    for &(process, step) in &setting.deaths {
        processes[process].die_at = Some(step);
    }
    let world = Rc::new(World {
        way,
        processes: RefCell::new(processes),
        sleepers: RefCell::default(),
        deaths: Cell::new(0),
        steps: Cell::new(0),
        mortal: !setting.deaths.is_empty(),
        faults: setting.faults.clone(),
        touched: RefCell::default(),
    });
    match &world.way {
        // What a thread makes, loom keeps from the others: all of it is made here.
        Way::Loom(loomed) => {
            for &(offset, width) in &setting.touched {
                world.word(loomed, base().addr() + offset, width);
            }
            world.touched.take();
        }
        // SAFETY: the memory is ours; what lies beyond in a block is written before read.
        Way::Walk(_) => unsafe { base().write_bytes(0, BYTES) },
    }
    crate::local::clear();
    WORLD.set(Some(world.clone()));
    world
}

fn end(world: &World) -> Ran {
    WORLD.take();
    Ran {
        steps: world.processes.borrow().iter().map(|p| p.steps).collect(),
        touched: world.touched.borrow().clone(),
    }
}

/// One run under loom, inside of its model.
pub fn run_loom(setting: &Setting, scenario: &dyn Fn(), report: impl FnOnce(Ran)) {
    let world = begin(setting);
    scenario();
    report(end(&world));
}

/// One random walk.
///
/// # Errors
/// What a process failed with.
pub fn run_walk(
    setting: &Setting,
    scenario: std::sync::Arc<dyn Fn() + Send + Sync>,
) -> Result<Ran, Box<dyn std::any::Any + Send>> {
    let world = begin(setting);
    let Way::Walk(walk) = &world.way else {
        unreachable!("begun with a seed")
    };
    spawn(0, move || scenario());
    let mut routines = Vec::new();
    loop {
        for (number, body) in walk.ready.take() {
            let body = OneThread(body);
            let routine = generator::Gn::<()>::new_opt(STACK, move || body.run());
            routines.push((number, routine));
            walk.running.borrow_mut().push(number);
        }
        let awake: Vec<usize> = (0..routines.len())
            .filter(|&i| world.with(routines[i].0, |p| !p.sleeps))
            .collect();
        let joining = awake.iter().all(|&i| routines[i].0 == 0) && routines.len() > 1;
        if awake.is_empty() || joining && walk.joined_in_vain(&world) {
            break;
        }
        let chosen = awake[walk.roll() as usize % awake.len()];
        walk.current.set(routines[chosen].0);
        routines[chosen].1.resume();
        if walk.failure.borrow().is_some() {
            break;
        }
        if routines[chosen].1.is_done() {
            let (number, _) = routines.swap_remove(chosen);
            walk.running.borrow_mut().retain(|&n| n != number);
        }
    }
    let mut failure = walk.failure.take();
    if failure.is_none() && !routines.is_empty() {
        let asleep: Vec<usize> = routines.iter().map(|r| r.0).collect();
        failure = Some(Box::new(format!(
            "asleep for ever: all of processes {asleep:?} that are not waiting for the others"
        )));
    }
    // Unfinished ones hold nothing but memory.
    std::mem::forget(routines);
    if let Some(payload) = failure {
        let history = walk.history.borrow();
        let shown = std::env::var("MODELS_STEPS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(60);
        for (process, at) in &history[history.len().saturating_sub(shown)..] {
            let file = at.file().rsplit("/src/").next().unwrap_or_default();
            eprintln!("  {process}  {file}:{}", at.line());
        }
        end(&world);
        return Err(payload);
    }
    Ok(end(&world))
}

impl Walk {
    /// With only process 0 awake, waiting for those that sleep.
    fn joined_in_vain(&self, world: &World) -> bool {
        let waits = world.with(0, |p| p.looks);
        world.with(0, |p| p.looks += 1);
        waits > 10_000
    }
}
