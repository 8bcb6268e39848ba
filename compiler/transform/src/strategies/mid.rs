//! The stage between `Est` and `Det`: draws have sites, choices still mark where a strategy acts.

use ppl_core::{AnyRandom, Atom, DetRandom, EstRandom, Func, RandomOp, RandomView, Stage};
use ppl_diag::Span;

/// See the module.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Mid;

impl Stage for Mid {
    type Random = MidRandom;
    const NAME: &'static str = "mid";
}

/// What is still random.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MidRandom {
    /// A draw.
    Rng(DetRandom),
    /// The value `x` of a choice whose continuation is called in place; a term that uses `captured` is added later.
    Mark { plan: usize, x: Atom, captured: Vec<Atom> },
    /// A choice whose continuation is called several times with gradients. Arguments: those of `whole`.
    Split { plan: usize, args: Vec<Atom> },
    /// `k(x)` in a plan's function: the cost of continuing with `x`; `fresh`: on random numbers of its own, at sites that this number changes.
    Again { x: Atom, fresh: Option<u64> },
}

impl RandomOp for MidRandom {
    fn atoms(&self) -> Vec<Atom> {
        match self {
            MidRandom::Rng(r) => r.atoms(),
            MidRandom::Mark { x, captured, .. } => std::iter::once(*x).chain(captured.iter().copied()).collect(),
            MidRandom::Split { args, .. } => args.clone(),
            MidRandom::Again { x, .. } => vec![*x],
        }
    }

    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        match self {
            MidRandom::Rng(r) => r.map_atoms(f),
            MidRandom::Mark { x, captured, .. } => {
                *x = f(*x);
                captured.iter_mut().for_each(|a| *a = f(*a));
            }
            MidRandom::Split { args, .. } => args.iter_mut().for_each(|a| *a = f(*a)),
            MidRandom::Again { x, .. } => *x = f(*x),
        }
    }

    fn is_pure(&self) -> bool {
        !matches!(self, MidRandom::Again { .. })
    }

    /// The stage has no text format of its own: marks and splits print as calls of `k`.
    fn view(&self) -> RandomView<'_> {
        const CHOICE: EstRandom = EstRandom::Continue { x: Atom::Lit(ppl_core::Lit::Int(0)), fresh: false };
        match self {
            MidRandom::Rng(r) => RandomView::Det(r),
            MidRandom::Mark { .. } | MidRandom::Split { .. } | MidRandom::Again { .. } => RandomView::Est(&CHOICE),
        }
    }

    fn from_any(any: AnyRandom) -> Option<Self> {
        if let AnyRandom::Det(r) = any { Some(MidRandom::Rng(r)) } else { None }
    }
}

/// How one choice's strategy is compiled.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The choice, for messages.
    pub(crate) label: String,
    /// The strategy's name, for messages.
    pub(crate) strategy: String,
    /// Where the choice is made.
    pub(crate) span: Span,
    pub(crate) kind: PlanKind,
    /// What its strategy returns besides the estimate.
    pub(crate) sides: Vec<PlanSide>,
}

/// A number that a strategy returns besides its estimate, in each lane.
#[derive(Clone, Debug)]
pub(crate) struct PlanSide {
    /// Whose next value it is.
    pub(crate) of: SideOf,
    /// As the plan's function: `(captured.., cost) -> number`.
    pub(crate) func: Func<Mid>,
}

/// What becomes of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SideOf {
    /// The mean over lanes is the next value of the function's parameter at this position.
    State(usize),
    /// The sum over lanes is minimised.
    Also,
}

/// By the strategy's use of `k`.
#[derive(Clone, Debug)]
pub(crate) enum PlanKind {
    /// One call with gradients, in place: `(captured.., cost) -> term` gives what is added to the estimate.
    Term {
        term: Func<Mid>,
        /// Whether the term has the cost's value outside `stop`.
        weighted: bool,
    },
    /// One call, at the end: nothing is left to do.
    Tail,
    /// Several: the whole strategy, `(parameters.., loop indices..) -> estimate`, with [`MidRandom::Again`]; and a plain draw.
    Whole { whole: Func<Mid>, draw: Func<Mid> },
}

/// The site of a draw in a run on random numbers of its own.
pub(crate) fn fresh_site(site: u64, salt: u64) -> u64 {
    crate::expand::fnv1a(&format!("{site:x}/{salt:x}"))
}

impl Plan {
    /// The plan of a choice that is made again in such a run.
    pub(crate) fn fresh(&self, salt: u64) -> Plan {
        let mut plan = self.clone();
        match &mut plan.kind {
            PlanKind::Term { term, .. } => resite(&mut term.body, salt),
            PlanKind::Whole { whole, draw } => {
                resite(&mut whole.body, salt);
                resite(&mut draw.body, salt);
            }
            PlanKind::Tail => {}
        }
        plan.sides.iter_mut().for_each(|s| resite(&mut s.func.body, salt));
        plan
    }
}

fn resite(block: &mut ppl_core::Block<Mid>, salt: u64) {
    for s in &mut block.stmts {
        match &mut s.op {
            ppl_core::Op::Random(MidRandom::Rng(r)) => r.site = fresh_site(r.site, salt),
            ppl_core::Op::Random(MidRandom::Again { fresh: Some(own), .. }) => *own = fresh_site(*own, salt),
            op => ppl_core::op_blocks_mut(op).into_iter().for_each(|b| resite(b, salt)),
        }
    }
}
