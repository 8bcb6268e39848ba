//! What can go wrong, as data.

use ppl_core::{DetId, Ty};
use ppl_diag::Span;
use ppl_tensor::kernels::KernelError;
use std::fmt;

/// A run that could not be finished.
#[derive(Clone, Debug, PartialEq)]
pub struct InterpError {
    /// The source of the statement.
    pub span: Span,
    /// The function.
    pub func: String,
    /// The statement's first result; empty where none is to blame.
    pub name: String,
    /// What happened.
    pub fault: Fault,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Another number of arguments.
    Arguments {
        /// Parameters.
        expected: usize,
        /// Arguments.
        found: usize,
    },
    /// An argument does not have its parameter's type.
    ArgumentType {
        /// The parameter's name.
        param: String,
        /// Its type.
        expected: Ty,
        /// Shape and element type of the argument.
        found: String,
    },
    /// An index outside the axis.
    Index {
        /// The index.
        index: i64,
        /// Size of the axis.
        len: usize,
    },
    /// Calls nested deeper than this.
    Depth(usize),
    /// A callee that does not exist.
    Callee(DetId),
    /// A kernel refused.
    Kernel(KernelError),
    /// The tensor library refused.
    Tensor(String),
    /// The function breaks a rule of the IR: a fault of the compiler.
    Malformed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Arguments { expected, found } => write!(f, "takes {expected} arguments, {found} were given"),
            Fault::ArgumentType { param, expected, found } => write!(f, "the argument `{param}` is {expected}, not {found}"),
            Fault::Index { index, len } => write!(f, "the index {index} is outside 0..{len}"),
            Fault::Depth(n) => write!(f, "calls are nested more than {n} deep"),
            Fault::Callee(id) => write!(f, "there is no function {id}"),
            Fault::Kernel(e) => write!(f, "{e}"),
            Fault::Tensor(e) => write!(f, "{e}"),
            Fault::Malformed(why) => write!(f, "malformed program: {why}"),
        }
    }
}

impl fmt::Display for InterpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in `{}`", self.func)?;
        if !self.name.is_empty() {
            write!(f, ", computing `{}`", self.name)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for InterpError {}

impl From<KernelError> for Fault {
    fn from(e: KernelError) -> Fault {
        Fault::Kernel(e)
    }
}

impl From<candle_core::Error> for Fault {
    fn from(e: candle_core::Error) -> Fault {
        Fault::Tensor(e.to_string())
    }
}

/// A value or what happened.
pub(crate) type Res<T> = Result<T, Fault>;

/// A rule of the IR is broken.
pub(crate) fn malformed<T>(why: impl Into<String>) -> Res<T> {
    Err(Fault::Malformed(why.into()))
}
