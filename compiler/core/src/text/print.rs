//! Printing functions.

use crate::{
    Address, Atom, Block, DetRandom, DistUse, EstRandom, Func, GenRandom, Linalg, Lit, Module, Op, RandomOp, RandomView, Scan,
    Stage, Stmt, StrategyUse, Ty, Var,
};
use std::collections::HashMap;
use std::fmt::{self, Display, Write};

/// The names under which a function's variables are printed: unique, and the same for the same text.
///
/// The first variable called `k` in the order of the text is `%k`, the next ones `%k.1`, `%k.2`, ..
#[derive(Clone, Debug)]
pub struct Names {
    names: Vec<String>,
}

impl Names {
    /// Names for every variable of `func`; those that it never defines come last.
    pub fn of<S: Stage>(func: &Func<S>) -> Names {
        let mut order = func.params.clone();
        definitions(&func.body, &mut order);
        let mut names = vec![String::new(); func.vars.len()];
        let mut count: HashMap<String, usize> = HashMap::new();
        for i in order.iter().map(|v| v.index()).chain(0..func.vars.len()) {
            let Some(slot) = names.get_mut(i).filter(|n| n.is_empty()) else { continue };
            let base = base_name(&func.vars[i].name);
            let n = count.entry(base.clone()).or_insert(0);
            *slot = if *n == 0 { base } else { format!("{base}.{n}") };
            *n += 1;
        }
        Names { names }
    }

    /// The name of a variable, with `%`.
    pub fn var(&self, v: Var) -> String {
        self.names.get(v.index()).map_or_else(|| format!("%?{}", v.0), |n| format!("%{n}"))
    }

    /// An operand.
    pub fn atom(&self, a: Atom) -> String {
        match a {
            Atom::Var(v) => self.var(v),
            Atom::Lit(l) => l.to_string(),
        }
    }
}

fn definitions<S: Stage>(block: &Block<S>, order: &mut Vec<Var>) {
    for stmt in &block.stmts {
        order.extend(&stmt.outs);
        order.extend(stmt.op.bound_vars());
        crate::op_blocks(&stmt.op).into_iter().for_each(|b| definitions(b, order));
    }
}

/// A name without characters that the format gives a meaning, and without a number at its end that would look like the printer's.
pub(super) fn base_name(name: &str) -> String {
    let ok = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '.' | '\'') { c } else { '_' };
    let mut name: String = name.chars().map(ok).collect();
    while let Some((head, tail)) = name.rsplit_once('.')
        && tail.chars().all(|c| c.is_ascii_digit())
    {
        name.truncate(head.len());
    }
    if name.is_empty() { "v".to_string() } else { name }
}

/// A name as it is where it is a word, in quotes otherwise.
pub(super) fn word(name: &str) -> String {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if starts && chars.all(super::lex::word_char) && !matches!(name, "inf" | "nan") { name.to_string() } else { quoted(name) }
}

/// A string in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn list<T>(items: impl IntoIterator<Item = T>, each: impl FnMut(T) -> String) -> String {
    items.into_iter().map(each).collect::<Vec<_>>().join(", ")
}

fn tys<S: Stage>(func: &Func<S>, vars: &[Var]) -> String {
    list(vars, |v| func.vars.get(v.index()).map_or_else(|| "?".to_string(), |i| i.ty.to_string()))
}

/// The text of a function. With its module, a remark names the function, distribution or strategy that an id stands for.
pub fn print_func<'a, S: Stage>(func: &'a Func<S>, module: impl Into<Option<&'a Module>>) -> String {
    let mut p = Printer { func, module: module.into(), names: Names::of(func), out: String::new() };
    let params = list(&func.params, |v| format!("{}: {}", p.names.var(*v), tys(func, &[*v])));
    let results = list(&func.body.results, |a| atom_ty(func, *a));
    let _ = writeln!(p.out, "{} fn @{}({params}) -> ({results}) {{", S::NAME, word(&func.name));
    p.block(&func.body, 1);
    p.out.push_str("}\n");
    p.out
}

fn atom_ty<S: Stage>(func: &Func<S>, a: Atom) -> String {
    match a {
        Atom::Var(v) => tys(func, &[v]),
        Atom::Lit(l) => l.ty().to_string(),
    }
}

/// One statement without its blocks, for messages.
pub(crate) fn stmt_head<S: Stage>(func: &Func<S>, names: &Names, stmt: &Stmt<S>) -> String {
    let mut p = Printer { func, module: None, names: names.clone(), out: String::new() };
    p.head(stmt);
    p.out
}

struct Printer<'a, S: Stage> {
    func: &'a Func<S>,
    module: Option<&'a Module>,
    names: Names,
    out: String,
}

impl<S: Stage> Printer<'_, S> {
    fn indent(&mut self, depth: usize) {
        (0..depth).for_each(|_| self.out.push_str("  "));
    }

    fn block(&mut self, block: &Block<S>, depth: usize) {
        for stmt in &block.stmts {
            self.indent(depth);
            self.head(stmt);
            let blocks = crate::op_blocks(&stmt.op);
            for (i, b) in blocks.iter().enumerate() {
                self.out.push_str(if i == 0 { " {\n" } else { " else {\n" });
                self.block(b, depth + 1);
                self.indent(depth);
                self.out.push('}');
            }
            if let Some(remark) = self.remark(&stmt.op) {
                let _ = write!(self.out, "  # {remark}");
            }
            self.out.push('\n');
        }
        self.indent(depth);
        let results = self.atoms(&block.results);
        let _ = writeln!(self.out, "{}", format!("ret {results}").trim_end());
    }

    fn head(&mut self, stmt: &Stmt<S>) {
        if !stmt.outs.is_empty() {
            let outs = list(&stmt.outs, |v| self.names.var(*v));
            let _ = write!(self.out, "{outs} = ");
        }
        let op = self.op(&stmt.op);
        self.out.push_str(&op);
        if !stmt.outs.is_empty() {
            let _ = write!(self.out, " : {}", tys(self.func, &stmt.outs));
        }
    }

    fn atom(&self, a: &Atom) -> String {
        self.names.atom(*a)
    }

    fn atoms(&self, atoms: &[Atom]) -> String {
        list(atoms, |a| self.atom(a))
    }

    fn op(&self, op: &Op<S>) -> String {
        let x = |a: &Atom| self.atom(a);
        match op {
            Op::Prim(p, args) => format!("{} {}", p.name(), self.atoms(args)),
            Op::Broadcast { x: a, shape, axes } => format!("broadcast {} to {shape:?} axes {axes:?}", x(a)),
            Op::Reduce { op, x: a, axes } => format!("reduce {} {} axes {axes:?}", op.name(), x(a)),
            Op::ArgMax { x: a, axis } => format!("argmax {} axis {axis}", x(a)),
            Op::CumSum { x: a, axis, reverse } => format!("cumsum {} axis {axis}{}", x(a), flag(*reverse, "reverse")),
            Op::Dot { a, b, batch, contract } => format!("dot {}, {} batch {batch:?} contract {contract:?}", x(a), x(b)),
            Op::Transpose { x: a, perm } => format!("transpose {} perm {perm:?}", x(a)),
            Op::Reshape { x: a, shape } => format!("reshape {} to {shape:?}", x(a)),
            Op::Slice { x: a, axis, start, len } => format!("slice {} axis {axis} start {start} len {len}", x(a)),
            Op::Pad { x: a, axis, before, after } => format!("pad {} axis {axis} before {before} after {after}", x(a)),
            Op::Concat { xs, axis } => format!("concat {} axis {axis}", self.atoms(xs)),
            Op::Gather { x: a, idx, batch } => format!("gather {}, {} batch {batch}", x(a), x(idx)),
            Op::ScatterAdd { idx, updates, batch, len } => {
                format!("scatter_add {}, {} batch {batch} len {len}", x(idx), x(updates))
            }
            Op::Iota { len } => format!("iota {len}"),
            Op::Minibatch { data, size } => format!("minibatch {size} of {data}"),
            Op::Reverse { x: a, axis } => format!("reverse {} axis {axis}", x(a)),
            Op::Linalg(Linalg::Cholesky, args) => format!("cholesky {}", self.atoms(args)),
            Op::Linalg(Linalg::Solve { transpose }, args) => {
                format!("solve {}{}", self.atoms(args), flag(*transpose, "transpose"))
            }
            Op::Linalg(Linalg::Unfold(w), args) => format!("unfold {}{}", self.atoms(args), window(w)),
            Op::Linalg(Linalg::Fold(w), args) => format!("fold {}{}", self.atoms(args), window(w)),
            Op::If { cond, .. } => format!("if {}", x(cond)),
            Op::Map { len, index, .. } => format!("map {} in {len}", self.names.var(*index)),
            Op::Scan(s) => self.scan(s),
            Op::Call { callee, args } => format!("call {callee}({})", self.atoms(args)),
            Op::Stop(a) => format!("stop {}", x(a)),
            Op::Random(r) => match r.view() {
                RandomView::Gen(r) => self.gen_random(r),
                RandomView::Est(r) => self.est_random(r),
                RandomView::Det(r) => self.det_random(r),
            },
        }
    }

    fn scan(&self, s: &Scan<S>) -> String {
        let bound = |pairs: &[(Var, Atom)]| {
            list(pairs, |(v, a)| format!("{}: {} = {}", self.names.var(*v), tys(self.func, &[*v]), self.atom(a)))
        };
        let mut out = format!("scan {} in {}{}", self.names.var(s.index), s.len, flag(s.reverse, "reverse"));
        let _ = write!(out, " carry ({})", bound(&s.carry));
        if !s.xs.is_empty() {
            let _ = write!(out, " over ({})", bound(&s.xs));
        }
        out
    }

    fn dist(&self, d: &DistUse) -> String {
        format!("{}({})", d.dist, self.atoms(&d.args))
    }

    /// `dist@0(x; params)`.
    fn dist_at(&self, d: &DistUse, x: &Atom) -> String {
        format!("{}({}; {})", d.dist, self.atom(x), self.atoms(&d.args))
    }

    fn strategy(&self, s: &StrategyUse) -> String {
        match s {
            StrategyUse::Auto => String::new(),
            StrategyUse::Named { strategy, args, .. } => format!(" by {strategy}({})", self.atoms(args)),
        }
    }

    fn addr(&self, a: &Address) -> String {
        let indices = list(&a.indices, |v| self.names.var(*v));
        if a.indices.is_empty() { word(&a.name) } else { format!("{}[{indices}]", word(&a.name)) }
    }

    fn gen_random(&self, r: &GenRandom) -> String {
        match r {
            GenRandom::Sample { dist, addr, strategy, elements } => {
                let own: String = elements.iter().map(|(k, s)| format!(" element {k}{}", self.strategy(s))).collect();
                format!("sample {} at {}{}{own}", self.dist(dist), self.addr(addr), self.strategy(strategy))
            }
            GenRandom::Call { callee, args, addr } => format!("call {callee}({}) at {}", self.atoms(args), self.addr(addr)),
            GenRandom::Noise(d) => format!("noise {}", self.dist(d)),
            GenRandom::Factor(w) => format!("factor {}", self.atom(w)),
            GenRandom::Scale(c) => format!("scale {}", self.atom(&Atom::float(*c))),
            GenRandom::Report { addr, value } => format!("report {} = {}", self.addr(addr), self.atom(value)),
            GenRandom::Integral(i) => self.integral(i),
        }
    }

    fn integral(&self, i: &crate::Integral) -> String {
        let word = if i.kind == crate::IntegralKind::Normalize { "normalize" } else { "marginal" };
        let given = list(&i.given, |(k, a)| format!("{k} = {}", self.atom(a)));
        let mut out = format!("{word} {}({}; {given})", i.callee, self.atoms(&i.args));
        if let crate::IntegralKind::Marginal { keep } = &i.kind {
            let _ = write!(out, " keep {keep:?}");
        }
        let _ = write!(out, " by {} {}", i.algorithm.name(), i.count);
        if let Some(p) = &i.proposal {
            let _ = write!(out, " using {}({}){}", p.callee, self.atoms(&p.args), flag(p.takes_trace, "trace"));
        }
        if let Some(r) = &i.index {
            let _ = write!(out, " index {}{}", r.dist, self.strategy(&r.strategy));
        }
        for r in &i.sites {
            let _ = write!(out, " site {}{}", r.dist, self.strategy(&r.strategy));
        }
        out
    }

    fn est_random(&self, r: &EstRandom) -> String {
        match r {
            EstRandom::Sample { dist, strategy, label } => {
                format!("sample {} as {}{}", self.dist(dist), word(label), self.strategy(strategy))
            }
            EstRandom::Draw(d) => format!("draw {}", self.dist(d)),
            EstRandom::Path(d) => format!("path {}", self.dist(d)),
            EstRandom::LogDensity { dist, x } => format!("log_density {}", self.dist_at(dist, x)),
            EstRandom::Score { dist, x } => format!("score {}", self.dist_at(dist, x)),
            EstRandom::Sim { callee, args } => format!("sim {callee}({})", self.atoms(args)),
            EstRandom::Density { callee, args, trace } => {
                format!("density {callee}({}; {})", self.atoms(args), self.atoms(trace))
            }
            EstRandom::LogWeight(w) => format!(
                "log_weight {}({}; {}) over {}({}; {}), {}",
                w.target,
                self.atoms(&w.target_args),
                self.atoms(&w.target_trace),
                w.guide,
                self.atoms(&w.guide_args),
                self.atoms(&w.guide_trace),
                self.atom(&w.log_q)
            ),
            EstRandom::Continue { x, fresh } => format!("continue {}{}", self.atom(x), flag(*fresh, "fresh")),
            EstRandom::Call { callee, args } => format!("call {callee}({})", self.atoms(args)),
            EstRandom::Grad { callee, args, wrt } => {
                let (fixed, of) = args.split_at(args.len().saturating_sub(*wrt));
                format!("grad {callee}({}; {})", self.atoms(fixed), self.atoms(of))
            }
        }
    }

    fn det_random(&self, r: &DetRandom) -> String {
        let mut out = format!("random {}({}) shape {:?} site {:#x}", r.kind.name(), self.atoms(&r.args), r.shape, r.site);
        for (word, pairs) in [("lanes", &r.lanes), ("times", &r.times)] {
            if !pairs.is_empty() {
                let _ = write!(out, " {word} ({})", list(pairs, |(a, n)| format!("{} in {n}", self.atom(a))));
            }
        }
        out
    }

    /// Names of what ids in the operation stand for.
    fn remark(&self, op: &Op<S>) -> Option<String> {
        let m = self.module?;
        let name = |name: Option<&String>| name.map(|n| n.replace('\n', " "));
        let dist = |d: &DistUse| name(m.dists.get(d.dist.index()).map(|d| &d.name));
        let with = |d: &DistUse, s: &StrategyUse| match s {
            StrategyUse::Auto => dist(d),
            StrategyUse::Named { strategy, .. } => {
                Some(format!("{} by {}", dist(d)?, name(m.strategies.get(strategy.index()).map(|s| &s.name))?))
            }
        };
        match op {
            Op::Call { callee, .. } => name(m.dets.get(callee.index()).map(|f| &f.name)),
            Op::Random(r) => match r.view() {
                RandomView::Gen(GenRandom::Sample { dist, strategy, .. })
                | RandomView::Est(EstRandom::Sample { dist, strategy, .. }) => with(dist, strategy),
                RandomView::Gen(GenRandom::Noise(d))
                | RandomView::Est(
                    EstRandom::Draw(d)
                    | EstRandom::Path(d)
                    | EstRandom::LogDensity { dist: d, .. }
                    | EstRandom::Score { dist: d, .. },
                ) => dist(d),
                RandomView::Gen(GenRandom::Integral(i)) => name(m.gens.get(i.callee.index()).map(|f| &f.name)),
                RandomView::Gen(GenRandom::Call { callee, .. })
                | RandomView::Est(EstRandom::Sim { callee, .. } | EstRandom::Density { callee, .. }) => {
                    name(m.gens.get(callee.index()).map(|f| &f.name))
                }
                RandomView::Est(EstRandom::LogWeight(w)) => {
                    let of = |g: crate::GenId| name(m.gens.get(g.index()).map(|f| &f.name));
                    Some(format!("{} over {}", of(w.target)?, of(w.guide)?))
                }
                RandomView::Est(EstRandom::Call { callee, .. } | EstRandom::Grad { callee, .. }) => {
                    name(m.ests.get(callee.index()).map(|f| &f.name))
                }
                RandomView::Gen(GenRandom::Factor(_) | GenRandom::Scale(_) | GenRandom::Report { .. })
                | RandomView::Est(EstRandom::Continue { .. })
                | RandomView::Det(_) => None,
            },
            _ => None,
        }
    }
}

fn window(w: &crate::Window) -> String {
    let names = ["image", "kernel", "stride", "padding", "dilation"];
    let n = w.numbers();
    names.iter().enumerate().map(|(i, name)| format!(" {name} {} {}", n[2 * i], n[2 * i + 1])).collect()
}

fn flag(on: bool, word: &str) -> String {
    if on { format!(" {word}") } else { String::new() }
}

impl Display for Lit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lit::Float(v) if v.is_nan() => f.write_str("nan"),
            Lit::Float(v) => write!(f, "{v:?}"),
            Lit::Int(v) => write!(f, "{v}"),
            Lit::Bool(v) => write!(f, "{v}"),
        }
    }
}

impl<S: Stage> Display for Func<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_func(self, None))
    }
}

/// A type as the format writes it; `Ty`'s own `Display`.
pub(super) fn ty(t: &Ty) -> String {
    t.to_string()
}
