//! What an expression evaluates to while a program is elaborated.

use ppl_core::{Atom, DType, DistId, GenId, Lit, Support, Ty, Var};
use ppl_diag::Span;
use std::fmt;
use std::rc::Rc;

/// A size, with the text it comes from (`N`, `K - 1`) where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Dim {
    /// Its value. Where no data are given, an unknown size is a number that no other size equals.
    pub(crate) n: usize,
    /// How the source names it.
    pub(crate) name: Option<Rc<str>>,
    /// The number of data of which it is a step's minibatch.
    pub(crate) of: Option<usize>,
}

impl PartialEq for Dim {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n && self.of == other.of
    }
}

impl Dim {
    /// The size that it stands for: of the whole plate, where it is a minibatch of it.
    pub(crate) fn whole(&self) -> usize {
        self.of.unwrap_or(self.n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim { n, name: None, of: None }
    }
}

/// Whether sizes of this program are stand-ins (no data were given), so that messages show names only.
pub(crate) const FIRST_STAND_IN: usize = 1_000_003;

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if self.n >= FIRST_STAND_IN => f.write_str(name),
            Some(name) => write!(f, "{name} = {}", self.n),
            None => write!(f, "{}", self.n),
        }
    }
}

/// An array (or scalar) of the function under construction.
#[derive(Clone, Debug)]
pub(crate) struct Arr {
    /// Its operand.
    pub(crate) atom: Atom,
    /// Element type.
    pub(crate) dtype: DType,
    /// Sizes with their names.
    pub(crate) dims: Vec<Dim>,
    /// A scalar's value where it is known while compiling.
    pub(crate) konst: Option<Lit>,
    /// What it was declared or computed to be in, for supports of data and parameters.
    pub(crate) support: Option<Support>,
    /// The result of `expect`: an estimate, not a number.
    pub(crate) estimate: bool,
    /// How the source names a known size.
    pub(crate) size_name: Option<Rc<str>>,
    /// The part of a network that computed it.
    pub(crate) layer: Option<Rc<crate::networks::Layer>>,
}

impl Arr {
    pub(crate) fn new(atom: Atom, dtype: DType, dims: Vec<Dim>) -> Self {
        Arr { atom, dtype, dims, konst: None, support: None, estimate: false, size_name: None, layer: None }
    }

    pub(crate) fn lit(lit: Lit) -> Self {
        Arr { konst: Some(lit), ..Arr::new(Atom::Lit(lit), lit.ty().dtype, Vec::new()) }
    }

    pub(crate) fn from_ty(atom: Atom, ty: &Ty) -> Self {
        Arr::new(atom, ty.dtype, ty.shape.iter().map(|n| Dim::from(*n)).collect())
    }

    pub(crate) fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|d| d.n).collect()
    }

    pub(crate) fn ty(&self) -> Ty {
        Ty::new(self.dtype, self.shape())
    }

    pub(crate) fn is_scalar(&self) -> bool {
        self.dims.is_empty()
    }

    pub(crate) fn const_int(&self) -> Option<i64> {
        match self.konst {
            Some(Lit::Int(i)) => Some(i),
            _ => None,
        }
    }

    /// The type as users write it.
    pub(crate) fn show(&self) -> String {
        show_ty(self.dtype, &self.dims)
    }
}

/// `real[N = 8, 3]`.
pub(crate) fn show_ty(dtype: DType, dims: &[Dim]) -> String {
    let elem = match dtype {
        DType::Float => "real",
        DType::Int => "int",
        DType::Bool => "bool",
    };
    if dims.is_empty() {
        return elem.to_string();
    }
    format!("{elem}[{}]", dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// One entry of a trace.
#[derive(Clone, Debug)]
pub(crate) struct TraceEntry {
    pub(crate) addr: String,
    pub(crate) value: Arr,
    pub(crate) support: Support,
    pub(crate) conditional: bool,
    /// Where the choice is made.
    pub(crate) span: Span,
}

/// A record of a run.
#[derive(Clone, Debug)]
pub(crate) struct TraceVal {
    /// The program that made it.
    pub(crate) program: String,
    pub(crate) entries: Vec<TraceEntry>,
    /// Choices that could not be elaborated.
    pub(crate) broken: Vec<String>,
    /// The simulation that it comes from, in the same run of the same block.
    pub(crate) origin: Option<Box<TraceOrigin>>,
    pub(crate) span: Span,
}

/// A simulation.
#[derive(Clone, Debug)]
pub(crate) struct TraceOrigin {
    pub(crate) program: GenVal,
    /// The log density of the trace.
    pub(crate) log_q: Atom,
}

/// A distribution with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct DistVal {
    /// Independent elements around one event.
    pub(crate) batch: Vec<Dim>,
    /// Parameters: each has the batch axes in front or none of them.
    pub(crate) args: Vec<Arr>,
    /// At one event's parameter types.
    pub(crate) dist: DistId,
    pub(crate) span: Span,
}

/// A generative program with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct GenVal {
    pub(crate) name: String,
    pub(crate) id: GenId,
    /// Arguments of the function, captured globals included; operands of the function at `level`.
    pub(crate) args: Vec<Atom>,
    /// Depth of the function whose operands `args` are.
    pub(crate) level: usize,
    /// Shape of the result.
    pub(crate) result: Layout,
    /// `stop(p)`: no gradient flows through what it takes.
    pub(crate) detached: bool,
    /// `p with data { x: v }`: values for the data that it reads.
    pub(crate) rebound: Vec<(crate::session::Global, Atom)>,
    pub(crate) span: Span,
}

impl GenVal {
    /// Whether the function is all of it: no operands of another function, nothing detached.
    pub(crate) fn is_plain(&self) -> bool {
        self.args.is_empty() && self.is_itself()
    }

    /// Whether both are one function with the same operands.
    pub(crate) fn is_same(&self, other: &GenVal) -> bool {
        let parts = |g: &GenVal| (g.id, g.args.clone(), g.level, g.detached, g.rebound.clone());
        parts(self) == parts(other)
    }

    /// Whether it is neither detached nor given other data.
    pub(crate) fn is_itself(&self) -> bool {
        !self.detached && self.rebound.is_empty()
    }
}

/// A model with the values it is given: an unnormalised posterior.
#[derive(Clone, Debug)]
pub(crate) struct TargetVal {
    pub(crate) program: GenVal,
    pub(crate) given: Vec<(String, Arr, Span)>,
    pub(crate) span: Span,
}

/// A declaration, by position in the session's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DeclId(pub(crate) usize);

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Array(Arr),
    Tuple(Vec<Value>),
    Trace(TraceVal),
    Dist(Box<DistVal>),
    Program(Box<GenVal>),
    Target(Box<TargetVal>),
    /// A declared `fn`, `gen`, `objective`, `strategy` or `dist`, not applied yet.
    Decl(DeclId),
    /// A built-in function.
    Builtin(&'static str),
    /// A function without a name.
    Function(Rc<crate::networks::Closure>),
    /// Values known while compiling, such as the layers of a network or their sizes.
    List(Vec<Value>),
    /// A module of the library: its declarations are reached by a dot.
    Module(Rc<str>),
    /// A strategy's `k` (`fresh(k)` if so).
    Continuation {
        fresh: bool,
    },
    /// A choice's address, in a loop over latents.
    Address {
        target: Rc<TargetVal>,
        index: usize,
    },
    /// A support, of a value of these sizes where it belongs to a choice.
    Support {
        support: Support,
        dims: Option<Vec<Dim>>,
    },
    /// An array whose elements are still being drawn by the enclosing loops.
    Partial(Box<Partial>),
    Unit,
    /// Something is wrong with it; already reported.
    Error,
}

/// A choice inside the loops that draw its elements.
#[derive(Clone, Debug)]
pub(crate) struct Partial {
    pub(crate) name: String,
    /// The address's loop variables, outermost axis first; loops already closed are `None`.
    pub(crate) open: Vec<Option<Var>>,
    /// Value for the open variables' present values: axes of closed loops (in the order they enclose), then the event's.
    pub(crate) value: Value,
    /// Loop variables in the order of the address's axes.
    pub(crate) order: Vec<Var>,
    /// Loop variables of `value`'s leading axes, outermost first.
    pub(crate) closed: Vec<Var>,
    /// Whether the array is visible after the loops (calls of programs with results are; those without are not).
    pub(crate) whole: bool,
    /// Whether a loop over a minibatch has been left: there are only the elements of this step.
    pub(crate) part: bool,
    pub(crate) span: Span,
}

/// Structure of a value whose arrays are passed one by one.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    Array {
        dtype: DType,
        dims: Vec<Dim>,
        estimate: bool,
    },
    Tuple(Vec<Layout>),
    List(Vec<Layout>),
    Trace(TraceVal),
    /// Nothing at run time: this very value.
    Static(Box<Value>),
}

impl Value {
    pub(crate) fn unit_or(arr: Option<Arr>) -> Value {
        arr.map_or(Value::Error, Value::Array)
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Array(a) if a.estimate => "an estimate".into(),
            Value::Array(a) => format!("a value of type `{}`", a.show()),
            Value::Tuple(vs) => format!("a tuple of {} values", vs.len()),
            Value::Trace(t) => format!("a trace of `{}`", t.program),
            Value::Dist(_) => "a distribution".into(),
            Value::Program(g) => format!("the generative program `{}`", g.name),
            Value::Target(t) => format!("the target `{}`", t.program.name),
            Value::Decl(_) => "a declaration that is not applied to arguments".into(),
            Value::Builtin(b) => format!("the built-in function `{b}`"),
            Value::Function(_) => "a function".into(),
            Value::List(vs) => format!("a list of {} values", vs.len()),
            Value::Module(m) => format!("the module `{m}`"),
            Value::Continuation { .. } => "a continuation".into(),
            Value::Address { .. } => "an address".into(),
            Value::Support { support, .. } => format!("the support `{support}`"),
            Value::Partial(p) => format!("the choice `{}`, whose elements are still being drawn", p.name),
            Value::Unit => "nothing".into(),
            Value::Error => "an erroneous value".into(),
        }
    }

    /// Its arrays, in order, and how to put them together again.
    pub(crate) fn flatten(&self, out: &mut Vec<Atom>) -> Layout {
        match self {
            Value::Array(a) => {
                out.push(a.atom);
                Layout::Array { dtype: a.dtype, dims: a.dims.clone(), estimate: a.estimate }
            }
            Value::Tuple(vs) => Layout::Tuple(vs.iter().map(|v| v.flatten(out)).collect()),
            Value::List(vs) => Layout::List(vs.iter().map(|v| v.flatten(out)).collect()),
            Value::Trace(t) => {
                out.extend(t.entries.iter().map(|e| e.value.atom));
                Layout::Trace(t.clone())
            }
            other => Layout::Static(Box::new(other.clone())),
        }
    }
}

impl Layout {
    /// The value made of `atoms`, taken from the front; arrays gain the axes `outer`.
    pub(crate) fn build(&self, atoms: &mut impl Iterator<Item = Atom>, outer: &[Dim]) -> Value {
        let lift = |dims: &[Dim]| -> Vec<Dim> { outer.iter().chain(dims).cloned().collect() };
        match self {
            Layout::Array { dtype, dims, estimate } => match atoms.next() {
                Some(a) => Value::Array(Arr { estimate: *estimate, ..Arr::new(a, *dtype, lift(dims)) }),
                None => Value::Error,
            },
            Layout::Tuple(parts) => Value::Tuple(parts.iter().map(|p| p.build(atoms, outer)).collect()),
            Layout::List(parts) => Value::List(parts.iter().map(|p| p.build(atoms, outer)).collect()),
            Layout::Trace(t) => {
                let mut t = TraceVal { origin: None, ..t.clone() };
                for e in &mut t.entries {
                    if let Some(a) = atoms.next() {
                        e.value = Arr::new(a, e.value.dtype, lift(&e.value.dims));
                    }
                }
                Value::Trace(t)
            }
            Layout::Static(v) => (**v).clone(),
        }
    }
}

/// A strategy named at a choice, not yet matched with the distribution.
#[derive(Clone, Debug)]
pub(crate) struct NamedStrategy {
    pub(crate) name: String,
    pub(crate) args: Vec<(Option<String>, Value)>,
    pub(crate) span: Span,
}
