//! E04xx: strategies, smoothness, estimates.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
