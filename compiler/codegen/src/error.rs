//! What can go wrong.

use std::fmt;

/// Why a function was not compiled, or a compiled one not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodegenError {
    /// The function holds something that earlier passes must have removed, or is malformed.
    Internal(String),
    /// A buffer handed to a [`crate::Runner`] does not fit.
    Buffer {
        /// Which, such as `input 2 (xs)`.
        what: String,
        /// What was expected and found.
        reason: String,
    },
}

impl CodegenError {
    pub(crate) fn internal(message: impl Into<String>) -> CodegenError {
        CodegenError::Internal(message.into())
    }
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::Internal(m) => write!(f, "code generation: {m}"),
            CodegenError::Buffer { what, reason } => write!(f, "{what}: {reason}"),
        }
    }
}

impl std::error::Error for CodegenError {}
