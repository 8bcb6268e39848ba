//! Lines to separators, and brackets to balanced brackets.
//!
//! The parser gets a stream in which every bracket is closed and statements are separated by single `Sep` tokens, whatever
//! the text looks like; what had to be mended is reported here. So no mistake in one statement hides the next.

use ppl_diag::{Code, Diagnostic, FileId, Span};

use crate::lex::Tok;
use crate::token::{Lexed, Token};

/// How deep brackets may nest.
pub const MAX_BRACKETS: usize = 200;
/// How deep the tree of one expression may get, counting operators.
pub const MAX_DEPTH: usize = 500;

/// The result of the layout.
pub(crate) struct Layout<'s> {
    pub(crate) tokens: Vec<Lexed<'s>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Brackets still open at the end of the text.
    pub(crate) open: usize,
    /// Nested too deeply: `tokens` is empty.
    pub(crate) too_deep: bool,
}

/// Lays out `tokens`; the result starts with `start`.
pub(crate) fn layout<'s>(file: FileId, tokens: &[Tok<'s>], start: Token<'s>) -> Layout<'s> {
    let first = Lexed { token: start, start: 0, end: 0 };
    let mut l = Layouter { file, out: vec![first], stack: Vec::new(), diagnostics: Vec::new(), level: 0, depth: 0 };
    for (i, t) in tokens.iter().enumerate() {
        if !l.step(tokens, i, t) {
            let span = Span::new(file, t.lexed.start, t.lexed.end);
            let d = Diagnostic::error(Code("E0010"), "this is nested too deeply")
                .label(span, "the limit is reached here")
                .note(format!("at most {MAX_BRACKETS} brackets inside each other and {MAX_DEPTH} chained operators"))
                .help("name parts of it with `let`");
            l.diagnostics.push(d);
            return Layout { tokens: vec![first], diagnostics: l.diagnostics, open: 0, too_deep: true };
        }
    }
    let open = l.stack.len();
    while !l.stack.is_empty() {
        l.close_unclosed("");
    }
    l.drop_sep();
    Layout { tokens: l.out, diagnostics: l.diagnostics, open, too_deep: false }
}

/// The braces after this token hold a list and not statements.
pub(crate) fn opens_list(before: Option<Token<'_>>) -> bool {
    matches!(before, Some(Token::Given | Token::ByBrace | Token::Data | Token::Marginal))
}

/// Whether a token can only begin a statement: `fn (` is a function without a name.
fn begins_stmt(token: Token<'_>, next: Option<Token<'_>>) -> bool {
    token.begins_stmt() && !(token == Token::Fn && next == Some(Token::LParen))
}

struct Open<'s> {
    lexed: Lexed<'s>,
    /// Line ends inside do not separate statements.
    joined: bool,
    /// Where statements would be separated if it were closed: indices into the output.
    lines: Vec<usize>,
    /// The level outside.
    level: usize,
}

struct Layouter<'s> {
    file: FileId,
    out: Vec<Lexed<'s>>,
    stack: Vec<Open<'s>>,
    diagnostics: Vec<Diagnostic>,
    /// Operators since the last separator, in the innermost bracket.
    level: usize,
    /// The same, summed over the brackets outside.
    depth: usize,
}

impl<'s> Layouter<'s> {
    /// Takes one token; false where the nesting gets too deep.
    fn step(&mut self, tokens: &[Tok<'s>], i: usize, t: &Tok<'s>) -> bool {
        let token = t.lexed.token;
        let next = tokens.get(i + 1).map(|t| t.lexed.token);
        if t.newline_before {
            if begins_stmt(token, next) {
                while self.joined() {
                    self.close_unclosed("the next statement starts before it is closed");
                }
            }
            let declares = matches!(token, Token::Fit | Token::Biased) || matches!(next, Some(Token::Ident(_)));
            if t.first_column && token.begins_item() && declares {
                while !self.stack.is_empty() {
                    self.close_unclosed("the next declaration starts before it is closed");
                }
            }
            self.line(t, next);
        }
        match token {
            Token::Semi if self.joined() => {
                self.close_unclosed("`;` ends the statement before it is closed");
                self.sep(t.lexed.start);
                return true;
            }
            Token::Semi => {
                self.sep(t.lexed.start);
                return true;
            }
            Token::Tilde => {
                while self.stack.last().is_some_and(|o| o.joined && !o.lines.is_empty()) {
                    self.close_before_last_line();
                }
            }
            Token::RParen | Token::RBracket | Token::RBrace => return self.close(t),
            _ => {}
        }
        if token.deepens() {
            self.level += 1;
        } else if token == Token::Comma {
            self.level = 0;
        }
        let before = self.last();
        self.out.push(t.lexed);
        if matches!(token, Token::LParen | Token::LBracket | Token::LBrace) {
            let joined = token != Token::LBrace || opens_list(before);
            self.depth += self.level + 1;
            let level = std::mem::take(&mut self.level);
            self.stack.push(Open { lexed: t.lexed, joined, lines: Vec::new(), level });
        }
        self.stack.len() <= MAX_BRACKETS && self.depth + self.level <= MAX_DEPTH
    }

    fn joined(&self) -> bool {
        self.stack.last().is_some_and(|o| o.joined)
    }

    fn last(&self) -> Option<Token<'s>> {
        self.out.last().map(|t| t.token)
    }

    /// Separates statements at the line that starts with `t`, or remembers that it would.
    fn line(&mut self, t: &Tok<'s>, next: Option<Token<'s>>) {
        let token = t.lexed.token;
        let Some(last) = self.last() else { return };
        let continues = token.continues_line()
            || (token == Token::Minus && t.space_after)
            || (token == Token::LBrace && self.stack.is_empty());
        let ends = (last.ends_operand() && !continues) || begins_stmt(token, next);
        if !ends {
            return;
        }
        let at = self.out.len();
        match self.stack.last_mut() {
            Some(open) if open.joined => open.lines.push(at),
            _ => self.sep(t.lexed.start),
        }
    }

    fn sep(&mut self, start: usize) {
        self.level = 0;
        let first = matches!(
            self.last(),
            None | Some(Token::LBrace | Token::Sep | Token::StartFile | Token::StartStmts | Token::StartExpr)
        );
        if !first {
            self.out.push(Lexed { token: Token::Sep, start, end: start });
        }
    }

    fn drop_sep(&mut self) {
        if self.last() == Some(Token::Sep) {
            self.out.pop();
        }
    }

    fn pop(&mut self) -> Option<Open<'s>> {
        let open = self.stack.pop()?;
        self.depth = self.depth.saturating_sub(open.level + 1);
        self.level = open.level + 1;
        Some(open)
    }

    /// Takes a closing bracket.
    fn close(&mut self, t: &Tok<'s>) -> bool {
        let token = t.lexed.token;
        let span = Span::new(self.file, t.lexed.start, t.lexed.end);
        let matches = |o: &Open<'_>| closer(o.lexed.token) == token;
        if !self.stack.iter().any(matches) {
            let Some(open) = self.stack.last() else {
                self.stray(span, token);
                return true;
            };
            if token == Token::RBrace || open.lexed.token == Token::LBrace {
                self.stray(span, token);
                return true;
            }
            let (theirs, ours) = (symbol(open.lexed.token), symbol(closer(open.lexed.token)));
            let d = Diagnostic::error(Code("E0004"), format!("`{theirs}` is closed by `{}`", symbol(token)))
                .label(span, format!("expected `{ours}`"))
                .label(Span::new(self.file, open.lexed.start, open.lexed.end), "opened here")
                .help(format!("write `{ours}`"))
                .edit(span, ours);
            self.diagnostics.push(d);
            let token = closer(open.lexed.token);
            self.pop();
            self.out.push(Lexed { token, ..t.lexed });
            return true;
        }
        while self.stack.last().is_some_and(|o| !matches(o)) {
            self.close_unclosed(&format!("`{}` closes what is outside", symbol(token)));
        }
        if token == Token::RBrace {
            self.drop_sep();
        }
        self.pop();
        self.out.push(t.lexed);
        true
    }

    fn stray(&mut self, span: Span, token: Token<'_>) {
        let d = Diagnostic::error(Code("E0004"), format!("`{}` closes nothing", symbol(token)))
            .label(span, "no open bracket matches it")
            .help("delete it, or add the bracket that opens it")
            .edit(span, "");
        self.diagnostics.push(d);
    }

    fn report_unclosed(&mut self, open: &Open<'_>, at: usize, why: &str) {
        let end = self.out.get(at.saturating_sub(1)).map_or(open.lexed.end, |t| t.end);
        let span = Span::new(self.file, open.lexed.start, open.lexed.end);
        let close = symbol(closer(open.lexed.token));
        let mut d = Diagnostic::error(Code("E0003"), format!("`{}` is never closed", symbol(open.lexed.token)))
            .label(span, "opened here");
        if !why.is_empty() {
            d = d.note(why.to_owned());
        }
        self.diagnostics.push(d.help(format!("add `{close}` where it should end")).edit(Span::new(self.file, end, end), close));
    }

    /// Closes the innermost bracket: at the end of its first line where that could end a statement, otherwise here.
    fn close_unclosed(&mut self, why: &str) {
        let Some(open) = self.pop() else { return };
        let lines = if open.joined { open.lines.clone() } else { Vec::new() };
        let at = lines.first().copied().unwrap_or(self.out.len());
        if open.lexed.token == Token::LBrace && !open.joined {
            self.drop_sep();
        }
        let at = at.min(self.out.len());
        self.report_unclosed(&open, at, why);
        self.insert(&open, at, &lines);
    }

    /// A `~` shows that the line it stands on is a statement, so the bracket was left open before.
    fn close_before_last_line(&mut self) {
        let Some(open) = self.pop() else { return };
        let Some(&at) = open.lines.last() else { return };
        self.report_unclosed(&open, at, "the next line is a choice of its own");
        self.insert(&open, at, &[at]);
    }

    /// Inserts the missing closer at `at` and a separator at each of `lines`.
    fn insert(&mut self, open: &Open<'s>, at: usize, lines: &[usize]) {
        let tail = self.out.split_off(at);
        let place = self.out.last().map_or(0, |t| t.end);
        self.out.push(Lexed { token: closer(open.lexed.token), start: place, end: place });
        for (k, t) in tail.into_iter().enumerate() {
            if lines.contains(&(at + k)) {
                let here = self.out.len();
                match self.stack.last_mut() {
                    Some(outer) if outer.joined => outer.lines.push(here),
                    _ => self.sep(t.start),
                }
            }
            self.out.push(t);
        }
    }
}

pub(crate) fn closer(open: Token<'_>) -> Token<'static> {
    match open {
        Token::LParen => Token::RParen,
        Token::LBracket => Token::RBracket,
        _ => Token::RBrace,
    }
}

fn symbol(bracket: Token<'_>) -> &'static str {
    match bracket {
        Token::LParen => "(",
        Token::RParen => ")",
        Token::LBracket => "[",
        Token::RBracket => "]",
        Token::LBrace => "{",
        _ => "}",
    }
}
