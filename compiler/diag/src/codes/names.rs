//! E01xx: names, imports, addresses.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
