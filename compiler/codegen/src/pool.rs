//! Threads for the parts of compiled code that are cut into chunks.
//!
//! Chunks are numbered, and which thread runs which one is left open: what a chunk computes depends on its number only. Workers look for
//! work for a short time after a job, then sleep; a job never waits for a worker that has not taken a part in it.
//!
//! ```text
//!   state = epoch | open | workers inside      a worker enters an open job of an epoch that it has not seen, and leaves when no chunk is left;
//!                                              the caller closes the job when no chunk is left, and waits for those inside
//! ```

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What a job runs: `(context, chunk, worker)`.
pub(crate) type Run = unsafe fn(*const (), usize, usize);

#[derive(Clone, Copy)]
struct Job {
    run: Run,
    context: *const (),
    chunks: usize,
    threads: usize,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
/// How long a worker looks for work before it sleeps: the serial parts of a step are shorter.
const AWAKE: Duration = Duration::from_millis(2);

pub(crate) struct Pool {
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// Number of worker threads, and one job at a time.
    workers: Mutex<usize>,
    sleepers: Mutex<usize>,
    asleep: AtomicUsize,
    wake: Condvar,
}

// SAFETY: `job` is written by the holder of `workers` while the job is closed and nobody is inside, and read by those who are inside.
unsafe impl Sync for Pool {}
// SAFETY: as above; a context is only ever used while the caller of its job waits.
unsafe impl Send for Pool {}

impl Pool {
    pub(crate) fn global() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Pool {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            workers: Mutex::new(0),
            sleepers: Mutex::new(0),
            asleep: AtomicUsize::new(0),
            wake: Condvar::new(),
        })
    }

    /// Runs all chunks on up to `threads` threads, this one among them, which is worker 0.
    ///
    /// # Safety
    ///
    /// `run` may be called with `context` and any chunk below `chunks` from several threads at once, each with another worker below `threads`, and does not unwind.
    pub(crate) unsafe fn run(&'static self, threads: usize, chunks: usize, run: Run, context: *const ()) {
        // Another job is under way (another fit in this process): alone it takes longer, and gives the same.
        let guard = if threads > 1 { self.workers.try_lock().ok() } else { None };
        let Some(mut workers) = guard else {
            for c in 0..chunks {
                // SAFETY: the caller vouches for it.
                unsafe { run(context, c, 0) }
            }
            return;
        };
        while *workers + 1 < threads.min(chunks) {
            let id = *workers + 1;
            // Without a further thread the others do the work.
            if std::thread::Builder::new().name(format!("ppl-{id}")).spawn(move || self.work(id)).is_err() {
                break;
            }
            *workers += 1;
        }
        // SAFETY: the last job is closed and left, and this thread holds the lock.
        unsafe { *self.job.get() = Some(Job { run, context, chunks, threads }) }
        self.next.store(0, Ordering::Relaxed);
        let epoch = (self.state.load(Ordering::Relaxed) >> 32) + 1;
        self.state.store(epoch << 32 | OPEN, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            drop(self.sleepers.lock());
            self.wake.notify_all();
        }
        self.chunks(Job { run, context, chunks, threads }, 0);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins % 1000 == 0 {
                std::thread::yield_now();
            }
        }
    }

    fn chunks(&self, job: Job, worker: usize) {
        loop {
            let c = self.next.fetch_add(1, Ordering::Relaxed);
            if c >= job.chunks {
                return;
            }
            // SAFETY: the chunk is taken by this thread alone, and the job is open or holds this thread inside.
            unsafe { (job.run)(job.context, c, worker) }
        }
    }

    fn work(&self, id: usize) {
        let mut seen = 0;
        loop {
            let mut spins = 0u32;
            let mut since = Instant::now();
            // An open job that this worker has not seen.
            let now = loop {
                let s = self.state.load(Ordering::SeqCst);
                if s & OPEN != 0 && s >> 32 != seen {
                    break s;
                }
                spins += 1;
                if !spins.is_multiple_of(256) || since.elapsed() < AWAKE {
                    continue;
                }
                let Ok(mut sleepers) = self.sleepers.lock() else { return };
                *sleepers += 1;
                self.asleep.store(*sleepers, Ordering::SeqCst);
                loop {
                    let s = self.state.load(Ordering::SeqCst);
                    if s & OPEN != 0 && s >> 32 != seen {
                        break;
                    }
                    let Ok(woken) = self.wake.wait(sleepers) else { return };
                    sleepers = woken;
                }
                *sleepers -= 1;
                self.asleep.store(*sleepers, Ordering::SeqCst);
                since = Instant::now();
            };
            if self.state.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            seen = now >> 32;
            // SAFETY: this worker is inside, so the job stays.
            if let Some(job) = unsafe { *self.job.get() }
                && id < job.threads
            {
                self.chunks(job, id);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_chunk_runs_once() {
        unsafe fn mark(context: *const (), chunk: usize, worker: usize) {
            assert!(worker < 3);
            // SAFETY: the context is the array below.
            let cells = unsafe { &*context.cast::<[AtomicU64; 37]>() };
            cells[chunk].fetch_add(1, Ordering::Relaxed);
        }
        for threads in [1, 2, 3] {
            for round in 1..=500 {
                let cells = [const { AtomicU64::new(0) }; 37];
                // SAFETY: `mark` takes chunks from any thread.
                unsafe { Pool::global().run(threads, 37, mark, (&raw const cells).cast()) }
                assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == 1), "round {round}");
                if round % 250 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }
    }
}
