//! Reading operations without blocks.

use super::{
    OPS,
    lex::{SYNTAX, Tok},
    parse::{FuncParser, Parsed},
};
use crate::{
    Address, Algorithm, AnyRandom, Atom, DetId, DetRandom, DistId, DistUse, EstId, EstRandom, GenId, GenRandom, Integral,
    IntegralKind, Linalg, LogWeight, Op, PRIMS, Prim, Proposal, RandomOp, ReduceOp, Resampling, RngKind, Stage, StrategyId,
    StrategyUse,
};
use ppl_diag::{Diagnostic, Span, did_you_mean};

impl<S: Stage> FuncParser<'_, S> {
    /// The operation that starts with `keyword`, which has been read.
    pub(super) fn simple_op(&mut self, keyword: &str, at: Span) -> Parsed<Op<S>> {
        Ok(match keyword {
            "broadcast" => {
                let x = self.atom()?;
                self.c.word("to")?;
                let shape = self.c.shape()?;
                self.c.word("axes")?;
                Op::Broadcast { x, shape, axes: self.c.sizes()? }
            }
            "reduce" => {
                let op = self.reduce_op()?;
                let x = self.atom()?;
                self.c.word("axes")?;
                Op::Reduce { op, x, axes: self.c.sizes()? }
            }
            "argmax" => Op::ArgMax { x: self.atom()?, axis: self.keyed("axis")? },
            "cumsum" => Op::CumSum { x: self.atom()?, axis: self.keyed("axis")?, reverse: self.c.eat_word("reverse") },
            "dot" => {
                let (a, b) = self.two()?;
                self.c.word("batch")?;
                let batch = self.pairs()?;
                self.c.word("contract")?;
                Op::Dot { a, b, batch, contract: self.pairs()? }
            }
            "transpose" => {
                let x = self.atom()?;
                self.c.word("perm")?;
                Op::Transpose { x, perm: self.c.sizes()? }
            }
            "reshape" => {
                let x = self.atom()?;
                self.c.word("to")?;
                Op::Reshape { x, shape: self.c.shape()? }
            }
            "slice" => {
                Op::Slice { x: self.atom()?, axis: self.keyed("axis")?, start: self.keyed("start")?, len: self.keyed("len")? }
            }
            "pad" => {
                Op::Pad { x: self.atom()?, axis: self.keyed("axis")?, before: self.keyed("before")?, after: self.keyed("after")? }
            }
            "concat" => Op::Concat { xs: self.atoms()?, axis: self.keyed("axis")? },
            "gather" => {
                let (x, idx) = self.two()?;
                Op::Gather { x, idx, batch: self.keyed("batch")? }
            }
            "scatter_add" => {
                let (idx, updates) = self.two()?;
                Op::ScatterAdd { idx, updates, batch: self.keyed("batch")?, len: self.keyed("len")? }
            }
            "iota" => Op::Iota { len: self.c.size()? },
            "minibatch" => {
                let size = self.c.size()?;
                self.c.word("of")?;
                Op::Minibatch { data: self.c.size()?, size }
            }
            "reverse" => Op::Reverse { x: self.atom()?, axis: self.keyed("axis")? },
            "cholesky" => Op::Linalg(Linalg::Cholesky, self.atoms()?),
            "solve" => {
                let args = self.atoms()?;
                Op::Linalg(Linalg::Solve { transpose: self.c.eat_word("transpose") }, args)
            }
            "unfold" => {
                let args = self.atoms()?;
                Op::Linalg(Linalg::Unfold(self.window()?), args)
            }
            "fold" => {
                let args = self.atoms()?;
                Op::Linalg(Linalg::Fold(self.window()?), args)
            }
            "stop" => Op::Stop(self.atom()?),
            "call" => return self.call(at),
            "sample" | "factor" | "scale" | "report" | "marginal" | "normalize" | "draw" | "path" | "log_density" | "score"
            | "sim" | "density" | "log_weight" | "grad" | "continue" | "random" => {
                let r = self.random(keyword)?;
                return self.of_stage(r, keyword, at);
            }
            _ => match Prim::by_name(keyword) {
                Some(p) => Op::Prim(p, self.atoms()?),
                None => return Err(unknown(keyword, at)),
            },
        })
    }

    /// `op` as an operation of the stage, which must be its own.
    fn of_stage(&self, op: AnyRandom, keyword: &str, at: Span) -> Parsed<Op<S>> {
        match S::Random::from_any(op) {
            Some(r) => Ok(Op::Random(r)),
            None => self.c.error(at, format!("`{keyword}` in this form is not an operation of `{}` functions", S::NAME)),
        }
    }

    fn call(&mut self, at: Span) -> Parsed<Op<S>> {
        let (kind, n) = match self.c.next().0 {
            Tok::Ref(kind, n) => (kind, n),
            _ => return self.c.error(self.c.last_span(), "expected what is called: `det@0`, `est@0` or `gen@0`"),
        };
        let span = self.c.last_span();
        let args = self.args()?;
        let op = match kind.as_str() {
            "det" => return Ok(Op::Call { callee: DetId(n), args }),
            "est" => AnyRandom::Est(EstRandom::Call { callee: EstId(n), args }),
            "gen" => {
                self.c.word("at")?;
                AnyRandom::Gen(GenRandom::Call { callee: GenId(n), args, addr: self.addr()? })
            }
            _ => return self.c.error(span, format!("`{kind}@{n}` is not a function")),
        };
        self.of_stage(op, "call", at)
    }

    fn random(&mut self, keyword: &str) -> Parsed<AnyRandom> {
        Ok(match keyword {
            "sample" => {
                let dist = self.dist()?;
                // The two stages' samples differ by the word after the distribution.
                if self.c.eat_word("as") {
                    let label = self.c.text("a label")?;
                    AnyRandom::Est(EstRandom::Sample { dist, label, strategy: self.strategy()? })
                } else {
                    self.c.word("at")?;
                    let addr = self.addr()?;
                    let strategy = self.strategy()?;
                    let mut elements = Vec::new();
                    while self.c.eat_word("element") {
                        elements.push((self.c.size()?, self.strategy()?));
                    }
                    AnyRandom::Gen(GenRandom::Sample { dist, addr, strategy, elements })
                }
            }
            "noise" => AnyRandom::Gen(GenRandom::Noise(self.dist()?)),
            "factor" => AnyRandom::Gen(GenRandom::Factor(self.atom()?)),
            "scale" => match self.atom()? {
                Atom::Lit(crate::Lit::Float(c)) => AnyRandom::Gen(GenRandom::Scale(c)),
                Atom::Lit(_) | Atom::Var(_) => return self.c.wanted("a real number"),
            },
            "report" => {
                let addr = self.addr()?;
                self.c.punct("=")?;
                AnyRandom::Gen(GenRandom::Report { addr, value: self.atom()? })
            }
            "marginal" | "normalize" => AnyRandom::Gen(GenRandom::Integral(Box::new(self.integral(keyword)?))),
            "draw" => AnyRandom::Est(EstRandom::Draw(self.dist()?)),
            "path" => AnyRandom::Est(EstRandom::Path(self.dist()?)),
            "log_density" => {
                let (dist, x) = self.dist_at()?;
                AnyRandom::Est(EstRandom::LogDensity { dist, x })
            }
            "score" => {
                let (dist, x) = self.dist_at()?;
                AnyRandom::Est(EstRandom::Score { dist, x })
            }
            "sim" => {
                let callee = GenId(self.c.reference("gen")?);
                AnyRandom::Est(EstRandom::Sim { callee, args: self.args()? })
            }
            "density" => {
                let (callee, args, trace) = self.scored_program()?;
                AnyRandom::Est(EstRandom::Density { callee, args, trace })
            }
            "grad" => {
                let callee = EstId(self.c.reference("est")?);
                self.c.punct("(")?;
                let mut args = if self.at_atom() { self.atoms()? } else { Vec::new() };
                self.c.punct(";")?;
                let of = if self.at_atom() { self.atoms()? } else { Vec::new() };
                self.c.punct(")")?;
                let wrt = of.len();
                args.extend(of);
                AnyRandom::Est(EstRandom::Grad { callee, args, wrt })
            }
            "log_weight" => {
                let (target, target_args, target_trace) = self.scored_program()?;
                self.c.word("over")?;
                let (guide, guide_args, guide_trace) = self.scored_program()?;
                self.c.punct(",")?;
                let log_q = self.atom()?;
                AnyRandom::Est(EstRandom::LogWeight(Box::new(LogWeight {
                    target,
                    target_args,
                    target_trace,
                    guide,
                    guide_args,
                    guide_trace,
                    log_q,
                })))
            }
            "continue" => {
                let x = self.atom()?;
                AnyRandom::Est(EstRandom::Continue { x, fresh: self.c.eat_word("fresh") })
            }
            _ => AnyRandom::Det(self.draw()?),
        })
    }

    /// `gen@0(args; trace)`.
    fn scored_program(&mut self) -> Parsed<(GenId, Vec<Atom>, Vec<Atom>)> {
        let callee = GenId(self.c.reference("gen")?);
        self.c.punct("(")?;
        let args = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct(";")?;
        let trace = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct(")")?;
        Ok((callee, args, trace))
    }

    /// `gen@0(args; 2 = %z) keep [0, 1] by importance 5 using gen@1(args) trace index dist@0 by strategy@0()`.
    fn integral(&mut self, keyword: &str) -> Parsed<Integral> {
        let callee = GenId(self.c.reference("gen")?);
        self.c.punct("(")?;
        let args = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct(";")?;
        let mut given = Vec::new();
        while !self.c.eat(")") {
            let k = self.c.size()?;
            self.c.punct("=")?;
            given.push((k, self.atom()?));
            if !self.c.eat(",") {
                self.c.punct(")")?;
                break;
            }
        }
        let kind = if keyword == "marginal" {
            self.c.word("keep")?;
            IntegralKind::Marginal { keep: self.c.shape()? }
        } else {
            IntegralKind::Normalize
        };
        self.c.word("by")?;
        let name = self.c.text("an algorithm")?;
        let known = [Algorithm::Importance, Algorithm::Smc, Algorithm::Enumeration];
        let Some(algorithm) = known.into_iter().find(|a| a.name() == name) else {
            return self.c.error(self.c.last_span(), "expected `importance`, `smc` or `enumeration`");
        };
        let count = self.c.size()?;
        let proposal = if self.c.eat_word("using") {
            let callee = GenId(self.c.reference("gen")?);
            let args = self.args()?;
            Some(Proposal { callee, args, takes_trace: self.c.eat_word("trace") })
        } else {
            None
        };
        let index = if self.c.eat_word("index") {
            let dist = DistId(self.c.reference("dist")?);
            Some(Resampling { dist, strategy: self.strategy()? })
        } else {
            None
        };
        let mut sites = Vec::new();
        while self.c.eat_word("site") {
            let dist = DistId(self.c.reference("dist")?);
            sites.push(Resampling { dist, strategy: self.strategy()? });
        }
        Ok(Integral { kind, callee, args, given, algorithm, count, proposal, index, sites })
    }

    fn draw(&mut self) -> Parsed<DetRandom> {
        let name = self.c.text("what is drawn")?;
        let Some(kind) = RngKind::ALL.into_iter().find(|k| k.name() == name) else {
            let known = RngKind::ALL.map(RngKind::name).join(", ");
            return self.c.error(self.c.last_span(), format!("`{name}` cannot be drawn; these can: {known}"));
        };
        let args = self.args()?;
        self.c.word("shape")?;
        let shape = self.c.shape()?;
        self.c.word("site")?;
        let site = self.c.int("a site of 64 bits")?;
        let lanes = if self.c.eat_word("lanes") { self.extents()? } else { Vec::new() };
        let times = if self.c.eat_word("times") { self.extents()? } else { Vec::new() };
        Ok(DetRandom { kind, args, site, lanes, times, shape })
    }

    /// `(%i in 3, ..)`.
    fn extents(&mut self) -> Parsed<Vec<(Atom, usize)>> {
        self.c.punct("(")?;
        let mut out = Vec::new();
        while self.at_atom() {
            let a = self.atom()?;
            self.c.word("in")?;
            out.push((a, self.c.size()?));
            if !self.c.eat(",") {
                break;
            }
        }
        self.c.punct(")")?;
        Ok(out)
    }

    fn dist(&mut self) -> Parsed<DistUse> {
        Ok(DistUse { dist: DistId(self.c.reference("dist")?), args: self.args()? })
    }

    /// `dist@0(x; params)`.
    fn dist_at(&mut self) -> Parsed<(DistUse, Atom)> {
        let dist = DistId(self.c.reference("dist")?);
        self.c.punct("(")?;
        let x = self.atom()?;
        self.c.punct(";")?;
        let args = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct(")")?;
        Ok((DistUse { dist, args }, x))
    }

    fn strategy(&mut self) -> Parsed<StrategyUse> {
        if !self.c.eat_word("by") {
            return Ok(StrategyUse::Auto);
        }
        let span = self.c.span();
        let strategy = StrategyId(self.c.reference("strategy")?);
        Ok(StrategyUse::Named { strategy, args: self.args()?, span })
    }

    fn addr(&mut self) -> Parsed<Address> {
        let name = self.c.text("an address")?;
        let mut indices = Vec::new();
        if self.c.eat("[") {
            loop {
                indices.push(self.var()?);
                if !self.c.eat(",") {
                    break;
                }
            }
            self.c.punct("]")?;
        }
        Ok(Address { name, indices })
    }

    fn reduce_op(&mut self) -> Parsed<ReduceOp> {
        let name = self.c.text("how to reduce")?;
        match ReduceOp::ALL.into_iter().find(|r| r.name() == name) {
            Some(r) => Ok(r),
            None => {
                let known = ReduceOp::ALL.map(ReduceOp::name).join(", ");
                self.c.error(self.c.last_span(), format!("`{name}` is not a reduction; these are: {known}"))
            }
        }
    }

    fn window(&mut self) -> Parsed<crate::Window> {
        let mut n = [0; 10];
        for (i, key) in ["image", "kernel", "stride", "padding", "dilation"].into_iter().enumerate() {
            n[2 * i] = self.keyed(key)?;
            n[2 * i + 1] = self.c.size()?;
        }
        Ok(crate::Window::from_numbers(n))
    }

    fn keyed(&mut self, key: &str) -> Parsed<usize> {
        self.c.word(key)?;
        self.c.size()
    }

    fn two(&mut self) -> Parsed<(Atom, Atom)> {
        let a = self.atom()?;
        self.c.punct(",")?;
        Ok((a, self.atom()?))
    }

    /// `[(0, 1), ..]`.
    fn pairs(&mut self) -> Parsed<Vec<(usize, usize)>> {
        self.c.list("[", "]", |c| {
            c.punct("(")?;
            let a = c.size()?;
            c.punct(",")?;
            let b = c.size()?;
            c.punct(")")?;
            Ok((a, b))
        })
    }
}

fn unknown(keyword: &str, at: Span) -> Box<Diagnostic> {
    let known = PRIMS.iter().flat_map(|t| t.iter()).map(|r| r.name).chain(OPS.iter().copied());
    let d = Diagnostic::error(SYNTAX, format!("there is no operation `{keyword}`")).label(at, "");
    Box::new(match did_you_mean(keyword, known) {
        Some(name) => d.help(format!("did you mean `{name}`?")),
        None => d,
    })
}
