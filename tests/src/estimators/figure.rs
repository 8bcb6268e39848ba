//! Scatter plots of variance against time, as SVG text that reads on light and dark backgrounds.

use std::fmt::Write;

/// A measured estimator.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) micros: f64,
    pub(super) variance: f64,
    pub(super) biased: bool,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;

/// A logarithmic axis between powers of ten.
struct Axis {
    lo: f64,
    hi: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let lo = values.clone().fold(f64::INFINITY, f64::min).log10();
        let hi = values.fold(f64::NEG_INFINITY, f64::max).log10();
        let room = 0.06 * (hi - lo).max(0.5);
        Axis { lo: lo - room, hi: hi + 1.6 * room, from, to }
    }

    fn at(&self, x: f64) -> f64 {
        self.from + (x.log10() - self.lo) / (self.hi - self.lo) * (self.to - self.from)
    }

    /// Powers of ten, and what lies between them where there are few.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.hi - self.lo > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.lo.floor() as i32..=self.hi.ceil() as i32;
        let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p)));
        all.filter(|x| (self.lo..=self.hi).contains(&x.log10())).collect()
    }
}

/// A tick's label.
fn number(x: f64) -> String {
    if (1e-3..1e5).contains(&x) { format!("{x}") } else { format!("1e{}", x.log10().round()) }
}

/// The figure of `title`, in which `shown` stands out. Estimators without variance stand at the bottom.
pub(super) fn figure(title: &str, unit: &str, points: &[Point], shown: &str) -> String {
    let least = points.iter().map(|p| p.variance).filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
    let exact = least / 10.0;
    let of = |p: &Point| if p.variance > 0.0 { p.variance } else { exact };
    let x = Axis::over(points.iter().map(|p| p.micros), LEFT, WIDTH - RIGHT);
    let y = Axis::over(points.iter().map(of), HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{shown} on {title}</title>\n<g stroke=\"#888\" stroke-opacity=\"0.35\" fill=\"none\">\n"
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let _ = writeln!(out, "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>", right - LEFT, bottom - TOP);
    for t in x.ticks() {
        let _ = writeln!(out, "<path d=\"M{:.1} {TOP}V{bottom}\"/>", x.at(t));
    }
    for t in y.ticks() {
        let _ = writeln!(out, "<path d=\"M{LEFT} {:.1}H{right}\"/>", y.at(t));
    }
    out.push_str("</g>\n<g fill=\"#888\">\n");
    for t in x.ticks() {
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", x.at(t), bottom + 17.0, number(t));
    }
    for t in y.ticks() {
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, y.at(t) + 4.0, number(t));
    }
    let middle = (LEFT + right) / 2.0;
    let _ =
        writeln!(out, "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">microseconds of a gradient</text>", HEIGHT - 12.0);
    let _ = writeln!(
        out,
        "<text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{unit}</text>",
        (TOP + bottom) / 2.0
    );
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\">{title}</text>\n</g>");
    // The shown one first: its label has its place.
    let mut order: Vec<&Point> = points.iter().filter(|p| p.name == shown).collect();
    order.extend(points.iter().filter(|p| p.name != shown));
    let mut taken: Vec<(f64, f64, f64, f64)> = points.iter().map(|p| around(x.at(p.micros), y.at(of(p)))).collect();
    for p in order {
        let (cx, cy) = (x.at(p.micros), y.at(of(p)));
        let strong = p.name == shown;
        let (color, r) = if strong { ("#e8590c", 6.0) } else { ("#888", 4.0) };
        let fill = if p.biased { "none" } else { color };
        let _ = writeln!(
            out,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{r}\" fill=\"{fill}\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
        );
        let weight = if strong { " font-weight=\"bold\"" } else { "" };
        let label = format!("{}{}", p.name, if p.variance > 0.0 { "" } else { " (no variance)" });
        if let Some((tx, ty, anchor)) = place((cx, cy), &label, right, &mut taken, strong) {
            let _ = writeln!(
                out,
                "<text x=\"{tx:.1}\" y=\"{ty:.1}\" fill=\"{color}\" text-anchor=\"{anchor}\"{weight}>{label}</text>"
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The box of a point's mark.
fn around(x: f64, y: f64) -> (f64, f64, f64, f64) {
    (x - 4.0, y - 4.0, x + 4.0, y + 4.0)
}

/// Where a label fits beside its point; the shown one has its place whatever it covers.
fn place(
    (cx, cy): (f64, f64),
    label: &str,
    right: f64,
    taken: &mut Vec<(f64, f64, f64, f64)>,
    strong: bool,
) -> Option<(f64, f64, &'static str)> {
    let width = 6.6 * label.len() as f64;
    let tries = [(cx + 9.0, cy + 4.0, "start"), (cx - 9.0, cy + 4.0, "end"), (cx, cy - 9.0, "middle"), (cx, cy + 19.0, "middle")];
    let boxed = |(x, y, anchor): (f64, f64, &str)| {
        let x = match anchor {
            "start" => x,
            "end" => x - width,
            _ => x - width / 2.0,
        };
        (x, y - 10.0, x + width, y + 3.0)
    };
    let inside = |b: (f64, f64, f64, f64)| b.0 > LEFT && b.2 < right && b.1 > TOP && b.3 < HEIGHT - BOTTOM;
    let free = |b: (f64, f64, f64, f64), taken: &[(f64, f64, f64, f64)]| {
        !taken.iter().any(|t| t.0 < b.2 && b.0 < t.2 && t.1 < b.3 && b.1 < t.3)
    };
    let found = tries.into_iter().find(|t| inside(boxed(*t)) && free(boxed(*t), taken));
    let found = found.or_else(|| strong.then(|| tries.into_iter().find(|t| inside(boxed(*t))).unwrap_or(tries[0])))?;
    taken.push(boxed(found));
    Some(found)
}
