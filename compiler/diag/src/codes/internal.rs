//! E09xx: faults of the compiler itself, and its text formats.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
