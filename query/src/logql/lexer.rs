//! Splits query text into tokens, with the positions that error messages name.
use super::ast::{AggregateOp, RangeOp};
use super::units;
use crate::error::Error;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// End of the text.
    End,
    Str(String),
    /// Text of a number.
    Number(String),
    DurationNs(i64),
    Bytes(u64),
    /// `[5m]`.
    RangeNs(i64),
    /// A name that is no keyword, or a function's name that no parenthesis follows.
    Ident(String),
    /// A keyword in lower case.
    Keyword(&'static str),
    /// A function's name in lower case, before a parenthesis or a grouping.
    Function(String),
    /// `--strict` or `--keep-empty`, without the dashes.
    Flag(String),
    /// An operator or punctuation.
    Op(&'static str),
    /// A character that starts no token.
    Other(char),
    /// Text that is broken from here on; the message for the user.
    Broken(String),
}

impl Token {
    /// The name under which error messages speak of the token.
    pub(super) fn name(&self) -> String {
        match self {
            Self::End => "$end".to_owned(),
            Self::Str(_) => "STRING".to_owned(),
            Self::Number(_) => "NUMBER".to_owned(),
            Self::DurationNs(_) => "DURATION".to_owned(),
            Self::Bytes(_) => "BYTES".to_owned(),
            Self::RangeNs(_) => "RANGE".to_owned(),
            Self::Ident(_) => "IDENTIFIER".to_owned(),
            Self::Keyword(k) => (*k).to_owned(),
            Self::Function(f) => function_token_name(f),
            Self::Flag(_) => "PARSER_FLAG".to_owned(),
            Self::Op(op) => (*op).to_owned(),
            Self::Other(c) => c.to_string(),
            Self::Broken(message) => message.clone(),
        }
    }
}

/// Range aggregations are spoken of by their upper-case token names, everything else as it is written.
fn function_token_name(name: &str) -> String {
    if RangeOp::from_name(name).is_some() { name.to_uppercase() } else { name.to_owned() }
}

#[derive(Clone, Debug)]
pub(super) struct Spanned {
    pub(super) token: Token,
    /// Byte offset of the token's first character.
    pub(super) at: usize,
}

const KEYWORDS: &[&str] = &[
    "by",
    "without",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "unwrap",
    "offset",
    "drop",
    "keep",
    "decolorize",
];

/// Longest first, so that the first that matches is the right one.
const OPERATORS: &[&str] = &[
    "|=", "|~", "|>", "!=", "!~", "!>", "==", "=~", ">=", "<=", "|", "=", ">", "<", "{", "}", "(", ")", ",", "+", "-",
    "*", "/", "%", "^", "]",
];

fn is_function(name: &str) -> bool {
    RangeOp::from_name(name).is_some()
        || AggregateOp::from_name(name).is_some()
        || matches!(name, "label_replace" | "vector" | "bytes" | "duration" | "duration_seconds" | "ip")
}

/// All tokens up to the end or the first broken one, which is the last of the list. Never fails itself, so that a syntax
/// error before the broken place is reported first.
pub(super) fn lex(text: &str) -> Vec<Spanned> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.at;
        let token = lexer.next_token();
        let last = matches!(token, Token::End | Token::Broken(_) | Token::Other(_));
        out.push(Spanned { token, at });
        if last {
            return out;
        }
    }
}

/// `parse error at line L, col C: …` for a place in the text.
pub(super) fn error_at(text: &str, at: usize, message: &str) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let col = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Error::Parse { message: format!("parse error at line {line}, col {col}: {message}") }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn next_token(&mut self) -> Token {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Token::End;
        };
        match first {
            '"' | '`' => self.string(first),
            '[' => self.range(),
            '-' if rest.starts_with("--strict") || rest.starts_with("--keep-empty") => self.flag(),
            c if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit())) => {
                self.number()
            }
            c if c == '_' || c.is_alphabetic() => self.word(),
            c => match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                Some(op) => {
                    self.at += op.len();
                    Token::Op(op)
                }
                None => Token::Other(c),
            },
        }
    }

    fn string(&mut self, quote: char) -> Token {
        let rest = self.rest();
        let broken = || Token::Broken("literal not terminated".to_owned());
        if quote == '`' {
            let Some(end) = rest[1..].find('`') else { return broken() };
            self.at += end + 2;
            return Token::Str(rest[1..=end].replace('\r', ""));
        }
        let mut escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => return broken(),
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.at += i + 1;
                    return match units::unquote(&rest[1..i]) {
                        Some(s) => Token::Str(s),
                        None => Token::Broken("invalid syntax".to_owned()),
                    };
                }
                _ => {}
            }
        }
        broken()
    }

    fn range(&mut self) -> Token {
        let rest = self.rest();
        let Some(end) = rest.find(']') else {
            return Token::Broken("missing closing ']' in duration".to_owned());
        };
        self.at += end + 1;
        let inner = rest[1..end].trim();
        match units::parse_range_ns(inner) {
            Some(ns) if ns > 0 => Token::RangeNs(ns),
            Some(_) => Token::Broken("range must be greater than 0".to_owned()),
            None => Token::Broken(format!("not a valid duration string: {inner:?}")),
        }
    }

    fn flag(&mut self) -> Token {
        let rest = &self.rest()[2..];
        let end = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(rest.len());
        self.at += 2 + end;
        match &rest[..end] {
            flag @ ("strict" | "keep-empty") => Token::Flag(flag.to_owned()),
            _ => Token::Broken("unknown parser flag".to_owned()),
        }
    }

    /// A number, or a number with a unit: the longest run of digits, dots and letters decides.
    fn number(&mut self) -> Token {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != 'µ').unwrap_or(rest.len());
        let run = &rest[..end];
        if let Some(ns) = units::parse_duration_ns(run).filter(|_| !run.bytes().all(|b| b.is_ascii_digit())) {
            self.at += end;
            return Token::DurationNs(ns);
        }
        // `0B` begins a binary number for Go's scanner.
        let has_unit = run.ends_with(|c: char| c.is_ascii_alphabetic()) && !run.eq_ignore_ascii_case("0b");
        if let Some(bytes) = units::parse_bytes(run).filter(|_| has_unit) {
            self.at += end;
            return Token::Bytes(bytes);
        }
        self.plain_number(rest)
    }

    fn plain_number(&mut self, rest: &str) -> Token {
        let bytes = rest.as_bytes();
        if bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') {
            let end = 2 + rest[2..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - 2);
            self.at += end;
            return Token::Number(rest[..end].to_owned());
        }
        if bytes.len() > 1 && bytes[0] == b'0' && matches!(bytes[1], b'b' | b'B' | b'o' | b'O') {
            return Token::Broken("decimal literal has no digits".to_owned());
        }
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = if end + 1 + sign <= bytes.len() { digits(end + 1 + sign) } else { 0 };
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
        self.at += end;
        Token::Number(rest[..end].to_owned())
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
        self.at += end;
        let word = &rest[..end];
        let lower = word.to_lowercase();
        if is_function(&lower) {
            return if self.opens_call() { Token::Function(lower) } else { Token::Ident(word.to_owned()) };
        }
        match KEYWORDS.iter().find(|k| **k == lower) {
            Some(k) => Token::Keyword(k),
            None => Token::Ident(word.to_owned()),
        }
    }

    /// Whether a parenthesis or a grouping follows, so that the word before is a function.
    fn opens_call(&self) -> bool {
        let rest = self.rest().trim_start();
        if rest.starts_with('(') {
            return true;
        }
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
        matches!(rest[..end].to_lowercase().as_str(), "by" | "without")
    }
}
