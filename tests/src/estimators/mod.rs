//! The library of estimators: its entries as their sources document them, benchmarks on which all are measured, and the pages made from both.

pub mod benchmarks;
mod figure;
pub mod pages;

/// Whether an entry is an objective or a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `objective name(..)`
    Objective,
    /// `strategy name for ..`
    Strategy,
}

impl Kind {
    /// The folder of its pages.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Objective => "objectives",
            Kind::Strategy => "strategies",
        }
    }
}

/// An objective, or a strategy with all its declarations.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it is marked biased.
    pub biased: bool,
    /// The first paragraph of its comment.
    pub about: String,
    /// `Equation`, `Direction` or `Bias`, `Needs`, `Cost`, `Reference`, as they stand.
    pub fields: Vec<(String, String)>,
    /// The declarations, verbatim, each with the comment of an overload.
    pub programs: Vec<String>,
}

impl Entry {
    /// A field's text; empty where it has none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, text)| text)
    }
}

/// Fields of an entry's comment: an objective's, a strategy's.
pub const FIELDS: [&[&str]; 2] =
    [&["Equation", "Direction", "Needs", "Cost", "Reference"], &["Equation", "Bias", "Needs", "Cost", "Reference"]];

/// Every entry of the library, in the order of the sources.
pub fn entries() -> Vec<Entry> {
    let mut out: Vec<Entry> = Vec::new();
    for f in ppl_stdlib::PRELUDE {
        let (mut doc, mut lines) = (Vec::new(), f.text.lines().peekable());
        while let Some(line) = lines.next() {
            if let Some(text) = line.strip_prefix("##") {
                doc.push(text.trim().to_string());
                continue;
            }
            let Some((kind, biased, name)) = head(line) else {
                doc.clear();
                continue;
            };
            let mut program = line.to_string();
            let mut open = depth(line);
            while open > 0 {
                let Some(next) = lines.next() else { break };
                open += depth(next);
                program += &format!("\n{next}");
            }
            let about: Vec<&str> = doc.iter().map(String::as_str).take_while(|l| field(l).is_none()).collect();
            let about = about.join("\n").trim().to_string();
            let fields: Vec<(String, String)> = doc.iter().filter_map(|l| field(l)).collect();
            let commented = |about: &str, program: &str| {
                let comment: String = about.lines().map(|l| format!("## {l}\n")).collect();
                format!("{comment}{program}")
            };
            match out.iter_mut().find(|e| e.name == name && e.kind == kind) {
                // An overload that refers to this one comes first where it is for fewer distributions.
                Some(e) if e.about.starts_with("As for ") && !fields.is_empty() => {
                    e.programs[0] = commented(&e.about, &e.programs[0]);
                    (e.about, e.fields) = (about, fields);
                    e.programs.insert(0, program);
                }
                // What is said of an overload stands above it.
                Some(e) => e.programs.push(commented(&about, &program)),
                None => out.push(Entry { name, kind, biased, about, fields, programs: vec![program] }),
            }
            doc.clear();
        }
    }
    out
}

/// Kind, mark and name of a declaration.
fn head(line: &str) -> Option<(Kind, bool, String)> {
    let (biased, line) = line.strip_prefix("biased ").map_or((false, line), |l| (true, l));
    let (kind, rest) = match (line.strip_prefix("objective "), line.strip_prefix("strategy ")) {
        (Some(rest), _) => (Kind::Objective, rest),
        (_, Some(rest)) => (Kind::Strategy, rest),
        _ => return None,
    };
    let name = rest.split(['(', ' ']).next()?.to_string();
    Some((kind, biased, name))
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, text) = line.split_once(": ")?;
    FIELDS.iter().any(|f| f.contains(&name)).then(|| (name.to_string(), text.to_string()))
}

/// Brackets that a line opens, less those that it closes.
fn depth(line: &str) -> i32 {
    let code = line.split('#').next().unwrap_or(line);
    code.chars().map(|c| i32::from("({[".contains(c)) - i32::from(")}]".contains(c))).sum()
}
