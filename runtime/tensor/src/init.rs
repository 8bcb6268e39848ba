//! Process set-up.

/// Prepares the process for the tensor library; a binary calls it first thing in `main`, before it starts a thread.
///
/// candle counts the machine's CPUs anew for every matrix product unless `RAYON_NUM_THREADS` is set, which costs more than a small
/// product itself. So the variable is set here, to `threads` or else to the number of available CPUs, if the user has not set it.
/// Where the process may already have several threads, changing its environment would be unsound, and nothing happens.
pub fn init(threads: Option<usize>) {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_some() || !single_threaded() {
        return;
    }
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(|n| n.get())).unwrap_or(1).max(1);
    // SAFETY: this process has one thread, the present one, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var(VARIABLE, threads.to_string()) }
}

/// Whether the process surely has one thread.
fn single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn leaves_the_environment_alone_beside_other_threads() {
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || rx.recv());
        assert!(!super::single_threaded());
        super::init(Some(3));
        assert_ne!(std::env::var("RAYON_NUM_THREADS").ok().as_deref(), Some("3"));
        drop(tx);
        assert!(other.join().is_ok());
    }
}
