//! Characters to tokens: comments set aside, documentation attached, contextual words resolved.

use std::collections::BTreeMap;

use logos::Logos;
use ppl_diag::{Code, Diagnostic, FileId, Span};

use crate::ast::Comment;
use crate::token::{Lexed, Token};

/// A token with what the layout needs to know of its surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tok<'s> {
    pub(crate) lexed: Lexed<'s>,
    /// A line starts with it.
    pub(crate) newline_before: bool,
    /// It stands in the first column.
    pub(crate) first_column: bool,
    /// White space follows it.
    pub(crate) space_after: bool,
}

/// The result of the lexer.
pub(crate) struct Lexing<'s> {
    pub(crate) tokens: Vec<Tok<'s>>,
    pub(crate) file_doc: Option<String>,
    /// `##` lines by the offset of the token below them.
    pub(crate) docs: BTreeMap<usize, (Span, String)>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Cuts `text` into tokens.
pub(crate) fn lex<'s>(file: FileId, text: &'s str) -> Lexing<'s> {
    let mut lx = Lexer {
        file,
        text,
        out: Lexing { tokens: Vec::new(), file_doc: None, docs: BTreeMap::new(), comments: Vec::new(), diagnostics: Vec::new() },
        pending: None,
        newlines: 1,
        line_start: 0,
    };
    lx.run();
    lx.flush_doc();
    resolve_words(&mut lx.out.tokens);
    lx.out.comments.sort_by_key(|c| c.span.start);
    lx.out
}

struct Lexer<'s> {
    file: FileId,
    text: &'s str,
    out: Lexing<'s>,
    /// Documentation lines waiting for what they document.
    pending: Option<(Span, String)>,
    /// Line ends since the last token or comment.
    newlines: usize,
    /// Where the current line starts.
    line_start: usize,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) {
        let mut lexer = Token::lexer(self.text);
        while let Some(result) = lexer.next() {
            let span = lexer.span();
            match result {
                Ok(Token::Newline) => {
                    self.newlines += 1;
                    self.line_start = span.end;
                    if self.newlines == 2 {
                        self.flush_doc();
                    }
                }
                Ok(Token::Comment(text)) => self.comment(span.start, text),
                Ok(token) => self.token(token, span.start, span.end),
                Err(()) => {
                    let end = self.foreign(span.start);
                    lexer.bump(end.saturating_sub(span.end));
                }
            }
        }
    }

    fn comment(&mut self, start: usize, text: &'s str) {
        let text = text.trim_end();
        let span = Span::new(self.file, start, start + text.len());
        let own_line = self.newlines > 0;
        match text.strip_prefix("##") {
            Some(doc) if own_line => {
                let doc = doc.strip_prefix(' ').unwrap_or(doc);
                match &mut self.pending {
                    Some((first, lines)) => {
                        *first = first.to(span);
                        lines.push('\n');
                        lines.push_str(doc);
                    }
                    None => self.pending = Some((span, doc.to_owned())),
                }
            }
            _ => self.out.comments.push(Comment { span, text: text.to_owned(), own_line }),
        }
        // The line is not blank; its end is still to come.
        self.newlines = 0;
    }

    /// Documentation that a blank line, or the end, separates from what follows: the file's, or a plain comment.
    fn flush_doc(&mut self) {
        let Some((span, text)) = self.pending.take() else { return };
        if self.out.tokens.is_empty() && self.out.file_doc.is_none() {
            self.out.file_doc = Some(text);
        } else {
            self.out.comments.extend(doc_as_comments(self.text, span));
        }
    }

    fn token(&mut self, token: Token<'s>, start: usize, end: usize) {
        let slice = self.text.get(start..end).unwrap_or_default();
        let token = self.mend(token, slice, Span::new(self.file, start, end));
        if let Some(doc) = self.pending.take() {
            self.out.docs.insert(start, doc);
        }
        let newline_before = self.newlines > 0;
        let space_after = self.text.as_bytes().get(end).is_none_or(u8::is_ascii_whitespace);
        self.newlines = 0;
        let tok = Tok { lexed: Lexed { token, start, end }, newline_before, first_column: self.line_start == start, space_after };
        if matches!(slice, "elif" | "elseif") && self.out.tokens.last().is_some_and(|t| t.lexed.token == Token::RBrace) {
            let span = Span::new(self.file, start, end);
            self.out.diagnostics.push(foreign_operator(span, slice, "else if"));
            let lexed = Lexed { token: Token::Else, start, end };
            self.out.tokens.push(Tok { lexed, ..tok });
            let lexed = Lexed { token: Token::If, start, end };
            self.out.tokens.push(Tok { lexed, newline_before: false, ..tok });
            return;
        }
        self.out.tokens.push(tok);
    }

    /// Reports a token that is wrong by itself and puts what was meant in its place.
    fn mend(&mut self, token: Token<'s>, slice: &str, span: Span) -> Token<'s> {
        let foreign = match (token, slice) {
            (Token::And, "&&") => Some("and"),
            (Token::Or, "||") => Some("or"),
            (Token::Not, "!") => Some("not"),
            (Token::Caret, "**") => Some("^"),
            _ => None,
        };
        if let Some(ours) = foreign {
            let mut d = foreign_operator(span, slice, ours);
            if slice == "!" {
                d = d.edit(span, "not ");
            }
            self.out.diagnostics.push(d);
        }
        match token {
            Token::BadNumber(text) => {
                self.out.diagnostics.push(bad_number(span, text));
                Token::Int("0")
            }
            Token::OpenStr(_) => {
                let d = Diagnostic::error(Code("E0012"), "this string does not end")
                    .label(span, "starts here and runs to the end of the line")
                    .help("add the closing `\"`; a line end inside a string is written `\\n`")
                    .edit(Span { start: span.end, ..span }, "\"");
                self.out.diagnostics.push(d);
                Token::Str("\"\"")
            }
            token => token,
        }
    }

    /// A character the language does not have; returns where lexing goes on.
    fn foreign(&mut self, start: usize) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(c) = rest.chars().next() else { return start + 1 };
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        if !joins(c) {
            let end = start + c.len_utf8();
            if !(c.is_whitespace() || c == '\u{feff}') || c == '\u{a0}' {
                self.out.diagnostics.push(bad_character(Span::new(self.file, start, end), c));
                if let Some(token) = meant_token(c) {
                    self.token(token, start, end);
                }
            }
            return end;
        }
        // A name with foreign letters: report it whole and let the parser see one name.
        let end = start + rest.find(|c| !joins(c)).unwrap_or(rest.len());
        let previous = self.out.tokens.last().map(|t| t.lexed);
        let from = match previous {
            Some(Lexed { token: Token::Ident(_), start: s, end: e }) if e == start => s,
            _ => start,
        };
        let name = self.text.get(from..end).unwrap_or_default();
        let ascii: String = name.chars().map(|c| if c.is_ascii() { c.to_string() } else { spell(c).into() }).collect();
        let span = Span::new(self.file, from, end);
        let mut d = Diagnostic::error(Code("E0011"), format!("the name `{name}` has a letter outside a-z, A-Z, 0-9 and _"))
            .label(span, "names are written in ASCII");
        if !ascii.is_empty() {
            d = d.help(format!("write `{ascii}`")).edit(span, ascii);
        }
        self.out.diagnostics.push(d);
        if from < start {
            self.out.tokens.pop();
        }
        self.token(Token::Ident(name), from, end);
        end
    }
}

/// The lines of an unattached `##` comment, as ordinary comments.
pub(crate) fn doc_as_comments(text: &str, span: Span) -> Vec<Comment> {
    let mut at = span.start as usize;
    let mut out = Vec::new();
    for line in text.get(at..span.end as usize).unwrap_or_default().split_inclusive('\n') {
        let lead = line.len() - line.trim_start().len();
        let body = line.trim();
        if !body.is_empty() {
            let span = Span::new(span.file, at + lead, at + lead + body.len());
            out.push(Comment { span, text: body.to_owned(), own_line: true });
        }
        at += line.len();
    }
    out
}

fn foreign_operator(span: Span, theirs: &str, ours: &str) -> Diagnostic {
    Diagnostic::error(Code("E0006"), format!("`{theirs}` is written `{ours}` here"))
        .label(span, "from another language")
        .help(format!("write `{ours}`"))
        .edit(span, ours)
}

fn bad_number(span: Span, text: &str) -> Diagnostic {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, tail) = text.split_at(split);
    let d = Diagnostic::error(Code("E0013"), format!("`{text}` is not a number"));
    if matches!(tail, "e" | "E") {
        return d.label(span, "the exponent is missing").help(format!("write its digits: `{number}e-3`"));
    }
    if number == "0" && tail.starts_with(['x', 'b', 'o']) {
        return d.label(span, "numbers are decimal").help("write it in decimal digits");
    }
    d.label(span, "a name can't start with a digit, and a product is written with `*`")
        .help(format!("write `{number} * {tail}`, or give the name a letter in front"))
        .edit(span, format!("{number} * {tail}"))
}

fn bad_character(span: Span, c: char) -> Diagnostic {
    let d = Diagnostic::error(Code("E0011"), format!("`{}` means nothing here", c.escape_debug()));
    let meant = match c {
        '×' | '·' | '⋅' | '∗' => "*",
        '÷' => "/",
        '−' | '–' | '—' => "-",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '∼' => "~",
        '←' => "~",
        '“' | '”' | '‘' | '’' | '\'' | '«' | '»' => "\"",
        '…' => "..",
        '\u{a0}' => " ",
        _ => "",
    };
    let d = d.label(span, "not a character of the language");
    match (c, meant) {
        ('&', _) => d.help("write `and`"),
        ('|', _) => d.help("write `or`; conditioning is `given { z }`"),
        ('@', _) => d.help("a matrix product is `matmul(a, b)`, an inner product `dot(a, b)`"),
        ('$' | '\\' | '`', _) | (_, "") => d.help("delete it").edit(span, ""),
        (_, m) => d.help(format!("write `{m}`")).edit(span, m),
    }
}

/// The token that goes on in place of a foreign operator.
fn meant_token(c: char) -> Option<Token<'static>> {
    Some(match c {
        '×' | '·' | '⋅' | '∗' | '@' => Token::Star,
        '÷' => Token::Slash,
        '−' | '–' | '—' => Token::Minus,
        '≤' => Token::LessEq,
        '≥' => Token::GreaterEq,
        '≠' => Token::NotEq,
        '∼' | '←' => Token::Tilde,
        '&' => Token::And,
        '|' => Token::Or,
        '…' => Token::DotDot,
        _ => return None,
    })
}

/// A Greek letter's name.
fn spell(c: char) -> &'static str {
    match c {
        'α' => "alpha",
        'β' => "beta",
        'γ' | 'Γ' => "gamma",
        'δ' | 'Δ' => "delta",
        'ε' => "epsilon",
        'ζ' => "zeta",
        'η' => "eta",
        'θ' | 'Θ' => "theta",
        'κ' => "kappa",
        'λ' | 'Λ' => "lambda",
        'μ' | 'µ' => "mu",
        'ν' => "nu",
        'ξ' => "xi",
        'π' | 'Π' => "pi",
        'ρ' => "rho",
        'σ' | 'Σ' => "sigma",
        'τ' => "tau",
        'φ' | 'Φ' => "phi",
        'χ' => "chi",
        'ψ' | 'Ψ' => "psi",
        'ω' | 'Ω' => "omega",
        _ => "",
    }
}

/// Turns names into keywords where their place says so. The rules are on the page `spec/syntax.md`, section "Words".
fn resolve_words(tokens: &mut [Tok<'_>]) {
    for i in 0..tokens.len() {
        let Token::Ident(name) = tokens[i].lexed.token else { continue };
        let previous = i.checked_sub(1).map(|j| tokens[j].lexed.token);
        let next = tokens.get(i + 1).copied();
        let line_start = tokens[i].newline_before;
        if name == "biased" {
            if next.is_some_and(|n| n.lexed.token == Token::Strategy && !n.newline_before) {
                tokens[i].lexed.token = Token::Biased;
            }
            continue;
        }
        if let Some(word) = Token::leading_word(name) {
            let starts = line_start || matches!(previous, None | Some(Token::Semi | Token::LBrace));
            let named = next.is_some_and(|n| matches!(n.lexed.token, Token::Ident(_)) && !n.newline_before);
            let rebinds = previous == Some(Token::WithData) && next.is_some_and(|n| n.lexed.token == Token::LBrace);
            if (starts && named) || rebinds {
                tokens[i].lexed.token = word;
            }
            continue;
        }
        let Some(word) = Token::infix_word(name) else { continue };
        let clause = matches!(word, Token::Maximize | Token::Minimize | Token::With | Token::Using);
        let after = previous.is_some_and(|p| p.ends_operand() || (p == Token::Fit && clause));
        let before = next.is_some_and(|n| n.lexed.token.begins_plain_operand() || n.lexed.token == Token::LBrace);
        let same_line = next.is_some_and(|n| !n.newline_before);
        if !after || (line_start && !(before && same_line)) {
            continue;
        }
        let brace = |k: usize| tokens.get(k).is_some_and(|t| t.lexed.token == Token::LBrace);
        let data = next.is_some_and(|n| n.lexed.token == Token::Ident("data"));
        let word = match word {
            Token::By if brace(i + 1) => Token::ByBrace,
            Token::With if data && brace(i + 2) => Token::WithData,
            word => word,
        };
        tokens[i].lexed.token = word;
    }
}
