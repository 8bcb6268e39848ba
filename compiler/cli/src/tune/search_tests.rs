//! The search with variances and times that are given.

use super::*;

/// A bench that knows the answers: `(variance, seconds)` of a setting, none where it is refused.
struct Known<F> {
    costs: F,
    calls: Vec<Vec<Setting>>,
    time: usize,
}

impl<F: Fn(&Setting) -> Option<(f64, f64)>> Bench for Known<F> {
    type Error = ();

    fn measure(&mut self, settings: &[Setting], _: f64) -> Result<Vec<Finding>, ()> {
        self.calls.push(settings.to_vec());
        if self.time == 0 {
            return Ok(vec![Finding::NotMeasured; settings.len()]);
        }
        self.time -= 1;
        let one = |s: &Setting| match (self.costs)(s) {
            Some((variance, t)) => {
                let measured =
                    Measured { variance, variance_se: 0.01 * variance, rounds: vec![t; 3], draws: 100, ..Measured::default() };
                Finding::Measured { measured, biased: false }
            }
            None => Finding::Refused(Box::new(Diagnostic::error(ppl_diag::Code("E0412"), "no"))),
        };
        Ok(settings.iter().map(one).collect())
    }

    fn again(&self) -> bool {
        true
    }

    fn affordable(&mut self, _: usize) -> bool {
        true
    }
}

fn known<F: Fn(&Setting) -> Option<(f64, f64)>>(costs: F) -> Known<F> {
    Known { costs, calls: Vec::new(), time: 1000 }
}

#[test]
fn few_combinations_are_all_measured() {
    // Neither change helps alone: only together.
    let mut b = known(|s| Some(if s[..] == [1, 1] { (0.1, 1.0) } else { (1.0, 1.0) }));
    let Ok(f) = search(&mut b, &[2, 2]) else { panic!() };
    assert_eq!((f.picked, f.how), (vec![1, 1], How::Exhaustive { combinations: 4 }));
    assert_eq!(b.calls.len(), 1);
    let (before, after) = f.overall.unwrap_or_default();
    assert!(before.variance == 1.0 && after.variance == 0.1);
}

#[test]
fn changes_that_add_nothing_are_undone() {
    // The second choice makes no difference beyond noise.
    let mut b = known(|s| Some((if s[0] == 1 { 0.1 } else { 1.0 } * if s[1] == 1 { 0.99 } else { 1.0 }, 1.0)));
    let Ok(f) = search(&mut b, &[2, 2]) else { panic!() };
    assert_eq!(f.picked, [1, 0]);
}

#[test]
fn many_combinations_are_searched_choice_by_choice() {
    // Strategy k of each choice is best where k is the choice's number plus one.
    let cost = |s: &Setting| s.iter().enumerate().map(|(c, k)| if *k == c + 1 { 1.0 } else { 10.0 }).sum::<f64>();
    let mut b = known(|s| Some((cost(s), 1.0)));
    let Ok(f) = search(&mut b, &[5, 5, 5]) else { panic!() };
    assert_eq!((f.picked, f.how), (vec![1, 2, 3], How::Greedy { sweeps: 2, settled: true }));
    // The last choice saw all final picks already: the second sweep measures the two before it, and at the end all is compared with the start.
    assert_eq!(b.calls.len(), 3 + 2 + 1);
    assert_eq!(f.table[0].len(), 5);
    assert_eq!(f.table[0][0].ratio, Some(Ratio::ONE));
    assert!(f.table[0][1].ratio.is_some_and(|r| (r.value - 3.0 / 12.0).abs() < 1e-12), "{:?}", f.table[0]);
}

#[test]
fn time_counts_as_variance_does() {
    let mut b = known(|s| Some([(1.0, 1.0), (0.5, 3.0), (0.6, 1.0)][s[0]]));
    let Ok(f) = search(&mut b, &[3]) else { panic!() };
    assert_eq!((f.picked, f.how), (vec![2], How::Greedy { sweeps: 1, settled: true }));
}

#[test]
fn what_is_refused_is_not_picked() {
    let mut b = known(|s| (s[0] != 1).then_some((1.0 / (1.0 + s[0] as f64), 1.0)));
    let Ok(f) = search(&mut b, &[3]) else { panic!() };
    assert_eq!(f.picked, [2]);
    assert!(matches!(f.table[0][1].finding, Finding::Refused(_)));
}

#[test]
fn without_time_nothing_changes() {
    let mut b = Known { time: 1, ..known(|s: &Setting| Some((1.0 / (1.0 + s[0] as f64 + s[1] as f64), 1.0))) };
    let Ok(f) = search(&mut b, &[9, 9]) else { panic!() };
    assert_eq!(f.picked, [8, 0]);
    assert!(f.table[1].iter().all(|x| x.finding == Finding::NotMeasured) && f.overall.is_none());
}

#[test]
fn later_sweeps_leave_out_what_was_far() {
    // Of the first choice's strategies one is far from all others, whatever the second is.
    let first = [1.0, 0.5, 100.0];
    let mut b = known(|s| Some((first[s[0]] + [5.0, 1.0][s[1] % 2], 1.0)));
    let Ok(f) = greedy(&mut b, &[3, 40]) else { panic!() };
    assert_eq!(f.picked, [1, 1]);
    assert_eq!(b.calls.iter().map(Vec::len).collect::<Vec<_>>(), [3, 40, 2, 2]);
    assert!(f.table[0][2].finding.measured().is_some());
}
