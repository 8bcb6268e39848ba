//! E03xx: supports and trace types.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
