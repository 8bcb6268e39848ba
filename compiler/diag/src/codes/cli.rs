//! E08xx: command line, files, settings.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[CodeInfo {
    code: Code("E0801"),
    name: "a source file can't be read",
    page: "The model file, or a file that a `use` names, does not exist, can't be opened or is not UTF-8 text. `use shared` reads \
           `shared.ppl` in the folder of the model.",
}];
