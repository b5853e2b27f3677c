//! Threads that compute one step together. Owns when they spin, yield and sleep, and the sharing of
//! a slice between them; must not know what is computed.
//!
//! A step consists of hundreds of regions of a few microseconds each, so a region begins with one
//! atomic store that spinning threads see, and ends without waiting for threads that never came: on
//! a busy machine a thread that gets no core costs only its own help.
#![expect(
    unsafe_code,
    reason = "a job's borrow is shared with threads that outlive it"
)]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Rounds of waiting with the processor's pause instruction, about 40 microseconds.
const SPINS: u32 = 1500;
/// Rounds of waiting that offer the core to others, before a thread sleeps.
const YIELDS: u32 = 60;

/// The lowest bits of the state count the helpers inside the region.
const HELPERS: u64 = (1 << 16) - 1;
/// Whether the region can be entered.
const OPEN: u64 = 1 << 16;
/// The number of the region.
const REGION: u64 = 1 << 17;

/// A group of threads, one of which is the caller.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Helpers inside, whether the region is open, and its number.
    state: AtomicU64,
    /// The next task of the region.
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    asleep: Vec<AtomicBool>,
    panicked: AtomicBool,
    stop: AtomicBool,
}

/// A closure without its type and lifetime.
#[derive(Debug, Clone, Copy)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
    tasks: usize,
}

// SAFETY: the job is written while no region is open and read by helpers inside a region alone; the
// closure that it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of this many threads in all, at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self::with(threads, |builder, help| builder.spawn(help).ok())
    }

    /// The same with another way to start a thread, which may be refused.
    fn with(
        threads: usize,
        start: impl Fn(thread::Builder, Box<dyn FnOnce() + Send>) -> Option<JoinHandle<()>>,
    ) -> Self {
        let helpers = threads.clamp(1, 1024) - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job {
                data: std::ptr::null(),
                call: nothing,
                tasks: 0,
            }),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(format!("compute-{}", index + 1));
            start(builder, Box::new(move || shared.help(index)))
        };
        // Where the system refuses a thread, the others do its share. It would refuse those after it
        // too, and each must keep its number: by that it is woken.
        let helpers = (0..helpers).map_while(spawn).collect();
        Self { shared, helpers }
    }

    /// How many threads compute.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `task` with every number below `tasks`, on all threads, and returns when all are done.
    pub(crate) fn run<F: Fn(usize) + Sync>(&mut self, tasks: usize, task: &F) {
        if tasks <= 1 || self.helpers.is_empty() {
            (0..tasks).for_each(task);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: no region is open, so no helper reads it.
        unsafe {
            *shared.job.get() = Job {
                data: std::ptr::from_ref(task).cast(),
                call: call::<F>,
                tasks,
            };
        }
        shared.next.store(0, Ordering::Relaxed);
        shared.state.fetch_add(REGION | OPEN, Ordering::SeqCst);
        for (asleep, helper) in shared.asleep.iter().zip(&self.helpers) {
            if asleep.load(Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
        // Closed on a panic too: the borrow of `task` ends here.
        let region = Region(shared);
        shared.work(tasks, task);
        drop(region);
        assert!(
            !shared.panicked.swap(false, Ordering::Relaxed),
            "a computing thread panicked"
        );
    }

    /// Calls `task` with each element, on all threads.
    pub(crate) fn for_each<T: Send>(
        &mut self,
        items: &mut [T],
        task: impl Fn(usize, &mut T) + Sync,
    ) {
        self.for_chunks(items, 1, |index, chunk| {
            for item in chunk {
                task(index, item);
            }
        });
    }

    /// Calls `task` with each chunk of a slice and its number, on all threads.
    pub(crate) fn for_chunks<T: Send>(
        &mut self,
        items: &mut [T],
        size: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let items = Chunks::new(items, size);
        self.run(items.count(), &|index| {
            // SAFETY: each number is given to one task.
            task(index, unsafe { items.get(index) });
        });
    }

    /// The same with two slices, of which the chunks of one number belong together. There are as
    /// many as of the first.
    pub(crate) fn for_pairs<T: Send, U: Send>(
        &mut self,
        (items, size): (&mut [T], usize),
        (others, other_size): (&mut [U], usize),
        task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
    ) {
        let (items, others) = (Chunks::new(items, size), Chunks::new(others, other_size));
        self.run(items.count(), &|index| {
            // SAFETY: each number is given to one task.
            let (items, others) = unsafe { (items.get(index), others.get(index)) };
            task(index, items, others);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // It catches its panics.
            let _ = helper.join();
        }
    }
}

/// An open region; dropping it closes it and waits for the helpers inside.
struct Region<'a>(&'a Shared);

impl Drop for Region<'_> {
    fn drop(&mut self) {
        let mut rounds = 0;
        let mut state = self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        while state & HELPERS != 0 {
            wait(&mut rounds);
            state = self.0.state.load(Ordering::Acquire);
        }
    }
}

impl Shared {
    fn help(&self, index: usize) {
        let mut seen = 0;
        while let Some(region) = self.wait_for_region(index, seen) {
            seen = region / REGION;
            // SAFETY: this helper is counted in the region, which the owner does not leave before.
            let job = unsafe { *self.job.get() };
            let work = AssertUnwindSafe(|| {
                // SAFETY: the closure outlives the region.
                self.work(job.tasks, &|task| unsafe { (job.call)(job.data, task) });
            });
            if catch_unwind(work).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Enters the next region that is open; none when the pool ends.
    fn wait_for_region(&self, index: usize, seen: u64) -> Option<u64> {
        let mut rounds = 0;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & OPEN != 0 && state / REGION != seen {
                let entered = self.state.compare_exchange(
                    state,
                    state + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    return Some(state);
                }
                continue;
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if rounds < SPINS + YIELDS {
                wait(&mut rounds);
                continue;
            }
            self.asleep[index].store(true, Ordering::SeqCst);
            let state = self.state.load(Ordering::SeqCst);
            // A region that opened since was not told to wake this thread.
            if (state & OPEN == 0 || state / REGION == seen) && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep[index].store(false, Ordering::SeqCst);
            rounds = 0;
        }
    }

    fn work(&self, tasks: usize, task: &impl Fn(usize)) {
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            if next >= tasks {
                return;
            }
            task(next);
        }
    }
}

/// Waits a moment: first for a thread on another core, then for one that needs this core.
fn wait(rounds: &mut u32) {
    *rounds = rounds.saturating_add(1);
    if *rounds <= SPINS {
        std::hint::spin_loop();
    } else {
        thread::yield_now();
    }
}

/// # Safety
///
/// `data` points to an `F` that lives.
unsafe fn call<F: Fn(usize)>(data: *const (), task: usize) {
    // SAFETY: says the caller.
    unsafe { (*data.cast::<F>())(task) }
}

unsafe fn nothing(_: *const (), _: usize) {}

/// A slice in chunks that different threads may change at the same time.
pub(crate) struct Chunks<'a, T> {
    items: *mut T,
    length: usize,
    size: usize,
    borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it is a mutable slice, whose parts are given out under the condition of `get`.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    pub(crate) fn new(items: &'a mut [T], size: usize) -> Self {
        Self {
            items: items.as_mut_ptr(),
            length: items.len(),
            size: size.max(1),
            borrow: std::marker::PhantomData,
        }
    }

    fn count(&self) -> usize {
        self.length.div_ceil(self.size)
    }

    /// Some items of the chunk of this number.
    ///
    /// # Safety
    ///
    /// While they are used, they are not asked for again.
    #[expect(clippy::mut_from_ref, reason = "the parts do not overlap")]
    pub(crate) unsafe fn part(&self, index: usize, start: usize, length: usize) -> &mut [T] {
        let start = index * self.size + start;
        assert!(start + length <= self.length, "a part beyond the slice");
        // SAFETY: within the slice, and nobody else's, says the caller.
        unsafe { std::slice::from_raw_parts_mut(self.items.add(start), length) }
    }

    /// The chunk of this number; an empty one after the last.
    ///
    /// # Safety
    ///
    /// While the chunk is used, it is not asked for again.
    #[expect(clippy::mut_from_ref, reason = "the chunks do not overlap")]
    unsafe fn get(&self, index: usize) -> &mut [T] {
        let start = (index * self.size).min(self.length);
        let length = self.size.min(self.length - start);
        // SAFETY: within the slice, and nobody else's, says the caller.
        unsafe { std::slice::from_raw_parts_mut(self.items.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once_in_many_regions() {
        for threads in [1, 2, 5] {
            let mut pool = Pool::new(threads);
            for round in 0..500 {
                let mut counts = vec![0_u32; round % 37];
                pool.for_each(&mut counts, |_, count| *count += 1);
                assert!(counts.iter().all(|&count| count == 1));
            }
        }
    }

    #[test]
    fn a_sleeping_pool_wakes_up() {
        let mut pool = Pool::new(3);
        for _ in 0..3 {
            while !pool
                .shared
                .asleep
                .iter()
                .all(|flag| flag.load(Ordering::SeqCst))
            {
                std::thread::yield_now();
            }
            let sum = AtomicUsize::new(0);
            pool.run(100, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn a_thread_that_is_refused_leaves_the_others_their_numbers() {
        let asked = AtomicUsize::new(0);
        let pool = Pool::with(4, |builder, help| {
            let is_refused = asked.fetch_add(1, Ordering::Relaxed) == 1;
            let start = (!is_refused).then_some(builder)?;
            start.spawn(help).ok()
        });
        let names = pool.helpers.iter().map(|helper| helper.thread().name());
        assert_eq!(names.collect::<Vec<_>>(), [Some("compute-1")]);
        assert_eq!(pool.threads(), 2);
    }

    #[test]
    fn a_panicking_task_fails_the_region_and_not_the_pool() {
        let mut pool = Pool::new(2);
        for _ in 0..20 {
            let failed = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|task| assert!(task != 40, "on purpose"));
            }));
            assert!(failed.is_err());
        }
        let mut items = [0; 64];
        pool.for_each(&mut items, |index, item| *item = index);
        assert_eq!(items[63], 63);
    }
}
