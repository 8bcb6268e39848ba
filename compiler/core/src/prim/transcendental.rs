//! Rows.

use super::PrimDef;

pub(super) const ROWS: &[PrimDef] = &[];
