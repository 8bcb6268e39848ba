//! What a fit optimises: objectives, each with the parameters that learn from it.
//!
//! ```text
//!   maximize a                                       every parameter of `a` learns from it
//!   maximize a over params(p), b over params(q)      one step: the gradient of `a` for the parameters of p, that of `b` for those of q
//! ```
//!
//! A parameter that some objective uses learns from exactly one of them.

use crate::claims::claim;
use crate::codes;
use crate::entries::{Entry, model_and_guide, objective_entry, right_way, show};
use crate::func::FnElab;
use crate::minibatch::{Minibatch, minibatches};
use crate::session::{Global, Session};
use crate::value::{GenVal, Value};
use crate::{Claim, FitOverrides};
use ppl_core::Est;
use ppl_diag::{Diagnostic, Span, did_you_mean};
use ppl_syntax::ast::{Direction, Expr, ExprKind, Fit, Ident};

/// One objective of a fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The objective: one real result, the sum over particles. Strategies see the cost of a particle, whatever their number.
    pub objective: Entry,
    /// The objective of [`FitPlan::estimate_draws`](crate::FitPlan::estimate_draws) particles, one result of that size.
    pub estimate: Entry,
    /// The minibatches that it is estimated from.
    pub minibatches: Vec<Minibatch>,
    /// The minibatches of a step.
    pub trained: Vec<Minibatch>,
    /// Whether it is maximised.
    pub maximize: bool,
    /// What the objective is an estimate of.
    pub claim: Claim,
    /// As written, `elbo` or `iwelbo(5)`.
    pub name: String,
    /// Parameters that learn from it: positions in [`Program::params`](crate::Program::params), ascending.
    pub over: Vec<usize>,
    /// Their names.
    pub trains: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// The goals of a fit, at least one. `sizes`: particles of the objective, particles of its estimate.
pub(crate) fn goals(
    s: &mut Session,
    fit: &Fit,
    guide: Option<&Expr>,
    o: &FitOverrides,
    sizes: (usize, usize),
    span: Span,
) -> Option<Vec<Goal>> {
    let elbo = Expr::new(span, ExprKind::Name(Ident::new("elbo", span)));
    let first = fit.goals.first();
    let maximize = |d: Direction| d == Direction::Maximize;
    // Expression, direction, parameters, place.
    let mut written: Vec<(&Expr, bool, Option<&Expr>, Span)> = Vec::new();
    match &o.objective {
        Some(e) => written.push((e, first.is_none_or(|g| maximize(g.direction)), None, e.span)),
        None if fit.goals.is_empty() => written.push((&elbo, true, None, span)),
        None => written.extend(fit.goals.iter().map(|g| (&g.objective, maximize(g.direction), g.over.as_ref(), g.span))),
    }
    let mut out = Vec::new();
    let mut groups: Vec<(Vec<usize>, Span)> = Vec::new();
    for (e, maximize, over, at) in &written {
        s.fitting = true;
        let objective = objective_entry(s, fit, guide, e, sizes.0, true, span);
        s.fitting = false;
        let objective = objective?;
        let (estimate, minibatches) = evaluated(s, fit, guide, e, sizes.1, span)?;
        let claim = claim(&s.module, s.module.est(estimate.func));
        let trained = self::minibatches(&s.module, objective.func);
        right_way(s, &claim, *maximize, e.span);
        match over {
            Some(o) => groups.push((group(s, fit, guide, o)?, o.span)),
            None if written.len() > 1 => {
                s.report(
                    Diagnostic::error(codes::NO_GROUP, "one of several objectives does not say which parameters learn from it")
                        .label(*at, "no `over`")
                        .help(format!("write `{} over params(model)`, or `over params(guide)`", show(e))),
                );
                return None;
            }
            None => groups.push((used(s, &objective), *at)),
        }
        out.push(Goal {
            objective,
            estimate,
            minibatches,
            trained,
            maximize: *maximize,
            claim,
            name: show(e),
            over: Vec::new(),
            trains: Vec::new(),
            span: *at,
        });
    }
    if !partition(s, &out, &groups) {
        return None;
    }
    for (goal, (group, _)) in out.iter_mut().zip(groups) {
        let used = used(s, &goal.objective);
        goal.over = used.into_iter().filter(|p| group.contains(p)).collect();
        goal.trains = goal.over.iter().map(|p| s.params[*p].name.clone()).collect();
    }
    Some(out)
}

/// Evaluations over which the particles of an estimate are spread where each sees another minibatch.
const EVALUATIONS: usize = 1000;

/// An estimate at the final parameters, one result of `draws` particles, and its minibatches. Where it has any, an epoch has many evaluations, of
/// fewer particles each.
pub(crate) fn evaluated(
    s: &mut Session,
    fit: &Fit,
    guide: Option<&Expr>,
    e: &Expr,
    draws: usize,
    span: Span,
) -> Option<(Entry, Vec<Minibatch>)> {
    s.evaluating = true;
    let mut estimate = objective_entry(s, fit, guide, e, draws, false, span);
    let found = estimate.as_ref().map(|e| minibatches(&s.module, e.func)).unwrap_or_default();
    let epoch = found.iter().map(Minibatch::epoch).max().unwrap_or(1);
    if epoch > 1 {
        estimate = objective_entry(s, fit, guide, e, (EVALUATIONS / epoch).clamp(2, draws.max(10)), false, span);
    }
    s.evaluating = false;
    estimate.map(|e| (e, found))
}

/// Parameters that an objective uses, ascending.
fn used(s: &Session, entry: &Entry) -> Vec<usize> {
    let mut out: Vec<usize> = entry.inputs.iter().filter_map(param).filter(|p| !s.params[*p].state).collect();
    out.sort_unstable();
    out
}

fn param(g: &Global) -> Option<usize> {
    match g {
        Global::Param(i) => Some(*i),
        Global::Data(_) | Global::Let(_) => None,
    }
}

/// Whether every parameter that an objective uses is in exactly one group.
fn partition(s: &mut Session, goals: &[Goal], groups: &[(Vec<usize>, Span)]) -> bool {
    let mut all: Vec<usize> = goals.iter().flat_map(|g| used(s, &g.objective)).collect();
    all.sort_unstable();
    all.dedup();
    let mut fine = true;
    for p in all {
        let spec = s.params[p].clone();
        let found: Vec<Span> = groups.iter().filter(|(g, _)| g.contains(&p)).map(|(_, at)| *at).collect();
        let d = match found[..] {
            [_] => continue,
            [] => {
                let d = Diagnostic::error(codes::NO_GROUP, format!("no objective trains the parameter `{}`", spec.name))
                    .label(spec.span, "this parameter is in no group");
                groups
                    .iter()
                    .fold(d, |d, (_, at)| d.label(*at, "not in this group"))
                    .help(format!("add it to a group: `over (.., {})`", spec.name))
            }
            [first, second, ..] => {
                Diagnostic::error(codes::TWO_GROUPS, format!("two objectives would train the parameter `{}`", spec.name))
                    .label(second, "in this group")
                    .label(first, "and in this one")
                    .label(spec.span, "the parameter")
                    .note("one step moves a parameter once: by the gradient of one objective")
                    .help("add the two objectives up, or let each group have parameters of its own")
            }
        };
        s.report(d);
        fine = false;
    }
    // A goal that trains nothing is a mistake in the group.
    for (goal, (group, at)) in goals.iter().zip(groups) {
        if goals.len() > 1 && !used(s, &goal.objective).iter().any(|p| group.contains(p)) {
            s.report(
                Diagnostic::error(codes::NO_GROUP, format!("`{}` trains no parameter", goal.name))
                    .label(*at, "none of these parameters is used by it")
                    .label(goal.span, "the objective"),
            );
            fine = false;
        }
    }
    fine
}

/// The parameters that `over` names: `params(program)`, a parameter, or several in parentheses.
fn group(s: &mut Session, fit: &Fit, guide: Option<&Expr>, e: &Expr) -> Option<Vec<usize>> {
    let mut out =
        match &e.kind {
            ExprKind::Tuple(es) => {
                let mut all = Vec::new();
                for e in es {
                    all.extend(group(s, fit, guide, e)?);
                }
                all
            }
            ExprKind::Name(n) => match s.params.iter().position(|p| p.name == n.as_str()) {
                Some(i) => vec![i],
                None => return unknown(s, n.as_str(), e.span),
            },
            ExprKind::Field(..) => {
                let name = ppl_syntax::print_expr(e);
                match s.params.iter().position(|p| p.name == name) {
                    Some(i) => vec![i],
                    None => return unknown(s, &name, e.span),
                }
            }
            ExprKind::Call { callee, args } if matches!(&callee.kind, ExprKind::Name(n) if n == "params") => match &args[..] {
                [a] => params_of(s, fit, guide, &a.value)?,
                _ => {
                    s.report(
                        Diagnostic::error(codes::WRONG_ARGUMENTS, "`params` takes one program")
                            .label(e.span, "here")
                            .help("`params(model)`, `params(guide)`, or a program by its name"),
                    );
                    return None;
                }
            },
            _ => {
                s.report(Diagnostic::error(codes::WRONG_TYPE, "`over` names parameters").label(e.span, "not a parameter").help(
                    "`over params(model)`, `over params(guide)`, `over mu`, or several in parentheses: `over (mu, sigma)`",
                ));
                return None;
            }
        };
    out.sort_unstable();
    out.dedup();
    Some(out)
}

fn unknown(s: &mut Session, name: &str, at: Span) -> Option<Vec<usize>> {
    let known: Vec<String> = s.params.iter().map(|p| p.name.clone()).collect();
    let mut d = Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no parameter `{name}`")).label(at, "unknown");
    d = match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => d.help(format!("did you mean `{near}`?")).edit(at, near),
        None => d.help(format!("parameters of a program: `over params({name})`")),
    };
    s.report(d);
    None
}

/// The parameters that a program uses; `model` and `guide` are the fit's where nothing else has this name.
fn params_of(s: &mut Session, fit: &Fit, guide: Option<&Expr>, e: &Expr) -> Option<Vec<usize>> {
    let mut me = FnElab::<Est>::new(s, "params", 0, true);
    let which = match &e.kind {
        ExprKind::Name(n) if me.lookup_quiet(n.as_str()).is_none() => n.as_str(),
        _ => "",
    };
    let program: GenVal = match which {
        "model" | "guide" => {
            let (model, q) = model_and_guide(&mut me, fit, guide)?;
            let found = if which == "model" { model.map(|t| t.program) } else { q };
            match found {
                Some(g) => g,
                None => {
                    me.report(
                        Diagnostic::error(codes::WRONG_TYPE, format!("this `fit` has no {which}"))
                            .label(e.span, "of which program?")
                            .help("name a program: `params(encoder)`"),
                    );
                    return None;
                }
            }
        }
        _ => {
            let v = me.expr(e);
            match me.applied(v, e.span) {
                Value::Program(g) => *g,
                Value::Target(t) => t.program,
                Value::Error => return None,
                v => {
                    me.report(
                        Diagnostic::error(codes::WRONG_TYPE, "`params` needs a generative program")
                            .label(e.span, format!("this is {}", v.describe())),
                    );
                    return None;
                }
            }
        }
    };
    me.program_args(&program, e.span)?;
    let out = me.captures_of().filter_map(|(g, _)| param(g)).collect();
    Some(out)
}
