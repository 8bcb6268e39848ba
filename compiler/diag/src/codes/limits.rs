//! E05xx: what is not compiled yet, or too large.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
