//! The table of `--time-passes`.

use std::fmt::Write as _;
use std::time::Duration;

/// Time and share of each pass; passes that ran several times are added up, in the order in which they first ran.
pub(crate) fn table(timings: &[(String, Duration)]) -> String {
    let mut rows: Vec<(&str, Duration, usize)> = Vec::new();
    for (name, time) in timings {
        match rows.iter_mut().find(|(n, ..)| n == name) {
            Some((_, t, runs)) => {
                *t += *time;
                *runs += 1;
            }
            None => rows.push((name, *time, 1)),
        }
    }
    let total: Duration = rows.iter().map(|(_, t, _)| *t).sum();
    let width = rows.iter().map(|(n, ..)| n.len()).max().unwrap_or(0).max(5);
    let mut out = format!("{:width$}  runs        ms   share\n", "pass");
    let share = |t: Duration| 100.0 * t.as_secs_f64() / total.as_secs_f64().max(1e-12);
    for (name, time, runs) in &rows {
        let _ = writeln!(out, "{name:width$}  {runs:4}  {:8.3}  {:5.1} %", time.as_secs_f64() * 1e3, share(*time));
    }
    let _ = writeln!(out, "{:width$}        {:8.3}  100.0 %", "total", total.as_secs_f64() * 1e3);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_passes_are_added_up() {
        let ms = |n| Duration::from_millis(n);
        let t = table(&[("cse".into(), ms(1)), ("vjp".into(), ms(6)), ("cse".into(), ms(1))]);
        assert!(t.contains("cse       2     2.000   25.0 %") && t.contains("8.000  100.0 %"), "{t}");
    }
}
