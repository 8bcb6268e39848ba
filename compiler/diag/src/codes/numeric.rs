//! E07xx: numbers while fitting.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0701"),
        name: "the objective is not finite",
        page: "An estimate of the objective was NaN or infinite, so the fit stopped there; the parameters before that step are \
               kept and saved.\n\n\
               Usual causes: a log density of a value outside the support, a scale that underflowed to 0 or \
               overflowed, or steps that are too long. Try a smaller learning rate, more particles, or starting values closer to \
               the data; where it fails at the very first step, look at the data and the starting values.",
    },
    CodeInfo {
        code: Code("E0702"),
        name: "a parameter is not finite",
        page: "The objective was finite, but its gradient was not, and an update would make (or made) the parameters NaN or infinite. The fit \
               stopped; the parameters before that step are kept and saved.\n\n\
               Usual causes: a derivative that is infinite at the current point (`sqrt` at 0, `log` near 0, a power with a small \
               base) or steps that are too long. Try a smaller learning rate, or write the expression in a stable form \
               (`log1p`, `log_sum_exp`, `softplus`).",
    },
    CodeInfo {
        code: Code("E0703"),
        name: "a step failed",
        page: "Compiled code reported a fault that is not a matter of finite numbers, such as an index outside its array or a \
               matrix that is not positive definite. The label shows the expression; the parameters before that step are kept and saved.",
    },
    CodeInfo {
        code: Code("E0704"),
        name: "an optimiser setting is out of range",
        page: "Learning rates are positive; decay rates (`momentum`, `beta1`, `beta2`, `rho`) lie in [0, 1); `eps` is not negative; \
               fractions of a schedule are not negative; `clip_norm` and `clip_value` are positive.\n\n\
               Known optimisers: `sgd`, `momentum`, `nesterov`, `adam`, `rmsprop`, `adagrad`; known schedules: `constant`, `cosine`, \
               `exponential`, `linear`, `step`, `polynomial`, each with an optional warm-up.",
    },
    CodeInfo {
        code: Code("E0705"),
        name: "epochs can't be counted",
        page: "An epoch is a pass over the data of the minibatches that the objective loops over: with `minibatch(N, B)` it has \
               `N / B` steps. Where nothing loops over a minibatch, each step sees all data, and where two minibatches are other \
               fractions of their data there is no common epoch. Say how long the fit runs in steps.",
    },
    CodeInfo {
        code: Code("E0706"),
        name: "nothing to hold out",
        page: "`validation 0.1` holds a tenth of the rows out: those of every data array whose first axis is the size that the \
               minibatches loop over. There must be one such size, and no array may depend on it in another way. Data of any form can \
               be held out in files of their own: `--validation images=validation.npy`.\n\n\
               `patience` and `validate_every` are about held-out data, so they need some.",
    },
    CodeInfo {
        code: Code("E0707"),
        name: "parameters of each datum",
        page: "A parameter's shape depends on the data, such as the location of a latent choice of each datum: there is none for data that \
               the fit has not seen, so held-out data say nothing of it. Guides that compute from the datum (amortised ones) have \
               parameters of their own shape: `z ~ normal(dot(w, y[n]), 1)`.",
    },
];
