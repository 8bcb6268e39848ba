//! The codes this crate reports.

use ppl_diag::Code;

pub(crate) const UNKNOWN_NAME: Code = Code("E0101");
pub(crate) const DUPLICATE_NAME: Code = Code("E0102");
pub(crate) const UNKNOWN_IMPORT: Code = Code("E0103");
pub(crate) const ADDRESS_COLLISION: Code = Code("E0104");
pub(crate) const UNKNOWN_ADDRESS: Code = Code("E0105");
pub(crate) const NOT_IN_SCOPE_YET: Code = Code("E0106");

pub(crate) const WRONG_TYPE: Code = Code("E0201");
pub(crate) const SHAPES_DISAGREE: Code = Code("E0202");
pub(crate) const WRONG_ARGUMENTS: Code = Code("E0203");
pub(crate) const NOT_CALLABLE: Code = Code("E0204");
pub(crate) const INDEX_RANGE: Code = Code("E0205");
pub(crate) const BRANCHES_DISAGREE: Code = Code("E0206");
pub(crate) const SIZE_NOT_KNOWN: Code = Code("E0207");
pub(crate) const WRONG_PLACE: Code = Code("E0208");
pub(crate) const CARRY_CHANGES: Code = Code("E0209");
pub(crate) const UNKNOWN_TYPE: Code = Code("E0210");
pub(crate) const BAD_SETTING: Code = Code("E0211");

pub(crate) const MISSING_CHOICE: Code = Code("E0301");
pub(crate) const EXTRA_CHOICE: Code = Code("E0302");
pub(crate) const WRONG_SUPPORT: Code = Code("E0303");
pub(crate) const WRONG_CHOICE_TYPE: Code = Code("E0304");
pub(crate) const UNKNOWN_GIVEN: Code = Code("E0305");
pub(crate) const NO_BIJECTOR: Code = Code("E0306");
pub(crate) const CONDITION_DIFFERS: Code = Code("E0308");

pub(crate) const STRATEGY_NOT_FOR_DIST: Code = Code("E0412");
pub(crate) const UNKNOWN_STRATEGY: Code = Code("E0413");
pub(crate) const NONLINEAR_ESTIMATE: Code = Code("E0414");
pub(crate) const NOT_AN_ESTIMATE: Code = Code("E0415");
pub(crate) const NO_DIVERGENCE: Code = Code("E0416");
pub(crate) const NOT_ITS_TRACE: Code = Code("E0417");
pub(crate) const TWO_GROUPS: Code = Code("E0440");
pub(crate) const NO_GROUP: Code = Code("E0441");
pub(crate) const STRATEGY_STATEMENT: Code = Code("E0442");
pub(crate) const NOT_READ: Code = Code("E0443");
pub(crate) const ESTIMATES_COMPARED: Code = Code("E0450");
pub(crate) const UNLIKE_BOUNDS: Code = Code("E0451");
pub(crate) const WRONG_WAY: Code = Code("E0452");
pub(crate) const BIASED: Code = Code("E0453");

pub(crate) const NO_ALGORITHM: Code = Code("E0423");
pub(crate) const UNKNOWN_ALGORITHM: Code = Code("E0424");
pub(crate) const NO_WEIGHTS: Code = Code("E0425");
pub(crate) const PROPOSAL: Code = Code("E0426");
pub(crate) const NOT_FINITE: Code = Code("E0430");

pub(crate) const NOT_COMPILED_YET: Code = Code("E0510");
pub(crate) const TOO_DEEP: Code = Code("E0511");
