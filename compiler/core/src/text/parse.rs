//! Reading functions: items, blocks, types and operands. Operations are in `parse_op`.

use super::{
    MAX_DEPTH,
    lex::{SYNTAX, Tok, lex},
    print::base_name,
};
use crate::{Atom, Block, DType, Func, Op, Scan, Stage, Stmt, Ty, Var};
use ppl_diag::{Diagnostic, FileId, Span};
use std::collections::HashMap;

pub(super) type Parsed<T> = Result<T, Box<Diagnostic>>;

/// Reads one function; places in its statements and in an error are those in `file`.
///
/// Operands are resolved, operations known, and each name defined once; everything else is [`verify`](fn@crate::verify)'s to check.
///
/// # Errors
///
/// The first problem met, with its place (`E0901`).
pub fn parse_func<S: Stage>(text: &str, file: FileId) -> Result<Func<S>, Box<Diagnostic>> {
    let mut c = Cursor::new(text, file)?;
    let start = c.span();
    c.word(S::NAME)?;
    let f = func(&mut c, start)?;
    c.expect_end()?;
    Ok(f)
}

/// Tokens, and the one that is next.
pub(super) struct Cursor {
    toks: Vec<(Tok, Span)>,
    pos: usize,
}

impl Cursor {
    pub(super) fn new(text: &str, file: FileId) -> Parsed<Cursor> {
        Ok(Cursor { toks: lex(text, file)?, pos: 0 })
    }

    /// The next token; the last one repeats for ever.
    pub(super) fn peek(&self) -> &Tok {
        &self.toks[self.pos.min(self.toks.len() - 1)].0
    }

    pub(super) fn span(&self) -> Span {
        self.toks[self.pos.min(self.toks.len() - 1)].1
    }

    /// Place of the token read last.
    pub(super) fn last_span(&self) -> Span {
        self.toks[self.pos.clamp(1, self.toks.len()) - 1].1
    }

    pub(super) fn next(&mut self) -> (Tok, Span) {
        let t = (self.peek().clone(), self.span());
        self.pos += 1;
        t
    }

    pub(super) fn error<T>(&self, span: Span, title: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Diagnostic::error(SYNTAX, title).label(span, "")))
    }

    /// The error that something else than `wanted` is next.
    pub(super) fn wanted<T>(&self, wanted: &str) -> Parsed<T> {
        self.error(self.span(), format!("expected {wanted}, found {}", self.peek().show()))
    }

    pub(super) fn expect_end(&self) -> Parsed<()> {
        if *self.peek() == Tok::End { Ok(()) } else { self.wanted("the end of the text") }
    }

    pub(super) fn eat(&mut self, p: &'static str) -> bool {
        let found = *self.peek() == Tok::Punct(p);
        self.pos += usize::from(found);
        found
    }

    pub(super) fn punct(&mut self, p: &'static str) -> Parsed<()> {
        if self.eat(p) { Ok(()) } else { self.wanted(&format!("`{p}`")) }
    }

    pub(super) fn at_word(&self, w: &str) -> bool {
        matches!(self.peek(), Tok::Word(t) if t == w)
    }

    pub(super) fn eat_word(&mut self, w: &str) -> bool {
        let found = self.at_word(w);
        self.pos += usize::from(found);
        found
    }

    pub(super) fn word(&mut self, w: &str) -> Parsed<()> {
        if self.eat_word(w) { Ok(()) } else { self.wanted(&format!("`{w}`")) }
    }

    /// A word or a string.
    pub(super) fn text(&mut self, what: &str) -> Parsed<String> {
        match self.peek().clone() {
            Tok::Word(s) | Tok::Str(s) => {
                self.pos += 1;
                Ok(s)
            }
            _ => self.wanted(what),
        }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Tok::Name(s) => {
                self.pos += 1;
                Ok(s)
            }
            _ => self.wanted("a name, `@..`"),
        }
    }

    pub(super) fn reference(&mut self, kind: &str) -> Parsed<u32> {
        match self.peek().clone() {
            Tok::Ref(k, n) if k == kind => {
                self.pos += 1;
                Ok(n)
            }
            _ => self.wanted(&format!("`{kind}@` and a number")),
        }
    }

    pub(super) fn int<T: TryFrom<i128>>(&mut self, what: &str) -> Parsed<T> {
        match self.peek() {
            Tok::Int(v) => match T::try_from(*v) {
                Ok(v) => {
                    self.pos += 1;
                    Ok(v)
                }
                Err(_) => self.error(self.span(), format!("{} is out of range for {what}", self.peek().show())),
            },
            _ => self.wanted(what),
        }
    }

    /// A size, an axis or a position.
    pub(super) fn size(&mut self) -> Parsed<usize> {
        let n: i64 = self.int("a size")?;
        match usize::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => self.error(self.last_span(), "a size is not negative"),
        }
    }

    /// `open item, item close`, possibly empty.
    pub(super) fn list<T>(
        &mut self,
        open: &'static str,
        close: &'static str,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.punct(open)?;
        let mut out = Vec::new();
        if self.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat(close) {
                return Ok(out);
            }
            if !self.eat(",") {
                return self.wanted(&format!("`,` or `{close}`"));
            }
        }
    }

    pub(super) fn sizes(&mut self) -> Parsed<Vec<usize>> {
        self.list("[", "]", Cursor::size)
    }

    /// Sizes of an array, whose elements can be counted.
    pub(super) fn shape(&mut self) -> Parsed<Vec<usize>> {
        let start = self.span();
        let shape = self.sizes()?;
        match crate::shape::checked_numel(&shape) {
            Some(n) if i64::try_from(n).is_ok() => Ok(shape),
            _ => self.error(start.to(self.last_span()), "an array of these sizes has too many elements"),
        }
    }

    pub(super) fn ty(&mut self) -> Parsed<Ty> {
        let dtype = match self.peek() {
            Tok::Word(w) if w == "float" => DType::Float,
            Tok::Word(w) if w == "int" => DType::Int,
            Tok::Word(w) if w == "bool" => DType::Bool,
            _ => return self.wanted("a type: `float`, `int` or `bool`"),
        };
        self.pos += 1;
        let shape = if *self.peek() == Tok::Punct("[") { self.shape()? } else { Vec::new() };
        Ok(Ty::new(dtype, shape))
    }
}

/// A function after its stage's word.
pub(super) fn func<S: Stage>(c: &mut Cursor, start: Span) -> Parsed<Func<S>> {
    c.word("fn")?;
    let name = c.name()?;
    let func = Func { name, vars: Vec::new(), params: Vec::new(), body: Block::default(), span: start };
    let mut p = FuncParser { c, func, vars: HashMap::new(), depth: 0 };
    let params = p.c.list("(", ")", |c| {
        let (name, span) = var_name(c)?;
        c.punct(":")?;
        Ok((name, span, c.ty()?))
    })?;
    for (name, span, ty) in params {
        let v = p.define(&name, span, ty)?;
        p.func.params.push(v);
    }
    p.c.punct("->")?;
    let at = p.c.span();
    let results = p.c.list("(", ")", Cursor::ty)?;
    p.func.span = start.to(p.c.last_span());
    let body = p.block()?;
    p.func.body = body;
    let func = p.func;
    let actual = func.result_tys();
    if actual != results {
        let actual: Vec<String> = actual.iter().map(ToString::to_string).collect();
        return c.error(at, format!("the body returns ({}), not what is announced here", actual.join(", ")));
    }
    Ok(func)
}

fn var_name(c: &mut Cursor) -> Parsed<(String, Span)> {
    match c.peek().clone() {
        Tok::Var(name) => {
            let span = c.span();
            c.next();
            Ok((name, span))
        }
        _ => c.wanted("a variable, `%..`"),
    }
}

/// A function being read.
pub(super) struct FuncParser<'a, S: Stage> {
    pub(super) c: &'a mut Cursor,
    pub(super) func: Func<S>,
    vars: HashMap<String, Var>,
    depth: usize,
}

impl<S: Stage> FuncParser<'_, S> {
    fn define(&mut self, name: &str, span: Span, ty: Ty) -> Parsed<Var> {
        let v = self.func.new_var(base_name(name), ty);
        match self.vars.insert(name.to_string(), v) {
            None => Ok(v),
            Some(_) => self.c.error(span, format!("`%{name}` is defined twice")),
        }
    }

    pub(super) fn var(&mut self) -> Parsed<Var> {
        let (name, span) = var_name(self.c)?;
        match self.vars.get(&name) {
            Some(v) => Ok(*v),
            None => self.c.error(span, format!("`%{name}` is not defined before it is used")),
        }
    }

    pub(super) fn atom(&mut self) -> Parsed<Atom> {
        let atom = match self.c.peek() {
            Tok::Var(_) => return Ok(Atom::Var(self.var()?)),
            Tok::Float(v) => Atom::float(*v),
            Tok::Int(_) => return self.c.int("an integer of 64 bits").map(Atom::int),
            Tok::Word(w) if w == "true" => Atom::bool(true),
            Tok::Word(w) if w == "false" => Atom::bool(false),
            _ => return self.c.wanted("an operand: a variable or a number"),
        };
        self.c.next();
        Ok(atom)
    }

    /// Operands up to what is not a comma; at least one.
    pub(super) fn atoms(&mut self) -> Parsed<Vec<Atom>> {
        let mut out = vec![self.atom()?];
        while self.c.eat(",") {
            out.push(self.atom()?);
        }
        Ok(out)
    }

    /// Whether an operand is next.
    pub(super) fn at_atom(&self) -> bool {
        match self.c.peek() {
            Tok::Var(_) | Tok::Float(_) | Tok::Int(_) => true,
            Tok::Word(w) => w == "true" || w == "false",
            _ => false,
        }
    }

    /// `(a, b)`.
    pub(super) fn args(&mut self) -> Parsed<Vec<Atom>> {
        self.c.punct("(")?;
        let out = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct(")")?;
        Ok(out)
    }

    fn block(&mut self) -> Parsed<Block<S>> {
        if self.depth >= MAX_DEPTH {
            return self.c.error(self.c.span(), format!("blocks are nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        self.c.punct("{")?;
        let mut stmts = Vec::new();
        while !self.c.eat_word("ret") {
            stmts.push(self.stmt()?);
        }
        let results = if self.at_atom() { self.atoms()? } else { Vec::new() };
        self.c.punct("}")?;
        self.depth -= 1;
        Ok(Block { stmts, results })
    }

    fn stmt(&mut self) -> Parsed<Stmt<S>> {
        let start = self.c.span();
        let mut names = Vec::new();
        if matches!(self.c.peek(), Tok::Var(_)) {
            names.push(var_name(self.c)?);
            while self.c.eat(",") {
                names.push(var_name(self.c)?);
            }
            self.c.punct("=")?;
        }
        let keyword = match self.c.peek().clone() {
            Tok::Word(w) => w,
            _ => return self.c.wanted("an operation, or `ret` at the end of the block"),
        };
        let at = self.c.span();
        self.c.next();
        let (op, tys, end) = match keyword.as_str() {
            "if" => {
                let cond = self.atom()?;
                let (tys, end) = self.result_tys(names.len())?;
                let then = self.block()?;
                self.c.word("else")?;
                let els = self.block()?;
                (Op::If { cond, then, els }, tys, end)
            }
            "map" => {
                let (name, span) = var_name(self.c)?;
                self.c.word("in")?;
                let len = self.c.size()?;
                let (tys, end) = self.result_tys(names.len())?;
                let index = self.define(&name, span, Ty::INT)?;
                (Op::Map { len, index, body: self.block()? }, tys, end)
            }
            "scan" => self.scan(names.len())?,
            _ => {
                let op = self.simple_op(&keyword, at)?;
                let (tys, end) = self.result_tys(names.len())?;
                (op, tys, end)
            }
        };
        let mut outs = Vec::new();
        for ((name, span), ty) in names.iter().zip(tys) {
            outs.push(self.define(name, *span, ty)?);
        }
        Ok(Stmt { outs, op, span: start.to(end) })
    }

    /// `: type, ..` of `n` results, and where the statement's head ends.
    fn result_tys(&mut self, n: usize) -> Parsed<(Vec<Ty>, Span)> {
        let mut tys = Vec::new();
        for i in 0..n {
            self.c.punct(if i == 0 { ":" } else { "," })?;
            tys.push(self.c.ty()?);
        }
        Ok((tys, self.c.last_span()))
    }

    fn scan(&mut self, results: usize) -> Parsed<(Op<S>, Vec<Ty>, Span)> {
        let (name, span) = var_name(self.c)?;
        self.c.word("in")?;
        let len = self.c.size()?;
        let reverse = self.c.eat_word("reverse");
        self.c.word("carry")?;
        let carry = self.bindings()?;
        let xs = if self.c.eat_word("over") { self.bindings()? } else { Vec::new() };
        let (tys, end) = self.result_tys(results)?;
        let index = self.define(&name, span, Ty::INT)?;
        let mut bind = |list: Vec<Binding>| -> Parsed<Vec<(Var, Atom)>> {
            list.into_iter().map(|b| Ok((self.define(&b.name, b.span, b.ty)?, b.value))).collect()
        };
        let (carry, xs) = (bind(carry)?, bind(xs)?);
        let body = self.block()?;
        Ok((Op::Scan(Box::new(Scan { len, index, carry, xs, body, reverse })), tys, end))
    }

    /// `(%v: type = value, ..)`.
    fn bindings(&mut self) -> Parsed<Vec<Binding>> {
        self.c.punct("(")?;
        let mut out = Vec::new();
        if self.c.eat(")") {
            return Ok(out);
        }
        loop {
            let (name, span) = var_name(self.c)?;
            self.c.punct(":")?;
            let ty = self.c.ty()?;
            self.c.punct("=")?;
            out.push(Binding { name, span, ty, value: self.atom()? });
            if self.c.eat(")") {
                return Ok(out);
            }
            self.c.punct(",")?;
        }
    }
}

/// A variable of a loop's header and what it starts from.
struct Binding {
    name: String,
    span: Span,
    ty: Ty,
    value: Atom,
}
