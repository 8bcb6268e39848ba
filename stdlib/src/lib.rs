//! The standard library: source files in the language, embedded.
//!
//! **Invariant:** no code; nothing here is special to the compiler but the file names.

/// A file of the standard library: its name as shown in messages, and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// `std/objectives.ppl`.
    pub name: &'static str,
    /// The source.
    pub text: &'static str,
}

/// A file that `use std.NAME` brings into scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// The name before the dot: `nn`.
    pub name: &'static str,
    /// Its file.
    pub file: LibraryFile,
}

/// Modules.
pub const MODULES: &[Module] =
    &[Module { name: "nn", file: LibraryFile { name: "std/nn.ppl", text: include_str!("../std/nn.ppl") } }];

/// Files in scope in every program.
pub const PRELUDE: &[LibraryFile] = &[
    LibraryFile { name: "std/math.ppl", text: include_str!("../std/math.ppl") },
    LibraryFile { name: "std/distributions.ppl", text: include_str!("../std/distributions.ppl") },
    LibraryFile { name: "std/strategies/pathwise.ppl", text: include_str!("../std/strategies/pathwise.ppl") },
    LibraryFile { name: "std/strategies/score_function.ppl", text: include_str!("../std/strategies/score_function.ppl") },
    LibraryFile { name: "std/strategies/discrete.ppl", text: include_str!("../std/strategies/discrete.ppl") },
    LibraryFile { name: "std/strategies/measure_valued.ppl", text: include_str!("../std/strategies/measure_valued.ppl") },
    LibraryFile { name: "std/strategies/sampling.ppl", text: include_str!("../std/strategies/sampling.ppl") },
    LibraryFile { name: "std/strategies/relaxations.ppl", text: include_str!("../std/strategies/relaxations.ppl") },
    LibraryFile { name: "std/objectives.ppl", text: include_str!("../std/objectives.ppl") },
    LibraryFile { name: "std/divergences.ppl", text: include_str!("../std/divergences.ppl") },
    LibraryFile { name: "std/guides.ppl", text: include_str!("../std/guides.ppl") },
];
