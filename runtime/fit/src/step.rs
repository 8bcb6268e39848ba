//! What the fit loop needs of a compiled (or interpreted) optimisation step.

use ppl_diag::{Diagnostic, Span};
use serde::Serialize;

/// A named array of numbers: a parameter, or a piece of state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Param {
    /// Its name, such as `mu` or `auto_normal.theta.log_scale`.
    pub name: String,
    /// Lengths of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order. Narrower types are widened, which is exact.
    pub values: Vec<f64>,
}

impl Param {
    /// Number of NaN and infinite elements, and the position of the first.
    pub fn non_finite(&self) -> Option<NonFinite> {
        let first = self.values.iter().position(|x| !x.is_finite())?;
        let count = self.values.iter().filter(|x| !x.is_finite()).count();
        Some(NonFinite { name: self.name.clone(), first: element_name("", &self.shape, first), count, of: self.values.len() })
    }
}

/// A parameter with elements that are NaN or infinite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NonFinite {
    /// The parameter.
    pub name: String,
    /// The first such element's index, such as `[3, 0]`, from 0; empty for a scalar.
    pub first: String,
    /// How many elements.
    pub count: usize,
    /// Of how many.
    pub of: usize,
}

/// Everything that a later step depends on, as named arrays: parameters, the optimiser's moments, state of strategies.
///
/// Randomness is a function of the step's number, so restoring a snapshot and running the same steps gives the same bits.
/// Arrays are known by name; their order has no meaning and files don't keep it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(pub Vec<Param>);

impl Snapshot {
    /// The array of this name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.0.iter().find(|p| p.name == name)
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|p| other.get(&p.name) == Some(p))
    }
}

/// Why native code stopped in the middle of a run of steps.
#[derive(Clone, Debug, Default)]
pub struct StepFault {
    /// The step that failed. The objectives of the steps before it have been written.
    pub step: u64,
    /// What went wrong, one plain sentence.
    pub message: String,
    /// The expression, where it is known.
    pub span: Span,
    /// Parameters whose gradient was not finite, where that was the reason.
    pub non_finite: Vec<NonFinite>,
    /// Whether the estimate of the objective itself was not finite.
    pub objective: Option<f64>,
}

/// A compiled optimisation step with its parameters and state.
pub trait Step {
    /// Runs `out.len()` consecutive steps, the first of which has number `start`, and writes each step's estimate of the
    /// objective, taken before its update.
    ///
    /// # Errors
    /// The first step that failed. The state is then whatever that step left.
    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault>;

    /// The parameters.
    fn params(&self) -> Vec<Param>;

    /// Sets parameters by name; those not named stay.
    ///
    /// # Errors
    /// `E0623` for unknown names and wrong shapes; nothing is changed then. [`check_params`] does the comparison.
    fn set_params(&mut self, params: &[Param]) -> Result<(), Diagnostic>;

    /// The whole state.
    fn snapshot(&self) -> Snapshot;

    /// Goes back to a state that [`snapshot`](Step::snapshot) returned, in this run or an earlier one.
    ///
    /// # Errors
    /// `E0623` for a state of another program; nothing is changed then. [`check_params`] does the comparison. A state of
    /// the same step is never refused.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic>;
}

/// Compares `new` parameters with those of the program by name and shape. With `all`, each of the program's must be there.
///
/// # Errors
/// `E0623`, whose notes list every difference.
pub fn check_params(program: &[Param], new: &[Param], all: bool) -> Result<(), Diagnostic> {
    let mut notes = Vec::new();
    for n in new {
        match program.iter().find(|p| p.name == n.name) {
            None => {
                let near = ppl_diag::did_you_mean(&n.name, program.iter().map(|p| p.name.as_str()));
                let near = near.map_or(String::new(), |p| format!(" (it has `{p}`)"));
                notes.push(format!("`{}` is no parameter of the program{near}", n.name));
            }
            Some(p) if p.shape != n.shape => {
                notes.push(format!("`{}` has shape {:?} in the program, but {:?} where it was saved", p.name, p.shape, n.shape));
            }
            Some(_) => {}
        }
    }
    if all {
        let absent = program.iter().filter(|p| new.iter().all(|n| n.name != p.name));
        notes.extend(absent.map(|p| format!("`{}` was not saved", p.name)));
    }
    if notes.is_empty() {
        return Ok(());
    }
    let d = Diagnostic::error(ppl_diag::Code("E0623"), "the saved parameters don't fit the program");
    Err(notes.into_iter().fold(d, Diagnostic::note))
}

/// `theta[2, 0]`, indices from 0 as in programs; just `theta` for a scalar.
pub fn element_name(name: &str, shape: &[usize], position: usize) -> String {
    if shape.is_empty() {
        return name.to_owned();
    }
    let index: Vec<String> = crate::data::unravel(position, shape).iter().map(ToString::to_string).collect();
    format!("{name}[{}]", index.join(", "))
}

/// The indices of an element, from 0; none for a scalar.
pub fn index_of(position: usize, shape: &[usize]) -> Vec<usize> {
    crate::data::unravel(position, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_all_listed() {
        let p = |name: &str, shape: &[usize]| Param { name: name.into(), shape: shape.into(), values: vec![] };
        let program = [p("mu", &[2]), p("log_sigma", &[2])];
        assert!(check_params(&program, &program, true).is_ok());
        assert!(check_params(&program, &program[..1], false).is_ok());
        let d = check_params(&program, &[p("mu", &[3]), p("log_sigm", &[2])], true).unwrap_err();
        assert_eq!(d.notes.len(), 3, "{:?}", d.notes);
        assert!(d.notes[1].contains("it has `log_sigma`"));
    }

    #[test]
    fn non_finite_elements_have_names() {
        let p = Param { name: "w".into(), shape: vec![2, 2], values: vec![0.0, 1.0, f64::NAN, f64::INFINITY] };
        let bad = p.non_finite().unwrap();
        assert_eq!((bad.first.as_str(), bad.count, bad.of), ("[1, 0]", 2, 4));
        assert_eq!(element_name("mu", &[], 0), "mu");
    }
}
