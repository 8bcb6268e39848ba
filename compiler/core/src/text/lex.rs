//! Tokens of the text format.

use ppl_diag::{Code, Diagnostic, FileId, Span};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    /// A word, `reduce`.
    Word(String),
    /// A variable, `%k.1`, without `%`.
    Var(String),
    /// A name of an item, `@cone` or `@"a b"`, without `@`.
    Name(String),
    /// A string in quotes.
    Str(String),
    /// An id, `det@3`: its kind and number.
    Ref(String, u32),
    /// A real literal.
    Float(f64),
    /// An integer literal; wide enough for sites and for `i64`.
    Int(i128),
    /// Punctuation: one of `( ) [ ] { } , ; : =` or `->`.
    Punct(&'static str),
    /// End of the text.
    End,
}

impl Tok {
    /// How messages name it.
    pub(super) fn show(&self) -> String {
        match self {
            Tok::Word(w) => format!("`{w}`"),
            Tok::Var(v) => format!("`%{v}`"),
            Tok::Name(n) => format!("`@{n}`"),
            Tok::Str(s) => format!("\"{s}\""),
            Tok::Ref(k, n) => format!("`{k}@{n}`"),
            Tok::Float(v) => format!("`{v:?}`"),
            Tok::Int(v) => format!("`{v}`"),
            Tok::Punct(p) => format!("`{p}`"),
            Tok::End => "the end of the text".to_string(),
        }
    }
}

/// Code of every error of this format.
pub(super) const SYNTAX: Code = Code("E0901");

/// Characters of words after the first.
pub(super) fn word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '\'')
}

/// Splits a text into tokens with their places; the last is [`Tok::End`]. Spaces, line ends and `# remarks` are skipped.
pub(super) fn lex(text: &str, file: FileId) -> Result<Vec<(Tok, Span)>, Box<Diagnostic>> {
    let mut out = Vec::new();
    let mut lexer = Lexer { text, pos: 0, file };
    loop {
        lexer.skip();
        let start = lexer.pos;
        let tok = lexer.token()?;
        let end = tok == Tok::End;
        out.push((tok, Span::new(file, start, lexer.pos)));
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    file: FileId,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or("")
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let remark = if rest[blank..].starts_with('#') { rest[blank..].find('\n').unwrap_or(rest.len() - blank) } else { 0 };
            if blank + remark == 0 {
                return;
            }
            self.pos += blank + remark;
        }
    }

    fn take(&mut self, ok: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !ok(c)).unwrap_or(rest.len());
        self.pos += len;
        &rest[..len]
    }

    fn error(&self, start: usize, title: impl Into<String>) -> Box<Diagnostic> {
        let end = self.pos.max(start + 1).min(self.text.len().max(start));
        Box::new(Diagnostic::error(SYNTAX, title).label(Span::new(self.file, start, end), ""))
    }

    fn token(&mut self) -> Result<Tok, Box<Diagnostic>> {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return Ok(Tok::End) };
        if rest.starts_with("->") {
            self.pos += 2;
            return Ok(Tok::Punct("->"));
        }
        const PUNCT: [&str; 10] = ["(", ")", "[", "]", "{", "}", ",", ";", ":", "="];
        if let Some(p) = PUNCT.iter().find(|p| rest.starts_with(**p)) {
            self.pos += 1;
            return Ok(Tok::Punct(p));
        }
        match c {
            '%' => {
                self.pos += 1;
                match self.take(word_char) {
                    "" => Err(self.error(self.pos - 1, "a variable's name is missing after `%`")),
                    name => Ok(Tok::Var(name.to_string())),
                }
            }
            '@' => {
                self.pos += 1;
                if self.rest().starts_with('"') {
                    return self.string().map(Tok::Name);
                }
                match self.take(word_char) {
                    "" => Err(self.error(self.pos - 1, "a name is missing after `@`")),
                    name => Ok(Tok::Name(name.to_string())),
                }
            }
            '"' => self.string().map(Tok::Str),
            c if c.is_ascii_digit() || c == '-' => self.number(),
            c if c.is_alphabetic() || c == '_' => self.word(),
            c => {
                self.pos += c.len_utf8();
                Err(self.error(self.pos - c.len_utf8(), format!("`{}` has no meaning here", c.escape_default())))
            }
        }
    }

    fn word(&mut self) -> Result<Tok, Box<Diagnostic>> {
        let start = self.pos;
        let word = self.take(word_char);
        if self.rest().starts_with('@') {
            self.pos += 1;
            let digits = self.take(|c| c.is_ascii_digit());
            return match digits.parse() {
                Ok(n) => Ok(Tok::Ref(word.to_string(), n)),
                Err(_) => Err(self.error(start, format!("`{word}@` needs a number that names an item of the module"))),
            };
        }
        Ok(match word {
            "inf" => Tok::Float(f64::INFINITY),
            "nan" => Tok::Float(f64::NAN),
            _ => Tok::Word(word.to_string()),
        })
    }

    fn number(&mut self) -> Result<Tok, Box<Diagnostic>> {
        let start = self.pos;
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x") {
            self.pos += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            let len = digits.len();
            return match u64::from_str_radix(digits, 16) {
                Ok(v) => Ok(Tok::Int(v.into())),
                Err(_) => Err(self.error(start, format!("`0x{}` is not a number of 64 bits", &hex[..len]))),
            };
        }
        if rest.starts_with("-inf") {
            self.pos += 4;
            return Ok(Tok::Float(f64::NEG_INFINITY));
        }
        let mut previous = ' ';
        let len = rest
            .char_indices()
            .find(|(i, c)| {
                let sign = *i == 0 || matches!(previous, 'e' | 'E');
                let ok = c.is_ascii_alphanumeric() || *c == '.' || (matches!(c, '-' | '+') && sign);
                previous = *c;
                !ok
            })
            .map_or(rest.len(), |(i, _)| i);
        self.pos += len;
        let text = &rest[..len];
        // An integer is what has no point and no exponent.
        let value = if text.contains(['.', 'e', 'E']) {
            text.parse().ok().filter(|v: &f64| v.is_finite()).map(Tok::Float)
        } else {
            text.parse().ok().map(Tok::Int)
        };
        value.ok_or_else(|| self.error(start, format!("`{text}` is not a number")))
    }

    fn string(&mut self) -> Result<String, Box<Diagnostic>> {
        let start = self.pos;
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.pos += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c)) => out.push(c),
                    None => break,
                },
                c => out.push(c),
            }
        }
        self.pos = self.text.len();
        Err(self.error(start, "this string has no end"))
    }
}
