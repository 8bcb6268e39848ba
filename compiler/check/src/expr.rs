//! Expressions.

use crate::codes;
use crate::func::FnElab;
use crate::session::{Decl, TopName};
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, Partial, Value};
use ppl_core::{Atom, DType, Lit, Prim, ReduceOp};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{BinaryOp, Block, Expr, ExprKind, Ident, Let, Literal, Pattern, PatternKind, Stmt, StmtKind, UnaryOp};

impl<S: ElabStage> FnElab<'_, S> {
    /// Evaluates an expression.
    pub(crate) fn expr(&mut self, e: &Expr) -> Value {
        let outer = std::mem::replace(&mut self.b.span, e.span);
        let v = self.expr_kind(e);
        self.b.span = outer;
        v
    }

    fn expr_kind(&mut self, e: &Expr) -> Value {
        match &e.kind {
            ExprKind::Literal(l) => match l {
                Literal::Int(i) => Value::Array(Arr::lit(Lit::Int(*i))),
                Literal::Real(v) => Value::Array(Arr::lit(Lit::Float(*v))),
                Literal::Bool(b) => Value::Array(Arr::lit(Lit::Bool(*b))),
                Literal::Str(_) => self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "text is not a value")
                        .label(e.span, "here")
                        .note("strings name files and columns: `from \"data.csv\"`, `columns(\"age\")`"),
                ),
            },
            ExprKind::Name(id) => self.name(id),
            ExprKind::Field(base, field) => self.field(base, field),
            ExprKind::Call { callee, args } => self.call(e, callee, args),
            ExprKind::Index { base, subscripts } => self.index(base, subscripts, e.span),
            ExprKind::Range { .. } => self.fail(
                Diagnostic::error(codes::WRONG_PLACE, "a range stands only after `in` and in subscripts")
                    .label(e.span, "here")
                    .help("write `range(n)` for the array 0, 1, .., n - 1"),
            ),
            ExprKind::Unary(op, x) => {
                let prim = match op {
                    UnaryOp::Neg => Prim::Neg,
                    UnaryOp::Not => Prim::Not,
                };
                match self.array(x) {
                    Some(a) => Value::unit_or(self.elementwise(prim, vec![a], &[x.span], e.span)),
                    None => Value::Error,
                }
            }
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b, e.span),
            ExprKind::Tuple(parts) if parts.is_empty() => Value::Unit,
            ExprKind::Tuple(parts) => Value::Tuple(parts.iter().map(|p| self.expr(p)).collect()),
            ExprKind::Array(parts) => self.array_literal(parts, e.span),
            ExprKind::If { cond, then, otherwise } => self.if_expr(cond, then, otherwise.as_deref(), e.span),
            ExprKind::For(f) => self.for_loop(f, false),
            ExprKind::Comprehension(f) => self.for_loop(f, true),
            ExprKind::Block(b) => self.scoped_block(b),
            ExprKind::Expect(b) => match self.expected(b) {
                Value::Array(a) if a.is_scalar() && a.dtype != DType::Bool => match self.as_real(a, e.span) {
                    Some(a) => Value::Array(Arr { estimate: true, konst: None, ..a }),
                    None => Value::Error,
                },
                Value::Error => Value::Error,
                v => self.fail(
                    Diagnostic::error(codes::NOT_AN_ESTIMATE, "`expect` needs a real scalar at its end")
                        .label(e.span, format!("ends with {}", v.describe())),
                ),
            },
            ExprKind::AssumeContinuous(b) => {
                self.s.continuous.push(e.span);
                self.scoped_block(b)
            }
            ExprKind::Draw(d) => self.draw_expr(d, e.span),
            ExprKind::Given { program, bindings } => self.given(program, bindings, e.span),
            ExprKind::By { program, strategies } => self.by(program, strategies, e.span),
            ExprKind::WithData { program, bindings } => self.with_data(program, bindings, e.span),
            ExprKind::Marginal { keep, program, by } => self.marginal(keep, program, by.as_deref(), e.span),
            ExprKind::Normalize { program, by } => self.normalized(program, by.as_deref(), e.span),
            ExprKind::Function(c) => self.function(c),
            ExprKind::Error => Value::Error,
        }
    }

    /// Says that a construct of the language is not compiled yet.
    pub(crate) fn not_yet(&mut self, what: &str, span: Span, instead: &str) -> Value {
        self.fail(
            Diagnostic::error(codes::NOT_COMPILED_YET, format!("{what} is not compiled yet"))
                .label(span, "part of the language, but this version can't run it")
                .help(instead.to_string()),
        )
    }

    /// An expression that must be an array.
    pub(crate) fn array(&mut self, e: &Expr) -> Option<Arr> {
        let v = self.expr(e);
        self.as_array(v, e.span)
    }

    pub(crate) fn as_array(&mut self, v: Value, span: Span) -> Option<Arr> {
        match v {
            Value::Array(a) => Some(a),
            Value::Error => None,
            Value::List(items) if !items.is_empty() && !items.iter().any(Value::is_network) => self.stacked(items, span),
            Value::Partial(p) if p.part => {
                self.report(
                    Diagnostic::error(
                        codes::NOT_IN_SCOPE_YET,
                        format!("`{}` has no value after its loop over a minibatch", p.name),
                    )
                    .label(span, "there are only the elements of this step's data")
                    .label(p.span, "drawn here, one for each of them")
                    .help("use its elements inside the loop, or loop over the whole plate"),
                );
                None
            }
            Value::Partial(p) => {
                let p = *p;
                self.report(
                    Diagnostic::error(
                        codes::NOT_IN_SCOPE_YET,
                        format!("`{}` is not complete inside the loop that draws it", p.name),
                    )
                    .label(span, "used as a whole array")
                    .label(p.span, "its elements are drawn here, one an iteration")
                    .help(format!("use the element of this iteration, `{}[..]`, or move this after the loop", p.name)),
                );
                None
            }
            v => {
                let d = Diagnostic::error(codes::WRONG_TYPE, "a number or array is needed here")
                    .label(span, format!("this is {}", v.describe()));
                self.report(match &v {
                    Value::Trace(t) if !t.entries.is_empty() => {
                        let all: Vec<String> = t.entries.iter().take(6).map(|e| format!("`.{}`", e.addr)).collect();
                        d.help(format!("name the choice: {}", all.join(", ")))
                    }
                    Value::Unit => d.help(
                        "a program or block without a last expression has no result; the choices of `x ~ program(..)` are written `x.name`",
                    ),
                    _ => d,
                });
                None
            }
        }
    }

    /// The block of an `expect`.
    fn expected(&mut self, b: &Block) -> Value {
        self.expects += 1;
        let v = self.scoped_block(b);
        self.expects -= 1;
        v
    }

    /// A real scalar.
    pub(crate) fn real_scalar(&mut self, e: &Expr, what: &str) -> Option<Arr> {
        let a = self.array(e)?;
        let a = self.as_real(a, e.span)?;
        if !a.is_scalar() {
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, format!("{what} must be a scalar"))
                    .label(e.span, format!("has type `{}`", a.show()))
                    .help("`sum(..)` adds up its elements"),
            );
            return None;
        }
        Some(a)
    }

    /// The value of a name, if it has one. No diagnostics.
    pub(crate) fn lookup_quiet(&mut self, name: &str) -> Option<Value> {
        if let Some(v) = self.local(name) {
            return Some(v);
        }
        match self.s.top(name) {
            Some(TopName::Decl(d)) => return Some(Value::Decl(d)),
            Some(TopName::Static(v)) => return Some(v),
            Some(TopName::Alias(e)) => return Some(self.isolated(|me| me.expr(&e)).unwrap_or(Value::Error)),
            Some(TopName::Network(e)) => return Some(self.network(name, &e)),
            Some(TopName::Module(m)) => return Some(Value::Module(m)),
            Some(TopName::Global(g)) => return Some(Value::Array(self.global(g))),
            Some(TopName::Error | TopName::Pending(_)) => return Some(Value::Error),
            Some(TopName::Strategy) | None => {}
        }
        known(name)
    }

    /// As [`Self::lookup_quiet`], for a name in a text: the library's texts see only the library's names.
    fn lookup_at(&mut self, id: &Ident) -> Option<Value> {
        if self.s.in_library(id.span) {
            if let Some(v) = self.local(id.as_str()) {
                return Some(v);
            }
            let module = self.s.module_of(id.span).and_then(|m| self.s.module_decl(&m, id.as_str()));
            let decl = module.or_else(|| self.s.library_decl(id.as_str()));
            return decl.map(Value::Decl).or_else(|| known(id.as_str()));
        }
        self.lookup_quiet(id.as_str())
    }

    fn name(&mut self, id: &Ident) -> Value {
        if let Some(v) = self.lookup_at(id) {
            return v;
        }
        if let Some(v) = self.outside_loop(id) {
            return v;
        }
        let mut d = Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no `{id}` here")).label(id.span, "unknown name");
        let locals = self.local_names();
        if let Some(near) = self.s.suggestion(id.as_str(), &locals) {
            d = d.help(format!("did you mean `{near}`?")).edit(id.span, near);
        } else if matches!(self.s.top(id.as_str()), Some(TopName::Strategy)) {
            d = d.help("a strategy stands after `by`");
        }
        self.fail(d)
    }

    /// A choice made only in a branch is not visible after it.
    fn outside_loop(&mut self, id: &Ident) -> Option<Value> {
        let first = self.addresses.get(id.as_str()).copied()?;
        Some(
            self.fail(
                Diagnostic::error(codes::NOT_IN_SCOPE_YET, format!("`{id}` exists only in the branch that draws it"))
                    .label(id.span, "used outside that branch")
                    .label(first, "drawn here, under a condition")
                    .help("let the branch return what is needed: `let v = if c { x ~ d; x } else { 0.0 }`"),
            ),
        )
    }

    fn field(&mut self, base: &Expr, field: &Ident) -> Value {
        match self.expr(base) {
            Value::Error => Value::Error,
            Value::Module(m) => match self.s.module_decl(&m, field.as_str()) {
                Some(d) => Value::Decl(d),
                None => {
                    let d = self.s.no_member(&m, field);
                    self.fail(d)
                }
            },
            Value::Trace(t) => {
                let name = field.as_str();
                if let Some(e) = t.entries.iter().find(|e| e.addr == name) {
                    return Value::Array(e.value.clone());
                }
                let prefix = format!("{name}.");
                let inner: Vec<_> = t
                    .entries
                    .iter()
                    .filter(|e| e.addr.starts_with(&prefix))
                    .map(|e| crate::value::TraceEntry { addr: e.addr[prefix.len()..].to_string(), ..e.clone() })
                    .collect();
                if !inner.is_empty() {
                    return Value::Trace(crate::value::TraceVal { entries: inner, ..t });
                }
                // What is wrong with it has been said where it is made.
                if t.broken.iter().any(|b| b == name || b.starts_with(&prefix)) {
                    return Value::Error;
                }
                let have: Vec<String> = t.entries.iter().map(|e| format!("`{}`", e.addr)).collect();
                self.fail(
                    Diagnostic::error(codes::UNKNOWN_ADDRESS, format!("a trace of `{}` has no choice `{name}`", t.program))
                        .label(field.span, "no such choice")
                        .note(format!("it has {}", have.join(", "))),
                )
            }
            v => self.fail(
                Diagnostic::error(codes::WRONG_TYPE, format!("`.{field}` needs a trace"))
                    .label(base.span, format!("this is {}", v.describe())),
            ),
        }
    }

    fn binary(&mut self, op: BinaryOp, a: &Expr, b: &Expr, span: Span) -> Value {
        let (x, y) = (self.array(a), self.array(b));
        let (Some(x), Some(y)) = (x, y) else {
            return Value::Error;
        };
        let spans = [a.span, b.span];
        let prim = match op {
            BinaryOp::Or => Prim::Or,
            BinaryOp::And => Prim::And,
            BinaryOp::Eq => Prim::Eq,
            BinaryOp::Ne => Prim::Ne,
            BinaryOp::Lt => Prim::Lt,
            BinaryOp::Le => Prim::Le,
            BinaryOp::Gt => Prim::Gt,
            BinaryOp::Ge => Prim::Ge,
            BinaryOp::Add => Prim::Add,
            BinaryOp::Sub => Prim::Sub,
            BinaryOp::Mul => Prim::Mul,
            BinaryOp::Div => Prim::Div,
            BinaryOp::Rem => Prim::Rem,
            BinaryOp::Pow => return Value::unit_or(self.power(x, y, &spans, span)),
        };
        if prim == Prim::Div {
            // Division is always real.
            let (Some(x), Some(y)) = (self.as_real(x, a.span), self.as_real(y, b.span)) else {
                return Value::Error;
            };
            return Value::unit_or(self.elementwise(prim, vec![x, y], &spans, span));
        }
        Value::unit_or(self.elementwise(prim, vec![x, y], &spans, span))
    }

    fn power(&mut self, x: Arr, y: Arr, spans: &[Span], span: Span) -> Option<Arr> {
        if let (Some(a), Some(b)) = (x.const_int(), y.const_int())
            && b >= 0
            && let Some(v) = a.checked_pow(u32::try_from(b).unwrap_or(u32::MAX))
        {
            return Some(Arr::lit(Lit::Int(v)));
        }
        if y.const_int() == Some(2) && x.dtype == DType::Float {
            return self.elementwise(Prim::Square, vec![x], &spans[..1], span);
        }
        let (x, y) = (self.as_real(x, spans[0])?, self.as_real(y, spans[1])?);
        self.elementwise(Prim::Pow, vec![x, y], spans, span)
    }

    fn array_literal(&mut self, parts: &[Expr], span: Span) -> Value {
        let values = self.list_literal(parts);
        if values.iter().any(|v| matches!(v, Value::Error)) {
            return Value::Error;
        }
        if !values.is_empty() && (self.net.is_some() || values.iter().any(Value::is_network)) {
            return Value::List(values);
        }
        let mut arrs = Vec::new();
        for (v, p) in values.into_iter().zip(parts) {
            match self.as_array(v, p.span) {
                Some(a) => arrs.push(a),
                None => return Value::Error,
            }
        }
        if arrs.is_empty() {
            return self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "an empty array has no element type")
                    .label(span, "here")
                    .help("write `zeros(0)`"),
            );
        }
        if arrs.iter().any(|a| a.dtype == DType::Float) {
            for (a, p) in arrs.iter_mut().zip(parts) {
                match self.as_real(a.clone(), p.span) {
                    Some(r) => *a = r,
                    None => return Value::Error,
                }
            }
        }
        for (a, p) in arrs.iter().zip(parts).skip(1) {
            if a.dims != arrs[0].dims || a.dtype != arrs[0].dtype {
                return self.fail(
                    Diagnostic::error(codes::SHAPES_DISAGREE, "the elements of an array have one type")
                        .label(p.span, format!("has type `{}`", a.show()))
                        .label(parts[0].span, format!("has type `{}`", arrs[0].show())),
                );
            }
        }
        let atoms: Vec<Atom> = arrs.iter().map(|a| a.atom).collect();
        let dims: Vec<Dim> = std::iter::once(Dim::from(arrs.len())).chain(arrs[0].dims.iter().cloned()).collect();
        let dtype = arrs[0].dtype;
        let atom = self.b.stack(&atoms);
        Value::Array(Arr { estimate: arrs.iter().any(|a| a.estimate), ..Arr::new(atom, dtype, dims) })
    }

    fn index(&mut self, base: &Expr, subscripts: &[Expr], span: Span) -> Value {
        let value = self.expr(base);
        if let Value::Partial(p) = value {
            return self.partial_element(*p, subscripts, span);
        }
        if let (Value::List(items), [first, rest @ ..]) = (&value, subscripts) {
            let v = self.list_element(items, first);
            return if rest.is_empty() { v } else { self.index_value(v, rest, span) };
        }
        let Some(mut a) = self.as_array(value, base.span) else {
            return Value::Error;
        };
        if subscripts.len() > a.dims.len() {
            return self.fail(
                Diagnostic::error(codes::SHAPES_DISAGREE, format!("{} subscripts for {} axes", subscripts.len(), a.dims.len()))
                    .label(span, "too many subscripts")
                    .label(base.span, format!("has type `{}`", a.show())),
            );
        }
        // Ranges keep their axis, indices remove it; work from the first subscript on.
        let mut axis = 0;
        for s in subscripts {
            if let ExprKind::Range { start, end } = &s.kind {
                match self.slice(&a, axis, start.as_deref(), end.as_deref(), s.span) {
                    Some(r) => a = r,
                    None => return Value::Error,
                }
                axis += 1;
                continue;
            }
            let Some(i) = self.array(s) else {
                return Value::Error;
            };
            if axis == 0 {
                match self.element(&a, &i, s.span) {
                    Some(r) => a = r,
                    None => return Value::Error,
                }
                axis += i.dims.len();
            } else {
                // Bring the axis to the front, index, and put the others back.
                let rank = a.dims.len();
                let perm: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|k| *k != axis)).collect();
                let moved = Arr {
                    atom: self.b.transpose(a.atom, &perm),
                    dims: perm.iter().map(|p| a.dims[*p].clone()).collect(),
                    ..a.clone()
                };
                match self.element(&moved, &i, s.span) {
                    Some(r) if i.is_scalar() => a = r,
                    Some(_) => return self.not_yet("indexing a later axis with an array", s.span, "transpose first"),
                    None => return Value::Error,
                }
            }
        }
        Value::Array(a)
    }

    fn slice(&mut self, a: &Arr, axis: usize, start: Option<&Expr>, end: Option<&Expr>, span: Span) -> Option<Arr> {
        let bound = |me: &mut Self, e: Option<&Expr>, default: Dim| match e {
            Some(e) => me.size(e),
            None => Some(default),
        };
        let whole = a.dims[axis].clone();
        let lo = bound(self, start, Dim::from(0))?;
        let hi = bound(self, end, whole.clone())?;
        if lo.n > hi.n || hi.n > whole.n {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, format!("the slice {lo}..{hi} is outside the axis"))
                    .label(span, format!("the axis has size {whole}")),
            );
            return None;
        }
        let len = if lo.n == 0 {
            hi
        } else {
            Dim { name: hi.name.map(|h| format!("{h} - {}", lo.n).into()), ..Dim::from(hi.n - lo.n) }
        };
        Some(self.range(a, lo.n, len, axis))
    }

    /// `theta[j]` inside the loop over `j` that draws it.
    fn partial_element(&mut self, p: Partial, subscripts: &[Expr], span: Span) -> Value {
        if p.part {
            return self.as_array(Value::Partial(Box::new(p)), span).map_or(Value::Error, Value::Array);
        }
        let mut rest = 0;
        for (i, open) in p.open.iter().enumerate() {
            let Some(var) = open else { break };
            let Some(s) = subscripts.get(i) else {
                return self.as_array(Value::Partial(Box::new(p)), span).map_or(Value::Error, Value::Array);
            };
            let Some(index) = self.array(s) else {
                return Value::Error;
            };
            let own = self.loops.iter().find(|l| l.index == *var).map_or(Atom::Var(*var), |l| l.value);
            if index.atom != own {
                return self.fail(
                    Diagnostic::error(
                        codes::NOT_IN_SCOPE_YET,
                        format!("`{}` is read at an index that is not this round's", p.name),
                    )
                    .label(s.span, "not the loop's variable")
                    .label(p.span, "drawn here, one element a round")
                    .help(format!(
                        "read an earlier round as `{}[t - 1]`, with the variable of the loop that draws it; elements of later rounds do not exist yet",
                        p.name
                    )),
                );
            }
            rest = i + 1;
        }
        if rest == subscripts.len() {
            return p.value;
        }
        match p.value {
            v @ Value::Array(_) => self.index_value(v, &subscripts[rest..], span),
            v => v,
        }
    }

    /// Indexes a value that is not written.
    fn index_value(&mut self, v: Value, subscripts: &[Expr], span: Span) -> Value {
        self.push_scope();
        self.bind(" element", v);
        let base = Expr::new(span, ExprKind::Name(Ident::new(" element", span)));
        let v = self.index(&base, subscripts, span);
        self.pop_scope();
        v
    }

    // Blocks and patterns.

    pub(crate) fn scoped_block(&mut self, b: &Block) -> Value {
        self.push_scope();
        let v = self.block(b);
        let scope = self.pop_scope();
        self.keep_choices(scope);
        v
    }

    /// Choices stay visible after the block that draws them (their names are addresses of the whole program).
    pub(crate) fn keep_choices(&mut self, scope: std::collections::HashMap<String, Value>) {
        let mut kept: Vec<(String, Value)> = scope.into_iter().filter(|(n, _)| self.addresses.contains_key(n)).collect();
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        for (n, v) in kept {
            self.bind(&n, v);
        }
    }

    /// Statements and the result, in the innermost scope.
    pub(crate) fn block(&mut self, b: &Block) -> Value {
        for s in &b.stmts {
            self.stmt(s);
        }
        b.result.as_ref().map_or(Value::Unit, |e| self.expr(e))
    }

    fn stmt(&mut self, s: &Stmt) {
        let outer = std::mem::replace(&mut self.b.span, s.span);
        match &s.kind {
            StmtKind::Let(l) => self.let_stmt(l),
            StmtKind::Choice(c) => self.choice(c, s.span),
            StmtKind::Param(p) => self.local_param(p, s.span),
            StmtKind::State(p) => self.state(p, s.span),
            StmtKind::Set { name, value } => self.set_state(name, value, s.span),
            StmtKind::AlsoMinimize(e) => self.also_minimize(e, s.span),
            StmtKind::Report { name, value } => self.report_stmt(name, value, s.span),
            StmtKind::Factor(e) => self.factor(e, s.span),
            StmtKind::Expr(e) => {
                self.expr(e);
            }
            StmtKind::Error => {}
        }
        self.b.span = outer;
    }

    fn let_stmt(&mut self, l: &Let) {
        let mut v = self.expr(&l.value);
        if let Some(ty) = &l.ty {
            v = self.check_type("this value", ty, v, l.value.span);
        }
        self.bind_pattern(&l.pattern, v, l.value.span);
    }

    /// Binds the names of a pattern.
    pub(crate) fn bind_pattern(&mut self, p: &Pattern, value: Value, span: Span) {
        match (&p.kind, value) {
            (PatternKind::Wildcard, _) => {}
            (PatternKind::Name(id), v) => {
                if let Value::Array(a) = &v
                    && let Atom::Var(var) = a.atom
                    && self.b.func.vars[var.index()].name.len() <= 4
                    && !id.as_str().starts_with(' ')
                {
                    self.b.func.vars[var.index()].name = id.as_str().to_string();
                }
                self.bind(id.as_str(), v);
            }
            (PatternKind::Tuple(ps), Value::Tuple(vs)) if ps.len() == vs.len() => {
                ps.iter().zip(vs).for_each(|(p, v)| self.bind_pattern(p, v, span));
            }
            (PatternKind::Tuple(ps), Value::Error) => ps.iter().for_each(|p| self.bind_pattern(p, Value::Error, span)),
            (PatternKind::Tuple(ps), v) => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("this pattern needs a tuple of {} values", ps.len()))
                        .label(p.span, "the pattern")
                        .label(span, format!("this is {}", v.describe())),
                );
                ps.iter().for_each(|p| self.bind_pattern(p, Value::Error, span));
            }
        }
    }

    /// `sum` of a loop or an array, and the like.
    pub(crate) fn reduce_value(&mut self, op: ReduceOp, v: Value, span: Span) -> Option<Arr> {
        let a = self.as_array(v, span)?;
        let bool_op = matches!(op, ReduceOp::All | ReduceOp::Any);
        if bool_op != (a.dtype == DType::Bool) {
            self.report(
                Diagnostic::error(
                    codes::WRONG_TYPE,
                    if bool_op { "truth values are needed here" } else { "numbers are needed here" },
                )
                .label(span, format!("has type `{}`", a.show())),
            );
            return None;
        }
        if a.estimate && op != ReduceOp::Sum {
            if let Some(d) = self.of_minibatch(a.atom) {
                self.report(d);
                return None;
            }
            self.report(
                Diagnostic::error(codes::NONLINEAR_ESTIMATE, "only sums of estimates are estimates").label(span, "an estimate"),
            );
            return None;
        }
        Some(self.reduce_all(op, &a))
    }

    /// A declaration that needs no arguments, applied to none.
    pub(crate) fn applied(&mut self, v: Value, span: Span) -> Value {
        match v {
            Value::Decl(id) if matches!(&*self.s.decl(id), Decl::Gen(_)) => self.call_decl(id, Vec::new(), span),
            v => v,
        }
    }
}

/// Constants and built-in functions.
fn known(name: &str) -> Option<Value> {
    match name {
        "pi" => Some(Value::Array(Arr::lit(Lit::Float(std::f64::consts::PI)))),
        "inf" => Some(Value::Array(Arr::lit(Lit::Float(f64::INFINITY)))),
        "nan" => Some(Value::Array(Arr::lit(Lit::Float(f64::NAN)))),
        _ => crate::builtins::NAMES
            .iter()
            .copied()
            .chain(ppl_core::PRIMS.iter().flat_map(|t| t.iter()).filter(|p| p.callable).map(|p| p.name))
            .find(|b| *b == name)
            .map(Value::Builtin),
    }
}
