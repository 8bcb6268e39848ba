//! Smooth and rigid values, and the choice of strategies.
//!
//! in:    flat `Est`; which parameters are learned; places where the author assumes continuity
//! out:   `Est` in which every sample has a strategy (or is a plain draw), and what was chosen and why
//! keeps: everything else
//!
//! A value is smooth if a learned parameter reaches it by computation:
//!
//! ```text
//!   smooth(param)            learned
//!   smooth(op(x..))          some x is smooth, and the result is real      (stop does not change it)
//!   smooth(sample d(a) by s) s is pathwise and some a is smooth
//!   rigid                    all else: data, constants, indices, truth values, other draws
//! ```
//!
//! Comparing, rounding or indexing with a smooth value is a conflict: the derivative of such a step is zero almost everywhere, and the
//! jumps, which also move the expectation, would be missed. A support whose bounds are smooth rules out strategies that score, and
//! is a conflict where a given value is scored.
//!
//! Where no strategy was written: pathwise first; a conflict that starts at the choice moves it to the next candidate that is not
//! pathwise. A choice that nothing smooth reaches is drawn.

use ppl_core::{
    Atom, Block, DType, DetId, DistUse, Est, EstRandom, Func, Lit, Module, Op, Prim, RandomOp, RandomView, Stage, Stmt,
    StrategyId, StrategyUse, Support, Var,
};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What was decided for one choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The choice, `guide.z`.
    pub label: String,
    /// The strategy's name; `draw` where no gradient is needed.
    pub strategy: String,
    /// Why, in a few words.
    pub why: String,
    /// The distribution's name.
    pub dist: String,
    /// Where the choice is made.
    pub span: Span,
    /// Whether the strategy is marked biased.
    pub biased: bool,
    /// Whether the compiler picked it.
    pub auto: bool,
    /// The strategy's text, where one is written: at the choice, in a `by { }`, or on the command line.
    pub written: Span,
    /// Whether something that is learned reaches its parameters.
    pub reached: bool,
}

/// Where smoothness starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmoothSource {
    /// A learned parameter.
    Param(String),
    /// A choice with a pathwise strategy.
    Choice {
        /// Its label.
        label: String,
        /// Where it is made.
        span: Span,
    },
}

/// A use of a smooth value that would bias the gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmoothConflict {
    /// Where smoothness starts.
    pub source: SmoothSource,
    /// Statements on the way, from the source to the use.
    pub path: Vec<Span>,
    /// The use.
    pub use_span: Span,
    /// What the use does: `compared`, `rounded`, ..
    pub what: &'static str,
}

/// Resolves every strategy of `func`. `learned[i]`: parameter `i` is learned; uses inside the spans `exempt` are the author's word.
///
/// Errors: conflicts that no choice of strategy removes (E0402), a moving support under a strategy that scores (E0409), a distribution
/// without a strategy (E0403).
pub fn smooth(
    module: &Module,
    func: &Func<Est>,
    learned: &[bool],
    exempt: &HashSet<Span>,
) -> Result<(Func<Est>, Vec<Chosen>), Vec<Diagnostic>> {
    smooth_avoiding(module, func, learned, exempt, &Avoid::new())
}

/// Strategies that are not to be picked for a choice (by its label, as users know it), with the reason, in a few words.
pub type Avoid = BTreeMap<String, BTreeMap<String, String>>;

/// As [`smooth`], where some strategies of some choices are known not to work.
///
/// # Errors
/// As [`smooth`].
pub fn smooth_avoiding(
    module: &Module,
    func: &Func<Est>,
    learned: &[bool],
    exempt: &HashSet<Span>,
    avoid: &Avoid,
) -> Result<(Func<Est>, Vec<Chosen>), Vec<Diagnostic>> {
    let mut current: BTreeMap<String, Option<StrategyId>> = BTreeMap::new();
    let mut reasons: HashMap<String, String> = HashMap::new();
    loop {
        let mut a = Analysis { module, exempt, current: &current, avoid, conflicts: Vec::new(), choices: Vec::new() };
        let params = func.params.iter().enumerate().map(|(i, p)| {
            let source = SmoothSource::Param(func.vars[p.index()].name.clone());
            let real = func.ty(*p).dtype == DType::Float;
            (real && learned.get(i) == Some(&true)).then(|| Origin { source, path: Vec::new() })
        });
        a.function(func, &params.collect::<Vec<_>>(), 0);
        let (conflicts, choices) = (a.conflicts, a.choices);
        let mut moved = false;
        for c in &conflicts {
            let SmoothSource::Choice { label, .. } = &c.source else { continue };
            let Some(choice) = choices.iter().find(|x| x.label == *label && x.auto) else { continue };
            let taken = |s: &StrategyId| avoided(avoid, label, &module.strategy(*s).name).is_none();
            let next =
                module.dist(choice.dist).auto.iter().find(|s| !module.strategy(**s).pathwise && !choice.moving && taken(s));
            if let Some(next) = next
                && current.insert(label.clone(), Some(*next)) != Some(Some(*next))
            {
                reasons.insert(label.clone(), format!("its value is {}", c.what));
                moved = true;
            }
        }
        if moved {
            continue;
        }
        let mut errors: Vec<Diagnostic> = Vec::new();
        for c in &conflicts {
            let d = conflict(module, c, &choices);
            if !errors.contains(&d) {
                errors.push(d);
            }
        }
        errors.extend(choices.iter().filter_map(|c| moving_support(module, c)));
        errors.extend(choices.iter().filter(|c| c.auto && c.smooth && c.strategy.is_none()).map(|c| no_strategy(module, c)));
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut out = func.clone();
        let mut picked: HashMap<&str, &Choice> = HashMap::new();
        choices.iter().for_each(|c| {
            picked.insert(&c.label, c);
        });
        resolve(module, &mut out.body, &picked);
        let mut seen = HashSet::new();
        let reason = |c: &Choice| {
            let avoided = avoid.get(crate::user_label(&c.label)).and_then(|a| a.iter().next_back());
            reasons.get(&c.label).cloned().or_else(|| avoided.map(|(s, why)| format!("not `{s}`: {why}")))
        };
        let report = choices.iter().filter(|c| seen.insert(&c.label)).map(|c| chosen(module, c, reason(c).as_ref())).collect();
        return Ok((out, report));
    }
}

/// One choice in one analysis.
#[derive(Clone, Debug)]
struct Choice {
    label: String,
    dist: ppl_core::DistId,
    span: Span,
    auto: bool,
    strategy: Option<StrategyId>,
    /// The strategy's text, where one is written.
    written: Span,
    /// Whether something smooth reaches its parameters.
    smooth: bool,
    /// Whether these include bounds of its support.
    moving: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Origin {
    source: SmoothSource,
    path: Vec<Span>,
}

impl Origin {
    fn through(&self, span: Span) -> Origin {
        let mut out = self.clone();
        if span != Span::NONE && out.path.last() != Some(&span) && out.path.len() < 12 {
            out.path.push(span);
        }
        out
    }
}

struct Analysis<'a> {
    module: &'a Module,
    exempt: &'a HashSet<Span>,
    current: &'a BTreeMap<String, Option<StrategyId>>,
    avoid: &'a Avoid,
    conflicts: Vec<SmoothConflict>,
    choices: Vec<Choice>,
}

/// One function's values.
struct Frame<'f, S: Stage> {
    func: &'f Func<S>,
    smooth: HashMap<Var, Origin>,
    /// Samples' distributions: scoring a draw by what it was drawn from is inside the support.
    drawn: HashMap<Var, DistUse>,
    depth: usize,
}

impl Analysis<'_> {
    fn function<S: Stage>(&mut self, func: &Func<S>, args: &[Option<Origin>], depth: usize) -> Vec<Option<Origin>> {
        let mut frame = Frame { func, smooth: HashMap::new(), drawn: HashMap::new(), depth };
        for (p, a) in func.params.iter().zip(args) {
            if let Some(a) = a {
                frame.smooth.insert(*p, a.clone());
            }
        }
        self.block(&mut frame, &func.body);
        func.body.results.iter().map(|r| of(&frame.smooth, *r)).collect()
    }

    fn block<S: Stage>(&mut self, f: &mut Frame<'_, S>, block: &Block<S>) {
        for stmt in &block.stmts {
            let outs = self.stmt(f, stmt);
            for (v, o) in stmt.outs.iter().zip(outs) {
                match o {
                    Some(o) if f.func.ty(*v).dtype == DType::Float => {
                        f.smooth.insert(*v, o);
                    }
                    _ => {}
                }
            }
        }
    }

    fn stmt<S: Stage>(&mut self, f: &mut Frame<'_, S>, stmt: &Stmt<S>) -> Vec<Option<Origin>> {
        let n = stmt.outs.len();
        let first = |f: &Frame<'_, S>, atoms: &[Atom]| atoms.iter().find_map(|a| of(&f.smooth, *a));
        match &stmt.op {
            Op::Prim(p, args) => {
                let origin = first(f, args);
                if let (Some(o), Some(what)) = (&origin, jumps(*p)) {
                    self.conflict(o, stmt.span, what);
                    return vec![None; n];
                }
                vec![origin.map(|o| o.through(stmt.span)); n]
            }
            Op::ArgMax { x, .. } => {
                if let Some(o) = of(&f.smooth, *x) {
                    self.conflict(&o, stmt.span, "used to pick an index");
                }
                vec![None; n]
            }
            Op::If { then, els, .. } => {
                self.block(f, then);
                self.block(f, els);
                let pairs = then.results.iter().zip(&els.results);
                pairs.map(|(t, e)| of(&f.smooth, *t).or_else(|| of(&f.smooth, *e))).collect()
            }
            Op::Map { body, .. } => {
                self.block(f, body);
                body.results.iter().map(|r| of(&f.smooth, *r)).collect()
            }
            Op::Scan(s) => {
                for (v, a) in s.carry.iter().chain(&s.xs) {
                    if let Some(o) = of(&f.smooth, *a) {
                        f.smooth.insert(*v, o);
                    }
                }
                loop {
                    let known = (self.conflicts.len(), self.choices.len());
                    self.block(f, &s.body);
                    let mut grown = false;
                    for ((v, _), r) in s.carry.iter().zip(&s.body.results) {
                        if let (false, Some(o)) = (f.smooth.contains_key(v), of(&f.smooth, *r)) {
                            f.smooth.insert(*v, o);
                            grown = true;
                        }
                    }
                    if !grown {
                        break;
                    }
                    self.conflicts.truncate(known.0);
                    self.choices.truncate(known.1);
                }
                s.body.results.iter().map(|r| of(&f.smooth, *r)).collect()
            }
            Op::Call { callee, args } => self.call(f, *callee, args, stmt.span),
            Op::Random(r) => match r.view() {
                RandomView::Est(r) => vec![self.random(f, stmt, r); n],
                RandomView::Gen(_) | RandomView::Det(_) => vec![first(f, &r.atoms()); n],
            },
            op => vec![first(f, &ppl_core::op_atoms(op)).map(|o| o.through(stmt.span)); n],
        }
    }

    fn call<S: Stage>(&mut self, f: &Frame<'_, S>, callee: DetId, args: &[Atom], span: Span) -> Vec<Option<Origin>> {
        let module = self.module;
        let inside = module.det(callee);
        let args: Vec<Option<Origin>> = args.iter().map(|a| of(&f.smooth, *a).map(|o| o.through(span))).collect();
        if args.iter().all(Option::is_none) || f.depth > 64 {
            return vec![None; inside.body.results.len()];
        }
        self.function(inside, &args, f.depth + 1)
    }

    fn random<S: Stage>(&mut self, f: &mut Frame<'_, S>, stmt: &Stmt<S>, r: &EstRandom) -> Option<Origin> {
        let reach = |f: &Frame<'_, S>, atoms: &[Atom]| atoms.iter().find_map(|a| of(&f.smooth, *a));
        match r {
            EstRandom::Sample { dist, strategy, label } => {
                let d = self.module.dist(dist.dist);
                let origin = reach(f, &dist.args);
                let written = match strategy {
                    StrategyUse::Named { span, .. } => *span,
                    StrategyUse::Auto => Span::NONE,
                };
                let (auto, strategy) = match strategy {
                    StrategyUse::Named { strategy, .. } => (false, Some(*strategy)),
                    StrategyUse::Auto => {
                        (true, self.current.get(label).copied().flatten().or_else(|| self.preferred(dist, label)))
                    }
                };
                if let Some(out) = stmt.outs.first() {
                    f.drawn.insert(*out, dist.clone());
                }
                let (smooth, span) = (origin.is_some(), stmt.span);
                let moving = smooth && d.support == Support::DynamicInterval;
                self.choices.push(Choice {
                    label: label.clone(),
                    dist: dist.dist,
                    span,
                    auto,
                    strategy,
                    written,
                    smooth,
                    moving,
                });
                let pathwise = strategy.is_some_and(|s| self.module.strategy(s).pathwise);
                let source = SmoothSource::Choice { label: label.clone(), span };
                (smooth && pathwise).then_some(Origin { source, path: Vec::new() })
            }
            EstRandom::Path(d) => reach(f, &d.args),
            EstRandom::LogDensity { dist, x } | EstRandom::Score { dist, x } => {
                let own = x.var().and_then(|v| f.drawn.get(&v)) == Some(dist);
                if let Some(o) =
                    reach(f, &dist.args).filter(|_| !own && self.module.dist(dist.dist).support == Support::DynamicInterval)
                {
                    self.conflict(&o, stmt.span, "a bound of the support of a value that is scored");
                }
                reach(f, &[&dist.args[..], &[*x]].concat()).map(|o| o.through(stmt.span))
            }
            EstRandom::Draw(_)
            | EstRandom::Sim { .. }
            | EstRandom::Density { .. }
            | EstRandom::LogWeight(_)
            | EstRandom::Continue { .. }
            | EstRandom::Call { .. }
            | EstRandom::Grad { .. } => None,
        }
    }

    /// The first candidate: a pathwise one if there is any.
    fn preferred(&self, dist: &DistUse, label: &str) -> Option<StrategyId> {
        let auto = &self.module.dist(dist.dist).auto;
        let name = |s: &StrategyId| self.module.strategy(*s).name.as_str();
        let taken = |s: &&StrategyId| avoided(self.avoid, label, name(s)).is_none();
        auto.iter().filter(taken).find(|s| self.module.strategy(**s).pathwise).or_else(|| auto.iter().find(taken)).copied()
    }

    fn conflict(&mut self, o: &Origin, span: Span, what: &'static str) {
        let inside = |region: &Span| region.file == span.file && region.start <= span.start && span.end <= region.end;
        if self.exempt.iter().any(inside) {
            return;
        }
        self.conflicts.push(SmoothConflict { source: o.source.clone(), path: o.path.clone(), use_span: span, what });
    }
}

/// Why a strategy is not to be picked.
fn avoided<'a>(avoid: &'a Avoid, label: &str, strategy: &str) -> Option<&'a String> {
    avoid.get(crate::user_label(label)).and_then(|a| a.get(strategy))
}

fn of(smooth: &HashMap<Var, Origin>, a: Atom) -> Option<Origin> {
    a.var().and_then(|v| smooth.get(&v).cloned())
}

/// What a primitive with jumps does to a real operand.
fn jumps(p: Prim) -> Option<&'static str> {
    match p {
        Prim::Lt | Prim::Le | Prim::Gt | Prim::Ge | Prim::Eq | Prim::Ne => Some("compared"),
        Prim::Floor | Prim::Ceil | Prim::Round | Prim::Trunc | Prim::ToInt | Prim::IntDiv => Some("rounded"),
        Prim::Sign => Some("reduced to its sign"),
        Prim::Rem => Some("reduced to a remainder"),
        _ => None,
    }
}

fn resolve(module: &Module, block: &mut Block<Est>, picked: &HashMap<&str, &Choice>) {
    for stmt in &mut block.stmts {
        if let Op::Random(EstRandom::Sample { dist, strategy, label }) = &mut stmt.op
            && *strategy == StrategyUse::Auto
            && let Some(c) = picked.get(label.as_str())
        {
            match c.strategy.filter(|_| c.smooth) {
                Some(s) => {
                    // The strategy's own parameters take their neutral value.
                    let f = module.est(module.strategy(s).func);
                    let own = f.params.iter().skip(dist.args.len()).map(|p| match f.ty(*p).dtype {
                        DType::Float => Atom::Lit(Lit::Float(0.0)),
                        DType::Int => Atom::Lit(Lit::Int(0)),
                        DType::Bool => Atom::Lit(Lit::Bool(false)),
                    });
                    *strategy = StrategyUse::Named { strategy: s, args: own.collect(), span: Span::NONE };
                }
                None => stmt.op = Op::Random(EstRandom::Draw(dist.clone())),
            }
        }
        ppl_core::op_blocks_mut(&mut stmt.op).into_iter().for_each(|b| resolve(module, b, picked));
    }
}

fn chosen(module: &Module, c: &Choice, reason: Option<&String>) -> Chosen {
    let d = module.dist(c.dist);
    let strategy = c.strategy.filter(|_| c.smooth || !c.auto).map(|s| module.strategy(s));
    let why = match (&strategy, reason) {
        (_, _) if !c.auto => "as written".to_string(),
        (None, _) => "no parameter reaches it".to_string(),
        (_, Some(r)) => r.clone(),
        (Some(s), None) if s.pathwise => "smooth in its parameters".to_string(),
        (Some(_), None) => d.support.size().map_or_else(|| "its draws are not smooth".to_string(), |n| format!("{n} values")),
    };
    Chosen {
        label: crate::user_label(&c.label).to_string(),
        strategy: strategy.map_or_else(|| "draw".to_string(), |s| s.name.clone()),
        why,
        dist: d.name.clone(),
        span: c.span,
        biased: strategy.is_some_and(|s| s.biased),
        auto: c.auto,
        written: c.written,
        reached: c.smooth,
    }
}

fn conflict(module: &Module, c: &SmoothConflict, choices: &[Choice]) -> Diagnostic {
    let mut d = match &c.source {
        SmoothSource::Choice { label, span } => {
            let name = crate::user_label(label);
            let mut d = Diagnostic::error(Code("E0402"), format!("`{name}` is {}, which would bias its gradient", c.what))
                .label(c.use_span, format!("{} here", c.what))
                .label(*span, "the gradient flows through the value drawn here");
            let choice = choices.iter().find(|x| x.label == *label);
            let others: Vec<String> = choice
                .map(|x| &module.dist(x.dist).auto)
                .into_iter()
                .flatten()
                .map(|s| module.strategy(*s))
                .filter(|s| !s.pathwise)
                .map(|s| format!("`by {}`", s.name))
                .collect();
            d = match others.first() {
                Some(first) => d.help(format!("write {first} at `{name}`, or `assume_continuous {{ .. }}` around the use")),
                None => d.help("write `assume_continuous { .. }` around the use, if the result has no jumps"),
            };
            if others.len() > 1 {
                d = d.note(format!("strategies that take jumps: {}", others.join(", ")));
            }
            d
        }
        SmoothSource::Param(name) => {
            Diagnostic::error(Code("E0402"), format!("the parameter `{name}` is {}, which would bias its gradient", c.what))
                .label(c.use_span, format!("{} here", c.what))
                .help(
                    "write `assume_continuous { .. }` around the use, if the result has no jumps, or branch on data or on a discrete choice",
                )
        }
    };
    for step in c.path.iter().filter(|s| **s != c.use_span).take(3) {
        d = d.label(*step, "computed from it");
    }
    d.note("the derivative misses what happens at a jump")
}

/// A strategy that scores, at a distribution whose support moves.
fn moving_support(module: &Module, c: &Choice) -> Option<Diagnostic> {
    let s = module.strategy(c.strategy?);
    if s.pathwise || !c.moving {
        return None;
    }
    let (name, d) = (crate::user_label(&c.label), module.dist(c.dist));
    let d = Diagnostic::error(
        Code("E0409"),
        format!("`{}` cannot be used for `{name}`: the support moves with the parameters", s.name),
    )
    .label(c.span, format!("`{}` with bounds that are learned", d.name))
    .note("the score function misses what enters and leaves the support")
    .help("use `by reparam`, or a distribution on fixed bounds that is scaled afterwards");
    Some(d)
}

fn no_strategy(module: &Module, c: &Choice) -> Diagnostic {
    let d = module.dist(c.dist);
    let label = crate::user_label(&c.label);
    let out = Diagnostic::error(Code("E0403"), format!("no strategy was chosen for `{label}`"))
        .label(c.span, format!("`{}` has none that the compiler picks by itself", d.name));
    match d.works_with.first() {
        Some(s) => out.note(format!("`{}` works with: {}", d.name, d.works_with.join(", "))).help(format!("write `by {s}`")),
        None => out.help("give the distribution a smooth `sample`, or a log density and a fixed support"),
    }
}
