//! The search over strategies: all combinations where they are few, else choice by choice.
//!
//! ```text
//!   greedy       for each choice: measure its strategies with the picks so far in place, take one; sweeps until none changes, at most 3
//!   exhaustive   measure all combinations, take one; what a choice's change adds must be better by itself, else it is undone
//! ```
//!
//! What measures is behind [`Bench`], so that the search can be tested without a clock.

use super::decide::{Measured, Ratio, pick, ratio};
use ppl_diag::Diagnostic;

/// Combinations up to which all are measured.
pub(crate) const ALL: usize = 64;
/// Sweeps at most.
pub(crate) const SWEEPS: usize = 3;

/// Number of the strategy of each choice; 0 is the one in use at first.
pub(crate) type Setting = Vec<usize>;

/// What came of measuring a setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// Measured. `biased` where a strategy in it is marked so.
    Measured { measured: Measured, biased: bool },
    /// The compiler refuses it, or its gradient is not finite.
    Refused(Box<Diagnostic>),
    /// Marked biased, and so not measured.
    Biased,
    /// There was no time.
    NotMeasured,
}

impl Finding {
    /// What was measured.
    pub(crate) fn measured(&self) -> Option<&Measured> {
        match self {
            Finding::Measured { measured, .. } => Some(measured),
            Finding::Refused(_) | Finding::Biased | Finding::NotMeasured => None,
        }
    }
}

/// What measures settings.
pub(crate) trait Bench {
    /// Why nothing can be measured at all.
    type Error;

    /// Measures settings against each other; the first is the one that the others are compared with. `share` is the part of the time that is
    /// left which they may take.
    ///
    /// # Errors
    /// The first can't be measured.
    fn measure(&mut self, settings: &[Setting], share: f64) -> Result<Vec<Finding>, Self::Error>;

    /// Whether there is time for another sweep.
    fn again(&self) -> bool;

    /// Whether there is time for that many settings.
    fn affordable(&mut self, settings: usize) -> bool;
}

/// How the search went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// All combinations were measured.
    Exhaustive { combinations: usize },
    /// Choice by choice; `settled` where the last sweep changed nothing.
    Greedy { sweeps: usize, settled: bool },
}

/// A strategy of a choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What came of it when it was measured last.
    pub(crate) finding: Finding,
    /// Its cost relative to that of the strategy in use at first, measured beside it.
    pub(crate) ratio: Option<Ratio>,
}

impl Row {
    /// Not measured yet.
    const OPEN: Row = Row { finding: Finding::NotMeasured, ratio: None };
}

/// What the search found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The picks.
    pub(crate) picked: Setting,
    /// Of each choice, a row for each strategy, with the picks of the other choices in place.
    pub(crate) table: Vec<Vec<Row>>,
    /// All picks together, beside what was in use at first; absent where nothing changed.
    pub(crate) overall: Option<(Measured, Measured)>,
    /// How it went.
    pub(crate) how: How,
}

/// Searches; `options[c]` is the number of strategies of choice `c`, the one in use included.
///
/// # Errors
/// What is in use can't be measured.
pub(crate) fn search<B: Bench>(bench: &mut B, options: &[usize]) -> Result<Found, B::Error> {
    let combinations = options.iter().try_fold(1usize, |n, k| n.checked_mul(*k)).filter(|n| *n <= ALL);
    match combinations {
        Some(n) if options.len() > 1 && bench.affordable(n) => exhaustive(bench, options),
        _ => greedy(bench, options),
    }
}

/// The ratios of findings to the first; absent where they may not be taken.
fn ratios(findings: &[Finding]) -> Vec<Option<Ratio>> {
    let base = findings.first().and_then(Finding::measured);
    let of = |(k, f): (usize, &Finding)| match (k, f.measured(), base) {
        (0, Some(_), _) => Some(Ratio::ONE),
        (_, Some(m), Some(b)) => Some(ratio(m, b)),
        _ => None,
    };
    findings.iter().enumerate().map(of).collect()
}

/// `at` with strategy `k` for choice `c`.
fn with(at: &Setting, c: usize, k: usize) -> Setting {
    let mut s = at.clone();
    s[c] = k;
    s
}

/// How many times as costly as the pick a strategy must be to be left out of later sweeps.
const FAR: f64 = 4.0;

/// Strategies that another sweep measures: the pick first, then the one in use at first, those that were near, and those of which nothing is known.
fn near(rows: &[Row], at: usize) -> Vec<usize> {
    let pick = rows[at].ratio.map_or(1.0, |r| r.value);
    let again = |k: usize, r: &Row| match (&r.finding, r.ratio) {
        (Finding::Biased, _) => false,
        (Finding::Measured { .. }, Some(x)) => k == 0 || x.value < FAR * pick,
        _ => true,
    };
    let others = rows.iter().enumerate().filter(|(k, r)| *k != at && again(*k, r)).map(|(k, _)| k);
    std::iter::once(at).chain(others).collect()
}

fn greedy<B: Bench>(bench: &mut B, options: &[usize]) -> Result<Found, B::Error> {
    let start: Setting = vec![0; options.len()];
    let mut at = start.clone();
    let mut table: Vec<Vec<Row>> = options.iter().map(|n| vec![Row::OPEN; *n]).collect();
    // The picks with which each choice was measured last.
    let mut seen: Vec<Option<Setting>> = vec![None; options.len()];
    let total: usize = options.iter().sum();
    let (mut sweeps, mut settled) = (0, false);
    while sweeps < SWEEPS && !settled && (sweeps == 0 || bench.again()) {
        sweeps += 1;
        settled = true;
        let mut left = total;
        for (c, n) in options.iter().enumerate() {
            // The first sweep leaves a third of the time for others.
            let reserve = if sweeps == 1 { 0.5 * total as f64 } else { 2.0 };
            let share = *n as f64 / (left as f64 + reserve);
            left -= n;
            if seen[c].as_ref() == Some(&at) {
                continue;
            }
            let strategies = near(&table[c], at[c]);
            if strategies.len() == 1 && sweeps > 1 {
                continue;
            }
            let settings: Vec<Setting> = strategies.iter().map(|k| with(&at, c, *k)).collect();
            let findings = bench.measure(&settings, share)?;
            if findings.iter().all(|f| *f == Finding::NotMeasured) {
                continue;
            }
            let taken = pick(&ratios(&findings));
            settled &= taken == 0;
            at.clone_from(&settings[taken]);
            note(&mut table[c], &strategies, findings);
            seen[c] = Some(at.clone());
        }
        // One choice alone can't change again.
        settled |= options.len() == 1;
    }
    let overall = if at == start { None } else { compare(bench, &start, &at)? };
    Ok(Found { picked: at, table, overall, how: How::Greedy { sweeps, settled } })
}

/// Rows of what was measured together, relative to the strategy in use at first.
fn note(rows: &mut [Row], strategies: &[usize], findings: Vec<Finding>) {
    let base = strategies.iter().position(|k| *k == 0).and_then(|k| findings[k].measured()).cloned();
    for (k, finding) in strategies.iter().zip(findings) {
        let ratio = match (k, finding.measured(), &base) {
            (0, Some(_), _) => Some(Ratio::ONE),
            (_, Some(m), Some(b)) => Some(ratio(m, b)),
            _ => None,
        };
        // What was known is more than that there was no time.
        if finding != Finding::NotMeasured {
            rows[*k] = Row { finding, ratio };
        }
    }
}

fn compare<B: Bench>(bench: &mut B, start: &Setting, at: &Setting) -> Result<Option<(Measured, Measured)>, B::Error> {
    let both = bench.measure(&[start.clone(), at.clone()], 1.0)?;
    Ok(match &both[..] {
        [a, b] => a.measured().cloned().zip(b.measured().cloned()),
        _ => None,
    })
}

fn exhaustive<B: Bench>(bench: &mut B, options: &[usize]) -> Result<Found, B::Error> {
    let mut all: Vec<Setting> = vec![Vec::new()];
    for n in options {
        all = all.iter().flat_map(|s| (0..*n).map(|k| [&s[..], &[k]].concat())).collect();
    }
    let combinations = all.len();
    let findings = bench.measure(&all, 0.9)?;
    let place = |s: &Setting| s.iter().zip(options).fold(0, |at, (k, n)| at * n + k);
    let mut at = all[pick(&ratios(&findings))].clone();
    // What one change adds to the others must be better by itself.
    while let Some(c) = (0..options.len()).filter(|c| at[*c] != 0).find(|c| {
        let pair = [findings[place(&with(&at, *c, 0))].clone(), findings[place(&at)].clone()];
        pair[0].measured().is_some() && pick(&ratios(&pair)) == 0
    }) {
        at[c] = 0;
    }
    let row = |(c, n): (usize, &usize)| {
        let mut rows = vec![Row::OPEN; *n];
        let strategies: Vec<usize> = (0..*n).collect();
        note(&mut rows, &strategies, strategies.iter().map(|k| findings[place(&with(&at, c, *k))].clone()).collect());
        rows
    };
    let table = options.iter().enumerate().map(row).collect();
    let overall = findings[0].measured().cloned().zip(findings[place(&at)].measured().cloned()).filter(|_| place(&at) != 0);
    Ok(Found { picked: at, table, overall, how: How::Exhaustive { combinations } })
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
