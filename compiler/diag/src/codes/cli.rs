//! E08xx: command line, files, settings.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0801"),
        name: "file can't be read",
        page: "A model file, or a file that it imports with `use`, could not be opened or is not text in UTF-8. The message says what \
               the system said.\n\nPaths are relative to the folder you are in; `use models.shared` means `models/shared.ppl` beside \
               the model file.",
    },
    CodeInfo {
        code: Code("E0802"),
        name: "no such fit",
        page: "`ppl fit` and `ppl explain --emit=..` run a `fit` clause of the file: the first, or the one whose number `--fit` \
               gives, counted from 0. The file has no such clause.\n\nThe shortest clause names a model, what is observed and a \
               guide:\n\n    fit model() given { y } with auto_normal",
    },
    CodeInfo {
        code: Code("E0803"),
        name: "option not understood",
        page: "The value of a command-line option has the wrong form. The message shows the option and an example. Quote values with \
               brackets for the shell: `--objective 'iwelbo(5)'`, `--using 'adam(0.01)'`, `--by 'z=reinforce(0.5)'`.",
    },
    CodeInfo {
        code: Code("E0804"),
        name: "no such stage",
        page: "`ppl explain MODEL --emit=STAGE` prints the program after a pass of the compiler, its machine code (`clif`, `asm`), \
               the guide derived from the model (`guide`), or the costs that each choice's score is multiplied by (`costs`). The message lists the stages in the order of the pipeline.",
    },
    CodeInfo {
        code: Code("E0805"),
        name: "no such error code",
        page: "`ppl explain CODE` prints the page of a code as error messages show it: `E` and four digits, such as `E0412`. There is \
               no page under the code that was asked for.",
    },
    CodeInfo {
        code: Code("E0806"),
        name: "which program is meant is not clear",
        page: "`ppl simulate MODEL` draws from the model of the file's `fit`. The file has no `fit`, and not exactly one program \
               without arguments, so the program must be named: `ppl simulate MODEL walk`, or with arguments \
               `ppl simulate MODEL 'walk(100)'`.",
    },
    CodeInfo {
        code: Code("E0807"),
        name: "command of the session not understood",
        page: "A line that starts with `:` is a command of the interactive session; `:help` lists them with what they take. \
               Everything else is a declaration, a `let`, or an expression to be evaluated.",
    },
    CodeInfo {
        code: Code("E0808"),
        name: "size without a value",
        page: "The program was asked for a value that depends on a size which only data give, and no data are loaded. Give the data \
               with `--data`, or in a session with `:data`, or give the size alone: `--data '{\"N\": 10}'`.",
    },
    CodeInfo {
        code: Code("E0809"),
        name: "the run has come to its end",
        page: "`ppl fit --resume RUN` goes on with a run that was interrupted, failed or killed, up to the steps that it was begun \
               with. This one has done them all. Say how many more: `ppl fit --resume RUN --steps 1000`, or `--epochs 10`.\n\n\
               A learning-rate schedule that reaches to the end of the fit then reaches to the new end.",
    },
    CodeInfo {
        code: Code("E0810"),
        name: "can't be evaluated so",
        page: "`ppl eval` evaluates estimates, numbers and arrays of numbers. `--out FILE` writes the elements of arrays, so some \
               `--objective` must be one, such as an estimate for each datum: `[for n in N { elbo(digit() given { x: images[n] }, \
               encode(images[n])) }]`.\n\n\
               `--images 'EXPR=FILE.png'` draws an array `[n, H, W]` of numbers from 0, black, to 1, white, or `[n, H, W, 3]` of red, \
               green and blue. Rows of pixels are not guessed to be squares: `reshape(x, 28, 28)` says so.",
    },
];
