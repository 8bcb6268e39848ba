//! The parser's entry points, and how it goes on after an error.
//!
//! The generated parser stops at the first error. The statement the error stands in is then replaced by one `Error` token,
//! followed by the blocks it contains, and the text is parsed again: every statement of every block gets its own report,
//! and no mistake is blamed on its neighbours. Brackets are balanced before (see `layout`), so a statement has an extent.

use std::collections::BTreeMap;

use lalrpop_util::ParseError;
use ppl_diag::{Code, Diagnostic, FileId, Span};

use crate::ast::{Block, Expr, ExprKind, File, Item};
use crate::build::{Cx, Start};
use crate::layout::{layout, opens_list};
use crate::lex::{Lexing, doc_as_comments, lex};
use crate::mistakes;
use crate::token::{Lexed, Token};

/// After so many syntax errors the rest is not looked at.
const MAX_ERRORS: usize = 100;

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Parse {
    /// The tree; statements with errors are left out or marked.
    pub ast: File,
    /// What is wrong with the text, in its order.
    pub diagnostics: Vec<Diagnostic>,
}

/// One input of the interactive prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Repl {
    /// Declarations.
    Items(Vec<Item>),
    /// Statements; a lone expression is a block with just a result.
    Stmts(Block),
}

/// Parses a file.
pub fn parse(file: FileId, text: &str) -> Parse {
    let mut lexing = lex(file, text);
    let run = Run::new(file, &mut lexing, Token::StartFile);
    let (start, docs, diagnostics) = run.parse();
    let items = match start {
        Some(Start::File(items)) => items,
        _ => Vec::new(),
    };
    let mut comments = lexing.comments;
    comments.extend(docs.into_values().flat_map(|(span, _)| doc_as_comments(text, span)));
    comments.sort_by_key(|c| c.span.start);
    Parse { ast: File { doc: lexing.file_doc, items, comments, module: None }, diagnostics }
}

/// Parses an expression: an objective, an optimiser, a strategy given on the command line.
pub fn parse_expr(file: FileId, text: &str) -> (Expr, Vec<Diagnostic>) {
    let mut lexing = lex(file, text);
    let (start, _, diagnostics) = Run::new(file, &mut lexing, Token::StartExpr).parse();
    let e = match start {
        Some(Start::Expr(e)) => e,
        _ => Expr::new(Span::new(file, 0, text.len()), ExprKind::Error),
    };
    (e, diagnostics)
}

/// Parses one input of the interactive prompt: declarations (also a lone `let`), or statements and an expression.
pub fn parse_repl(file: FileId, text: &str) -> (Repl, Vec<Diagnostic>) {
    let mut lexing = lex(file, text);
    let start = if all_declarations(&lexing) { Token::StartFile } else { Token::StartStmts };
    let (start, _, diagnostics) = Run::new(file, &mut lexing, start).parse();
    let repl = match start {
        Some(Start::File(items)) => Repl::Items(items),
        Some(Start::Stmts(block)) => Repl::Stmts(block),
        _ => Repl::Items(Vec::new()),
    };
    (repl, diagnostics)
}

/// More lines are needed: a bracket is open, or the last line ends in an operator, `=` or a comma.
pub fn is_incomplete(text: &str) -> bool {
    let file = FileId(0);
    let lexing = lex(file, text);
    let Some(last) = lexing.tokens.last().map(|t| t.lexed.token) else { return false };
    let hangs = last == Token::Assign
        || last == Token::Comma
        || last == Token::Minus
        || last == Token::Tilde
        || (last.continues_line() && !matches!(last, Token::RParen | Token::RBracket));
    hangs || layout(file, &lexing.tokens, Token::StartStmts).open > 0
}

/// Every statement at the outermost level begins with a declaration's keyword.
fn all_declarations(lexing: &Lexing<'_>) -> bool {
    let laid = layout(FileId(0), &lexing.tokens, Token::StartFile);
    let mut depth = 0usize;
    let mut first = true;
    for t in laid.tokens.iter().skip(1) {
        if first && depth == 0 && !(t.token.begins_item() || matches!(t.token, Token::Let | Token::Param)) {
            return false;
        }
        first = t.token == Token::Sep;
        match t.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    laid.tokens.len() > 1
}

type Docs = BTreeMap<usize, (Span, String)>;

struct Run<'s> {
    file: FileId,
    tokens: Vec<Lexed<'s>>,
    docs: Docs,
    diagnostics: Vec<Diagnostic>,
    too_deep: bool,
}

impl<'s> Run<'s> {
    fn new(file: FileId, lexing: &mut Lexing<'s>, start: Token<'s>) -> Self {
        let laid = layout(file, &lexing.tokens, start);
        let mut diagnostics = std::mem::take(&mut lexing.diagnostics);
        diagnostics.extend(laid.diagnostics);
        Self { file, tokens: laid.tokens, docs: std::mem::take(&mut lexing.docs), diagnostics, too_deep: laid.too_deep }
    }

    fn parse(mut self) -> (Option<Start>, Docs, Vec<Diagnostic>) {
        let mut result = None;
        let mut docs = Docs::new();
        let parser = crate::grammar::StartParser::new();
        while !self.too_deep && self.diagnostics.len() < MAX_ERRORS {
            let mut cx = Cx { file: self.file, tokens: &self.tokens, docs: self.docs.clone(), diagnostics: Vec::new() };
            let stream = self.tokens.iter().enumerate().map(|(i, t)| Ok::<_, ()>((i, t.token, i)));
            match parser.parse(&mut cx, stream) {
                Ok(start) => {
                    docs = cx.docs;
                    self.diagnostics.append(&mut cx.diagnostics);
                    result = Some(start);
                    break;
                }
                Err(e) => {
                    let (at, expected) = match e {
                        ParseError::UnrecognizedToken { token: (i, _, _), expected } => (i, expected),
                        ParseError::UnrecognizedEof { expected, .. } => (self.tokens.len(), expected),
                        ParseError::ExtraToken { token: (i, _, _) } => (i, Vec::new()),
                        ParseError::InvalidToken { location } => (location, Vec::new()),
                        ParseError::User { .. } => break,
                    };
                    if !self.recover(at, &expected) {
                        break;
                    }
                }
            }
        }
        self.diagnostics.sort_by_key(|d| d.span().map(|s| s.start));
        (result, docs, self.diagnostics)
    }

    /// Reports the error at token `at` and takes its statement out; false if nothing can be taken out.
    fn recover(&mut self, at: usize, expected: &[String]) -> bool {
        let scope = Scope::of(&self.tokens, at);
        let Some(first) = self.tokens.get(scope.start).copied() else {
            self.report(mistakes::describe(self.file, &self.tokens, at, &scope, expected));
            return false;
        };
        if first.token == Token::Error {
            // Only its blocks can be wrong here, and they are only kept to be looked at.
            if scope.end <= scope.start + 1 {
                return false;
            }
            self.tokens.splice(scope.start + 1..scope.end, []);
            return true;
        }
        self.report(mistakes::describe(self.file, &self.tokens, at, &scope, expected));
        if scope.end <= scope.start {
            return false;
        }
        let statement = &self.tokens[scope.start..scope.end];
        let end = statement.last().map_or(first.end, |t| t.end);
        let mut replaced = vec![Lexed { token: Token::Error, start: first.start, end }];
        if first.token != Token::Dist {
            replaced.extend(blocks(statement));
        }
        self.tokens.splice(scope.start..scope.end, replaced);
        true
    }

    fn report(&mut self, d: Option<Diagnostic>) {
        let mended = |d: &Diagnostic| matches!(d.code.0, "E0003" | "E0004");
        let d = d.unwrap_or_else(|| Diagnostic::error(Code("E0001"), "this can't be read"));
        // A bracket that was mended in the same place has said enough.
        let near = self.diagnostics.iter().filter(|o| mended(o)).any(|o| match (o.edit.as_ref(), d.span()) {
            (Some(edit), Some(span)) => edit.span.start.abs_diff(span.start) <= 1 || edit.span.start == span.end,
            _ => false,
        });
        if !near {
            self.diagnostics.push(d);
        }
    }
}

/// The statement or declaration that a token stands in: tokens `start..end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The brace of the block around it; none at top level.
    pub(crate) brace: Option<usize>,
    /// The innermost bracket around the token that is not a block.
    pub(crate) bracket: Option<usize>,
}

impl Scope {
    fn of(tokens: &[Lexed<'_>], at: usize) -> Self {
        // (index of the bracket, it is a block, start of the current statement)
        let mut stack: Vec<(usize, bool, usize)> = vec![(0, true, 1)];
        for (i, t) in tokens.iter().enumerate().take(at.min(tokens.len())) {
            match t.token {
                Token::LParen | Token::LBracket => stack.push((i, false, i + 1)),
                Token::LBrace => stack.push((i, is_block(tokens, i), i + 1)),
                Token::RParen | Token::RBracket | Token::RBrace if stack.len() > 1 => {
                    stack.pop();
                }
                Token::Sep => {
                    if let Some(top) = stack.last_mut() {
                        top.2 = i + 1;
                    }
                }
                _ => {}
            }
        }
        let block = stack.iter().rposition(|s| s.1).unwrap_or(0);
        let (brace, _, start) = stack[block];
        let bracket = stack.get(block + 1..).and_then(|s| s.last()).map(|s| s.0);
        let mut depth = 0usize;
        let mut end = start;
        while let Some(t) = tokens.get(end) {
            match t.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => break,
                Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
                Token::Sep if depth == 0 => break,
                _ => {}
            }
            end += 1;
        }
        Self { start, end, brace: (block > 0).then_some(brace), bracket }
    }
}

fn is_block(tokens: &[Lexed<'_>], brace: usize) -> bool {
    !opens_list(brace.checked_sub(1).and_then(|i| tokens.get(i)).map(|t| t.token))
}

/// The outermost blocks inside a statement, with their braces.
fn blocks<'s>(statement: &[Lexed<'s>]) -> Vec<Lexed<'s>> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < statement.len() {
        if statement[i].token == Token::LBrace && is_block(statement, i) {
            let mut depth = 0usize;
            while let Some(t) = statement.get(i) {
                out.push(*t);
                match t.token {
                    Token::LBrace => depth += 1,
                    Token::RBrace => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                i += 1;
            }
        }
        i += 1;
    }
    out
}
