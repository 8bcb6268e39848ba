//! E08xx: command line, files, settings.

use super::CodeInfo;

pub(super) const CODES: &[CodeInfo] = &[];
