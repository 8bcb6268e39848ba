//! One function under construction: its builder, scopes, loops and the globals it uses.

use crate::session::{Global, Session};
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, DistVal, Layout, Value};
use ppl_core::{Atom, Block, Builder, Func, Stmt, Support, Ty, Var};
use ppl_diag::{Diagnostic, Span};
use std::collections::HashMap;

/// Limit of nested calls while elaborating: recursion has no static bound.
const MAX_DEPTH: usize = 64;

/// Elaborates one function of stage `S`.
pub(crate) struct FnElab<'s, S: ElabStage> {
    pub(crate) s: &'s mut Session,
    pub(crate) b: Builder<S>,
    scopes: Vec<HashMap<String, Value>>,
    captures: Vec<(Global, Arr)>,
    /// Statements that come before all others: constrained values of parameters.
    prelude: Vec<Stmt<S>>,
    pub(crate) loops: Vec<LoopCtx>,
    /// Number of enclosing functions under construction.
    pub(crate) level: usize,
    /// Whether parameters arrive unconstrained (the outermost function of an entry).
    root: bool,
    /// The distribution that a strategy is being elaborated for.
    pub(crate) own: Option<DistVal>,
    /// What a strategy has besides its estimate.
    pub(crate) sides: Option<crate::strategies::Sides>,
    /// Name of the program, for labels.
    pub(crate) name: String,
    /// Choices and reports made so far, for collisions.
    pub(crate) addresses: HashMap<String, Span>,
    /// Sizes of the choices, with the names of the loops around them.
    pub(crate) choice_dims: Vec<(String, Vec<Dim>)>,
    /// First indices of the choices whose loops do not start at 0, axis by axis.
    pub(crate) choice_starts: Vec<(String, Vec<i64>)>,
    /// Choices that could not be elaborated.
    pub(crate) broken: Vec<String>,
    /// Ordinals of draws, for their sites.
    pub(crate) draws: u64,
    /// Calls being expanded, outermost first.
    pub(crate) callers: Vec<(String, Span)>,
    /// Depth of calls being inlined.
    pub(crate) depth: usize,
    /// Addresses with strategies chosen from outside (`with g() by { .. }`), and the default `_`.
    pub(crate) strategies: HashMap<String, crate::value::NamedStrategy>,
    /// Strategies for the programs inside a `marginal` or `normalize`.
    pub(crate) forced: HashMap<String, crate::value::NamedStrategy>,
    /// Number of `expect`s around the present expression.
    pub(crate) expects: usize,
    /// Whether the present statement stands under an `if`.
    pub(crate) conditional: bool,
    /// Carried values that turned out to be of another type than their first: number, element type, sizes.
    pub(crate) carry_found: Vec<(usize, ppl_core::DType, Vec<Dim>)>,
    /// The network under construction, if one is.
    pub(crate) net: Option<crate::networks::Construction>,
}

/// A function under construction at some moment, to go back to.
#[derive(Clone)]
pub(crate) struct Saved<S: ElabStage> {
    b: Builder<S>,
    scopes: Vec<HashMap<String, Value>>,
    captures: Vec<(Global, Arr)>,
    prelude: Vec<Stmt<S>>,
    addresses: HashMap<String, Span>,
    choice_dims: Vec<(String, Vec<Dim>)>,
    broken: Vec<String>,
    draws: u64,
    diagnostics: usize,
    continuous: usize,
}

/// Indices of loops with their lengths, outermost first.
pub(crate) type Lanes = Vec<(Atom, usize)>;

/// A loop around the statement being elaborated.
#[derive(Clone, Debug)]
pub(crate) struct LoopCtx {
    pub(crate) index: Var,
    pub(crate) len: Dim,
    pub(crate) scan: bool,
    /// The loop variable's value is `index + start`.
    pub(crate) start: i64,
    /// The operand that holds the loop variable's value.
    pub(crate) value: Atom,
    pub(crate) span: Span,
}

/// A finished function with the globals it takes after its explicit parameters.
pub(crate) struct Finished<S: ElabStage> {
    pub(crate) func: Func<S>,
    pub(crate) captures: Vec<Global>,
}

impl<'s, S: ElabStage> FnElab<'s, S> {
    pub(crate) fn new(s: &'s mut Session, name: &str, level: usize, root: bool) -> Self {
        FnElab {
            s,
            b: Builder::new(name),
            scopes: vec![HashMap::new()],
            captures: Vec::new(),
            prelude: Vec::new(),
            loops: Vec::new(),
            level,
            root,
            own: None,
            sides: None,
            name: name.to_string(),
            addresses: HashMap::new(),
            choice_dims: Vec::new(),
            choice_starts: Vec::new(),
            broken: Vec::new(),
            draws: 0,
            callers: Vec::new(),
            depth: 0,
            strategies: HashMap::new(),
            forced: HashMap::new(),
            expects: 0,
            conditional: false,
            carry_found: Vec::new(),
            net: None,
        }
    }

    /// Ends the function. Explicit parameters come first, then the captured globals in order of first use.
    pub(crate) fn finish(self, results: Vec<Atom>, span: Span) -> Finished<S> {
        let mut func = self.b.finish(results);
        let mut stmts = self.prelude;
        stmts.append(&mut func.body.stmts);
        func.body.stmts = stmts;
        func.span = span;
        Finished { func, captures: self.captures.into_iter().map(|(g, _)| g).collect() }
    }

    /// The statements so far, in the order of execution.
    pub(crate) fn statements(&self) -> Vec<&[Stmt<S>]> {
        std::iter::once(&self.prelude).chain(self.b.open()).map(Vec::as_slice).collect()
    }

    /// Reports `d`. What is wrong inside of the library also shows the user's call that led there.
    pub(crate) fn report(&mut self, d: Diagnostic) {
        let inside = d.span().is_some_and(|s| self.s.in_library(s)) && d.labels.iter().all(|l| self.s.in_library(l.span));
        let call = self.callers.iter().rev().map(|(_, s)| *s).find(|s| *s != Span::NONE && !self.s.in_library(*s));
        self.s.report(match call {
            Some(call) if inside => d.label(call, "called here"),
            _ => d,
        });
    }

    /// The state of the function, its diagnostics included.
    pub(crate) fn save(&self) -> Saved<S> {
        Saved {
            b: self.b.clone(),
            scopes: self.scopes.clone(),
            captures: self.captures.clone(),
            prelude: self.prelude.clone(),
            addresses: self.addresses.clone(),
            choice_dims: self.choice_dims.clone(),
            broken: self.broken.clone(),
            draws: self.draws,
            diagnostics: self.s.diagnostics.len(),
            continuous: self.s.continuous.len(),
        }
    }

    /// Goes back to a state: what was built and reported since is forgotten.
    pub(crate) fn restore(&mut self, saved: Saved<S>) {
        self.s.diagnostics.truncate(saved.diagnostics);
        self.s.continuous.truncate(saved.continuous);
        self.b = saved.b;
        self.scopes = saved.scopes;
        self.captures = saved.captures;
        self.prelude = saved.prelude;
        self.addresses = saved.addresses;
        self.choice_dims = saved.choice_dims;
        self.broken = saved.broken;
        self.draws = saved.draws;
    }

    /// Reports `d` and returns the erroneous value.
    pub(crate) fn fail(&mut self, d: Diagnostic) -> Value {
        self.report(d);
        Value::Error
    }

    // Scopes.

    pub(crate) fn push_scope(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub(crate) fn pop_scope(&mut self) -> HashMap<String, Value> {
        self.scopes.pop().unwrap_or_default()
    }

    pub(crate) fn bind(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), value);
        }
    }

    pub(crate) fn local(&self, name: &str) -> Option<Value> {
        self.scopes.iter().rev().find_map(|s| s.get(name)).cloned()
    }

    pub(crate) fn scopes(&self) -> &[HashMap<String, Value>] {
        &self.scopes
    }

    /// Puts outer scopes under the function's own.
    pub(crate) fn enclose(&mut self, outer: Vec<HashMap<String, Value>>) {
        self.scopes.splice(0..0, outer);
    }

    pub(crate) fn local_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scopes.iter().flat_map(|s| s.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Runs `f` with only the function's own scope hidden: what an inlined declaration's body sees.
    pub(crate) fn isolated<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.within(Vec::new(), f)
    }

    /// Runs `f` with these scopes in place of the function's, and one of its own.
    pub(crate) fn within<T>(&mut self, mut scopes: Vec<HashMap<String, Value>>, f: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        scopes.push(HashMap::new());
        let saved = std::mem::replace(&mut self.scopes, scopes);
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        self.scopes = saved;
        Some(out)
    }

    // Globals.

    /// The value of a global in this function, which becomes one of its parameters.
    pub(crate) fn global(&mut self, g: Global) -> Arr {
        if let Some((_, a)) = self.captures.iter().find(|(h, _)| *h == g) {
            return a.clone();
        }
        let info = self.s.global_info(g);
        let arr = match (&info.unconstrained, self.root) {
            (Some(free), true) => {
                let raw = self.b.param(format!("{}.free", info.name), Ty::float(free.clone()));
                self.b.begin();
                let atom = crate::bijectors::constrain(&mut self.b, Atom::Var(raw), &info.support, &info.arr.shape());
                let block = self.b.end(Vec::new());
                self.prelude.extend(block.stmts);
                Arr { atom, ..info.arr.clone() }
            }
            _ => {
                let v = self.b.param(info.name.clone(), info.arr.ty());
                Arr { atom: Atom::Var(v), ..info.arr.clone() }
            }
        };
        self.captures.push((g, arr.clone()));
        arr
    }

    /// Globals that the function takes, with their operands.
    pub(crate) fn captures_of(&self) -> impl Iterator<Item = &(Global, Arr)> {
        self.captures.iter()
    }

    /// Operands for a callee's captured globals.
    pub(crate) fn globals(&mut self, captures: &[Global]) -> Vec<Atom> {
        captures.iter().map(|g| self.global(*g).atom).collect()
    }

    // Blocks.

    /// Elaborates a nested block that yields a value.
    pub(crate) fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> (T, Vec<Stmt<S>>) {
        self.b.begin();
        self.push_scope();
        let out = f(self);
        self.pop_scope();
        let block = self.b.end(Vec::new());
        (out, block.stmts)
    }

    /// A block that returns the arrays of `value`, and their structure.
    pub(crate) fn block_of(stmts: Vec<Stmt<S>>, value: &Value) -> (Block<S>, Layout) {
        let mut results = Vec::new();
        let layout = value.flatten(&mut results);
        (Block { stmts, results }, layout)
    }

    /// Runs `f` for each of `len` independent iterations; its value's arrays come back stacked.
    pub(crate) fn map_loop(&mut self, len: &Dim, name: &str, f: impl FnOnce(&mut Self, Arr) -> Value) -> Value {
        let index = self.b.index_var(name);
        self.loops.push(LoopCtx { index, len: len.clone(), scan: false, start: 0, value: Atom::Var(index), span: Span::NONE });
        let arr = Arr {
            support: Some(Support::Integers { lo: 0, hi: Some(len.n as i64 - 1) }),
            ..Arr::new(Atom::Var(index), ppl_core::DType::Int, Vec::new())
        };
        let (value, stmts) = self.nested(|me| f(me, arr));
        self.loops.pop();
        let (body, layout) = Self::block_of(stmts, &value);
        let outs = self.b.map(len.n, index, body);
        layout.build(&mut outs.into_iter().map(Atom::Var), std::slice::from_ref(len))
    }

    /// The scalar operands of enclosing loops, for draws: maps and scans.
    pub(crate) fn draw_path(&self) -> (Lanes, Lanes) {
        let pick = |scan: bool| self.loops.iter().filter(|l| l.scan == scan).map(|l| (Atom::Var(l.index), l.len.n)).collect();
        (pick(false), pick(true))
    }
}
