//! The table of elementwise primitives: each declared once.
//!
//! A row holds the signature, documentation, an example, the adjoint and the lowering; type checker, verifier, printer,
//! interpreter, code generation, documentation pages and generated tests read it.

mod arith;
mod builtins;
#[cfg(test)]
mod kinks;
mod logic;
mod special;
#[cfg(test)]
mod tests;
mod transcendental;

pub use builtins::{BUILTINS, BuiltinDef, Topic, builtin};

use crate::{Atom, Builder, DType, Det};
use ppl_abi::Kernel;

/// An elementwise primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is documented in its table row")]
pub enum Prim {
    // arith
    Neg,
    Abs,
    Sign,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Square,
    Sqrt,
    Recip,
    Min,
    Max,
    Rem,
    Floor,
    Ceil,
    Round,
    Trunc,
    Clip,
    IntDiv,
    Fma,
    // transcendental
    Exp,
    Expm1,
    Log,
    Log1p,
    Log2,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Atan2,
    Sinh,
    Cosh,
    Tanh,
    Sigmoid,
    Softplus,
    LogSigmoid,
    LogAddExp,
    Relu,
    // special
    Erf,
    Erfc,
    ErfInv,
    Lgamma,
    Digamma,
    Trigamma,
    NormalCdf,
    LogNormalCdf,
    NormalQuantile,
    Lbeta,
    GammaP,
    GammaQ,
    BetaInc,
    XLogY,
    XLog1pY,
    GammaDrawGrad,
    BetaDrawGrad,
    LogBesselI0,
    BesselRatio,
    VonMisesCdf,
    VonMisesQuantile,
    VonMisesDrawGrad,
    // logic and conversion
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
    Not,
    Select,
    Guard,
    IsFinite,
    IsNan,
    ToReal,
    ToInt,
}

/// Element class of an operand or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// `real`.
    Real,
    /// `int`.
    Int,
    /// `bool`.
    Bool,
    /// `num`: real or int, the same in every place.
    Num,
    /// `any`: the same in every place.
    Any,
}

/// Set that test points and the documentation take an operand from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// All values of the element class.
    All,
    /// Open interval of reals.
    Interval(f64, f64),
}

/// One operand of a [`Sig`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSig {
    /// Name.
    pub name: String,
    /// Element class.
    pub elem: Elem,
    /// Domain.
    pub domain: Domain,
}

/// A signature, parsed from the row's text such as `(x: positive) -> real` or `(a: num, b: num) -> num`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sig {
    /// Operands.
    pub params: Vec<ParamSig>,
    /// Result.
    pub result: Elem,
}

/// Emits the cotangents of a primitive's operands; see [`Vjp::Rule`].
pub type VjpRule = fn(&mut Builder<Det>, &[Atom], Atom, Atom) -> Vec<Option<Atom>>;

/// Adjoint of a primitive.
#[derive(Clone, Copy)]
pub enum Vjp {
    /// `(builder, operands, result, cotangent)` to one cotangent for each operand (`None`: zero, always for operands that
    /// are not real), of the result's shape. The caller sums over elements for scalar operands.
    Rule(VjpRule),
    /// Derivative zero wherever it exists.
    Zero,
    /// No derivative; the reason is shown to the user.
    None(&'static str),
}

/// How generated code computes a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// Machine instructions, written in code generation.
    Inline,
    /// A kernel of the run-time, elementwise over real arrays. (Integer operands of a `num` primitive are computed inline.)
    Kernel(Kernel),
}

/// A row of the table.
pub struct PrimDef {
    /// The primitive.
    pub prim: Prim,
    /// Its name in the language and in the text format.
    pub name: &'static str,
    /// Signature over elements: `real`, `positive`, `unit`, `interval(lo, hi)`, `int`, `bool`, `num`, `any`.
    pub sig: &'static str,
    /// What it computes; first sentence stands alone. States accuracy where it is not exact.
    pub doc: &'static str,
    /// An expression of the language and its value.
    pub example: (&'static str, &'static str),
    /// Adjoint.
    pub vjp: Vjp,
    /// Lowering.
    pub lower: Lower,
    /// Whether users call it by `name`; the others are operators or the compiler's own.
    pub callable: bool,
}

/// All rows, by topic.
pub const PRIMS: &[&[PrimDef]] = &[arith::ROWS, transcendental::ROWS, special::ROWS, logic::ROWS];

impl Prim {
    /// Its row.
    pub fn def(self) -> &'static PrimDef {
        static BY_ID: std::sync::OnceLock<Vec<&'static PrimDef>> = std::sync::OnceLock::new();
        let rows = BY_ID.get_or_init(|| {
            let mut rows: Vec<&PrimDef> = PRIMS.iter().flat_map(|t| t.iter()).collect();
            rows.sort_by_key(|r| r.prim);
            rows
        });
        rows[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.def().name
    }

    /// The primitive with this name.
    pub fn by_name(name: &str) -> Option<Prim> {
        PRIMS.iter().flat_map(|t| t.iter()).find(|r| r.name == name).map(|r| r.prim)
    }

    /// Its signature.
    pub fn sig(self) -> &'static Sig {
        static SIGS: std::sync::OnceLock<Vec<Sig>> = std::sync::OnceLock::new();
        let sigs = SIGS.get_or_init(|| {
            let mut rows: Vec<&PrimDef> = PRIMS.iter().flat_map(|t| t.iter()).collect();
            rows.sort_by_key(|r| r.prim);
            rows.iter().map(|r| Sig::parse(r.sig)).collect()
        });
        &sigs[self as usize]
    }

    /// Element type of the result for operands of these element types; `None` where they don't fit.
    pub fn result_dtype(self, args: &[DType]) -> Option<DType> {
        let sig = self.sig();
        if args.len() != sig.params.len() {
            return None;
        }
        let mut shared: Option<DType> = None;
        for (p, d) in sig.params.iter().zip(args) {
            let fits = match p.elem {
                Elem::Real => *d == DType::Float,
                Elem::Int => *d == DType::Int,
                Elem::Bool => *d == DType::Bool,
                Elem::Num => *d != DType::Bool && *shared.get_or_insert(*d) == *d,
                Elem::Any => *shared.get_or_insert(*d) == *d,
            };
            if !fits {
                return None;
            }
        }
        Some(match sig.result {
            Elem::Real => DType::Float,
            Elem::Int => DType::Int,
            Elem::Bool => DType::Bool,
            Elem::Num | Elem::Any => shared?,
        })
    }
}

impl Sig {
    /// Reads a row's signature. A malformed row is a mistake in the table, found by the table's test.
    fn parse(text: &str) -> Sig {
        let (params, result) = text.split_once("->").unwrap_or((text, "real"));
        let params = params.trim();
        let params = params.strip_prefix('(').and_then(|p| p.strip_suffix(')')).unwrap_or(params);
        let mut list = Vec::new();
        let mut rest = params;
        while let Some((name, after)) = rest.split_once(':') {
            // A comma inside `interval(lo, hi)` does not end the operand.
            let mut depth = 0;
            let end = after
                .char_indices()
                .find(|(_, c)| {
                    depth += i32::from(*c == '(') - i32::from(*c == ')');
                    *c == ',' && depth == 0
                })
                .map_or(after.len(), |(i, _)| i);
            let (elem, domain) = Self::class(after[..end].trim());
            list.push(ParamSig { name: name.trim().to_string(), elem, domain });
            rest = after[end..].trim_start_matches(',');
        }
        Sig { params: list, result: Self::class(result.trim()).0 }
    }

    fn class(text: &str) -> (Elem, Domain) {
        match text {
            "int" => (Elem::Int, Domain::All),
            "bool" => (Elem::Bool, Domain::All),
            "num" => (Elem::Num, Domain::All),
            "any" => (Elem::Any, Domain::All),
            "positive" => (Elem::Real, Domain::Interval(0.0, f64::INFINITY)),
            "unit" => (Elem::Real, Domain::Interval(0.0, 1.0)),
            _ => {
                let bounds = text.strip_prefix("interval(").and_then(|t| t.strip_suffix(')')).and_then(|t| t.split_once(','));
                match bounds.map(|(lo, hi)| (lo.trim().parse(), hi.trim().parse())) {
                    Some((Ok(lo), Ok(hi))) => (Elem::Real, Domain::Interval(lo, hi)),
                    _ => (Elem::Real, Domain::All),
                }
            }
        }
    }
}
