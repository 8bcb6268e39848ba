//! Reading modules.

use super::{
    lex::Tok,
    parse::{Cursor, Parsed, func},
};
use crate::{DetId, DistId, DistInst, EstId, Module, StrategyId, StrategyInst, StrategySide, Support};
use ppl_diag::{Diagnostic, FileId};

/// Reads a module: items of the five kinds in any order, each kind numbered from 0 as it comes.
///
/// # Errors
///
/// The first problem met, with its place (`E0901`).
pub fn parse_module(text: &str, file: FileId) -> Result<Module, Box<Diagnostic>> {
    let mut c = Cursor::new(text, file)?;
    let mut m = Module::default();
    loop {
        let start = c.span();
        match c.peek().clone() {
            Tok::End => return Ok(m),
            Tok::Word(w) => {
                c.next();
                match w.as_str() {
                    "gen" => m.gens.push(func(&mut c, start)?),
                    "est" => m.ests.push(func(&mut c, start)?),
                    "det" => m.dets.push(func(&mut c, start)?),
                    "dist" => m.dists.push(dist(&mut c)?),
                    "strategy" => m.strategies.push(strategy(&mut c)?),
                    _ => return c.error(start, format!("`{w}` does not start an item")),
                }
            }
            _ => return c.wanted("`gen`, `est`, `det`, `dist` or `strategy`"),
        }
    }
}

fn strategy(c: &mut Cursor) -> Parsed<StrategyInst> {
    let start = c.last_span();
    let name = c.name()?;
    let func = EstId(c.reference("est")?);
    let pathwise = c.eat_word("pathwise");
    let biased = c.eat_word("biased");
    let relaxed = c.eat_word("relaxed");
    let mut sides = Vec::new();
    loop {
        if c.eat_word("also") {
            sides.push(StrategySide::Also);
        } else if c.eat_word("next") {
            sides.push(StrategySide::Next(c.size()?));
        } else {
            break;
        }
    }
    Ok(StrategyInst { name, func, pathwise, biased, relaxed, sides, span: start.to(c.last_span()) })
}

fn dist(c: &mut Cursor) -> Parsed<DistInst> {
    let start = c.last_span();
    let name = c.name()?;
    let params = c.list("(", ")", |c| {
        let name = c.text("a parameter's name")?;
        c.punct(":")?;
        Ok((name, c.ty()?))
    })?;
    c.punct("->")?;
    let event = c.ty()?;
    let span = start.to(c.last_span());
    c.punct("{")?;
    c.word("support")?;
    let support = support(c)?;
    let log_density = det(c, "log_density")?;
    let sample = det(c, "sample")?;
    let cdf = det(c, "cdf")?;
    let support_value = det(c, "support_value")?;
    let pathwise = c.eat_word("pathwise");
    let mut divergences = Vec::new();
    while c.eat_word("divergence") {
        divergences.push((DistId(c.reference("dist")?), DetId(c.reference("det")?)));
    }
    let auto = listed(c, "auto", |c| c.reference("strategy").map(StrategyId))?;
    let works_with = listed(c, "works_with", |c| c.text("a strategy's name"))?;
    c.punct("}")?;
    Ok(DistInst {
        name,
        params,
        event,
        support,
        log_density,
        sample,
        cdf,
        pathwise,
        support_value,
        divergences,
        auto,
        works_with,
        span,
    })
}

fn det(c: &mut Cursor, key: &str) -> Parsed<Option<DetId>> {
    if c.eat_word(key) { c.reference("det").map(|n| Some(DetId(n))) } else { Ok(None) }
}

fn listed<T>(c: &mut Cursor, key: &str, mut item: impl FnMut(&mut Cursor) -> Parsed<T>) -> Parsed<Vec<T>> {
    let mut out = Vec::new();
    if c.eat_word(key) {
        out.push(item(c)?);
        while c.eat(",") {
            out.push(item(c)?);
        }
    }
    Ok(out)
}

fn support(c: &mut Cursor) -> Parsed<Support> {
    let word = c.text("a support")?;
    Ok(match word.as_str() {
        "real" => Support::Real,
        "interval" => {
            let (lo, hi) = bounds(c, real)?;
            Support::Interval { lo, hi }
        }
        "dynamic_interval" => Support::DynamicInterval,
        "simplex" => Support::Simplex,
        "ordered" => Support::Ordered,
        "corr_cholesky" => Support::CorrCholesky,
        "boolean" => Support::Boolean,
        "integers" => {
            let (lo, hi) = bounds(c, |c| c.int("a bound"))?;
            match lo {
                Some(lo) => Support::Integers { lo, hi },
                None => return c.error(c.last_span(), "integers need a lower bound"),
            }
        }
        "dynamic_integers" => Support::DynamicIntegers,
        "point" => Support::Point,
        _ => return c.error(c.last_span(), format!("`{word}` is not a support")),
    })
}

fn real(c: &mut Cursor) -> Parsed<f64> {
    match c.peek() {
        Tok::Float(v) => {
            let v = *v;
            c.next();
            Ok(v)
        }
        _ => c.wanted("a real bound"),
    }
}

/// `(lo, hi)`, with `_` for no bound.
fn bounds<T>(c: &mut Cursor, mut bound: impl FnMut(&mut Cursor) -> Parsed<T>) -> Parsed<(Option<T>, Option<T>)> {
    let mut one = |c: &mut Cursor| if c.eat_word("_") { Ok(None) } else { bound(c).map(Some) };
    c.punct("(")?;
    let lo = one(c)?;
    c.punct(",")?;
    let hi = one(c)?;
    c.punct(")")?;
    Ok((lo, hi))
}
