//! Claims in words.

use super::{About, Claim, Evidence, Side};
use std::fmt;

/// Given addresses that are listed.
const LISTED: usize = 4;

impl Evidence {
    /// `p(z)`, or the mass of a program that is given nothing.
    pub fn density(&self) -> String {
        if self.given.is_empty() {
            return format!("mass({})", self.program);
        }
        let more = if self.given.len() > LISTED { ", .." } else { "" };
        format!("p({}{more})", self.given[..self.given.len().min(LISTED)].join(", "))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = if self.summed.is_some() { "sum of " } else { "" };
        write!(f, "{sum}log {}", self.density())
    }
}

fn number(x: f64) -> String {
    let r = (x * 1e6).round() / 1e6;
    format!("{r}")
}

/// `log p(z)`, `2 log p(z) - log p(x)`.
fn log_terms(terms: &[(f64, Evidence)], offset: f64) -> String {
    let mut out = String::new();
    for (c, e) in terms {
        let unit = (c.abs() - 1.0).abs() < 1e-9;
        out += match (out.is_empty(), *c < 0.0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        if !unit {
            out += &format!("{} ", number(c.abs()));
        }
        out += &e.to_string();
    }
    if offset.abs() > 1e-9 || out.is_empty() {
        out += &match (out.is_empty(), offset < 0.0) {
            (true, _) => number(offset),
            (false, true) => format!(" - {}", number(-offset)),
            (false, false) => format!(" + {}", number(offset)),
        };
    }
    out
}

/// `p(z)`, `p(z)^2`.
fn scale_terms(terms: &[(f64, Evidence)], offset: f64) -> String {
    let mut parts = Vec::new();
    if offset.abs() > 1e-9 || terms.is_empty() {
        parts.push(if terms.is_empty() && offset.abs() <= 1e-9 { "1".to_string() } else { format!("exp({})", number(offset)) });
    }
    for (c, e) in terms {
        let base = if e.summed.is_some() { format!("product of {}", e.density()) } else { e.density() };
        parts.push(if (c - 1.0).abs() < 1e-9 { base } else { format!("{base}^{}", number(*c)) });
    }
    parts.join(" ")
}

impl About {
    /// The quantity in words; nothing where there is none.
    pub fn quantity(&self) -> Option<String> {
        match self {
            About::Log { terms, offset } => Some(log_terms(terms, *offset)),
            About::Scale { terms, offset } => Some(scale_terms(terms, *offset)),
            About::Gap(e) => Some(format!("the gap between bounds on {e}")),
            About::Number => None,
        }
    }
}

/// `lower bound on log p(z)`.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(quantity) = self.about.quantity() else {
            return f.write_str("no bound of an evidence is known of it");
        };
        if let About::Gap(e) = &self.about {
            return write!(f, "evidence gap: at least the distance of either bound from {e}");
        }
        match self.side {
            Side::Exact => write!(f, "exactly {quantity}"),
            Side::Unbiased => write!(f, "unbiased for {quantity}"),
            Side::Lower => write!(f, "lower bound on {quantity}"),
            Side::Upper => write!(f, "upper bound on {quantity}"),
            Side::Biased => write!(f, "biased: no bound on {quantity}"),
        }
    }
}
