//! Text to tokens, with Tempo's words for what goes wrong.
use crate::traceql::ast::{AttributeScope, Field, Intrinsic, Kind, Static, Status};
use crate::traceql::duration::parse_go;

/// A token and the byte offset at which it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    Static(Static),
    Field(Field),
    /// A function, stage, or hint name.
    Word(String),
    /// Punctuation and operators, as spelled.
    Sign(&'static str),
    End,
}

impl TokenKind {
    /// What an error message calls the token.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Static(Static::Int(_)) => "INTEGER".to_owned(),
            Self::Static(Static::Float(_)) => "FLOAT".to_owned(),
            Self::Static(Static::Str(_)) => "STRING".to_owned(),
            Self::Static(Static::Duration(_)) => "DURATION".to_owned(),
            Self::Static(Static::Bool(b)) => if *b { "TRUE" } else { "FALSE" }.to_owned(),
            Self::Static(Static::Nil) => "NIL".to_owned(),
            Self::Static(Static::Status(s)) => s.as_str().to_owned(),
            Self::Static(Static::Kind(k)) => k.as_str().to_owned(),
            Self::Field(f) => f.bare_name().to_owned(),
            Self::Word(w) => w.clone(),
            Self::Sign(s) => (*s).to_owned(),
            Self::End => "$end".to_owned(),
        }
    }
}

/// What is wrong, and at which byte offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) at: usize,
}

/// Longest first, so that `&>>` is not read as `&>`.
const SIGNS: [&str; 37] = [
    "!>>", "!<<", "&>>", "&<<", "&&", "||", ">>", "<<", "!>", "!<", "!~", "!=", "&>", "&<", "&~", ">=", "<=", "=~",
    "{", "}", "(", ")", "=", "<", ">", "~", "!", "|", ",", "+", "-", "*", "/", "%", "^", "[", "]",
];

/// Words that only mean something where the parser looks for them.
const WORDS: [&str; 20] = [
    "count",
    "avg",
    "min",
    "max",
    "sum",
    "by",
    "coalesce",
    "select",
    "with",
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
];

/// Splits `text` into tokens, the last of which is [`TokenKind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { text, at: 0, after_with: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let at = lexer.at;
        let kind = lexer.next()?;
        let is_end = kind == TokenKind::End;
        out.push(Token { kind, at });
        if is_end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Inside `with(…)` any word is a hint name: 0 outside, 1 after `with`, 2 inside.
    after_with: u8,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error<T>(&self, at: usize, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { message: message.into(), at })
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            if let Some(tail) = rest.strip_prefix("//") {
                self.at += 2 + tail.find('\n').unwrap_or(tail.len());
            } else if let Some(tail) = rest.strip_prefix("/*") {
                match tail.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.error(self.at, "comment not terminated"),
                }
            } else {
                let trimmed = rest.trim_start();
                if trimmed.len() == rest.len() {
                    return Ok(());
                }
                self.at += rest.len() - trimmed.len();
            }
        }
    }

    fn next(&mut self) -> Result<TokenKind, SyntaxError> {
        let Some(c) = self.peek() else { return Ok(TokenKind::End) };
        match c {
            '"' | '`' => self.string(c),
            '\'' => self.error(self.at, "syntax error: unexpected '\\''"),
            '0'..='9' => self.number(),
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            '.' => self.attribute(AttributeScope::Any, false, 1),
            c if c.is_ascii_alphabetic() || c == '_' => self.word(),
            _ => self.sign(c),
        }
    }

    fn sign(&mut self, c: char) -> Result<TokenKind, SyntaxError> {
        let Some(sign) = SIGNS.into_iter().find(|s| self.rest().starts_with(s)) else {
            return self.error(self.at, format!("syntax error: unexpected {c:?}"));
        };
        self.after_with = match (self.after_with, sign) {
            (1, "(") => 2,
            (2, ")") | (1, _) => 0,
            (state, _) => state,
        };
        self.at += sign.len();
        Ok(TokenKind::Sign(sign))
    }

    fn word(&mut self) -> Result<TokenKind, SyntaxError> {
        let rest = self.rest();
        let is_tail = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = rest.find(|c| !is_tail(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(len);
        if self.after_with < 2 {
            if let Some(name) = tail.strip_prefix(':') {
                let end = name.find(|c| !is_tail(c)).unwrap_or(name.len());
                return self.whole_field(&rest[..len + 1 + end]);
            }
            if tail.starts_with('.') {
                return self.scoped_attribute(word, tail);
            }
        }
        if let Some(literal) = keyword(word) {
            self.at += len;
            return Ok(TokenKind::Static(literal));
        }
        if self.after_with == 2 || WORDS.contains(&word) {
            self.at += len;
            self.after_with = if word == "with" { 1 } else { self.after_with };
            return Ok(TokenKind::Word(word.to_owned()));
        }
        self.whole_field(word)
    }

    /// An intrinsic that spells exactly `text`.
    fn whole_field(&mut self, text: &str) -> Result<TokenKind, SyntaxError> {
        match Intrinsic::parse(text) {
            Some(field) => {
                self.at += text.len();
                Ok(TokenKind::Field(field))
            }
            None => self.error(self.at, format!("unknown identifier: {text}")),
        }
    }

    fn scoped_attribute(&mut self, word: &str, tail: &str) -> Result<TokenKind, SyntaxError> {
        if let Some(scope) = AttributeScope::NAMED.into_iter().find(|s| s.as_str() == word) {
            return self.attribute(scope, false, word.len() + 1);
        }
        if word != "parent" {
            return self.error(self.at, format!("unknown identifier: {word}"));
        }
        for scope in [AttributeScope::Span, AttributeScope::Resource] {
            if tail[1..].strip_prefix(scope.as_str()).is_some_and(|t| t.starts_with('.')) {
                return self.attribute(scope, true, word.len() + scope.as_str().len() + 2);
            }
        }
        self.attribute(AttributeScope::Any, true, word.len() + 1)
    }

    /// Reads the name after a prefix of `prefix` bytes: up to a blank or one of the ending signs, quoted parts verbatim.
    fn attribute(&mut self, scope: AttributeScope, parent: bool, prefix: usize) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        self.at += prefix;
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '"' {
                self.quoted_part(&mut name)?;
            } else if ends_name(c) {
                break;
            } else {
                name.push(c);
                self.at += c.len_utf8();
            }
        }
        if name.is_empty() {
            return self.error(start, format!("syntax error: unexpected {}", self.what_follows()));
        }
        Ok(TokenKind::Field(Field::Attribute { scope, parent, name }))
    }

    fn what_follows(&self) -> String {
        self.peek().map_or("$end".to_owned(), |c| c.to_string())
    }

    fn quoted_part(&mut self, name: &mut String) -> Result<(), SyntaxError> {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(()),
                '\\' => match self.peek() {
                    Some(escaped @ ('"' | '\\')) => {
                        name.push(escaped);
                        self.at += 1;
                    }
                    _ => return self.error(self.at, "invalid escape sequence"),
                },
                c => name.push(c),
            }
        }
        self.error(start, "unexpected EOF, expecting \"")
    }

    fn string(&mut self, quote: char) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        self.at += 1;
        if quote == '`' {
            let Some(end) = self.rest().find('`') else {
                return self.error(start, "literal not terminated");
            };
            let text = self.rest()[..end].to_owned();
            self.at += end + 1;
            return Ok(TokenKind::Static(Static::Str(text)));
        }
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                None | Some('\n') => return self.error(start, "literal not terminated"),
                Some('"') => {
                    self.at += 1;
                    return Ok(TokenKind::Static(Static::Str(String::from_utf8_lossy(&bytes).into_owned())));
                }
                Some('\\') => self.escape(&mut bytes)?,
                Some(c) => {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// One Go escape sequence.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let start = self.at;
        let bad = || SyntaxError { message: "invalid char escape".to_owned(), at: start };
        let c = self.rest()[1..].chars().next().ok_or_else(bad)?;
        self.at += 1 + c.len_utf8();
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' => c as u8,
            'x' => self.digits(2, 16).and_then(|v| u8::try_from(v).ok()).ok_or_else(bad)?,
            '0'..='7' => {
                self.at -= 1;
                self.digits(3, 8).and_then(|v| u8::try_from(v).ok()).ok_or_else(bad)?
            }
            'u' | 'U' => {
                let len = if c == 'u' { 4 } else { 8 };
                let c = self.digits(len, 16).and_then(char::from_u32).ok_or_else(bad)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(bad()),
        };
        out.push(simple);
        Ok(())
    }

    fn digits(&mut self, len: usize, radix: u32) -> Option<u32> {
        let text = self.rest().get(..len)?;
        if !text.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at += len;
        u32::from_str_radix(text, radix).ok()
    }

    /// An integer, a float, or a duration of one or more `number unit`.
    fn number(&mut self) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        let rest = self.rest();
        let len = number_len(rest);
        let is_unit = |c: char| c.is_ascii_alphabetic() || c == 'µ' || c == 'μ';
        if rest[len..].starts_with(is_unit) {
            let more = rest[len..].find(|c: char| !(is_unit(c) || c.is_ascii_digit() || c == '.'));
            let end = more.map_or(rest.len(), |more| len + more);
            self.at += end;
            return match parse_go(&rest[..end]) {
                Some(ns) => Ok(TokenKind::Static(Static::Duration(ns))),
                None => self.error(start, format!("syntax error: unexpected {}", &rest[len..end])),
            };
        }
        self.at += len;
        let text = &rest[..len];
        let literal = if text.contains(['.', 'e', 'E']) {
            text.parse().ok().filter(|f: &f64| f.is_finite()).map(Static::Float)
        } else {
            text.parse().ok().map(Static::Int)
        };
        match literal {
            Some(literal) => Ok(TokenKind::Static(literal)),
            None => self.error(start, format!("number out of range: {text}")),
        }
    }
}

/// Whether an attribute name ends before `c`.
pub(crate) fn ends_name(c: char) -> bool {
    c.is_whitespace() || "{}()=~!<>&|^,".contains(c)
}

/// Bytes of the number at the start of `text`: digits, a fraction, an exponent.
fn number_len(text: &str) -> usize {
    let digits = |from: usize| text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| from + n);
    let mut end = digits(0);
    if text[end..].starts_with('.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let from = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        if digits(from) > from {
            end = digits(from);
        }
    }
    end
}

fn keyword(word: &str) -> Option<Static> {
    Some(match word {
        "true" => Static::Bool(true),
        "false" => Static::Bool(false),
        "nil" => Static::Nil,
        "minInt" => Static::Int(i64::MIN),
        "maxInt" => Static::Int(i64::MAX),
        _ => {
            let status = Status::ALL.into_iter().find(|s| s.as_str() == word).map(Static::Status);
            return status.or_else(|| Kind::ALL.into_iter().find(|k| k.as_str() == word).map(Static::Kind));
        }
    })
}
