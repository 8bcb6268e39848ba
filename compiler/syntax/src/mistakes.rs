//! What to say at a token the grammar does not allow: the usual mistakes by name, otherwise what was expected.

use ppl_diag::{Code, Diagnostic, FileId, Span};

use crate::parse::Scope;
use crate::token::{Lexed, Token};

/// Words of other languages at the start of a statement, and what to write here.
const FOREIGN_WORDS: &[(&str, &str)] = &[
    ("break", "loops run over a size that is known; stop a carried value from changing with `if`"),
    ("class", "there are no classes; declare `gen`, `fn` or `dist`"),
    ("const", "name a value with `let x = ..`"),
    ("def", "a function is `fn f(x) { .. }`, a generative program `gen model() { .. }`"),
    ("do", "a loop is `for i in n { .. }`"),
    ("func", "a function is `fn f(x) { .. }`"),
    ("function", "a function is `fn f(x) { .. }`"),
    ("guide", "a guide is a generative program: `gen guide() { .. }`"),
    ("import", "write `use std.nn`"),
    ("include", "write `use std.nn`"),
    ("loop", "a loop is `for i in n { .. }`; one that carries values is `for i in n carry (s = 0) { .. }`"),
    ("model", "a model is a generative program: `gen model() { .. }`"),
    ("observe", "draw it like any choice, `y ~ normal(mu, 1)`, and condition the program: `model() given { y }`"),
    ("parameters", "write one `param name: type = start` a line; latent choices need no declaration"),
    ("return", "the last expression of a block is its value: write it alone"),
    ("sample", "a choice is written `x ~ normal(0, 1)`"),
    ("var", "name a value with `let x = ..`; a value that changes in a loop is carried: `carry (x = 0)`"),
    ("while", "loops run over a size: `for i in n carry (s = 0) { .. }`"),
];

/// The report for the token at `at`, which stands in the statement `scope`.
pub(crate) fn describe(file: FileId, tokens: &[Lexed<'_>], at: usize, scope: &Scope, expected: &[String]) -> Option<Diagnostic> {
    let m = Mistake { file, tokens, at, scope, expected };
    m.assignment()
        .or_else(|| m.foreign_word())
        .or_else(|| m.misplaced())
        .or_else(|| m.keyword_as_name())
        .or_else(|| m.number_dot())
        .or_else(|| m.chained_comparison())
        .or_else(|| m.arrow())
        .or_else(|| m.missing_block())
        .or_else(|| m.missing_comma())
        .or_else(|| m.two_statements())
        .or_else(|| m.anything())
}

struct Mistake<'a, 's> {
    file: FileId,
    tokens: &'a [Lexed<'s>],
    at: usize,
    scope: &'a Scope,
    expected: &'a [String],
}

impl<'s> Mistake<'_, 's> {
    fn token(&self, i: usize) -> Option<Token<'s>> {
        self.tokens.get(i).map(|t| t.token)
    }

    fn here(&self) -> Option<Token<'s>> {
        self.token(self.at)
    }

    fn first(&self) -> Option<Token<'s>> {
        self.token(self.scope.start)
    }

    fn previous(&self) -> Option<Token<'s>> {
        self.at.checked_sub(1).and_then(|i| self.token(i))
    }

    fn span(&self, i: usize) -> Span {
        match self.tokens.get(i) {
            Some(t) => Span::new(self.file, t.start, t.end),
            None => self.gap(i),
        }
    }

    /// The empty place before token `i`, after the token before it.
    fn gap(&self, i: usize) -> Span {
        let end = i.checked_sub(1).and_then(|j| self.tokens.get(j)).map_or(0, |t| t.end);
        Span::new(self.file, end, end)
    }

    fn expects(&self, terminal: &str) -> bool {
        self.expected.iter().any(|e| e.trim_matches('"') == terminal)
    }

    /// The statement up to here is a name with indices and fields.
    fn after_place(&self) -> bool {
        let mut depth = 0usize;
        let mut plain = matches!(self.first(), Some(Token::Ident(_)));
        for t in self.tokens.get(self.scope.start + 1..self.at).unwrap_or_default() {
            match t.token {
                Token::LBracket => depth += 1,
                Token::RBracket => depth = depth.saturating_sub(1),
                Token::Dot | Token::Ident(_) => {}
                _ => plain &= depth > 0,
            }
        }
        plain && depth == 0
    }

    /// `=`, `:=`, `==` and `~` in each other's place.
    fn assignment(&self) -> Option<Diagnostic> {
        let here = self.here()?;
        let span = self.span(self.at);
        let top = self.scope.brace.is_none() && self.token(0) == Some(Token::StartFile);
        match here {
            Token::Assign | Token::ColonAssign if self.after_place() => {
                let start = self.span(self.scope.start);
                let symbol = if here == Token::Assign { "=" } else { ":=" };
                let d = Diagnostic::error(Code("E0005"), format!("`{symbol}` can't stand after a name here"))
                    .label(span, "neither draws a choice nor names a value");
                Some(if top {
                    d.help("name a value with `let` in front").edit(Span { end: start.start, ..start }, "let ")
                } else {
                    d.help("write `~` to draw a choice (`x ~ normal(0, 1)`), or put `let` in front to name a value")
                        .note("values do not change: a value that changes from round to round is carried, `carry (s = 0)`")
                        .edit(span, "~")
                })
            }
            Token::ColonAssign | Token::EqEq
                if matches!(self.first(), Some(Token::Let | Token::Param | Token::State | Token::Set | Token::Report))
                    && self.expects("=") =>
            {
                Some(
                    Diagnostic::error(Code("E0006"), "a value is given a name with `=`")
                        .label(span, "not an assignment")
                        .help("write `=`")
                        .edit(span, "="),
                )
            }
            Token::ColonAssign => Some(
                Diagnostic::error(Code("E0006"), "`:=` is not an operator of the language")
                    .label(span, "from another language")
                    .help("write `=` after `let`, or `~` to draw a choice")
                    .edit(span, "="),
            ),
            Token::Assign if self.in_condition() => Some(
                Diagnostic::error(Code("E0006"), "`=` does not compare")
                    .label(span, "in a condition")
                    .help("write `==`")
                    .edit(span, "=="),
            ),
            Token::Tilde if self.first() == Some(Token::Let) && self.scope.bracket.is_none() => Some(
                Diagnostic::error(Code("E0005"), "`let` names a value and can't draw a choice")
                    .label(span, "draws a choice")
                    .label(self.span(self.scope.start), "names a value")
                    .help("write `x ~ ..` without `let`; inside a strategy or `dist`, write `let x = draw ..`")
                    .edit(self.span(self.scope.start), ""),
            ),
            Token::Tilde if top => Some(
                Diagnostic::error(Code("E0008"), "a choice stands outside of any program")
                    .label(span, "draws a choice")
                    .help("put it into a generative program: `gen model() { x ~ normal(0, 1) }`"),
            ),
            Token::Tilde if self.scope.bracket.is_some() => Some(
                Diagnostic::error(Code("E0008"), "a choice can't stand inside an expression")
                    .label(span, "draws a choice")
                    .help("draw it in a statement of its own, then use its name"),
            ),
            _ => None,
        }
    }

    /// The token stands between `if` and its block.
    fn in_condition(&self) -> bool {
        let part = self.tokens.get(self.scope.start..self.at).unwrap_or_default();
        let after = part.iter().rposition(|t| t.token == Token::If);
        after.is_some_and(|i| part.iter().skip(i).all(|t| t.token != Token::LBrace))
    }

    fn foreign_word(&self) -> Option<Diagnostic> {
        let Some(Token::Ident(word)) = self.first() else { return None };
        let help = FOREIGN_WORDS.iter().find(|(w, _)| *w == word)?.1;
        if self.at > self.scope.start + 1 {
            return None;
        }
        Some(
            Diagnostic::error(Code("E0009"), format!("`{word}` is not a keyword of the language"))
                .label(self.span(self.scope.start), "from another language")
                .help(help),
        )
    }

    /// Declarations inside blocks, statements outside of them.
    fn misplaced(&self) -> Option<Diagnostic> {
        let here = self.here()?;
        let span = self.span(self.at);
        // `fn` may begin a function without a name, so it is the name that can't stand there.
        let function = self.at == self.scope.start + 1 && self.token(self.scope.start) == Some(Token::Fn);
        if self.at != self.scope.start && !(function && matches!(here, Token::Ident(_))) {
            return None;
        }
        if self.scope.brace.is_some() && (function || here.begins_item()) {
            let d = Diagnostic::error(Code("E0008"), "declarations stand at top level");
            return Some(if function {
                d.label(self.span(self.scope.start), "inside a block")
                    .help("move it out of the block, or name a function with `let f = fn (x) = ..`")
            } else {
                d.label(span, "inside a block")
                    .help("move it out of the block; programs can call each other whatever their order")
            });
        }
        if function {
            return None;
        }
        let top = self.scope.brace.is_none() && self.token(0) == Some(Token::StartFile);
        if !top {
            return None;
        }
        if let Token::Ident(_) = here {
            // `x ~ ..` and `x = ..` are told by what follows the name.
            let mut i = self.at + 1;
            while i < self.scope.end {
                let rest = Mistake { at: i, ..*self };
                if matches!(self.token(i), Some(Token::Assign | Token::ColonAssign | Token::Tilde))
                    && let Some(d) = rest.assignment()
                {
                    return Some(d);
                }
                i += 1;
            }
        }
        Some(
            Diagnostic::error(Code("E0008"), "only declarations can stand at top level")
                .label(span, "not a declaration")
                .help("declare with `data`, `param`, `let`, `gen`, `fn`, `objective`, `strategy`, `dist`, `fit` or `use`"),
        )
    }

    fn keyword_as_name(&self) -> Option<Diagnostic> {
        let word = keyword(self.here()?)?;
        let names = matches!(
            self.previous(),
            Some(
                Token::Let
                    | Token::Gen
                    | Token::Fn
                    | Token::Objective
                    | Token::Strategy
                    | Token::Dist
                    | Token::Param
                    | Token::For
                    | Token::Report
                    | Token::State
                    | Token::Set
                    | Token::Data
                    | Token::Dot
            )
        );
        if !names || !self.expects("IDENT") {
            return None;
        }
        let span = self.span(self.at);
        Some(
            Diagnostic::error(Code("E0007"), format!("`{word}` is a keyword and can't be a name"))
                .label(span, "expected a name")
                .help(format!("choose another name, such as `{word}_`"))
                .edit(span, format!("{word}_")),
        )
    }

    /// `1.` and `.5`.
    fn number_dot(&self) -> Option<Diagnostic> {
        let dot = |i: usize| self.token(i) == Some(Token::Dot);
        let code = Code("E0013");
        let after = |i: usize| matches!(self.token(i), Some(Token::Int(_) | Token::Real(_)));
        for i in [self.at, self.at.checked_sub(1)?] {
            if !dot(i) {
                continue;
            }
            let number = i.checked_sub(1).and_then(|j| self.token(j));
            if let Some(Token::Int(n)) = number {
                return Some(
                    Diagnostic::error(code, "a number needs digits after its point")
                        .label(self.span(i), "no digit follows")
                        .help(format!("write `{n}.0`"))
                        .edit(self.span(i), ".0"),
                );
            }
            if after(i + 1) {
                return Some(
                    Diagnostic::error(code, "a number needs a digit before its point")
                        .label(self.span(i), "no digit stands before it")
                        .help("put a `0` in front")
                        .edit(self.span(i), "0."),
                );
            }
        }
        None
    }

    fn chained_comparison(&self) -> Option<Diagnostic> {
        let compares = |t: Token<'_>| {
            matches!(t, Token::Less | Token::LessEq | Token::Greater | Token::GreaterEq | Token::EqEq | Token::NotEq)
        };
        if !compares(self.here()?) {
            return None;
        }
        let part = self.tokens.get(self.scope.start..self.at)?;
        let first = part.iter().rposition(|t| compares(t.token))?;
        Some(
            Diagnostic::error(Code("E0006"), "comparisons can't be chained")
                .label(self.span(self.at), "a second comparison")
                .label(self.span(self.scope.start + first), "the first one")
                .help("join two comparisons: `a < b and b < c`"),
        )
    }

    /// `=>` of other languages arrives as `=` `>`; `?` as an operator.
    fn arrow(&self) -> Option<Diagnostic> {
        let span = self.span(self.at);
        match (self.previous()?, self.here()?) {
            (Token::Assign, Token::Greater) => Some(
                Diagnostic::error(Code("E0006"), "`=>` is not an operator of the language")
                    .label(span, "from another language")
                    .help("a short body is written `fn f(x) = e`, at least `>=`"),
            ),
            (_, Token::Question) => Some(
                Diagnostic::error(Code("E0006"), "`?` is not an operator of the language")
                    .label(span, "only a type can have it: `real?[N]`")
                    .help("write `if c { a } else { b }`"),
            ),
            _ => None,
        }
    }

    fn missing_block(&self) -> Option<Diagnostic> {
        if !self.expects("{") || self.here() == Some(Token::RBrace) && self.scope.bracket.is_some() {
            return None;
        }
        let part = self.tokens.get(self.scope.start..self.at)?;
        let opener = part.iter().rposition(|t| {
            matches!(
                t.token,
                Token::If
                    | Token::Else
                    | Token::For
                    | Token::Gen
                    | Token::Fn
                    | Token::Objective
                    | Token::Strategy
                    | Token::Dist
                    | Token::Expect
                    | Token::AssumeContinuous
                    | Token::Given
                    | Token::Marginal
            )
        })?;
        let owner = part.get(opener)?;
        let word = keyword(owner.token)?;
        let body = matches!(owner.token, Token::Gen | Token::Fn | Token::Objective | Token::Strategy);
        let d = Diagnostic::error(Code("E0002"), format!("the `{{` after `{word}` is missing"))
            .label(if self.here() == Some(Token::Sep) { self.gap(self.at) } else { self.span(self.at) }, "expected `{`")
            .label(self.span(self.scope.start + opener), format!("`{word}` needs a block"));
        Some(match self.here() {
            Some(Token::Sep) if self.token(self.at + 1) == Some(Token::LBrace) => d.help("put `{` at the end of the line before"),
            Some(Token::Colon) => d.help("blocks stand in braces: `{ .. }`").edit(self.span(self.at), " {"),
            _ if body => d.help("write the body as `{ .. }`, or `= e` where it is one expression"),
            _ => d.help("write `{ .. }` around the block, also where it is a single statement"),
        })
    }

    fn missing_comma(&self) -> Option<Diagnostic> {
        let here = self.here()?;
        let bracket = self.scope.bracket?;
        let starts = here.begins_plain_operand() || matches!(here, Token::LParen | Token::LBracket);
        if !self.expects(",") || !starts {
            return None;
        }
        Some(
            Diagnostic::error(Code("E0001"), "a comma or an operator is missing")
                .label(self.span(self.at), "unexpected here")
                .label(self.span(bracket), "inside this bracket")
                .help("separate the entries with `,`; a product is written with `*`")
                .edit(self.gap(self.at), ","),
        )
    }

    fn two_statements(&self) -> Option<Diagnostic> {
        let here = self.here()?;
        let starts = here.begins_plain_operand() || here.begins_stmt() || here == Token::LParen;
        if !starts || self.scope.bracket.is_some() || !self.expects("SEP") && !self.expects("}") {
            return None;
        }
        if !self.previous()?.ends_operand() {
            return None;
        }
        Some(
            Diagnostic::error(Code("E0017"), "two statements stand on one line, or an operator is missing")
                .label(self.span(self.at), "unexpected here")
                .help("separate statements with a new line or `;`; a product is written with `*`")
                .edit(self.gap(self.at), ";"),
        )
    }

    fn anything(&self) -> Option<Diagnostic> {
        let wanted = self.wanted();
        let expects = if wanted.is_empty() { "nothing can follow".to_owned() } else { format!("expected {wanted}") };
        let ends = matches!(self.here(), None | Some(Token::Sep | Token::RBrace));
        let (title, span) = match self.here() {
            _ if ends && self.at > self.scope.start => {
                ("the statement stops too early".to_owned(), self.span(self.at.saturating_sub(1)))
            }
            None => ("the text stops too early".to_owned(), self.gap(self.at)),
            Some(t) => (format!("{} can't stand here", name_of(t)), self.span(self.at)),
        };
        let expects = if ends { expects.replacen("expected", "expected after this:", 1) } else { expects };
        let mut d = Diagnostic::error(Code("E0001"), title).label(span, expects);
        if let Some(bracket) = self.scope.bracket {
            d = d.label(self.span(bracket), "inside this bracket");
        }
        let d = match (self.previous(), self.here()) {
            (_, Some(Token::Semi)) => d.help("`;` separates statements; list entries are separated by `,`"),
            (Some(Token::RBrace), Some(Token::Else)) => d.help("`else` belongs to an `if`"),
            (_, Some(Token::Else)) => d.help("write `if c { a } else { b }`"),
            (_, Some(t)) if keyword(t).is_some() && self.expects("IDENT") => d.note("it is a keyword and can't be a name"),
            _ => d.help(self.example()),
        };
        Some(d)
    }

    /// A line that shows the form of the statement.
    fn example(&self) -> &'static str {
        match self.first() {
            Some(Token::Let) => "the form is `let x = e`, `let (a, b) = e`",
            Some(Token::Gen) => "the form is `gen model(n: int) { .. }`",
            Some(Token::Fn) => "the form is `fn f(x: real[N]) -> real { .. }` or `fn f(x) = e`",
            Some(Token::Objective) => "the form is `objective name(p: target, q: gen) = expect { .. }`",
            Some(Token::Strategy) => "the form is `strategy name for normal(mu, sigma) (k) { .. }`",
            Some(Token::Dist) => "the form is `dist name(rate: positive) on positive { log_density(x) = ..; sample = .. }`",
            Some(Token::Fit) => "the form is `fit model() given { y } with guide() maximize elbo using adam(1e-2), steps 1000`",
            Some(Token::Use) => "the form is `use std.nn`",
            Some(Token::Data) => "the form is `data y: real[N]`, with `from \"file.csv\"` if it is in a file",
            Some(Token::Param) => "the form is `param mu: real[2] = 0.0`",
            Some(Token::State) => "the form is `state b: real = 0`",
            Some(Token::Set) => "the form is `set b = e`",
            Some(Token::Report) => "the form is `report r = e`",
            Some(Token::For) => "the form is `for i in n { .. }` or `for i in n carry (s = 0) { .. }`",
            Some(Token::If) => "the form is `if c { a } else { b }`",
            _ => "a statement is `x ~ d`, `let x = e` or an expression",
        }
    }

    /// What could stand here, in words.
    fn wanted(&self) -> String {
        let mut out: Vec<String> = Vec::new();
        if self.expects("INT") {
            out.push(if self.expects("let") { "a statement" } else { "an expression" }.into());
        } else if self.expects("use") {
            out.push("a declaration".into());
        } else if self.expects("IDENT") {
            out.push(if self.expects("gen") { "a type" } else { "a name" }.into());
        }
        let expression = self.expects("INT");
        if self.expects("*") || self.expects("+") {
            out.push("an operator".into());
        }
        for t in ["(", "[", "{", "=", ":", "~", "in", "for", "on", "of", "->"] {
            let call = self.expects("*") && matches!(t, "(" | "[" | "~");
            if self.expects(t) && !expression && !call {
                out.push(format!("`{t}`"));
            }
        }
        for t in [",", ")", "]", "}"] {
            if self.expects(t) && (self.scope.bracket.is_some() || t == "," && !expression) {
                out.push(format!("`{t}`"));
            }
        }
        if self.expects("SEP") && self.scope.bracket.is_none() {
            out.push("a new line".into());
        }
        match out.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [head @ .., last] => format!("{} or {last}", head.join(", ")),
        }
    }
}

/// A token in words.
fn name_of(t: Token<'_>) -> String {
    match t {
        Token::Ident(s) => format!("the name `{s}`"),
        Token::Int(s) | Token::Real(s) => format!("the number `{s}`"),
        Token::Str(_) => "a string".into(),
        Token::Sep => "the end of the line".into(),
        t => match keyword(t).or(symbol(t)) {
            Some(s) => format!("`{s}`"),
            None => "this".into(),
        },
    }
}

fn symbol(t: Token<'_>) -> Option<&'static str> {
    Some(match t {
        Token::LParen => "(",
        Token::RParen => ")",
        Token::LBracket => "[",
        Token::RBracket => "]",
        Token::LBrace => "{",
        Token::RBrace => "}",
        Token::Comma => ",",
        Token::Semi => ";",
        Token::Colon => ":",
        Token::Tilde => "~",
        Token::Assign => "=",
        Token::ColonAssign => ":=",
        Token::Arrow => "->",
        Token::DotDot => "..",
        Token::Dot => ".",
        Token::Question => "?",
        Token::Plus => "+",
        Token::Minus => "-",
        Token::Star => "*",
        Token::Slash => "/",
        Token::Percent => "%",
        Token::Caret => "^",
        Token::EqEq => "==",
        Token::NotEq => "!=",
        Token::Less => "<",
        Token::LessEq => "<=",
        Token::Greater => ">",
        Token::GreaterEq => ">=",
        Token::Underscore => "_",
        _ => return None,
    })
}

fn keyword(t: Token<'_>) -> Option<&'static str> {
    Some(match t {
        Token::Let => "let",
        Token::Gen => "gen",
        Token::Fn => "fn",
        Token::Objective => "objective",
        Token::Strategy => "strategy",
        Token::Dist => "dist",
        Token::Fit => "fit",
        Token::Use => "use",
        Token::Param => "param",
        Token::If => "if",
        Token::Else => "else",
        Token::For => "for",
        Token::In => "in",
        Token::And => "and",
        Token::Or => "or",
        Token::Not => "not",
        Token::True => "true",
        Token::False => "false",
        Token::Draw => "draw",
        Token::Expect => "expect",
        Token::AssumeContinuous => "assume_continuous",
        Token::Factor => "factor",
        Token::AlsoMinimize => "also_minimize",
        Token::Marginal => "marginal",
        Token::Normalize => "normalize",
        Token::Biased => "biased",
        Token::Data => "data",
        Token::State => "state",
        Token::Set => "set",
        Token::Report => "report",
        Token::By | Token::ByBrace => "by",
        Token::Given => "given",
        Token::With | Token::WithData => "with",
        Token::Using => "using",
        Token::Maximize => "maximize",
        Token::Minimize => "minimize",
        Token::Of => "of",
        Token::Over => "over",
        Token::Carry => "carry",
        Token::On => "on",
        Token::From => "from",
        _ => return None,
    })
}
