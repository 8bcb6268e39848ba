//! Checking that a program means something.

use crate::{
    Address, Atom, Block, Det, DetRandom, Est, EstRandom, Func, GenId, GenRandom, Module, Names, Op, RandomOp, RandomView, Stage,
    Stmt, Ty, Var,
    infer::{param_tys, result_tys, results, static_trace},
    text::stmt_head,
};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::HashMap;
use std::fmt;

#[cfg(test)]
mod tests;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong and in which statement, one line.
    pub text: String,
    /// The statement's place.
    pub span: Span,
}

impl Fault {
    /// As a diagnostic (`E0902`).
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error(Code("E0902"), self.text.clone()).label(self.span, "")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Checks one function against its module, and gives every fault found.
///
/// Variables:
/// - (V1) each is defined once: as a parameter, a statement's output, a loop's index, a carry or a slice;
/// - (V2) it is used only after its definition, in the block that defines it or in blocks inside that one;
/// - (V3) a parameter, a statement's output has the type that its definition gives it.
///
/// Operations (the rules of each array operation are in [`shape`](crate::shape)):
/// - (O1) an elementwise primitive's operands have one shape or are scalars, and element types of its signature;
/// - (O2) axes exist, sizes agree, and results have as many elements as operands where none are added or removed;
/// - (O3) `if` takes a scalar bool, and its blocks return the same types;
/// - (O4) a loop's index is an int scalar; `scan` carries keep their types, slices are those of arrays of the loop's length;
/// - (O5) a call's callee exists and takes these types; its outputs are the callee's results;
/// - (O6) parameters fit the distribution, those with a strategy's own arguments fit the strategy; scored values are events of
///   a distribution with a log density, `draw` and `path` need its `sample` program;
/// - (O7) `sim` and `density` name a function with a static list of choices; outputs and the given trace follow that list;
/// - (O8) `factor` takes a real scalar.
///
/// Places:
/// - (P1) an address (of a choice, a called program, a report) has as indices exactly the index variables of all enclosing
///   loops, each once;
/// - (P2) a draw's `lanes` are indices of enclosing loops, outermost first, with the loops' lengths; or literals below the
///   length; or parameters, which stand for the caller's loops; its `times` are int scalars.
///
/// That a stage has only its own random operations is so by type.
///
/// # Errors
///
/// All faults, in the order of the text.
pub fn verify<S: Stage>(module: &Module, func: &Func<S>) -> Result<(), Vec<Fault>> {
    let mut v =
        Verifier { module, func, state: vec![State::New; func.vars.len()], loops: Vec::new(), names: None, faults: Vec::new() };
    for p in &func.params {
        v.define(*p, "parameter", func.span);
    }
    v.block(&func.body);
    if v.faults.is_empty() { Ok(()) } else { Err(v.faults) }
}

impl Module {
    /// Checks every function ([`verify`]) and the rules of whole modules, and gives every fault found:
    ///
    /// - (M1) a distribution's programs exist and take and return the types that [`DistInst`](crate::DistInst) states; a pathwise one has
    ///   a `sample` program; its strategies exist and take its parameters first;
    /// - (M2) a strategy's program exists, returns one real scalar, and continues at least once;
    /// - (M3) only the programs of strategies continue, and all continuations of one take one type;
    /// - (M4) generative functions do not call themselves, directly or through others.
    ///
    /// # Errors
    ///
    /// All faults.
    pub fn verify(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Vec::new();
        self.verify_dists(&mut faults);
        self.verify_strategies(&mut faults);
        let mut done = HashMap::new();
        for (i, f) in self.gens.iter().enumerate() {
            if let Err(text) = static_trace(self, GenId(i as u32), &mut done) {
                faults.push(Fault { text, span: f.span });
                // One message for a cycle, not one for each function on it.
                done.values_mut().for_each(|found| *found = true);
            }
        }
        let mut add = |r: Result<(), Vec<Fault>>| faults.extend(r.err().into_iter().flatten());
        self.gens.iter().for_each(|f| add(verify(self, f)));
        self.ests.iter().for_each(|f| add(verify(self, f)));
        self.dets.iter().for_each(|f| add(verify(self, f)));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn verify_dists(&self, faults: &mut Vec<Fault>) {
        for d in &self.dists {
            let mut fault =
                |text: String| faults.push(Fault { text: format!("distribution `{}`: {text}", d.name), span: d.span });
            let params = || d.params.iter().map(|p| p.1.clone());
            let programs = [
                ("log_density", d.log_density, std::iter::once(d.event.clone()).chain(params()).collect::<Vec<_>>(), Ty::FLOAT),
                ("sample", d.sample, params().collect(), d.event.clone()),
                ("cdf", d.cdf, std::iter::once(d.event.clone()).chain(params()).collect(), Ty::FLOAT),
                ("support_value", d.support_value, std::iter::once(Ty::INT).chain(params()).collect(), d.event.clone()),
            ];
            for (what, id, takes, gives) in programs {
                let Some(id) = id else { continue };
                let Some(f) = self.dets.get(id.index()) else {
                    fault(format!("`{what}` is {id}, which does not exist"));
                    continue;
                };
                if param_tys(f) != Ok(takes) || results(f) != Ok(vec![gives]) {
                    fault(format!("`{what}` is `{}`, whose types do not fit", f.name));
                }
            }
            for (other, id) in &d.divergences {
                let Some(other) = self.dists.get(other.index()) else {
                    fault(format!("its divergence is to {other}, which does not exist"));
                    continue;
                };
                let takes: Vec<Ty> = params().chain(other.params.iter().map(|p| p.1.clone())).collect();
                let fits = |f: &Func<Det>| param_tys(f) == Ok(takes) && results(f) == Ok(vec![Ty::FLOAT]);
                if d.event != other.event || !self.dets.get(id.index()).is_some_and(fits) {
                    fault(format!("its divergence to `{}` is {id}, whose types do not fit", other.name));
                }
            }
            if d.pathwise && d.sample.is_none() {
                fault("is pathwise without a `sample` program".to_string());
            }
            for id in &d.auto {
                let program = self.strategies.get(id.index()).and_then(|s| self.ests.get(s.func.index()));
                match program.map(param_tys) {
                    None => fault(format!("{id} does not exist")),
                    Some(Ok(tys)) if tys.len() >= d.params.len() && tys.iter().zip(params()).all(|(a, b)| *a == b) => {}
                    Some(_) => fault(format!("{id} does not take its parameters")),
                }
            }
        }
    }

    fn verify_strategies(&self, faults: &mut Vec<Fault>) {
        for s in &self.strategies {
            let mut fault = |text: String| faults.push(Fault { text: format!("strategy `{}`: {text}", s.name), span: s.span });
            let Some(f) = self.ests.get(s.func.index()) else {
                fault(format!("its program is {}, which does not exist", s.func));
                continue;
            };
            if results(f) != Ok(vec![Ty::FLOAT; 1 + s.sides.len()]) {
                fault("its program does not return one real number and its sides".to_string());
            }
            let mut tys = Vec::new();
            continuations(f, &f.body, &mut tys);
            if tys.is_empty() {
                fault("its program never continues".to_string());
            }
            if tys.windows(2).any(|w| w[0] != w[1]) {
                fault("its program continues with values of different types".to_string());
            }
        }
        for (i, f) in self.ests.iter().enumerate() {
            let mut tys = Vec::new();
            continuations(f, &f.body, &mut tys);
            if !tys.is_empty() && self.strategies.iter().all(|s| s.func.index() != i) {
                faults.push(Fault { text: format!("`{}` continues, but is not a strategy's program", f.name), span: f.span });
            }
        }
    }
}

/// Types that a strategy's program continues with; `None` for variables that do not exist.
fn continuations(f: &Func<Est>, block: &Block<Est>, out: &mut Vec<Option<Ty>>) {
    for stmt in &block.stmts {
        if let Op::Random(EstRandom::Continue { x, .. }) = &stmt.op {
            out.push(match x {
                Atom::Var(v) => f.vars.get(v.index()).map(|i| i.ty.clone()),
                Atom::Lit(l) => Some(l.ty()),
            });
        }
        crate::op_blocks(&stmt.op).into_iter().for_each(|b| continuations(f, b, out));
    }
}

/// What is known of a variable.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not defined yet.
    New,
    /// Usable.
    Live,
    /// Defined in a block that has ended.
    Ended,
}

struct Verifier<'a, S: Stage> {
    module: &'a Module,
    func: &'a Func<S>,
    state: Vec<State>,
    /// Enclosing loops, outermost first.
    loops: Vec<(Var, usize)>,
    /// Names for messages, made when the first is needed.
    names: Option<Names>,
    faults: Vec<Fault>,
}

impl<S: Stage> Verifier<'_, S> {
    fn name(&mut self, v: Var) -> String {
        let func = self.func;
        self.names.get_or_insert_with(|| Names::of(func)).var(v)
    }

    fn fault(&mut self, text: String, span: Span) {
        let text = format!("in `{}`: {text}", self.func.name);
        self.faults.push(Fault { text, span });
    }

    fn fault_in(&mut self, stmt: &Stmt<S>, text: &str) {
        let func = self.func;
        let names = self.names.get_or_insert_with(|| Names::of(func));
        let text = format!("`{}`: {text}", stmt_head(func, names, stmt));
        self.fault(text, stmt.span);
    }

    fn define(&mut self, v: Var, what: &str, span: Span) {
        match self.state.get(v.index()) {
            None => self.fault(format!("{what} {v} does not exist"), span),
            Some(State::New) => self.state[v.index()] = State::Live,
            Some(_) => {
                let name = self.name(v);
                self.fault(format!("{what} {name} is defined a second time"), span);
            }
        }
    }

    /// Ends the scope of `vars`.
    fn end(&mut self, vars: &[Var]) {
        for v in vars {
            if let Some(s) = self.state.get_mut(v.index()) {
                *s = State::Ended;
            }
        }
    }

    fn uses(&mut self, atoms: &[Atom], what: &str, span: Span) {
        for v in atoms.iter().filter_map(|a| a.var()) {
            let why = match self.state.get(v.index()) {
                Some(State::Live) => continue,
                Some(State::New) => "is used before it is defined",
                Some(State::Ended) => "is used outside the block that defines it",
                None => "does not exist",
            };
            let name = self.name(v);
            self.fault(format!("{what}: {name} {why}"), span);
        }
    }

    fn block(&mut self, block: &Block<S>) {
        for stmt in &block.stmts {
            self.stmt(stmt);
        }
        let span = block.stmts.last().map_or(self.func.span, |s| s.span);
        self.uses(&block.results, "result of a block", span);
        for stmt in &block.stmts {
            self.end(&stmt.outs);
        }
    }

    fn stmt(&mut self, stmt: &Stmt<S>) {
        let before = self.faults.len();
        self.uses(&crate::op_atoms(&stmt.op), "operand", stmt.span);
        let bound = stmt.op.bound_vars();
        let header = match &stmt.op {
            Op::Map { len, index, .. } => Some((*index, *len)),
            Op::Scan(s) => Some((s.index, s.len)),
            _ => None,
        };
        for v in &bound {
            self.define(*v, "loop variable", stmt.span);
        }
        self.loops.extend(header);
        crate::op_blocks(&stmt.op).into_iter().for_each(|b| self.block(b));
        if header.is_some() {
            self.loops.pop();
        }
        self.end(&bound);
        // A missing operand has been reported; its type would only repeat that.
        if self.faults.len() == before {
            self.types(stmt);
            self.places(stmt);
        }
        for v in &stmt.outs {
            self.define(*v, "output", stmt.span);
        }
    }

    fn types(&mut self, stmt: &Stmt<S>) {
        let tys = match result_tys(self.module, self.func, &stmt.op) {
            Ok(tys) => tys,
            Err(why) => return self.fault_in(stmt, &why),
        };
        if tys.len() != stmt.outs.len() {
            return self.fault_in(stmt, &format!("{} results", tys.len()));
        }
        for (v, ty) in stmt.outs.iter().zip(&tys) {
            if self.func.vars.get(v.index()).is_some_and(|i| i.ty != *ty) {
                let name = self.name(*v);
                self.fault_in(stmt, &format!("{name} should be {ty}"));
            }
        }
    }

    fn places(&mut self, stmt: &Stmt<S>) {
        let Op::Random(r) = &stmt.op else { return };
        match r.view() {
            RandomView::Gen(GenRandom::Sample { addr, .. } | GenRandom::Call { addr, .. } | GenRandom::Report { addr, .. }) => {
                self.address(stmt, addr)
            }
            RandomView::Gen(GenRandom::Integral(_)) => {
                if !self.loops.is_empty() {
                    self.fault_in(stmt, "an integral stands at the top of its function");
                }
            }
            RandomView::Gen(GenRandom::Scale(_)) => {
                if self.loops.is_empty() {
                    self.fault_in(stmt, "a scale stands in a loop");
                }
            }
            RandomView::Gen(GenRandom::Factor(_) | GenRandom::Noise(_)) | RandomView::Est(_) => {}
            RandomView::Det(d) => self.lanes(stmt, d),
        }
    }

    fn address(&mut self, stmt: &Stmt<S>, addr: &Address) {
        let mut wanted: Vec<Var> = self.loops.iter().map(|l| l.0).collect();
        let mut given = addr.indices.clone();
        wanted.sort_unstable();
        given.sort_unstable();
        if wanted != given {
            self.fault_in(stmt, "the address does not have the index of each enclosing loop once");
        }
    }

    fn lanes(&mut self, stmt: &Stmt<S>, d: &DetRandom) {
        let mut outer = 0;
        for (a, len) in &d.lanes {
            let ok = match a {
                Atom::Lit(crate::Lit::Int(i)) => usize::try_from(*i).is_ok_and(|i| i < *len),
                Atom::Lit(_) => false,
                Atom::Var(v) if self.func.params.contains(v) => true,
                Atom::Var(v) => {
                    let found = self.loops[outer..].iter().position(|l| l == &(*v, *len));
                    outer += found.map_or(0, |i| i + 1);
                    found.is_some()
                }
            };
            if !ok {
                return self.fault_in(stmt, "the lanes are not indices of enclosing loops with their lengths, outermost first");
            }
        }
    }
}
