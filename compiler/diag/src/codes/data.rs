//! E06xx: data files and values.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0601"),
        name: "a data file can't be read",
        page: "The file named by `--data` or by a declaration's `from` doesn't exist or can't be opened.\n\n\
               A path after `--data` is relative to the current folder; a path after `from` is relative to the folder of the \
               model file. Check the spelling and the permissions.",
    },
    CodeInfo {
        code: Code("E0602"),
        name: "a data source is not understood",
        page: "A data source is a path that ends in `.csv`, `.json`, `.npy` or `.safetensors`, or one of these compressed (`images.npy.gz`), the same with a name \
               in front (`--data X=images.npy`), or JSON text that starts with `{`:\n\n\
               ```text\n--data schools.csv\n--data X=images.npy\n--data '{\"z\": 5}'\n```\n\n\
               Several sources may be given; together they must hold all declared data.",
    },
    CodeInfo {
        code: Code("E0603"),
        name: "a data file is malformed",
        page: "The file was found but its text or bytes don't follow the format its name promises.\n\n\
               CSV: the first row names the columns, every other row has as many cells. JSON: an object of arrays and numbers, \
               or an array of objects (one a row). NPY: versions 1 to 3, types `f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1`.",
    },
    CodeInfo {
        code: Code("E0604"),
        name: "declared data is not given",
        page: "Each `data` declaration must find its value in the sources given with `--data`, or in the file its `from` names. \
               A CSV file gives a column of the declared name; JSON gives the value under that key; an NPY file gives \
               one array, named as the file.\n\n\
               The note lists what was looked for and what the sources have. `data X: real[N, 2] from columns(\"age\", \"bmi\")` \
               builds a matrix from columns of other names.",
    },
    CodeInfo {
        code: Code("E0605"),
        name: "a value has another type than declared",
        page: "Data declared as `int` must be whole numbers, `bool` takes `0`, `1`, `true` and `false`, and every other \
               type takes finite numbers. The message names the file, the place in it and the declaration.\n\n\
               Either the file has a wrong entry (a unit, a decimal comma, a stray word), or the declaration is too narrow: \
               `data y: real[N]` takes 3.5 where `data y: int[N]` does not.",
    },
    CodeInfo {
        code: Code("E0606"),
        name: "a value is missing",
        page: "An empty cell, `NA`, `NaN` or JSON's `null` is a missing value. Complete the file, or remove the row.\n\n\
               Missing entries as unknowns of the model (`data y: real?[N]`) are part of the language, but not compiled yet (E0510).",
    },
    CodeInfo {
        code: Code("E0607"),
        name: "a value lies outside the declared support",
        page: "The declaration promises a support (`positive`, `unit`, `simplex`, ...), on which the model relies, and a value \
               in the data breaks it. Correct the value, or declare the type that the data really has (`real` has no bounds).",
    },
    CodeInfo {
        code: Code("E0608"),
        name: "data has the wrong number of axes",
        page: "`data y: real[N]` has one axis, `data X: real[N, D]` two, `data z: real` none. The value that was found has another \
               number of axes, or its rows have different lengths (a ragged array, which no declaration can take).",
    },
    CodeInfo {
        code: Code("E0609"),
        name: "sizes disagree",
        page: "A size such as `N` is one number in the whole program. It is given as data (`data N: int`), fixed in the program, or \
               read off the shapes of the arrays that use it; all of these must agree. The notes show each source with its value.",
    },
    CodeInfo {
        code: Code("E0610"),
        name: "a size is not known",
        page: "The program uses a size that is neither given as data nor the length of any array that is given. Give it by name, \
               for instance `--data '{\"K\": 3}'`, or fix it in the program (`let K = 3`).",
    },
    CodeInfo {
        code: Code("E0611"),
        name: "data is given twice",
        page: "Two sources hold a value for the same declaration, and nothing says which one is meant. Remove one source, or \
               rename the column or key in one of them.",
    },
    CodeInfo {
        code: Code("E0612"),
        name: "given data is not declared",
        page: "JSON text on the command line has a key that no `data` declaration uses, which is often a misspelling. \
               Unused columns and keys of files are ignored silently, since files often hold more than one model needs.",
    },
    CodeInfo {
        code: Code("E0620"),
        name: "the output folder is in use",
        page: "The folder given with `--out` exists and is not empty. Nothing was written. Choose another folder, remove it, or \
               ask to overwrite it; without `--out` each run gets a new folder `runs/<model>-<n>`.",
    },
    CodeInfo {
        code: Code("E0621"),
        name: "results can't be written",
        page: "Writing the run folder failed; the note has the system's reason (permissions, a full disk, a file where a folder \
               should be). A run folder appears whole or not at all, so nothing half-written was left behind.",
    },
    CodeInfo {
        code: Code("E0622"),
        name: "saved results can't be read",
        page: "The path is no run folder and no `.safetensors` file, or the file is damaged. A run folder is what a fit writes: it \
               holds `params.safetensors`, `state.safetensors`, `settings.json`, `summary.json` and `trace.csv`.",
    },
    CodeInfo {
        code: Code("E0623"),
        name: "saved parameters don't fit the program",
        page: "The saved file has other parameter names or shapes than the program: the model changed since the run, or the data has \
               other sizes. The notes list the differences.",
    },
    CodeInfo {
        code: Code("E0624"),
        name: "other data than the run's",
        page: "A run records the hash of every source of data. `ppl fit --resume` and `ppl eval` read the data again, and the bytes of \
               one are no longer the same. That may be what you want; the numbers then are about other data than those of the fit.",
    },
];
