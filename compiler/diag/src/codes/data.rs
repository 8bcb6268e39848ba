//! E06xx: data files and values.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
