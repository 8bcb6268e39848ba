//! E00xx: the text doesn't parse.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
