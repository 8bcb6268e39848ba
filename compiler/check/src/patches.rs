//! `unfold` and `fold`: the patches of an image as a matrix, and back.

use crate::builtins::Argument;
use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, Value};
use ppl_core::{DType, Linalg, Window};
use ppl_diag::{Diagnostic, Span};

impl<S: ElabStage> FnElab<'_, S> {
    /// `unfold(x, kernel_height, kernel_width, stride, padding, dilation)`, `fold(y, height, width, kernel_height, ..)`.
    pub(crate) fn patches(&mut self, name: &'static str, args: &[Argument], span: Span) -> Option<Value> {
        let fold = name == "fold";
        let first = if fold { 3 } else { 1 };
        self.count(name, args, first + 2, first + 5, span)?;
        let (x, at) = (self.real_array(&args[0])?, args[0].1);
        let sizes = self.known_sizes(&args[1..])?;
        let given = |i: usize, default: usize| sizes.get(first - 1 + i).map_or(default, |d| d.n);
        let (kernel, stride, padding, dilation) = ((given(0, 1), given(1, 1)), given(2, 1), given(3, 0), given(4, 1));
        self.ranks(name, &x, if fold { 2 } else { 3 }, at)?;
        let image = if fold { (sizes[0].n, sizes[1].n) } else { (x.dims[1].n, x.dims[2].n) };
        let window =
            Window { image, kernel, stride: (stride, stride), padding: (padding, padding), dilation: (dilation, dilation) };
        let zero = [("kernel", kernel.0), ("kernel", kernel.1), ("stride", stride), ("dilation", dilation)]
            .into_iter()
            .find(|(_, n)| *n == 0);
        if let Some((what, _)) = zero {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, format!("the {what} of `{name}` is at least 1")).label(span, "0 here"),
            );
            return None;
        }
        let Some((rows, columns)) = window.positions() else {
            let reach = |k: usize| dilation * (k - 1) + 1;
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, "the window is larger than the image")
                    .label(span, format!("a window of {} x {}", reach(kernel.0), reach(kernel.1)))
                    .label(at, format!("{} x {} with its padding", image.0 + 2 * padding, image.1 + 2 * padding)),
            );
            return None;
        };
        let each = kernel.0 * kernel.1;
        if !fold {
            let atom = self.b.linalg(Linalg::Unfold(window), &[x.atom]);
            let dims = vec![Dim::from(x.dims[0].n * each), Dim::from(rows * columns)];
            return Some(Value::Array(Arr::new(atom, DType::Float, dims)));
        }
        if !x.dims[0].n.is_multiple_of(each) || x.dims[1].n != rows * columns {
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, "these are not the patches of such an image")
                    .label(at, format!("has type `{}`", x.show()))
                    .label(span, format!("needs `real[channels * {each}, {}]`: {rows} x {columns} positions", rows * columns)),
            );
            return None;
        }
        let atom = self.b.linalg(Linalg::Fold(window), &[x.atom]);
        let dims = vec![Dim::from(x.dims[0].n / each), sizes[0].clone(), sizes[1].clone()];
        Some(Value::Array(Arr::new(atom, DType::Float, dims)))
    }
}
