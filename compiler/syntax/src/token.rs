//! Tokens, and the lexer that cuts a text into them.

use logos::Logos;

/// A token. The variants below `// words` are names that the layout turns into keywords where their place says so.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\x0c]+")]
pub(crate) enum Token<'s> {
    #[token("\n")]
    Newline,
    #[regex(r"#[^\n]*", allow_greedy = true)]
    Comment(&'s str),

    #[token("let")]
    Let,
    #[token("gen")]
    Gen,
    #[token("fn")]
    Fn,
    #[token("objective")]
    Objective,
    #[token("strategy")]
    Strategy,
    #[token("dist")]
    Dist,
    #[token("fit")]
    Fit,
    #[token("use")]
    Use,
    #[token("param")]
    Param,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("for")]
    For,
    #[token("in")]
    In,
    #[token("and")]
    #[token("&&")]
    And,
    #[token("or")]
    #[token("||")]
    Or,
    #[token("not")]
    #[token("!")]
    Not,
    #[token("true")]
    True,
    #[token("false")]
    False,
    #[token("draw")]
    Draw,
    #[token("expect")]
    Expect,
    #[token("assume_continuous")]
    AssumeContinuous,
    #[token("factor")]
    Factor,
    #[token("also_minimize")]
    AlsoMinimize,
    #[token("marginal")]
    Marginal,
    #[token("normalize")]
    Normalize,

    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBracket,
    #[token("]")]
    RBracket,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token(",")]
    Comma,
    #[token(";")]
    Semi,
    #[token(":")]
    Colon,
    #[token("~")]
    Tilde,
    #[token("=")]
    Assign,
    #[token(":=")]
    ColonAssign,
    #[token("->")]
    Arrow,
    #[token("..")]
    DotDot,
    #[token(".")]
    Dot,
    #[token("?")]
    Question,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("^")]
    #[token("**")]
    Caret,
    #[token("==")]
    EqEq,
    #[token("!=")]
    NotEq,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEq,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEq,
    #[token("_", priority = 10)]
    Underscore,

    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Ident(&'s str),
    #[regex(r"[0-9][0-9_]*", priority = 5)]
    Int(&'s str),
    #[regex(r"[0-9][0-9_]*(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")]
    Real(&'s str),
    #[regex(r"[0-9][0-9_]*(\.[0-9]+)?[A-Za-z][A-Za-z0-9_]*", priority = 4)]
    BadNumber(&'s str),
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Str(&'s str),
    #[regex(r#""([^"\\\n]|\\[^\n])*"#)]
    OpenStr(&'s str),

    // words
    Biased,
    Data,
    State,
    Set,
    Report,
    By,
    ByBrace,
    Given,
    With,
    WithData,
    Using,
    Maximize,
    Minimize,
    Of,
    Over,
    Carry,
    On,
    From,

    // made by the layout
    Sep,
    Error,
    StartFile,
    StartStmts,
    StartExpr,
}

impl Token<'_> {
    /// Something that has a value ends here, so a new line after it ends the statement.
    pub(crate) fn ends_operand(self) -> bool {
        matches!(
            self,
            Token::Ident(_)
                | Token::Int(_)
                | Token::Real(_)
                | Token::BadNumber(_)
                | Token::Str(_)
                | Token::OpenStr(_)
                | Token::True
                | Token::False
                | Token::RParen
                | Token::RBracket
                | Token::RBrace
                | Token::Underscore
                | Token::Question
                | Token::Error
        )
    }

    /// A name, a constant or a word that begins an expression; no bracket and no sign.
    pub(crate) fn begins_plain_operand(self) -> bool {
        matches!(
            self,
            Token::Ident(_)
                | Token::Int(_)
                | Token::Real(_)
                | Token::Str(_)
                | Token::True
                | Token::False
                | Token::If
                | Token::For
                | Token::Draw
                | Token::Expect
                | Token::Marginal
                | Token::Normalize
        )
    }

    /// A keyword that can only begin a declaration.
    pub(crate) fn begins_item(self) -> bool {
        matches!(
            self,
            Token::Gen
                | Token::Fn
                | Token::Objective
                | Token::Biased
                | Token::Strategy
                | Token::Dist
                | Token::Fit
                | Token::Use
                | Token::Data
        )
    }

    /// A keyword that can only begin a statement or a declaration.
    pub(crate) fn begins_stmt(self) -> bool {
        self.begins_item()
            || matches!(
                self,
                Token::Let | Token::Param | Token::State | Token::Set | Token::Report | Token::Factor | Token::AlsoMinimize
            )
    }

    /// At the start of a line, continues the line before (`-` is decided by the space after it).
    pub(crate) fn continues_line(self) -> bool {
        matches!(
            self,
            Token::Plus
                | Token::Star
                | Token::Slash
                | Token::Percent
                | Token::Caret
                | Token::EqEq
                | Token::NotEq
                | Token::Less
                | Token::LessEq
                | Token::Greater
                | Token::GreaterEq
                | Token::And
                | Token::Or
                | Token::Tilde
                | Token::Assign
                | Token::Arrow
                | Token::Dot
                | Token::DotDot
                | Token::Comma
                | Token::Else
                | Token::RParen
                | Token::RBracket
        ) || self.is_infix_word()
    }

    /// A word between two operands.
    pub(crate) fn is_infix_word(self) -> bool {
        matches!(
            self,
            Token::By
                | Token::ByBrace
                | Token::Given
                | Token::With
                | Token::WithData
                | Token::Using
                | Token::Maximize
                | Token::Minimize
                | Token::Of
                | Token::Over
                | Token::Carry
                | Token::On
                | Token::From
        )
    }

    /// Makes the syntax tree one level deeper.
    pub(crate) fn deepens(self) -> bool {
        (self.continues_line() && self != Token::Comma && self != Token::Tilde)
            || matches!(self, Token::Minus | Token::Not | Token::RBrace | Token::Draw)
    }

    /// The infix word `name` would be, were it one.
    pub(crate) fn infix_word(name: &str) -> Option<Token<'static>> {
        Some(match name {
            "by" => Token::By,
            "given" => Token::Given,
            "with" => Token::With,
            "using" => Token::Using,
            "maximize" | "maximise" => Token::Maximize,
            "minimize" | "minimise" => Token::Minimize,
            "of" => Token::Of,
            "over" => Token::Over,
            "carry" => Token::Carry,
            "on" => Token::On,
            "from" => Token::From,
            _ => return None,
        })
    }

    /// The statement word `name` would be, were it one.
    pub(crate) fn leading_word(name: &str) -> Option<Token<'static>> {
        Some(match name {
            "data" => Token::Data,
            "state" => Token::State,
            "set" => Token::Set,
            "report" => Token::Report,
            _ => return None,
        })
    }
}

/// A token with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexed<'s> {
    pub(crate) token: Token<'s>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}
