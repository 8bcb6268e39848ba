//! E07xx: numbers while fitting.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
