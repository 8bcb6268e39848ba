//! The order of the passes, and what happens around each: timing, skipping, dumping, verifying.
//!
//! This is the only place that orders passes.

use crate::{SimplifyOptions, columns, cse, dce, inline_calls, licm, reciprocals, simplify_det, unroll};
use ppl_core::{Det, Func, Module, verify};
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// Where a pipeline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before derivatives are taken: `stop` is opaque.
    BeforeVjp,
    /// After that.
    AfterVjp,
}

/// How long one pass took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassTiming {
    /// The pass.
    pub name: &'static str,
    /// Wall-clock time, verification and dumps excluded.
    pub time: Duration,
    /// Statements of the function after the pass, nested ones included.
    pub stmts: usize,
}

/// A pass broke the program: a fault of the compiler.
#[derive(Clone, Debug, PartialEq)]
pub struct OptError {
    /// The pass.
    pub pass: &'static str,
    /// The function.
    pub func: String,
    /// What the verifier said.
    pub message: String,
    /// The program as the pass left it.
    pub program: Box<Func<Det>>,
}

impl fmt::Display for OptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pass `{}` broke the function `{}`: {}", self.pass, self.func, self.message)
    }
}

impl std::error::Error for OptError {}

/// A pass on deterministic functions.
struct Pass {
    name: &'static str,
    run: fn(&mut Func<Det>, &[Func<Det>], SimplifyOptions),
}

/// In order. `inline_calls` comes first, since moving or merging calls would change the numbers of their draws; `unroll` before what simplifies its rounds; `licm`
/// uncovers repeats across loops for `cse`, `cse` equal operands for the second `simplify`. `columns` needs to see all that is left.
const PIPELINE: &[Pass] = &[
    Pass { name: "inline_calls", run: |f, dets, _| inline_calls(f, dets) },
    Pass {
        name: "unroll",
        run: |f, _, o| {
            if o.after_vjp {
                unroll(f)
            }
        },
    },
    Pass { name: "simplify", run: |f, _, o| simplify_det(f, o) },
    Pass { name: "dce", run: |f, _, _| dce(f) },
    Pass { name: "licm", run: |f, _, _| licm(f) },
    Pass { name: "cse", run: |f, _, _| cse(f) },
    Pass { name: "simplify", run: |f, _, o| simplify_det(f, o) },
    Pass {
        name: "reciprocals",
        run: |f, _, o| {
            if o.after_vjp && o.reassociate {
                reciprocals(f)
            }
        },
    },
    Pass { name: "cse", run: |f, _, _| cse(f) },
    Pass { name: "dce", run: |f, _, _| dce(f) },
    Pass {
        name: "columns",
        run: |f, _, o| {
            if o.after_vjp && o.reassociate {
                columns(f)
            }
        },
    },
];

/// A verifier: says what is wrong with a function.
pub type Verify<'a> = &'a dyn Fn(&Func<Det>) -> Result<(), String>;

/// Called with a pass's name and the program before (`false`) and after (`true`) it.
pub type Dump<'a> = &'a mut dyn FnMut(&'static str, bool, &Func<Det>);

/// Runs the passes and keeps account.
#[derive(Default)]
pub struct PassManager<'a> {
    /// Names of passes to leave out.
    pub skip: BTreeSet<String>,
    /// Run only this many passes, for bisecting.
    pub limit: Option<usize>,
    /// Leave out rules that change rounding.
    pub exact: bool,
    /// Run after every pass. Debug builds run [`ppl_core::verify`] where none is given.
    pub verify: Option<Verify<'a>>,
    /// Sees the program around every pass.
    pub dump: Option<Dump<'a>>,
    /// How long each pass took, in order.
    pub timings: Vec<PassTiming>,
}

impl PassManager<'_> {
    /// Names of the passes in the order in which they run, repeats included.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PIPELINE.iter().map(|p| p.name)
    }

    /// Optimises `f`; `dets` are the functions that it may call.
    ///
    /// # Errors
    /// A pass broke the program; the program is in the error.
    pub fn run(&mut self, f: &mut Func<Det>, dets: &[Func<Det>], when: When) -> Result<(), OptError> {
        let module =
            (cfg!(debug_assertions) && self.verify.is_none()).then(|| Module { dets: dets.to_vec(), ..Module::default() });
        let options = SimplifyOptions { after_vjp: when == When::AfterVjp, reassociate: !self.exact };
        for pass in PIPELINE.iter().take(self.limit.unwrap_or(usize::MAX)) {
            if self.skip.contains(pass.name) {
                continue;
            }
            if let Some(dump) = &mut self.dump {
                dump(pass.name, false, f);
            }
            let start = Instant::now();
            (pass.run)(f, dets, options);
            self.timings.push(PassTiming { name: pass.name, time: start.elapsed(), stmts: count(&f.body) });
            if let Some(dump) = &mut self.dump {
                dump(pass.name, true, f);
            }
            self.check(pass.name, f, module.as_ref())?;
        }
        Ok(())
    }

    fn check(&self, pass: &'static str, f: &Func<Det>, module: Option<&Module>) -> Result<(), OptError> {
        let result = match (self.verify, module) {
            (Some(check), _) => check(f),
            (None, Some(module)) => verify(module, f).map_err(|faults| {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                lines.join("; ")
            }),
            (None, None) => Ok(()),
        };
        result.map_err(|message| OptError { pass, func: f.name.clone(), message, program: Box::new(f.clone()) })
    }
}

pub(crate) fn count(b: &ppl_core::Block<Det>) -> usize {
    b.stmts.iter().map(|s| 1 + ppl_core::op_blocks(&s.op).into_iter().map(count).sum::<usize>()).sum()
}
