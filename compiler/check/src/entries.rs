//! Entry functions: the objective of a fit, its final estimate, draws from the guide, simulations, expressions.

use crate::codes;
use crate::func::FnElab;
use crate::goals::{Goal, evaluated};
use crate::minibatch::Minibatch;
use crate::session::{Decl, Global, Session, TopName};
use crate::value::{Arr, Dim, GenVal, TargetVal, TraceEntry, TraceVal, Value};
use crate::{Checked, Claim, DataShapes, Evidence, FitOverrides, Program, Side};
use ppl_core::{Atom, DType, Det, DetId, Est, EstId, ReduceOp, Ty};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Expr, ExprKind, File, Fit, ItemKind, Literal, UnaryOp};
use std::rc::Rc;

/// An estimator function with what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The function; its parameters are `inputs` in order (parameters of the model unconstrained).
    pub func: EstId,
    /// What it takes.
    pub inputs: Vec<Global>,
}

/// The score of a program's trace, to be analysed only.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The function; it takes the trace, then what the program uses.
    pub func: EstId,
    /// Which of its parameters are parameters of the model.
    pub learned: Vec<bool>,
}

/// A named quantity of each draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Address or name of the report.
    pub name: String,
    /// Type in one draw.
    pub ty: Ty,
    /// Whether it is a `report`, not a choice.
    pub reported: bool,
}

/// Draws from a program: every result is stacked along a first axis of `draws`.
#[derive(Clone, Debug, PartialEq)]
pub struct GuideDraws {
    /// The function.
    pub entry: Entry,
    /// Its results.
    pub outputs: Vec<Output>,
    /// Number of draws of one call.
    pub draws: usize,
}

/// A program to be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// The program's name.
    pub name: String,
    /// Its draws.
    pub draws: GuideDraws,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// `64`, `1e-3`
    Number(f64),
    /// `f32`
    Name(String),
    /// `"60s"`
    Text(String),
    /// `adam(0.01, schedule = cosine())`
    Call {
        /// The function.
        name: String,
        /// Arguments with their names.
        args: Vec<(Option<String>, SettingValue)>,
    },
}

/// A setting with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `steps`
    pub name: String,
    /// Its value.
    pub value: SettingValue,
    /// Where it stands.
    pub span: Span,
}

/// An estimate that is evaluated after the fit, at the final parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// As written.
    pub name: String,
    /// As [`Goal::estimate`].
    pub entry: Entry,
    /// The minibatches that it is estimated from.
    pub minibatches: Vec<Minibatch>,
    /// What it is an estimate of.
    pub claim: Claim,
}

/// Everything a fit runs.
#[derive(Clone, Debug, PartialEq)]
pub struct FitPlan {
    /// What is optimised, at least one.
    pub goals: Vec<Goal>,
    /// Number of particles of the goals' estimates.
    pub estimate_draws: usize,
    /// What else is evaluated at the end.
    pub reports: Vec<Reported>,
    /// Draws of the latent choices from the guide, and reports. Absent where there is no single guide.
    pub draws: Option<GuideDraws>,
    /// Number of particles.
    pub particles: usize,
    /// The optimiser, if written.
    pub optimizer: Option<Setting>,
    /// Other settings.
    pub settings: Vec<Setting>,
    /// Choices of the guide that are not drawn: those of each datum of a minibatch.
    pub undrawn: Vec<String>,
    /// Name of the model.
    pub model: String,
    /// Name of the guide.
    pub guide: String,
    /// The clause.
    pub span: Span,
}

const SETTINGS: &[&str] = &[
    "particles",
    "steps",
    "epochs",
    "draws",
    "seed",
    "precision",
    "report",
    "validation",
    "validate_every",
    "patience",
    "checkpoint",
];

/// Checks a file and builds what its `fit` needs. `library` is parsed already; `shapes` are absent where no data are given.
pub fn elaborate(library: &[File], file: &File, shapes: Option<DataShapes>, overrides: &FitOverrides) -> Checked {
    let mut s = prepare(library, file, shapes, overrides);
    crate::names::resolve(&mut s, file);
    known_choices(&mut s, library, file);
    check_unused(&mut s, file);
    let fit = s.fits.get(overrides.index).cloned();
    let fit = fit.and_then(|(fit, span)| plan(&mut s, &fit, span, overrides));
    let probes = probes(&mut s, file);
    let mut checked = done(s, fit, Vec::new());
    checked.program.probes = probes;
    checked
}

/// Strategies of the command line are for choices that some program makes.
fn known_choices(s: &mut Session, library: &[File], file: &File) {
    if s.overrides.iter().all(|o| o.address.is_none()) {
        return;
    }
    let mut made = Vec::new();
    for item in library.iter().chain([file]).flat_map(|f| &f.items) {
        if let ItemKind::Gen(c) = &item.kind
            && let ExprKind::Block(b) = &c.body.kind
        {
            crate::control::drawn(b, &mut made);
        }
    }
    let names: Vec<String> = made.iter().map(crate::programs::address_name).collect();
    for o in s.overrides.clone() {
        let Some(address) = &o.address else { continue };
        // `z`, `guide.z`, `z[2]`.
        let choice = address.split('[').next().unwrap_or(address).trim();
        let own = choice.split_once('.').map_or(choice, |(_, own)| own);
        if names.iter().any(|n| n == choice || n == own) {
            continue;
        }
        let d = Diagnostic::error(codes::UNKNOWN_ADDRESS, format!("no program makes the choice `{choice}`"))
            .label(o.strategy.span, format!("a strategy for `{address}`"));
        s.report(match ppl_diag::did_you_mean(own, names.iter().map(String::as_str)) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d,
        });
    }
}

/// The score of a trace of each program without arguments, so that programs that no `fit` uses are analysed too.
fn probes(s: &mut Session, file: &File) -> Vec<Probe> {
    let mut out = Vec::new();
    for item in &file.items {
        let ItemKind::Gen(c) = &item.kind else { continue };
        let Some(TopName::Decl(id)) = s.top(c.name.as_str()) else { continue };
        if !c.params.is_empty() {
            continue;
        }
        let mut me = FnElab::<Est>::new(s, c.name.as_str(), 0, true);
        let Value::Program(g) = me.call_decl(id, Vec::new(), c.name.span) else { continue };
        let entries: Vec<TraceEntry> =
            me.s.module
                .choices(g.id)
                .into_iter()
                .map(|c| {
                    let v = me.b.param(c.addr.clone(), c.ty.clone());
                    TraceEntry {
                        value: Arr::new(Atom::Var(v), c.ty.dtype, me.choice_dims(&g, &c)),
                        addr: c.addr,
                        support: c.support,
                        conditional: c.conditional,
                        span: c.span,
                    }
                })
                .collect();
        let given = entries.len();
        let trace = TraceVal { program: g.name.clone(), entries, broken: Vec::new(), origin: None, span: c.name.span };
        let target = TargetVal { span: g.span, program: *g, given: Vec::new() };
        let Some((_, lp)) = me.score_target(&target, &trace, c.name.span) else { continue };
        let f = me.finish(vec![lp.atom], item.span);
        let learned = std::iter::repeat_n(false, given).chain(f.captures.iter().map(|g| matches!(g, Global::Param(_)))).collect();
        out.push(Probe { func: s.module.add_est(f.func), learned });
    }
    out
}

/// As [`elaborate`], for `draws` simulations of the program `name`.
pub fn elaborate_simulation(library: &[File], file: &File, shapes: Option<DataShapes>, program: &Expr, draws: usize) -> Checked {
    let overrides = FitOverrides { whole_plates: true, ..FitOverrides::default() };
    let mut s = prepare(library, file, shapes, &overrides);
    let mut me = FnElab::<Est>::new(&mut s, "simulate", 0, true);
    let v = me.expr(program);
    let simulation = match me.applied(v, program.span) {
        Value::Program(g) => {
            let target = TargetVal { program: (*g).clone(), given: Vec::new(), span: g.span };
            let built = draw_entry(me, &g, Some(&target), draws);
            with_function(&mut s, built).map(|draws| Simulation { name: g.name.clone(), draws })
        }
        Value::Error => None,
        v => {
            me.report(
                Diagnostic::error(codes::WRONG_TYPE, "only a generative program can be simulated")
                    .label(program.span, format!("this is {}", v.describe())),
            );
            None
        }
    };
    done(s, None, simulation.into_iter().collect())
}

/// The log density of a program whose choices are all given, as an entry with one result.
pub fn elaborate_density(library: &[File], file: &File, shapes: Option<DataShapes>, target: &Expr) -> (Checked, Option<Entry>) {
    let overrides = FitOverrides { whole_plates: true, ..FitOverrides::default() };
    let mut s = prepare(library, file, shapes, &overrides);
    let mut me = FnElab::<Est>::new(&mut s, "density", 0, true);
    let v = me.expr(target);
    let t = match me.applied(v, target.span) {
        Value::Target(t) => Some(*t),
        Value::Program(g) => Some(TargetVal { program: *g, given: Vec::new(), span: target.span }),
        Value::Error => None,
        v => {
            me.report(
                Diagnostic::error(codes::WRONG_TYPE, "a program and its values are needed")
                    .label(target.span, format!("this is {}", v.describe())),
            );
            None
        }
    };
    let none =
        TraceVal { program: "nothing else".into(), entries: Vec::new(), broken: Vec::new(), origin: None, span: target.span };
    let scored = t.and_then(|t| me.score_target(&t, &none, target.span));
    let entry = scored.map(|(_, lp)| {
        let f = me.finish(vec![lp.atom], target.span);
        (f.func, f.captures)
    });
    let entry = entry.map(|(func, inputs)| Entry { func: s.module.add_est(func), inputs });
    (done(s, None, Vec::new()), entry)
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    /// Arrays computed by a function: the function, its inputs, and how its results form the value.
    Computed {
        /// The function.
        func: DetId,
        /// What it takes.
        inputs: Vec<Global>,
        /// Types as users write them, one for each result.
        types: Vec<String>,
    },
    /// Something that is not computed, described.
    Described(String),
}

/// An expression with the declarations of a file in scope.
pub fn elaborate_expression(library: &[File], file: &File, shapes: Option<DataShapes>, e: &Expr) -> (Checked, Option<Evaluated>) {
    let overrides = FitOverrides { whole_plates: true, ..FitOverrides::default() };
    let mut s = prepare(library, file, shapes, &overrides);
    let mut me = FnElab::<Det>::new(&mut s, "expression", 0, true);
    let v = me.expr(e);
    let arrays: Option<Vec<Arr>> = match &v {
        Value::Array(a) => Some(vec![a.clone()]),
        Value::Tuple(vs) => vs
            .iter()
            .map(|v| match v {
                Value::Array(a) => Some(a.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    let out = match (v, arrays) {
        (Value::Error, _) => None,
        (_, Some(arrays)) => {
            let types = arrays.iter().map(Arr::show).collect();
            let f = me.finish(arrays.iter().map(|a| a.atom).collect(), e.span);
            let func = s.module.add_det(f.func);
            Some(Evaluated::Computed { func, inputs: f.captures, types })
        }
        (v, None) => Some(Evaluated::Described(describe(&s, &v))),
    };
    (done(s, None, Vec::new()), out)
}

fn describe(s: &Session, v: &Value) -> String {
    match v {
        Value::Dist(d) => {
            let inst = s.module.dist(d.dist);
            let dims: Vec<Dim> = d.batch.iter().cloned().chain(inst.event.shape.iter().map(|n| Dim::from(*n))).collect();
            format!(
                "distribution {} of {} on {}; strategies: {}",
                inst.name,
                crate::value::show_ty(inst.event.dtype, &dims),
                inst.support,
                inst.works_with.join(", ")
            )
        }
        Value::Program(g) => {
            let choices: Vec<String> = s
                .module
                .choices(g.id)
                .iter()
                .map(|c| format!("{}: {} on {}", c.addr, Arr::from_ty(Atom::int(0), &c.ty).show(), c.support))
                .collect();
            format!("generative program {} with choices {{ {} }}", g.name, choices.join(", "))
        }
        Value::Decl(id) => match &*s.decl(*id) {
            Decl::Gen(c) => format!("gen {}({})", c.name, parameters(&c.params)),
            Decl::Fn(c) => format!("fn {}({})", c.name, parameters(&c.params)),
            Decl::Objective(c) => format!("objective {}({})", c.name, parameters(&c.params)),
            Decl::Dist(d) => format!("dist {}({})", d.name, parameters(&d.params)),
        },
        v => v.describe(),
    }
}

fn parameters(ps: &[ppl_syntax::ast::FnParam]) -> String {
    ps.iter().map(|p| p.name.as_str().to_string()).collect::<Vec<_>>().join(", ")
}

pub(crate) fn prepare(library: &[File], file: &File, shapes: Option<DataShapes>, overrides: &FitOverrides) -> Session {
    let mut s = Session::new(shapes, overrides.strategies.clone());
    s.whole_plates = overrides.whole_plates;
    library.iter().for_each(|f| s.declare(f, true));
    s.declare(file, false);
    library.iter().for_each(|f| s.declare_values(f));
    s.declare_values(file);
    s.declare_lets();
    s
}

pub(crate) fn done(s: Session, fit: Option<FitPlan>, simulations: Vec<Simulation>) -> Checked {
    let mut diagnostics = s.diagnostics;
    // In the order of the text; those of the library (which no user caused) last.
    diagnostics.sort_by_key(|d| d.span().map_or((u32::MAX, 0), |s| (u32::MAX - 1 - s.file.0, s.start)));
    let program = Program {
        module: s.module,
        data: s.data,
        params: s.params,
        lets: s.lets,
        fit,
        simulations,
        continuous: s.continuous,
        probes: Vec::new(),
    };
    Checked { program, diagnostics }
}

/// Elaborates programs and functions that nothing uses, for their errors.
fn check_unused(s: &mut Session, file: &File) {
    for item in &file.items {
        let (callable, generative) = match &item.kind {
            ItemKind::Gen(c) => (c, true),
            ItemKind::Fn(c) => (c, false),
            _ => continue,
        };
        let Some(TopName::Decl(id)) = s.top(callable.name.as_str()) else {
            continue;
        };
        if callable.params.iter().any(|p| p.ty.is_none()) {
            continue;
        }
        let mut me = FnElab::<Det>::new(s, "check", 0, false);
        let mut args = Vec::new();
        for p in &callable.params {
            let Some(ty) = &p.ty else { continue };
            let written = me.written(ty);
            let dummy = match written {
                Some(crate::types::Written::Array { dtype, support, dims, .. }) => {
                    let sizes: Option<Vec<Dim>> = dims.iter().map(|e| me.quietly(|me| me.size(e)).flatten()).collect();
                    sizes.map(|dims| {
                        if dtype == DType::Int && dims.is_empty() && generative {
                            let n = ppl_core::Lit::Int(crate::value::FIRST_STAND_IN as i64);
                            return Value::Array(Arr { size_name: Some(p.name.as_str().into()), ..Arr::lit(n) });
                        }
                        let ty = Ty::new(dtype, dims.iter().map(|d| d.n).collect::<Vec<_>>());
                        let v = me.b.param(p.name.as_str(), ty);
                        Value::Array(Arr { support: Some(support), ..Arr::new(Atom::Var(v), dtype, dims) })
                    })
                }
                _ => None,
            };
            match dummy {
                Some(v) => args.push((v, p.span)),
                None => break,
            }
        }
        if args.len() == callable.params.len() {
            me.call_decl(id, args, callable.name.span);
        }
    }
}

/// Builds the entries of a fit.
fn plan(s: &mut Session, fit: &Rc<Fit>, span: Span, o: &FitOverrides) -> Option<FitPlan> {
    let settings = settings(s, fit);
    let optimizer = match o.optimizer.as_ref().or(fit.optimizer.as_ref()) {
        Some(e) => Some(Setting { name: "optimizer".into(), value: setting_value(s, e)?, span: e.span }),
        None => None,
    };
    let number = |name: &str| {
        settings.iter().find(|x| x.name == name).and_then(|x| match x.value {
            SettingValue::Number(n) => Some(n as usize),
            _ => None,
        })
    };
    let particles = o.particles.or_else(|| number("particles")).unwrap_or(10).max(1);
    let draws = o.draws.or_else(|| number("draws")).unwrap_or(1000).max(1);
    let estimate_draws = o.estimate_draws.unwrap_or(1000).max(1);
    let guide = o.guide.as_ref().or(fit.guide.as_ref()).cloned();
    let goals = crate::goals::goals(s, fit, guide.as_ref(), o, (particles, estimate_draws), span)?;
    let mut me = FnElab::<Est>::new(s, "draws", 0, true);
    let (model, q) = model_and_guide(&mut me, fit, guide.as_ref())?;
    // A name given to a guide (`let hvi = marginal ..`) says more than that of the program inside.
    let guide_name = match guide.as_ref().map(|e| &e.kind) {
        Some(ExprKind::Name(n)) => Some(n.as_str().to_string()),
        _ => q.as_ref().map(|g| g.name.clone()),
    };
    let names = (model.as_ref().map_or(String::new(), |m| m.program.name.clone()), guide_name.unwrap_or_default());
    let local = |d: &Vec<Dim>| d.iter().any(|d| d.of.is_some());
    let undrawn = match &q {
        Some(g) => me.s.module.choices(g.id).iter().filter(|c| local(&me.choice_dims(g, c))).map(|c| c.addr.clone()).collect(),
        None => Vec::new(),
    };
    let built = q.as_ref().and_then(|g| draw_entry(me, g, model.as_ref(), draws));
    let draws = with_function(s, built);
    let reports = match goals.first() {
        Some(g) => reports(s, fit, guide.as_ref(), o, &g.claim, estimate_draws)?,
        None => Vec::new(),
    };
    Some(FitPlan {
        goals,
        estimate_draws,
        reports,
        draws,
        undrawn,
        particles,
        optimizer,
        settings,
        model: names.0,
        guide: names.1,
        span,
    })
}

/// Warns of a bound that is moved away from its quantity, and of what looks like a bound and is none.
pub(crate) fn right_way(s: &mut Session, claim: &Claim, maximize: bool, at: Span) {
    if claim.side == Side::Biased && !claim.evidences().is_empty() {
        s.report(
            Diagnostic::warning(codes::BIASED, "the objective is biased: its number bounds nothing")
                .label(at, claim.to_string())
                .note("one step of it pushes the mean up and another one down, so that it may lie on either side")
                .help("report a bound beside it: `using adam(0.01), report(elbo)`"),
        );
    }
    let (way, other) = if maximize { ("maximised", "minimize") } else { ("minimised", "maximize") };
    let away = if maximize { Side::Upper } else { Side::Lower };
    if claim.side == away && !claim.evidences().is_empty() {
        let kind = if maximize { "an upper" } else { "a lower" };
        s.report(
            Diagnostic::warning(codes::WRONG_WAY, format!("{kind} bound is {way}: it moves away from its quantity"))
                .label(at, claim.to_string())
                .help(format!("`{other}` it")),
        );
    }
}

/// The estimates that the clause and the command line ask for. Those about another evidence than the objective's are refused.
fn reports(
    s: &mut Session,
    fit: &Fit,
    guide: Option<&Expr>,
    o: &FitOverrides,
    objective: &Claim,
    draws: usize,
) -> Option<Vec<Reported>> {
    let written: Vec<Expr> = fit.settings.iter().filter(|x| x.name == "report").map(|x| x.value.clone()).collect();
    let mut out = Vec::new();
    for e in written.iter().chain(&o.reports) {
        let (entry, minibatches) = evaluated(s, fit, guide, e, draws, e.span)?;
        let claim = crate::claims::claim(&s.module, s.module.est(entry.func));
        let (ours, theirs) = (objective.evidences(), claim.evidences());
        let within = |a: &[&Evidence], b: &[&Evidence]| a.iter().all(|x| b.contains(x));
        let unlike = !within(&ours, &theirs) || !within(&theirs, &ours);
        if unlike && !ours.is_empty() && !theirs.is_empty() {
            let program = |es: &[&Evidence]| es.first().map_or(String::new(), |e| format!(" (`{}`)", e.program));
            s.report(
                Diagnostic::error(codes::UNLIKE_BOUNDS, "a report about another evidence than the fit's")
                    .label(e.span, format!("{claim}{}", program(&theirs)))
                    .note(format!("the objective: {objective}{}", program(&ours)))
                    .note(if objective.to_string() == claim.to_string() {
                        "given values or arguments differ, so the two numbers say nothing about each other"
                    } else {
                        "beside each other they would be compared, but they say nothing about each other"
                    })
                    .help("report it in a fit of its own"),
            );
            return None;
        }
        out.push(Reported { name: show(e), entry, minibatches, claim });
    }
    Some(out)
}

/// The model with its given values, and the guide.
pub(crate) fn model_and_guide(
    me: &mut FnElab<'_, Est>,
    fit: &Fit,
    guide: Option<&Expr>,
) -> Option<(Option<TargetVal>, Option<GenVal>)> {
    let model = match &fit.model {
        None => None,
        Some(e) => {
            let v = me.expr(e);
            match me.applied(v, e.span) {
                Value::Target(t) => Some(*t),
                Value::Program(g) => Some(TargetVal { span: g.span, program: *g, given: Vec::new() }),
                Value::Error => return None,
                v => {
                    me.report(
                        Diagnostic::error(codes::WRONG_TYPE, "`fit` needs a generative program")
                            .label(e.span, format!("this is {}", v.describe()))
                            .help("`fit model() given { y } with auto_normal`"),
                    );
                    return None;
                }
            }
        }
    };
    let Some(e) = guide else {
        return Some((model, None));
    };
    let v = me.expr(e);
    let mut model = model;
    if let (Value::Decl(id), Some(t)) = (&v, &model)
        && matches!(&*me.s.decl(*id), Decl::Gen(c) if c.params.len() == 1)
        && let Some(summed) = me.without_finite(&t.clone())
    {
        // A derived guide has no discrete choices: the model's finite ones are summed.
        model = Some(summed);
    }
    let v = match (&v, &model) {
        (Value::Decl(id), Some(t)) => {
            let decl = me.s.decl(*id);
            match &*decl {
                Decl::Gen(c) if c.params.len() == 1 => {
                    me.call_decl(*id, vec![(Value::Target(Box::new(t.clone())), e.span)], e.span)
                }
                _ => me.applied(v, e.span),
            }
        }
        _ => me.applied(v, e.span),
    };
    match v {
        Value::Program(g) => Some((model, Some(*g))),
        Value::Error => None,
        v => {
            me.report(
                Diagnostic::error(codes::WRONG_TYPE, "a guide is a generative program")
                    .label(e.span, format!("this is {}", v.describe())),
            );
            None
        }
    }
}

/// The objective over `particles`: their sum, or each.
pub(crate) fn objective_entry(
    s: &mut Session,
    fit: &Fit,
    guide: Option<&Expr>,
    expr: &Expr,
    particles: usize,
    sum: bool,
    span: Span,
) -> Option<Entry> {
    let mut me = FnElab::<Est>::new(s, "objective", 0, true);
    if sum && particles == 1 {
        // Without a loop there is no axis of one element in what follows.
        let value = objective_value(&mut me, fit, guide, expr, span)?;
        let f = me.finish(vec![value.atom], span);
        return Some(Entry { func: s.module.add_est(f.func), inputs: f.captures });
    }
    let mut failed = false;
    let v = me.map_loop(&Dim::from(particles), "particle", |me, _| match objective_value(me, fit, guide, expr, span) {
        Some(a) => Value::Array(a),
        None => {
            failed = true;
            Value::Error
        }
    });
    let Value::Array(all) = v else {
        return None;
    };
    if failed {
        return None;
    }
    let result = if sum { me.b.reduce(ReduceOp::Sum, all.atom, &[0]) } else { all.atom };
    let f = me.finish(vec![result], span);
    Some(Entry { func: s.module.add_est(f.func), inputs: f.captures })
}

/// An objective as written, of whatever type. A call with the target and guide left out gets the fit's.
pub(crate) fn written_value(me: &mut FnElab<'_, Est>, fit: &Fit, guide: Option<&Expr>, expr: &Expr, span: Span) -> Option<Value> {
    let (callee, args) = match &expr.kind {
        ExprKind::Call { callee, args } => (&**callee, args.as_slice()),
        _ => (expr, &[][..]),
    };
    Some(match (&callee.kind, fit.model.is_some()) {
        (ExprKind::Name(n), true) => match me.lookup_quiet(n.as_str()) {
            Some(Value::Decl(id)) if short_form(me, id, args) => {
                let (model, q) = model_and_guide(me, fit, guide)?;
                let (Some(model), Some(q)) = (model, q) else {
                    me.report(
                        Diagnostic::error(codes::MISSING_CHOICE, format!("`{n}` needs a guide"))
                            .label(span, "no guide here")
                            .help("add `with auto_normal`, or a guide of your own: `with guide()`"),
                    );
                    return None;
                };
                let decl = me.s.decl(id);
                let Decl::Objective(c) = &*decl else {
                    return None;
                };
                let mut values = vec![(Value::Target(Box::new(model)), span), (Value::Program(Box::new(q)), span)];
                values.extend(me.arguments(n.as_str(), &c.params[2..], args, expr.span)?);
                me.call_decl(id, values, expr.span)
            }
            _ => me.expr(expr),
        },
        _ => match &expr.kind {
            ExprKind::For(f) => me.for_loop(f, true),
            _ => me.expr(expr),
        },
    })
}

/// One particle's objective.
fn objective_value(me: &mut FnElab<'_, Est>, fit: &Fit, guide: Option<&Expr>, expr: &Expr, span: Span) -> Option<Arr> {
    let value = written_value(me, fit, guide, expr, span)?;
    match value {
        Value::Array(a) if a.is_scalar() && a.dtype == DType::Float => Some(a),
        Value::Error => None,
        Value::Array(a) if !a.is_scalar() => {
            me.report(
                Diagnostic::error(codes::NOT_AN_ESTIMATE, "an objective is a single estimate or real number")
                    .label(expr.span, format!("this is an array, `{}`", a.show()))
                    .help("add it up: `maximize sum(..)`"),
            );
            None
        }
        v => {
            me.report(
                Diagnostic::error(codes::NOT_AN_ESTIMATE, "an objective is a single estimate or real number")
                    .label(expr.span, format!("this is {}", v.describe())),
            );
            None
        }
    }
}

/// Whether a call of an objective leaves out the target and the guide.
pub(crate) fn short_form(me: &FnElab<'_, Est>, id: crate::value::DeclId, args: &[ppl_syntax::ast::Arg]) -> bool {
    match &*me.s.decl(id) {
        Decl::Objective(c) => {
            let required = c.params.iter().filter(|p| p.default.is_none()).count();
            c.params.len() >= 2
                && args.iter().filter(|a| a.name.is_none()).count() + 2 <= c.params.len()
                && args.len() < required.max(2)
        }
        _ => false,
    }
}

/// Draws from `q`, with the reports of `model` (if it is given).
fn draw_entry(
    mut me: FnElab<'_, Est>,
    q: &GenVal,
    model: Option<&TargetVal>,
    draws: usize,
) -> Option<(GuideDraws, ppl_core::Func<Est>)> {
    let span = q.span;
    let mut outputs: Vec<Output> = Vec::new();
    let v = me.map_loop(&Dim::from(draws), "draw", |me, _| {
        let Value::Tuple(parts) = me.sim(q, span) else {
            return Value::Error;
        };
        let Some(Value::Trace(trace)) = parts.into_iter().next() else {
            return Value::Error;
        };
        let mut values: Vec<Value> = Vec::new();
        // A choice of each datum of a minibatch is one of random data.
        for e in trace.entries.iter().filter(|e| e.value.dims.iter().all(|d| d.of.is_none())) {
            outputs.push(Output { name: e.addr.clone(), ty: e.value.ty(), reported: false });
            values.push(Value::Array(e.value.clone()));
        }
        if let Some(t) = model {
            let reports = me.s.module.reports(t.program.id);
            if !reports.is_empty() {
                let Some((arrs, _)) = me.score_target(t, &trace, span) else {
                    return Value::Error;
                };
                for (r, a) in reports.into_iter().zip(arrs) {
                    outputs.push(Output { name: r.name, ty: r.ty, reported: true });
                    values.push(Value::Array(a));
                }
            }
        }
        Value::Tuple(values)
    });
    let mut results = Vec::new();
    match &v {
        Value::Tuple(_) => {
            v.flatten(&mut results);
        }
        _ => return None,
    }
    let f = me.finish(results, span);
    Some((GuideDraws { entry: Entry { func: EstId(0), inputs: f.captures }, outputs, draws }, f.func))
}

/// Adds the function of draws to the module.
fn with_function(s: &mut Session, built: Option<(GuideDraws, ppl_core::Func<Est>)>) -> Option<GuideDraws> {
    let (mut d, func) = built?;
    d.entry.func = s.module.add_est(func);
    Some(d)
}

fn settings(s: &mut Session, fit: &Fit) -> Vec<Setting> {
    let mut out: Vec<Setting> = Vec::new();
    for x in &fit.settings {
        if x.name == "report" {
            continue;
        }
        if !SETTINGS.contains(&x.name.as_str()) {
            let mut d =
                Diagnostic::error(codes::BAD_SETTING, format!("there is no setting `{}`", x.name)).label(x.name.span, "unknown");
            d = match ppl_diag::did_you_mean(x.name.as_str(), SETTINGS.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")).edit(x.name.span, near),
                None => d.note(format!("settings: {}", SETTINGS.join(", "))),
            };
            s.report(d);
            continue;
        }
        let Some(value) = setting_value(s, &x.value) else {
            continue;
        };
        let whole = |n: f64| n >= 1.0 && n.fract() == 0.0;
        let (fine, what) = match (x.name.as_str(), &value) {
            ("precision", v) => (matches!(v, SettingValue::Name(n) if n == "f32" || n == "f64"), "`f32` or `f64`"),
            ("seed", v) => {
                (matches!(v, SettingValue::Number(n) if *n >= 0.0 && n.fract() == 0.0), "a whole number that is not negative")
            }
            ("epochs", v) => (matches!(v, SettingValue::Number(n) if *n > 0.0 && n.is_finite()), "a positive number"),
            ("validation", v) => {
                (matches!(v, SettingValue::Number(n) if *n > 0.0 && *n < 1.0), "a fraction of the data, between 0 and 1")
            }
            ("checkpoint", SettingValue::Text(_)) => (true, ""),
            ("checkpoint", v) => {
                (matches!(v, SettingValue::Number(n) if whole(*n)), "a number of steps, or a text such as `\"60s\"`")
            }
            (_, v) => (matches!(v, SettingValue::Number(n) if whole(*n)), "a positive whole number"),
        };
        if !fine {
            s.report(Diagnostic::error(codes::BAD_SETTING, format!("`{}` is {what}", x.name)).label(x.value.span, "not that"));
            continue;
        }
        let twice = |other: &&Setting| match other.name.as_str() {
            "steps" => x.name == "epochs",
            "epochs" => x.name == "steps",
            _ => false,
        };
        if let Some(other) = out.iter().find(twice) {
            s.report(
                Diagnostic::error(codes::BAD_SETTING, "both `steps` and `epochs` say how long the fit runs")
                    .label(x.span, "here")
                    .label(other.span, "and here")
                    .help("remove one of them"),
            );
            continue;
        }
        out.push(Setting { name: x.name.as_str().to_string(), value, span: x.span });
    }
    out
}

fn setting_value(s: &mut Session, e: &Expr) -> Option<SettingValue> {
    match &e.kind {
        ExprKind::Literal(Literal::Int(i)) => Some(SettingValue::Number(*i as f64)),
        ExprKind::Literal(Literal::Real(v)) => Some(SettingValue::Number(*v)),
        ExprKind::Literal(Literal::Str(text)) => Some(SettingValue::Text(text.clone())),
        ExprKind::Unary(UnaryOp::Neg, x) => match setting_value(s, x)? {
            SettingValue::Number(v) => Some(SettingValue::Number(-v)),
            _ => None,
        },
        ExprKind::Name(n) => match s.top(n.as_str()) {
            Some(TopName::Static(Value::Array(a))) => match a.konst {
                Some(ppl_core::Lit::Int(i)) => Some(SettingValue::Number(i as f64)),
                Some(ppl_core::Lit::Float(v)) => Some(SettingValue::Number(v)),
                _ => Some(SettingValue::Name(n.as_str().to_string())),
            },
            _ => Some(SettingValue::Name(n.as_str().to_string())),
        },
        ExprKind::Call { callee, args } => match &callee.kind {
            ExprKind::Name(n) => {
                let mut out = Vec::new();
                for a in args {
                    out.push((a.name.as_ref().map(|n| n.as_str().to_string()), setting_value(s, &a.value)?));
                }
                Some(SettingValue::Call { name: n.as_str().to_string(), args: out })
            }
            _ => None,
        },
        _ => {
            s.report(
                Diagnostic::error(codes::BAD_SETTING, "a setting is a number, a name or a call such as `adam(0.01)`")
                    .label(e.span, "here"),
            );
            None
        }
    }
}

/// An objective as written, for reports.
pub(crate) fn show(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Name(n) => n.as_str().to_string(),
        ExprKind::Literal(Literal::Int(i)) => i.to_string(),
        ExprKind::Literal(Literal::Real(v)) => v.to_string(),
        ExprKind::Call { callee, args } => {
            let args: Vec<String> = args.iter().map(|a| show(&a.value)).collect();
            format!("{}({})", show(callee), args.join(", "))
        }
        ExprKind::Given { program, .. } => format!("{} given ..", show(program)),
        _ => {
            let text = ppl_syntax::print_expr(e);
            if text.len() <= 40 && !text.contains('\n') { text } else { "objective".into() }
        }
    }
}
