//! Functions, blocks, statements and operations, in three stages.

use crate::{DetId, DistId, EstId, GenId, Prim, StrategyId, Ty, Var};
use ppl_diag::Span;
use std::fmt::Debug;

/// A scalar literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lit {
    /// A real number.
    Float(f64),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// An operand: a variable or a scalar literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Atom {
    /// A variable.
    Var(Var),
    /// A literal.
    Lit(Lit),
}

/// What a stage's random operations are.
pub trait Stage: Clone + Debug + PartialEq + Default + 'static {
    /// Random operations of the stage.
    type Random: RandomOp;
    /// `gen`, `est` or `det`, as the text format spells it.
    const NAME: &'static str;
}

/// What every stage's random operations can do.
pub trait RandomOp: Clone + Debug + PartialEq {
    /// Every operand, in order.
    fn atoms(&self) -> Vec<Atom>;
    /// Rewrites every operand, in the order of [`RandomOp::atoms`].
    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom);
    /// Whether it may be removed when its results are unused.
    fn is_pure(&self) -> bool;
    /// Which stage's operation it is.
    fn view(&self) -> RandomView<'_>;
    /// The operation, if it is this stage's.
    fn from_any(op: AnyRandom) -> Option<Self>;
}

/// A random operation of some stage, for code that is written once for all stages.
#[derive(Clone, Copy, Debug)]
pub enum RandomView<'a> {
    /// Of the generative stage.
    Gen(&'a GenRandom),
    /// Of the estimator stage.
    Est(&'a EstRandom),
    /// Of the deterministic stage.
    Det(&'a DetRandom),
}

/// A random operation of some stage, owned.
#[derive(Clone, Debug)]
pub enum AnyRandom {
    /// Of the generative stage.
    Gen(GenRandom),
    /// Of the estimator stage.
    Est(EstRandom),
    /// Of the deterministic stage.
    Det(DetRandom),
}

/// Generative stage: addresses, traces implicit.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Gen;
/// Estimator stage: traces are values, each sample names its gradient strategy.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Est;
/// Deterministic stage: randomness is a counter-based function of an explicit key.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Det;

impl Stage for Gen {
    type Random = GenRandom;
    const NAME: &'static str = "gen";
}
impl Stage for Est {
    type Random = EstRandom;
    const NAME: &'static str = "est";
}
impl Stage for Det {
    type Random = DetRandom;
    const NAME: &'static str = "det";
}

/// Where a choice stands in its program's trace.
///
/// `indices` are the index variables of enclosing loops, in the order of the array's axes: all loops of the function
/// that enclose the choice, each once (also those over the independent elements of a vector-valued choice).
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The name as written, `theta`; dots separate the parts of a nested address.
    pub name: String,
    /// Index variables, one for each leading axis of the trace's array.
    pub indices: Vec<Var>,
}

/// A distribution applied to parameters. One event: independent elements are separate choices in a [`Op::Map`].
#[derive(Clone, Debug, PartialEq)]
pub struct DistUse {
    /// The distribution at these parameter types.
    pub dist: DistId,
    /// Its parameters.
    pub args: Vec<Atom>,
}

/// How a sample's gradient is to be estimated.
#[derive(Clone, Debug, PartialEq)]
pub enum StrategyUse {
    /// The compiler picks, and says which.
    Auto,
    /// This strategy, with its own arguments (such as a baseline).
    Named {
        /// The strategy for the sample's distribution.
        strategy: StrategyId,
        /// The strategy's arguments after the distribution's parameters.
        args: Vec<Atom>,
        /// Where the user wrote it.
        span: Span,
    },
}

/// Random operations of the generative stage.
#[derive(Clone, Debug, PartialEq)]
pub enum GenRandom {
    /// `x ~ d by s`: one output, the value.
    Sample {
        /// The distribution.
        dist: DistUse,
        /// The choice's address.
        addr: Address,
        /// The strategy used where this program is simulated.
        strategy: StrategyUse,
        /// Other strategies of single elements, by their index along the address's first axis.
        elements: Vec<(usize, StrategyUse)>,
    },
    /// `s ~ g(..)`: outputs are the callee's results; its choices stand under `addr`.
    Call {
        /// The callee.
        callee: GenId,
        /// Its arguments.
        args: Vec<Atom>,
        /// Prefix of its addresses.
        addr: Address,
    },
    /// `noise(d)`: a draw that is not part of the trace, one output. No gradient flows through it.
    Noise(DistUse),
    /// `factor e`: no output.
    Factor(
        /// What is added to the log density, a real scalar.
        Atom,
    ),
    /// Multiplies the log density of its block, what comes before it and after it, by this number: a loop over a minibatch stands for
    /// the whole plate. No output. Stands in the body of a loop, outside of branches.
    Scale(
        /// The factor, at least 1.
        f64,
    ),
    /// `report r = e`: no output.
    Report {
        /// Name and enclosing loop indices.
        addr: Address,
        /// The reported value.
        value: Atom,
    },
    /// A marginal or normalised program in place: its choices stand at their own addresses. No output. The only statement of its function.
    Integral(Box<crate::Integral>),
}

/// Random operations of the estimator stage.
#[derive(Clone, Debug, PartialEq)]
pub enum EstRandom {
    /// A sample with a strategy: one output, the value.
    Sample {
        /// The distribution.
        dist: DistUse,
        /// How its gradient is estimated.
        strategy: StrategyUse,
        /// The choice's address with its program's name, `mean_field.x`, for messages and site names.
        label: String,
    },
    /// A rigid draw (inside strategies): one output. No gradient flows through it.
    Draw(DistUse),
    /// A draw through the distribution's `sample` program (inside strategies): gradients flow through it.
    Path(DistUse),
    /// Log density of a value: one real output, summed over the event.
    LogDensity {
        /// The distribution.
        dist: DistUse,
        /// The value.
        x: Atom,
    },
    /// `score(d, x)`: value 0, gradient of the log density with respect to the parameters of `d`.
    Score {
        /// The distribution.
        dist: DistUse,
        /// The value.
        x: Atom,
    },
    /// `sim(g)`: outputs are the results, the trace's choices in order ([`crate::Module::choices`]), and the log density.
    Sim {
        /// The program.
        callee: GenId,
        /// Its arguments.
        args: Vec<Atom>,
    },
    /// Density of a trace: outputs are the results, the reports in order ([`crate::Module::reports`]), and the log density.
    Density {
        /// The program.
        callee: GenId,
        /// Its arguments.
        args: Vec<Atom>,
        /// Every choice in order.
        trace: Vec<Atom>,
    },
    /// The log weight of a simulated trace, with exact divergences where they may stand for log densities: one real output.
    LogWeight(Box<LogWeight>),
    /// `k(x)` in a strategy: one real output, the cost of continuing with `x`.
    Continue {
        /// The value of the choice.
        x: Atom,
        /// `fresh(k)(x)`: draws its own random numbers.
        fresh: bool,
    },
    /// A call of an estimator function; outputs are its results.
    Call {
        /// The callee.
        callee: EstId,
        /// Its arguments.
        args: Vec<Atom>,
    },
    /// The gradient of a function without draws, one real scalar, with respect to its last parameters; outputs have their types.
    Grad {
        /// The function.
        callee: EstId,
        /// Its arguments.
        args: Vec<Atom>,
        /// How many parameters, from the end: real ones.
        wrt: usize,
    },
}

/// `log_density(p, t) - log_density(q, t)` of a trace `t` of `q`, or another value with the same mean: the terms of a choice that both make may
/// be replaced by minus the divergence of `p`'s distribution from `q`'s.
#[derive(Clone, Debug, PartialEq)]
pub struct LogWeight {
    /// The target's program, `p`.
    pub target: GenId,
    /// Its arguments.
    pub target_args: Vec<Atom>,
    /// Every choice of it, in order: choices of `q`, or values that do not depend on them.
    pub target_trace: Vec<Atom>,
    /// The program that drew the trace, `q`.
    pub guide: GenId,
    /// Its arguments.
    pub guide_args: Vec<Atom>,
    /// Every choice of it, in order.
    pub guide_trace: Vec<Atom>,
    /// Its log density as the simulation gave it.
    pub log_q: Atom,
}

impl LogWeight {
    /// Every operand, in order.
    pub fn atoms(&self) -> Vec<Atom> {
        let all = [&self.target_args, &self.target_trace, &self.guide_args, &self.guide_trace];
        all.into_iter().flatten().copied().chain([self.log_q]).collect()
    }

    /// Rewrites every operand, in the order of [`LogWeight::atoms`].
    pub fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        for part in [&mut self.target_args, &mut self.target_trace, &mut self.guide_args, &mut self.guide_trace] {
            each(part, f);
        }
        self.log_q = f(self.log_q);
    }
}

/// What a counter-based draw is distributed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RngKind {
    /// Uniform on the open interval (0, 1).
    Uniform,
    /// Standard normal.
    Normal,
    /// Gamma with rate 1; argument: shape.
    Gamma,
    /// Poisson; argument: rate. Int.
    Poisson,
    /// Binomial; arguments: number of trials (int), probability. Int.
    Binomial,
    /// Index drawn by probabilities; argument: probabilities, one more axis than the result. Int.
    Categorical,
}

/// Random operations of the deterministic stage: one draw of an array.
///
/// Element `e` of the draw is a function of (seed, step, `site`, `times`, linear index of (`lanes`, `e`)) and the
/// arguments alone. `lanes` are indices of enclosing [`Op::Map`]s that batching has not yet turned into axes (outermost first),
/// `times` those of enclosing scans; each with its extent.
#[derive(Clone, Debug, PartialEq)]
pub struct DetRandom {
    /// What is drawn.
    pub kind: RngKind,
    /// Parameters: of the result's shape or scalar (`Categorical`: one more, last axis of categories).
    pub args: Vec<Atom>,
    /// Hash of the path of call sites and the address.
    pub site: u64,
    /// Indices of enclosing maps, outermost first, with their lengths.
    pub lanes: Vec<(Atom, usize)>,
    /// Indices of enclosing scans, outermost first, with their lengths.
    pub times: Vec<(Atom, usize)>,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

/// How an axis is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Sum; empty is 0.
    Sum,
    /// Product; empty is 1.
    Prod,
    /// Maximum; empty is -inf.
    Max,
    /// Minimum; empty is +inf.
    Min,
    /// Conjunction of truth values.
    All,
    /// Disjunction of truth values.
    Any,
}

/// A window that slides over an image; pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Size of the image.
    pub image: (usize, usize),
    /// Size of the window.
    pub kernel: (usize, usize),
    /// Distance of its positions.
    pub stride: (usize, usize),
    /// Zeros around the image.
    pub padding: (usize, usize),
    /// Distance of its elements.
    pub dilation: (usize, usize),
}

impl Window {
    /// Number of positions, rows and columns; `None` if the window is larger than the image with its padding, or a size is 0.
    pub fn positions(&self) -> Option<(usize, usize)> {
        let along = |n: usize, k: usize, s: usize, p: usize, d: usize| {
            let span = d.checked_mul(k.checked_sub(1)?)?.checked_add(1)?;
            let free = n.checked_add(p.checked_mul(2)?)?.checked_sub(span)?;
            Some(free.checked_div(s)? + 1).filter(|_| d > 0)
        };
        let (i, k, s, p, d) = (self.image, self.kernel, self.stride, self.padding, self.dilation);
        Some((along(i.0, k.0, s.0, p.0, d.0)?, along(i.1, k.1, s.1, p.1, d.1)?))
    }

    /// Sizes, strides, padding and dilation, in order.
    pub fn numbers(&self) -> [usize; 10] {
        let pairs = [self.image, self.kernel, self.stride, self.padding, self.dilation];
        std::array::from_fn(|i| if i % 2 == 0 { pairs[i / 2].0 } else { pairs[i / 2].1 })
    }

    /// The window of these [`Window::numbers`].
    pub fn from_numbers(n: [usize; 10]) -> Self {
        Window { image: (n[0], n[1]), kernel: (n[2], n[3]), stride: (n[4], n[5]), padding: (n[6], n[7]), dilation: (n[8], n[9]) }
    }
}

/// Operations on the last axes of arrays, batched over the leading ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linalg {
    /// `(a: [.., n, n]) -> [.., n, n]`, the lower Cholesky factor; NaN where `a` is not positive definite.
    Cholesky,
    /// `(l: [.., n, n], b: [.., n, m]) -> [.., n, m]`, the solution of `l x = b` (or `l' x = b`), `l` lower triangular.
    Solve {
        /// Solve with the transpose.
        transpose: bool,
    },
    /// `(x: [.., c, h, w]) -> [.., c * kernel, positions]`: the elements of each channel under the window at each of its positions, by rows; zeros outside.
    Unfold(Window),
    /// `(y: [.., c * kernel, positions]) -> [.., c, h, w]`: the adjoint of `Unfold`; what falls on one element is added up.
    Fold(Window),
}

/// A sequential loop with carried values.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan<S: Stage> {
    /// Number of iterations.
    pub len: usize,
    /// The iteration number, an int scalar (also counts down from `len - 1` when `reverse`).
    pub index: Var,
    /// Carried values: the variable in the body and its first value.
    pub carry: Vec<(Var, Atom)>,
    /// Arrays sliced along their first axis: the slice's variable in the body and the array.
    pub xs: Vec<(Var, Atom)>,
    /// Results: the next carries, then the per-iteration outputs, which are stacked along a new first axis
    /// (at position `index`, also when `reverse`). A scan's outputs are the last carries and these stacks.
    pub body: Block<S>,
    /// Run from the last index to the first.
    pub reverse: bool,
}

/// The site of a minibatch's draws: one for all places that name the same sizes.
pub fn minibatch_site(data: usize, size: usize) -> u64 {
    ppl_abi::fold(ppl_abi::fold(0x6d69_6e69_6261_7463, data as u64), size as u64)
}

/// An operation.
///
/// Elementwise primitives take operands of the result's shape or scalars; every other change of shape is explicit.
/// Blocks may use variables of enclosing blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<S: Stage> {
    /// An elementwise primitive.
    Prim(Prim, Vec<Atom>),
    /// Axis `i` of `x` becomes axis `axes[i]` of the result (ascending); other axes repeat.
    Broadcast {
        /// Operand.
        x: Atom,
        /// Shape of the result.
        shape: Vec<usize>,
        /// Result axis of each operand axis.
        axes: Vec<usize>,
    },
    /// Reduction over `axes` (ascending), which disappear.
    Reduce {
        /// How.
        op: ReduceOp,
        /// Operand.
        x: Atom,
        /// Axes to remove.
        axes: Vec<usize>,
    },
    /// Index of the largest element along `axis`, the first one of equals; int.
    ArgMax {
        /// Operand.
        x: Atom,
        /// Axis to remove.
        axis: usize,
    },
    /// Running sum along `axis`, from the end if `reverse`.
    CumSum {
        /// Operand.
        x: Atom,
        /// Axis.
        axis: usize,
        /// From the last element to the first.
        reverse: bool,
    },
    /// Contraction. The result's axes: batch axes, then the free axes of `a`, then those of `b`.
    Dot {
        /// Left operand.
        a: Atom,
        /// Right operand.
        b: Atom,
        /// Pairs of batch axes.
        batch: Vec<(usize, usize)>,
        /// Pairs of contracted axes.
        contract: Vec<(usize, usize)>,
    },
    /// Axis `i` of the result is axis `perm[i]` of `x`.
    Transpose {
        /// Operand.
        x: Atom,
        /// Source axis of each result axis.
        perm: Vec<usize>,
    },
    /// The same elements in row-major order with another shape.
    Reshape {
        /// Operand.
        x: Atom,
        /// New shape.
        shape: Vec<usize>,
    },
    /// Elements `start..start + len` along `axis`.
    Slice {
        /// Operand.
        x: Atom,
        /// Axis.
        axis: usize,
        /// First index.
        start: usize,
        /// Number of indices.
        len: usize,
    },
    /// `x` with `before` and `after` zeros (false) added along `axis`.
    Pad {
        /// Operand.
        x: Atom,
        /// Axis.
        axis: usize,
        /// Zeros before.
        before: usize,
        /// Zeros after.
        after: usize,
    },
    /// Arrays one after the other along `axis`.
    Concat {
        /// Operands, of equal rank.
        xs: Vec<Atom>,
        /// Axis.
        axis: usize,
    },
    /// `x: [B.., n, R..]`, `idx: [B.., I..]` int, with `batch` common leading axes: `[B.., I.., R..]`.
    /// Indices outside `0..n` are clamped (the checker and the interpreter report them).
    Gather {
        /// Operand.
        x: Atom,
        /// Indices.
        idx: Atom,
        /// Number of common leading axes.
        batch: usize,
    },
    /// Adjoint of `Gather`: `updates: [B.., I.., R..]` added up at `idx: [B.., I..]` into zeros of `[B.., len, R..]`.
    ScatterAdd {
        /// Indices.
        idx: Atom,
        /// What is added.
        updates: Atom,
        /// Number of common leading axes.
        batch: usize,
        /// Size of the indexed axis.
        len: usize,
    },
    /// `0, 1, .., len - 1`, int.
    Iota {
        /// Number of elements.
        len: usize,
    },
    /// The data of this step: `size` of the indices `0..data`, int. A function of the run's seed, the step and the two sizes alone, so that
    /// equal minibatches are the same everywhere in a step. Step `s` takes positions `s * size ..` of the concatenated epochs, each of which
    /// is a permutation of its own: what an epoch leaves over begins the next step.
    Minibatch {
        /// Number of data, at most 2^32 - 1.
        data: usize,
        /// Number of indices, at most `data`.
        size: usize,
    },
    /// Elements in reverse order along `axis`.
    Reverse {
        /// Operand.
        x: Atom,
        /// Axis.
        axis: usize,
    },
    /// A matrix operation on the last two axes.
    Linalg(Linalg, Vec<Atom>),
    /// Runs one of two blocks; outputs are its results. `cond` is a scalar.
    If {
        /// Condition.
        cond: Atom,
        /// Where true.
        then: Block<S>,
        /// Where false.
        els: Block<S>,
    },
    /// Independent iterations (a plate, particles); outputs are the body's results stacked along a new first axis.
    Map {
        /// Number of iterations.
        len: usize,
        /// The iteration number, an int scalar.
        index: Var,
        /// One iteration.
        body: Block<S>,
    },
    /// A sequential loop.
    Scan(Box<Scan<S>>),
    /// A call of a deterministic function; outputs are its results.
    Call {
        /// The callee.
        callee: DetId,
        /// Its arguments.
        args: Vec<Atom>,
    },
    /// The value of its operand, with no gradient. Opaque until derivatives have been taken.
    Stop(Atom),
    /// A random operation of the stage.
    Random(S::Random),
}

/// One statement: `outs = op`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt<S: Stage> {
    /// Variables it defines.
    pub outs: Vec<Var>,
    /// What it computes.
    pub op: Op<S>,
    /// The source it comes from.
    pub span: Span,
}

/// Statements and results.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Block<S: Stage> {
    /// In order of execution.
    pub stmts: Vec<Stmt<S>>,
    /// What it returns.
    pub results: Vec<Atom>,
}

/// A variable's name and type. Names need not be unique; the printer makes them so.
#[derive(Clone, Debug, PartialEq)]
pub struct VarInfo {
    /// Name for people, without `%`.
    pub name: String,
    /// Type.
    pub ty: Ty,
}

/// A function of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Func<S: Stage> {
    /// Its name, without `@`.
    pub name: String,
    /// Every variable of the function, by id.
    pub vars: Vec<VarInfo>,
    /// Parameters.
    pub params: Vec<Var>,
    /// Body; its results are the function's.
    pub body: Block<S>,
    /// Source of the declaration.
    pub span: Span,
}

impl<S: Stage> Func<S> {
    /// Type of a variable.
    pub fn ty(&self, v: Var) -> &Ty {
        &self.vars[v.index()].ty
    }

    /// Type of an operand.
    pub fn atom_ty(&self, a: Atom) -> Ty {
        match a {
            Atom::Var(v) => self.ty(v).clone(),
            Atom::Lit(l) => l.ty(),
        }
    }

    /// Types of the results.
    pub fn result_tys(&self) -> Vec<Ty> {
        self.body.results.iter().map(|a| self.atom_ty(*a)).collect()
    }

    /// A new variable.
    pub fn new_var(&mut self, name: impl Into<String>, ty: Ty) -> Var {
        self.vars.push(VarInfo { name: name.into(), ty });
        Var(self.vars.len() as u32 - 1)
    }
}

impl Lit {
    /// Its type, a scalar.
    pub fn ty(self) -> Ty {
        match self {
            Lit::Float(_) => Ty::FLOAT,
            Lit::Int(_) => Ty::INT,
            Lit::Bool(_) => Ty::BOOL,
        }
    }
}

impl Atom {
    /// A real literal.
    pub fn float(v: f64) -> Atom {
        Atom::Lit(Lit::Float(v))
    }

    /// An integer literal.
    pub fn int(v: i64) -> Atom {
        Atom::Lit(Lit::Int(v))
    }

    /// A truth value.
    pub fn bool(v: bool) -> Atom {
        Atom::Lit(Lit::Bool(v))
    }

    /// The variable, if it is one.
    pub fn var(self) -> Option<Var> {
        match self {
            Atom::Var(v) => Some(v),
            Atom::Lit(_) => None,
        }
    }
}

impl From<Var> for Atom {
    fn from(v: Var) -> Atom {
        Atom::Var(v)
    }
}

impl RandomOp for GenRandom {
    fn view(&self) -> RandomView<'_> {
        RandomView::Gen(self)
    }

    fn from_any(op: AnyRandom) -> Option<Self> {
        if let AnyRandom::Gen(op) = op { Some(op) } else { None }
    }

    fn atoms(&self) -> Vec<Atom> {
        match self {
            GenRandom::Sample { dist, strategy, addr, elements } => {
                let own = elements.iter().flat_map(|(_, s)| s.args().iter().copied());
                dist.args.iter().copied().chain(strategy.args().iter().copied()).chain(own).chain(addr.atoms()).collect()
            }
            GenRandom::Call { args, addr, .. } => args.iter().copied().chain(addr.atoms()).collect(),
            GenRandom::Noise(dist) => dist.args.clone(),
            GenRandom::Factor(w) => vec![*w],
            GenRandom::Scale(_) => Vec::new(),
            GenRandom::Integral(i) => i.atoms(),
            GenRandom::Report { value, addr } => std::iter::once(*value).chain(addr.atoms()).collect(),
        }
    }

    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        match self {
            GenRandom::Sample { dist, strategy, addr, elements } => {
                each(&mut dist.args, f);
                strategy.map_atoms(f);
                elements.iter_mut().for_each(|(_, s)| s.map_atoms(f));
                addr.map_atoms(f);
            }
            GenRandom::Call { args, addr, .. } => {
                each(args, f);
                addr.map_atoms(f);
            }
            GenRandom::Noise(dist) => each(&mut dist.args, f),
            GenRandom::Factor(w) => *w = f(*w),
            GenRandom::Scale(_) => {}
            GenRandom::Integral(i) => i.map_atoms(f),
            GenRandom::Report { value, addr } => {
                *value = f(*value);
                addr.map_atoms(f);
            }
        }
    }

    fn is_pure(&self) -> bool {
        false
    }
}

impl RandomOp for EstRandom {
    fn view(&self) -> RandomView<'_> {
        RandomView::Est(self)
    }

    fn from_any(op: AnyRandom) -> Option<Self> {
        if let AnyRandom::Est(op) = op { Some(op) } else { None }
    }

    fn atoms(&self) -> Vec<Atom> {
        match self {
            EstRandom::Sample { dist, strategy, .. } => dist.args.iter().chain(strategy.args()).copied().collect(),
            EstRandom::Draw(dist) | EstRandom::Path(dist) => dist.args.clone(),
            EstRandom::LogDensity { dist, x } | EstRandom::Score { dist, x } => {
                dist.args.iter().copied().chain(std::iter::once(*x)).collect()
            }
            EstRandom::Sim { args, .. } | EstRandom::Call { args, .. } | EstRandom::Grad { args, .. } => args.clone(),
            EstRandom::Density { args, trace, .. } => args.iter().chain(trace).copied().collect(),
            EstRandom::LogWeight(w) => w.atoms(),
            EstRandom::Continue { x, .. } => vec![*x],
        }
    }

    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        match self {
            EstRandom::Sample { dist, strategy, .. } => {
                each(&mut dist.args, f);
                strategy.map_atoms(f);
            }
            EstRandom::Draw(dist) | EstRandom::Path(dist) => each(&mut dist.args, f),
            EstRandom::LogDensity { dist, x } | EstRandom::Score { dist, x } => {
                each(&mut dist.args, f);
                *x = f(*x);
            }
            EstRandom::Sim { args, .. } | EstRandom::Call { args, .. } | EstRandom::Grad { args, .. } => each(args, f),
            EstRandom::Density { args, trace, .. } => {
                each(args, f);
                each(trace, f);
            }
            EstRandom::LogWeight(w) => w.map_atoms(f),
            EstRandom::Continue { x, .. } => *x = f(*x),
        }
    }

    fn is_pure(&self) -> bool {
        !matches!(self, EstRandom::Continue { .. })
    }
}

impl RandomOp for DetRandom {
    fn view(&self) -> RandomView<'_> {
        RandomView::Det(self)
    }

    fn from_any(op: AnyRandom) -> Option<Self> {
        if let AnyRandom::Det(op) = op { Some(op) } else { None }
    }

    fn atoms(&self) -> Vec<Atom> {
        self.args.iter().copied().chain(self.lanes.iter().chain(&self.times).map(|(a, _)| *a)).collect()
    }

    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        each(&mut self.args, f);
        for (a, _) in self.lanes.iter_mut().chain(&mut self.times) {
            *a = f(*a);
        }
    }

    fn is_pure(&self) -> bool {
        true
    }
}

impl StrategyUse {
    /// The strategy's own arguments.
    pub fn args(&self) -> &[Atom] {
        match self {
            StrategyUse::Auto => &[],
            StrategyUse::Named { args, .. } => args,
        }
    }

    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        if let StrategyUse::Named { args, .. } = self {
            each(args, f);
        }
    }
}

impl Address {
    fn atoms(&self) -> impl Iterator<Item = Atom> + '_ {
        self.indices.iter().map(|v| Atom::Var(*v))
    }

    /// Index variables may only be renamed, never replaced by literals.
    fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        for v in &mut self.indices {
            if let Atom::Var(new) = f(Atom::Var(*v)) {
                *v = new;
            }
        }
    }
}

fn each(atoms: &mut [Atom], f: &mut dyn FnMut(Atom) -> Atom) {
    for a in atoms {
        *a = f(*a);
    }
}

impl RngKind {
    /// Every kind.
    pub const ALL: [RngKind; 6] =
        [RngKind::Uniform, RngKind::Normal, RngKind::Gamma, RngKind::Poisson, RngKind::Binomial, RngKind::Categorical];

    /// Name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            RngKind::Uniform => "uniform",
            RngKind::Normal => "normal",
            RngKind::Gamma => "gamma",
            RngKind::Poisson => "poisson",
            RngKind::Binomial => "binomial",
            RngKind::Categorical => "categorical",
        }
    }

    /// Element type of the draw.
    pub fn dtype(self) -> crate::DType {
        match self {
            RngKind::Uniform | RngKind::Normal | RngKind::Gamma => crate::DType::Float,
            RngKind::Poisson | RngKind::Binomial | RngKind::Categorical => crate::DType::Int,
        }
    }
}

impl ReduceOp {
    /// Every way.
    pub const ALL: [ReduceOp; 6] = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::All, ReduceOp::Any];

    /// Name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::All => "all",
            ReduceOp::Any => "any",
        }
    }
}
