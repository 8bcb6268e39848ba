//! `ppl check-grad`: a certificate for the gradient estimators of the user's own program.
//!
//! The compiled gradient is run many times; its mean is held against the derivative of the objective's expectation, which is computed without any
//! strategy: by enumeration and quadrature where the program allows, by coupled differences elsewhere.

mod output;
mod truth;

use crate::args::{CheckGradArgs, EngineName};
use crate::engine::Machine;
use crate::gradient::{Compiled, Gradient, Lab, works_with};
use crate::model::{self, Need};
use crate::report::{self, Failure};
use ppl_abi::Precision;
use ppl_diag::{Code, Diagnostic, Span};
use ppl_driver::check::{FitOverrides, Override, Program};
use ppl_driver::{Cx, lower_expectation};
use ppl_fit::certify::{Moments, threshold, z_score};
use ppl_transform::Chosen;
use truth::{Truth, Value};

/// The certificate is refused.
const REFUTED: Code = Code("E0470");
/// Exit code of a refuted program.
const EXIT: u8 = 5;

/// Components beyond which random directions are tested.
const MANY: usize = 200;
/// Random directions.
const DIRECTIONS: usize = 20;
/// Choices whose other strategies are measured.
const COMPARED: usize = 8;

/// A quantity that is tested: a component, or a direction in the space of all.
#[derive(Clone, Debug)]
pub(super) struct Quantity {
    pub(super) name: String,
    /// Weight of each component.
    pub(super) along: Vec<(usize, f64)>,
}

/// A tested quantity.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) moments: Moments,
    pub(super) truth: Value,
    pub(super) z: f64,
}

/// The variance of a whole gradient under another strategy for one choice.
#[derive(Clone, Debug)]
pub(super) struct Compared {
    pub(super) label: String,
    pub(super) strategy: String,
    /// Sum over components of the variance of one draw; absent where the strategy can't be used here.
    pub(super) variance: Option<f64>,
    pub(super) current: bool,
}

/// Everything found.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) objective: String,
    pub(super) rows: Vec<Row>,
    pub(super) bound: f64,
    pub(super) level: f64,
    pub(super) draws: u64,
    pub(super) chosen: Vec<Chosen>,
    pub(super) compared: Vec<Compared>,
    pub(super) blamed: Option<(Chosen, String)>,
    /// Places where the author's word stands for a proof.
    pub(super) assumed: Vec<Span>,
}

impl Certificate {
    pub(super) fn refuted(&self) -> Vec<&Row> {
        self.rows.iter().filter(|r| r.z.abs() > self.bound || r.z.is_nan()).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the program or its data; a refuted program, with exit code 5.
pub(crate) fn command(args: &CheckGradArgs) -> Result<(), Failure> {
    let mut source = model::load(&args.model)?;
    let overrides = model::overrides(&mut source, &args.clauses, None)?;
    let model = model::with_data(source, &args.data.data, Need::All).map_err(|(s, d)| Failure::program(&s.map, d))?;
    let machine = Machine { engine: EngineName::Jit, precision: Precision::from(args.precision), seed: args.seed };
    let lab = Lab { model: &model, machine, params: args.params.as_deref(), cx: Cx::default() };
    let mut check = Check { lab, args };
    let found = check.run(&overrides)?;
    report::say(&if args.json { found.json() } else { found.text(&model) });
    let diagnostics = found.diagnostics();
    if diagnostics.is_empty() {
        return Ok(());
    }
    Err(Failure { map: model.source.map.clone(), diagnostics, code: EXIT })
}

struct Check<'a> {
    lab: Lab<'a>,
    args: &'a CheckGradArgs,
}

impl Check<'_> {
    fn fail(&self, d: Vec<Diagnostic>) -> Failure {
        self.lab.fail(d)
    }

    fn run(&mut self, overrides: &FitOverrides) -> Result<Certificate, Failure> {
        let compiled = self.lab.compiled(overrides, 1)?;
        let Compiled { program, plan, code } = &compiled;
        if let [_, second, ..] = &plan.goals[..] {
            return Err(self.fail(vec![
                Diagnostic::error(ppl_diag::Code("E0510"), "the gradients of several objectives at once are not checked yet")
                    .label(second.span, "a second objective")
                    .help("check one of them: `ppl check-grad MODEL --objective elbo`"),
            ]));
        }
        let learned: Vec<usize> = compiled.own().collect();
        let (wanted, names) = (compiled.learned(), compiled.components());
        if names.is_empty() {
            return Err(self.fail(vec![compiled.nothing_learned()]));
        }
        let quantities = quantities(&names, self.lab.machine.seed);
        let globals = self.lab.globals(program, &code.inputs, &[])?;
        let mut gradient = self.lab.gradient(&compiled, &globals, &wanted)?;
        let (moments, _) = self.moments(&mut gradient, &quantities, self.args.draws)?;
        // One particle has the same expectation as their mean, and the whole plate that of a minibatch.
        let one = FitOverrides { particles: Some(1), whole_plates: true, ..overrides.clone() };
        let (program1, _) = self.lab.model.check(&one)?;
        let Some(goal1) = program1.fit.as_ref().and_then(|p| p.goals.first()) else { return Err(self.fail(Vec::new())) };
        let expectation = lower_expectation(&program1, &goal1.objective, &mut self.lab.cx).map_err(|d| self.fail(d))?;
        // The truth is computed in double precision whatever the gradient's.
        let exact = Machine { precision: Precision::F64, ..self.lab.machine };
        let globals1 = self.lab.globals(&program1, &expectation.inputs, &[])?;
        let mut truth = Truth::new(exact, &program1, &expectation, &globals1, &learned).map_err(|d| self.fail(vec![d]))?;
        let mut rows = Vec::new();
        let bound = threshold(self.args.level, quantities.len());
        let rounding = if self.lab.machine.precision == Precision::F32 { 1e-4 } else { 1e-8 };
        for (q, m) in quantities.iter().zip(&moments) {
            let value = truth.derivative(&q.along, m.standard_error(), self.args.draws);
            let scale = m.variance().sqrt().max(truth.scale());
            let z = z_score(m.mean(), m.standard_error(), value.value, value.error, rounding, scale);
            rows.push(Row { name: q.name.clone(), moments: *m, truth: value, z });
        }
        let refuted: Vec<usize> = (0..rows.len()).filter(|k| rows[*k].z.abs() > bound || rows[*k].z.is_nan()).collect();
        let mut compared = Vec::new();
        let mut blamed = None;
        if !refuted.is_empty() || !self.args.no_strategies {
            for c in code.chosen.iter().filter(|c| c.strategy != "draw").take(COMPARED) {
                let (list, repaired) =
                    self.alternatives(overrides, program, &wanted, c, &quantities, &rows, &refuted, bound, rounding)?;
                compared.extend(list);
                if blamed.is_none() {
                    blamed = repaired.map(|s| (c.clone(), s));
                }
            }
        }
        Ok(Certificate {
            objective: goal1.name.clone(),
            rows,
            bound,
            level: self.args.level,
            draws: self.args.draws,
            chosen: code.chosen.clone(),
            compared,
            blamed,
            assumed: program.continuous.clone(),
        })
    }

    /// Moments of each quantity over `draws` steps, and of all components' sum of squares.
    fn moments(&self, g: &mut Gradient, quantities: &[Quantity], draws: u64) -> Result<(Vec<Moments>, f64), Failure> {
        let mut out = vec![Moments::default(); quantities.len()];
        let mut all: Vec<Moments> = Vec::new();
        for step in 0..draws {
            let x = g.draw(step).map_err(|d| self.fail(vec![d]))?;
            all.resize(x.len(), Moments::default());
            all.iter_mut().zip(&x).for_each(|(m, x)| m.add(*x));
            for (m, q) in out.iter_mut().zip(quantities) {
                m.add(q.along.iter().map(|(k, w)| w * x[*k]).sum());
            }
        }
        Ok((out, all.iter().map(Moments::variance).sum()))
    }

    /// Other strategies for one choice: the variance of the gradient under each, and the first that repairs what is refuted.
    #[expect(clippy::too_many_arguments, reason = "one comparison's parts")]
    fn alternatives(
        &mut self,
        overrides: &FitOverrides,
        program: &Program,
        wanted: &[String],
        c: &Chosen,
        quantities: &[Quantity],
        rows: &[Row],
        refuted: &[usize],
        bound: f64,
        rounding: f64,
    ) -> Result<(Vec<Compared>, Option<String>), Failure> {
        let mut names = works_with(program, &c.dist);
        names.sort();
        let address = c.label.rsplit('.').next().unwrap_or(&c.label).to_string();
        let draws = if refuted.is_empty() { self.args.draws.min(2000) } else { self.args.draws };
        let (mut out, mut repaired) = (Vec::new(), None);
        let current = names.iter().position(|n| *n == c.strategy);
        if current.is_none() {
            names.push(c.strategy.clone());
        }
        for name in names {
            let is_current = name == c.strategy;
            let mut measured = |address: &str| {
                let mut with = overrides.clone();
                if !is_current {
                    let (strategy, _) = ppl_syntax::parse_expr(self.lab.model.source.id, &name);
                    with.strategies.insert(0, Override { address: Some(address.to_string()), strategy });
                }
                let c = self.lab.compiled(&with, 1)?;
                let globals = self.lab.globals(&c.program, &c.code.inputs, &[])?;
                let mut g = self.lab.gradient(&c, &globals, wanted)?;
                self.moments(&mut g, quantities, draws)
            };
            // A choice of the same name in another program may have a distribution that the strategy does not take.
            let found = measured(&address).or_else(|_| measured(&c.label));
            let Ok((moments, variance)) = found else {
                out.push(Compared { label: c.label.clone(), strategy: name, variance: None, current: is_current });
                continue;
            };
            out.push(Compared { label: c.label.clone(), strategy: name.clone(), variance: Some(variance), current: is_current });
            let repairs = !is_current
                && !refuted.is_empty()
                && refuted.iter().all(|k| {
                    let (m, t) = (&moments[*k], &rows[*k].truth);
                    let scale = m.variance().sqrt();
                    z_score(m.mean(), m.standard_error(), t.value, t.error, rounding, scale).abs() <= bound
                });
            if repairs && repaired.is_none() {
                repaired = Some(name);
            }
        }
        Ok((out, repaired))
    }
}

/// What is tested: every component, or random directions where there are many.
fn quantities(names: &[String], seed: u64) -> Vec<Quantity> {
    if names.len() <= MANY {
        return names.iter().enumerate().map(|(k, n)| Quantity { name: n.clone(), along: vec![(k, 1.0)] }).collect();
    }
    // A direction of random signs weighs all components alike.
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut sign = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if state >> 63 == 0 { 1.0 } else { -1.0 }
    };
    let scale = 1.0 / (names.len() as f64).sqrt();
    (0..DIRECTIONS)
        .map(|d| Quantity {
            name: format!("direction {}", d + 1),
            along: (0..names.len()).map(|k| (k, scale * sign())).collect(),
        })
        .collect()
}
