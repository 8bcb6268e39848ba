//! E02xx: types and shapes.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
