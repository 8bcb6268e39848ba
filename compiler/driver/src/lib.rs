//! The compiler as a library: from source text to checked programs, and on to deterministic functions ready for an engine.
//!
//! **Invariant:** files are read only through [`Files`]; nothing is printed; candle and Cranelift are not needed, so checking a
//! file is cheap. Engines and data come from the caller.

mod goals;
mod lower;
mod source;

pub use lower::{
    Cx, Expectation, FitCode, Lowered, STAGES, analyse, choice_costs, lower_density, lower_draws, lower_expectation,
    lower_expression, lower_fit, lower_function, lower_values,
};
pub use ppl_check as check;
pub use ppl_transform::{ChoiceCosts, CostTerm, Divergences, EliminationCost, Reach, step};
pub use source::{Disk, Files, Source, library, library_module};

use ppl_check::{Checked, DataShapes, FitOverrides, Program};
use ppl_diag::{Code, Diagnostic, Severity};
use ppl_transform::Chosen;

/// Checks a source. Without `shapes`, unknown sizes are stand-ins: what checks then is right for all sizes.
pub fn check_source(source: &Source, shapes: Option<DataShapes>, overrides: &FitOverrides) -> Checked {
    let mut checked = ppl_check::elaborate(&source.libraries(), &source.file, shapes, overrides);
    if checked.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        // The fit can't be lowered, but programs that are whole can still be searched for biased uses.
        let program = Program { fit: None, ..std::mem::take(&mut checked.program) };
        if let Err(more) = analyse(&program, &mut Cx::default()) {
            checked.diagnostics.extend(more);
        }
        checked.program = program;
    }
    checked.diagnostics.splice(0..0, source.diagnostics.iter().cloned());
    checked
}

/// A warning for each choice whose strategy is marked biased.
pub fn biased(chosen: &[Chosen]) -> Vec<Diagnostic> {
    let of = chosen.iter().filter(|c| c.biased);
    of.map(|c| {
        Diagnostic::warning(Code("E0475"), format!("the gradient is biased: `{}` at `{}`", c.strategy, c.label))
            .label(c.span, format!("`{}` is marked biased by its author", c.strategy))
            .help("`ppl check-grad` shows by how much; its list has the strategies without bias")
    })
    .collect()
}
