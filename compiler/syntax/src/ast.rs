//! The syntax tree: what the text says, with places, and nothing that has to be inferred.
//!
//! Parentheses leave no node. A block's last expression statement is its `result`. Shorthands are expanded where the
//! expansion is purely textual (`given { z }` holds the value `z`), with a flag for the printer.

use std::fmt;
use std::sync::Arc;

use ppl_diag::Span;

/// A name as written, with its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Ident {
    /// The text.
    pub name: Arc<str>,
    /// Where it stands.
    pub span: Span,
}

impl Ident {
    /// The name `name` at `span`.
    pub fn new(name: impl Into<Arc<str>>, span: Span) -> Self {
        Self { name: name.into(), span }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq<str> for Ident {
    fn eq(&self, other: &str) -> bool {
        &*self.name == other
    }
}

impl PartialEq<&str> for Ident {
    fn eq(&self, other: &&str) -> bool {
        &*self.name == *other
    }
}

/// A whole file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct File {
    /// The `##` lines at the top that a blank line separates from the first item.
    pub doc: Option<String>,
    /// The declarations, in the order of the text.
    pub items: Vec<Item>,
    /// The comments that are not documentation, in the order of the text.
    pub comments: Vec<Comment>,
    /// The name before the dot that its declarations are reached by, `nn`; they are in scope by themselves where there is none.
    pub module: Option<String>,
}

/// A `#` comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// From the `#` to the end of the line.
    pub span: Span,
    /// The text, with its `#`.
    pub text: String,
    /// Nothing but white space stands before it on its line.
    pub own_line: bool,
}

/// A declaration at top level.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From the first to the last token.
    pub span: Span,
    /// The `##` lines above it, without the marks.
    pub doc: Option<String>,
    /// What it declares.
    pub kind: ItemKind,
}

/// The kinds of declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use std.nn`
    Use(Vec<Ident>),
    /// `data N: int, D: int`
    Data(Vec<DataDecl>),
    /// `param mu: real[2] = 0.0`
    Param(Param),
    /// `let xs = (x - mean(x)) / sd(x)`
    Let(Let),
    /// `gen cone() { .. }`
    Gen(Callable),
    /// `fn f(x) = e`
    Fn(Callable),
    /// `objective elbo(p: target, q: gen) = e`
    Objective(Callable),
    /// `strategy reparam for normal(mu, sigma) (k) { .. }`
    Strategy(Strategy),
    /// `dist exponential(rate: positive) on positive { .. }`
    Dist(Dist),
    /// `fit cone() given { z } with mean_field() ..`
    Fit(Box<Fit>),
}

/// `X: real[N, D] from columns("age", "bmi")`
#[derive(Clone, Debug, PartialEq)]
pub struct DataDecl {
    /// The whole declaration of this name.
    pub span: Span,
    /// The name.
    pub name: Ident,
    /// Its type.
    pub ty: Type,
    /// What stands after `from`: a file name or a call of `columns`.
    pub source: Option<Expr>,
}

/// `param name: type = init`, at top level or in a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The name.
    pub name: Ident,
    /// Its type, if written.
    pub ty: Option<Type>,
    /// The value it starts from, if written.
    pub init: Option<Expr>,
}

/// `let pattern: type = value`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// What is bound.
    pub pattern: Pattern,
    /// The type, if written.
    pub ty: Option<Type>,
    /// The value.
    pub value: Expr,
}

/// A `gen`, `fn` or `objective`.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    /// The name.
    pub name: Ident,
    /// The parameters.
    pub params: Vec<FnParam>,
    /// The type after `->`, if written.
    pub ret: Option<Type>,
    /// `{ .. }` (then an [`ExprKind::Block`]) or the expression after `=`.
    pub body: Expr,
}

/// A parameter of a callable, strategy or distribution: `x: real = 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct FnParam {
    /// The whole parameter.
    pub span: Span,
    /// The name.
    pub name: Ident,
    /// The type, if written.
    pub ty: Option<Type>,
    /// The value used when the argument is left out.
    pub default: Option<Expr>,
}

/// `strategy name(params) for target (k) body`, `biased strategy ..`
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// The name.
    pub name: Ident,
    /// Whether its author says that its gradients are biased.
    pub biased: bool,
    /// Its own parameters, such as a baseline; empty without parentheses.
    pub params: Vec<FnParam>,
    /// Which distributions it is for.
    pub target: StrategyTarget,
    /// The continuation's name.
    pub k: Ident,
    /// `{ .. }` or the expression after `=`.
    pub body: Expr,
}

/// What `marginal { .. } of p` keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// A choice, or all of a called program.
    Address(Address),
    /// `latents(p)`: the choices that a target leaves open.
    Latents(Expr),
}

/// What a strategy is for.
#[derive(Clone, Debug, PartialEq)]
pub enum StrategyTarget {
    /// `for d` or `for d: finite`: any distribution that can do what is asked.
    Any {
        /// The name the distribution has in the body.
        name: Ident,
        /// The capability asked for.
        needs: Option<Ident>,
    },
    /// `for normal(mu, sigma)`: one distribution, its arguments bound to names.
    Dist {
        /// The distribution's name.
        dist: Ident,
        /// A name or `_` for each argument.
        args: Vec<Pattern>,
    },
}

/// `dist name(params) on support { members }`
#[derive(Clone, Debug, PartialEq)]
pub struct Dist {
    /// The name.
    pub name: Ident,
    /// The parameters.
    pub params: Vec<FnParam>,
    /// The support: `positive`, `simplex[K]`, `interval(lo, hi)`, ...
    pub support: Type,
    /// `log_density(x) = ..`, `sample = ..`, ...
    pub members: Vec<DistMember>,
}

/// `log_density(x) = e`, `sample { .. }` or `kl(normal(m, s)) = e`
#[derive(Clone, Debug, PartialEq)]
pub struct DistMember {
    /// The whole member.
    pub span: Span,
    /// The `##` lines above it.
    pub doc: Option<String>,
    /// What it defines: `log_density`, `sample`, `cdf`, `kl`, ...
    pub name: Ident,
    /// Its parameters; empty without parentheses.
    pub params: Vec<FnParam>,
    /// The other distribution, for members about two.
    pub other: Option<OtherDist>,
    /// `{ .. }` or the expression after `=`.
    pub body: Expr,
}

/// `normal(m, s)` in `kl(normal(m, s)) = e`: another distribution, with names for its parameters
#[derive(Clone, Debug, PartialEq)]
pub struct OtherDist {
    /// All of it.
    pub span: Span,
    /// The distribution.
    pub name: Ident,
    /// Names of its parameters, in order.
    pub params: Vec<Pattern>,
}

/// `fit model with guide maximize objective using optimizer, settings`
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The conditioned model; absent in `fit maximize ..`.
    pub model: Option<Expr>,
    /// What stands after `with`.
    pub guide: Option<Expr>,
    /// What is optimised; empty if nothing is written.
    pub goals: Vec<Goal>,
    /// The optimiser, the first entry after `using` that is not a setting.
    pub optimizer: Option<Expr>,
    /// `particles 64`, `steps 5000`, ...
    pub settings: Vec<Setting>,
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `maximize`
    Maximize,
    /// `minimize`
    Minimize,
}

/// `maximize p_wake(10) over params(model)`
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Without the keyword.
    pub span: Span,
    /// Up or down.
    pub direction: Direction,
    /// The objective or estimate.
    pub objective: Expr,
    /// The group of parameters it moves; absent: all.
    pub over: Option<Expr>,
}

/// `steps 5000`
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Name and value.
    pub span: Span,
    /// The name.
    pub name: Ident,
    /// The value.
    pub value: Expr,
}

/// A type or support as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// The whole type.
    pub span: Span,
    /// Its form.
    pub kind: TypeKind,
}

/// The forms of type.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `real`, `real[N, D]`, `real?[N]`, `simplex[K]`, `interval(lo, hi)`, `gen`, `target`, `estimate`, `trace`, ...
    Named {
        /// The name.
        name: Ident,
        /// What stands in parentheses.
        args: Vec<Expr>,
        /// `?` after the name: elements may be missing.
        missing: bool,
        /// What stands in the first brackets.
        dims: Vec<Expr>,
    },
    /// `simplex[K][N]`: `N` simplexes of size `K`.
    Array {
        /// The type of an element.
        element: Box<Type>,
        /// What stands in the brackets.
        dims: Vec<Expr>,
    },
    /// `trace of ring`
    TraceOf(Box<Expr>),
    /// `(real, int)`
    Tuple(Vec<Type>),
}

/// What `let` and `for` bind.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// The whole pattern.
    pub span: Span,
    /// Its form.
    pub kind: PatternKind,
}

/// The forms of pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternKind {
    /// `_`
    Wildcard,
    /// `x`
    Name(Ident),
    /// `(a, _, c)`
    Tuple(Vec<Pattern>),
}

/// Where a choice lives: `z`, `theta[j]`, `s.x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The whole address.
    pub span: Span,
    /// The first name. A variable of a loop over `latents(p)` stands for the address it holds.
    pub base: Ident,
    /// Indices and fields after it.
    pub path: Vec<AddressPart>,
}

/// A step into an address.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressPart {
    /// `.x`
    Field(Ident),
    /// `[j]`, `[i, j]`, `[0..3]`
    Index(Vec<Expr>),
}

/// Statements and an optional value.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// From `{` to `}`.
    pub span: Span,
    /// All but the last expression.
    pub stmts: Vec<Stmt>,
    /// The last statement, where that is an expression.
    pub result: Option<Box<Expr>>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// The whole statement.
    pub span: Span,
    /// Its form.
    pub kind: StmtKind,
}

/// The forms of statement.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let (a, b) = e`
    Let(Let),
    /// `theta[j] ~ normal(mu, tau) by reparam`
    Choice(Choice),
    /// `param loc: real = 0`
    Param(Param),
    /// `state b: real = 0`
    State(Param),
    /// `set b = 0.9 * b + 0.1 * cost`: the state's value in the next step.
    Set {
        /// The state.
        name: Ident,
        /// The value.
        value: Expr,
    },
    /// `report r = tau / mu`
    Report {
        /// Its name in summaries.
        name: Ident,
        /// The value.
        value: Expr,
    },
    /// `factor e`
    Factor(Expr),
    /// `also_minimize e`
    AlsoMinimize(Expr),
    /// An expression whose value is dropped, such as a plate.
    Expr(Expr),
    /// A statement with a syntax error, reported already.
    Error,
}

/// `address ~ dist by strategy`
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Where the value is recorded.
    pub address: Address,
    /// The distribution, or a call of a `gen`.
    pub dist: Expr,
    /// The strategy, if written.
    pub by: Option<Expr>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// The whole expression, with its parentheses.
    pub span: Span,
    /// Its form.
    pub kind: ExprKind,
}

impl Expr {
    /// An expression of this form at `span`.
    pub fn new(span: Span, kind: ExprKind) -> Self {
        Self { span, kind }
    }
}

/// The forms of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `3`, `1e-3`, `true`, `"age"`
    Literal(Literal),
    /// `x`
    Name(Ident),
    /// `t.slope`, `nn.mlp`
    Field(Box<Expr>, Ident),
    /// `f(x, baseline = 0)`
    Call {
        /// What is called.
        callee: Box<Expr>,
        /// Positional and named arguments, in order.
        args: Vec<Arg>,
    },
    /// `X[n, 1]`, `h[0..10]`
    Index {
        /// The array.
        base: Box<Expr>,
        /// At least one; a slice is an [`ExprKind::Range`].
        subscripts: Vec<Expr>,
    },
    /// `5..T`; a missing end is the array's. Stands only after `in` and in subscripts.
    Range {
        /// The first index.
        start: Option<Box<Expr>>,
        /// One past the last index.
        end: Option<Box<Expr>>,
    },
    /// `-x`, `not b`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `(a, b)`; `()` is the empty tuple.
    Tuple(Vec<Expr>),
    /// `[1, 2, 3]`
    Array(Vec<Expr>),
    /// `if c { .. } else { .. }`
    If {
        /// The condition.
        cond: Box<Expr>,
        /// The branch for `true`.
        then: Block,
        /// The other branch: an [`ExprKind::Block`] or another `if`.
        otherwise: Option<Box<Expr>>,
    },
    /// A plate or, with carried values, a scan.
    For(Box<For>),
    /// `[for k in K { .. }]`: the array of the results.
    Comprehension(Box<For>),
    /// `{ .. }`
    Block(Block),
    /// `expect { .. }`
    Expect(Block),
    /// `assume_continuous { .. }`
    AssumeContinuous(Block),
    /// `draw d`
    Draw(Box<Expr>),
    /// `p given { z: z }`
    Given {
        /// The program.
        program: Box<Expr>,
        /// Choices and their values.
        bindings: Vec<Binding>,
    },
    /// `p with data { x: v }`
    WithData {
        /// The program.
        program: Box<Expr>,
        /// Data names and their values.
        bindings: Vec<Binding>,
    },
    /// `p by { z: measure_valued, _: reparam }`
    By {
        /// The program.
        program: Box<Expr>,
        /// Which strategy at which choices.
        strategies: Vec<ByEntry>,
    },
    /// `marginal { x, y } of p by algorithm`
    Marginal {
        /// The choices that stay.
        keep: Vec<Kept>,
        /// The program.
        program: Box<Expr>,
        /// How the others are integrated out; absent: one weight.
        by: Option<Box<Expr>>,
    },
    /// `normalize p by algorithm`
    Normalize {
        /// The target.
        program: Box<Expr>,
        /// How, such as `sir(q, 20)`.
        by: Option<Box<Expr>>,
    },
    /// `fn (x) = e`: a function without a name; the callable's name is the keyword.
    Function(Box<Callable>),
    /// A place with a syntax error, reported already.
    Error,
}

/// A constant as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `10`
    Int(i64),
    /// `0.5`, `1e-3`
    Real(f64),
    /// `true`, `false`
    Bool(bool),
    /// `"cone.json"`, escapes resolved
    Str(String),
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// The name before `=`, if written.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// `z` or `img: images[n]` in `given { .. }` and `with data { .. }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The whole binding.
    pub span: Span,
    /// What is bound.
    pub address: Address,
    /// Its value; where none is written, the address read as an expression.
    pub value: Expr,
    /// No value is written.
    pub shorthand: bool,
}

/// `z_pres: measure_valued` or `_: reparam`.
#[derive(Clone, Debug, PartialEq)]
pub struct ByEntry {
    /// The whole entry.
    pub span: Span,
    /// The choice; `None` is `_`, all others.
    pub address: Option<Address>,
    /// The strategy.
    pub strategy: Expr,
}

/// `for pattern in iter carry (..) { .. }`
#[derive(Clone, Debug, PartialEq)]
pub struct For {
    /// The whole loop.
    pub span: Span,
    /// The loop variable.
    pub pattern: Pattern,
    /// A size, a range, a finite set, `minibatch(N, B)`, `latents(p)`, an array.
    pub iter: Expr,
    /// The carried values; not empty means a scan.
    pub carry: Vec<Carry>,
    /// The body.
    pub body: Block,
}

/// `prev = 0.0` in `carry (..)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Carry {
    /// The name in the body.
    pub name: Ident,
    /// Its value in the first round.
    pub init: Expr,
}

/// Operators with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-x`
    Neg,
    /// `not b`
    Not,
}

/// Operators with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `a or b`
    Or,
    /// `a and b`
    And,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `a % b`, the remainder with the sign of `b`
    Rem,
    /// `a ^ b`
    Pow,
}

impl UnaryOp {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Neg => "-",
            Self::Not => "not",
        }
    }
}

impl BinaryOp {
    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
            Self::Pow => "^",
        }
    }
}
