//! Cuts a query into tokens with byte positions, in Prometheus' words for what is wrong.
use super::ast::Span;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tok {
    Eof,
    /// A name; whether it is a keyword depends on where it stands (see [`is_keyword`]).
    Ident,
    /// A name with a colon.
    MetricIdent,
    Number,
    Duration,
    Str,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=`
    Assign,
    /// `=~`
    AssignRegex,
    /// `!~`
    NotRegex,
    /// `==`
    Equal,
    /// `!=`, as operator or inside braces.
    NotEqual,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    TrimUpper,
    TrimLower,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// A token and the bytes it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub tok: Tok,
    pub text: &'a str,
    pub span: Span,
    /// Inside `{}` no name is a keyword.
    pub in_braces: bool,
}

/// What is wrong, and where.
#[derive(Clone, Debug)]
pub(super) struct SyntaxError {
    pub message: String,
    pub span: Span,
}

const AGGREGATORS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const WORD_OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];
const KEYWORDS: [&str; 19] = [
    "offset",
    "smoothed",
    "anchored",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "bool",
    "start",
    "end",
    "step",
    "range",
    "max_of",
    "min_of",
];

impl Token<'_> {
    /// The lower-case keyword that this name is, outside braces.
    pub(super) fn keyword(&self) -> Option<&'static str> {
        if self.tok != Tok::Ident || self.in_braces {
            return None;
        }
        AGGREGATORS.iter().chain(&WORD_OPERATORS).chain(&KEYWORDS).find(|k| k.eq_ignore_ascii_case(self.text)).copied()
    }

    pub(super) fn is_keyword(&self, word: &str) -> bool {
        self.tok == Tok::Ident && !self.in_braces && self.text.eq_ignore_ascii_case(word)
    }

    /// How Prometheus names the token in a message.
    pub(super) fn describe(&self) -> String {
        let quoted = || format!("{:?}", self.text);
        match self.tok {
            Tok::Eof => "end of input".to_owned(),
            Tok::Ident => match self.keyword() {
                Some(word) if AGGREGATORS.contains(&word) => format!("<aggr:{}>", self.text),
                Some(word) if WORD_OPERATORS.contains(&word) => format!("<op:{}>", self.text),
                Some(_) => format!("<{}>", self.text),
                None => format!("identifier {}", quoted()),
            },
            Tok::MetricIdent => format!("metric identifier {}", quoted()),
            Tok::Number => format!("number {}", shortened(self.text)),
            Tok::Duration => format!("duration {}", shortened(self.text)),
            Tok::Str => format!("string {}", shortened(self.text)),
            Tok::LeftParen
            | Tok::RightParen
            | Tok::LeftBrace
            | Tok::RightBrace
            | Tok::LeftBracket
            | Tok::RightBracket
            | Tok::Comma
            | Tok::Colon
            | Tok::Assign => quoted(),
            Tok::At
            | Tok::AssignRegex
            | Tok::NotRegex
            | Tok::Equal
            | Tok::NotEqual
            | Tok::Less
            | Tok::LessEq
            | Tok::Greater
            | Tok::GreaterEq
            | Tok::TrimUpper
            | Tok::TrimLower
            | Tok::Add
            | Tok::Sub
            | Tok::Mul
            | Tok::Div
            | Tok::Mod
            | Tok::Pow => format!("<op:{}>", self.text),
        }
    }
}

/// Go's `%.10q...` of a long text, `%q` of a short one.
fn shortened(text: &str) -> String {
    if text.len() > 10 {
        let head: String = text.chars().take(10).collect();
        format!("{head:?}...")
    } else {
        format!("{text:?}")
    }
}

/// All tokens of `input`; the last one is [`Tok::Eof`].
///
/// An error ends the tokens: what was cut before it is returned beside it, since the parser may find an earlier mistake.
pub(super) fn tokens(input: &str) -> (Vec<Token<'_>>, Option<SyntaxError>) {
    let mut lexer = Lexer { input, pos: 0, out: Vec::new(), parens: 0, braces: false, brackets: false, colon: false };
    let error = lexer.run().err();
    (lexer.out, error)
}

struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    out: Vec<Token<'a>>,
    parens: usize,
    braces: bool,
    brackets: bool,
    /// A colon was seen in the open brackets.
    colon: bool,
}

type Step = Result<(), SyntaxError>;

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Step {
        loop {
            self.skip_blank();
            let start = self.pos;
            let Some(c) = self.peek() else {
                return self.end();
            };
            if self.braces { self.inside_braces(start, c)? } else { self.statement(start, c)? }
        }
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' => self.pos += 1,
                '#' => {
                    let rest = &self.input[self.pos..];
                    self.pos += rest.find(['\n', '\r']).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn end(&mut self) -> Step {
        let at = self.pos;
        if self.braces {
            return fail("unexpected end of input inside braces", at, at);
        }
        if self.parens != 0 {
            return fail("unclosed left parenthesis", at, at);
        }
        if self.brackets {
            let is_open = self.out.last().is_some_and(|t| t.tok == Tok::LeftBracket);
            let message =
                if is_open { "unexpected end of input in duration expression" } else { "unclosed left bracket" };
            return fail(message, at, at);
        }
        self.emit(Tok::Eof, at);
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.input[self.pos..].chars().next()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.input.as_bytes().get(self.pos + ahead).copied().unwrap_or(0)
    }

    fn emit(&mut self, tok: Tok, start: usize) {
        self.out.push(Token {
            tok,
            text: &self.input[start..self.pos],
            span: Span::new(start, self.pos),
            in_braces: self.braces,
        });
    }

    fn take(&mut self, tok: Tok, bytes: usize, start: usize) -> Step {
        self.pos += bytes;
        self.emit(tok, start);
        Ok(())
    }

    fn statement(&mut self, start: usize, c: char) -> Step {
        let next = self.byte(1);
        match c {
            ',' => self.take(Tok::Comma, 1, start),
            '*' => self.take(Tok::Mul, 1, start),
            '/' => self.take(Tok::Div, 1, start),
            '%' => self.take(Tok::Mod, 1, start),
            '+' => self.take(Tok::Add, 1, start),
            '-' => self.take(Tok::Sub, 1, start),
            '^' => self.take(Tok::Pow, 1, start),
            '@' => self.take(Tok::At, 1, start),
            '=' if next == b'=' => self.take(Tok::Equal, 2, start),
            '=' if next == b'~' => fail("unexpected character after '=': '~'", start, start + 1),
            '=' => self.take(Tok::Assign, 1, start),
            '!' if next == b'=' => self.take(Tok::NotEqual, 2, start),
            '!' => fail(format!("unexpected character after '!': {}", self.rune_after(1)), start, start + 1),
            '<' if next == b'=' => self.take(Tok::LessEq, 2, start),
            '<' if next == b'/' => self.take(Tok::TrimUpper, 2, start),
            '<' => self.take(Tok::Less, 1, start),
            '>' if next == b'=' => self.take(Tok::GreaterEq, 2, start),
            '>' if next == b'/' => self.take(Tok::TrimLower, 2, start),
            '>' => self.take(Tok::Greater, 1, start),
            '0'..='9' => self.number_or_duration(start),
            '.' if next.is_ascii_digit() => self.number_or_duration(start),
            '"' | '\'' | '`' if self.brackets => {
                fail(format!("unexpected character in duration expression: {}", quoted_rune(c)), start, start + 1)
            }
            '"' | '\'' | '`' => self.string(start, c),
            'a'..='z' | 'A'..='Z' | '_' | ':' => self.name(start, c),
            '(' => {
                self.parens += 1;
                self.take(Tok::LeftParen, 1, start)
            }
            // Prometheus takes the parenthesis before it counts: the error is behind it.
            ')' if self.parens == 0 => fail("unexpected right parenthesis ')'", start + 1, start + 1),
            ')' => {
                self.parens -= 1;
                self.take(Tok::RightParen, 1, start)
            }
            '{' => {
                self.take(Tok::LeftBrace, 1, start)?;
                self.braces = true;
                Ok(())
            }
            '[' if self.brackets => fail("unexpected left bracket '['", start, start + 1),
            '[' => {
                self.brackets = true;
                self.colon = false;
                self.take(Tok::LeftBracket, 1, start)
            }
            ']' if !self.brackets => fail("unexpected right bracket ']'", start, start + 1),
            ']' => {
                self.brackets = false;
                self.take(Tok::RightBracket, 1, start)
            }
            other => fail(format!("unexpected character: {other:?}"), start, start + other.len_utf8()),
        }
    }

    fn inside_braces(&mut self, start: usize, c: char) -> Step {
        let next = self.byte(1);
        match c {
            'a'..='z' | 'A'..='Z' | '_' => {
                self.pos += self.input[self.pos..].bytes().take_while(|b| is_alnum(*b)).count();
                self.emit(Tok::Ident, start);
                Ok(())
            }
            ',' => self.take(Tok::Comma, 1, start),
            '"' | '\'' | '`' => self.string(start, c),
            '=' if next == b'~' => self.take(Tok::AssignRegex, 2, start),
            '=' => self.take(Tok::Assign, 1, start),
            '!' if next == b'~' => self.take(Tok::NotRegex, 2, start),
            '!' if next == b'=' => self.take(Tok::NotEqual, 2, start),
            '!' => {
                fail(format!("unexpected character after '!' inside braces: {}", self.rune_after(1)), start, start + 1)
            }
            '{' => fail("unexpected left brace '{'", start, start + 1),
            '}' => {
                self.braces = false;
                self.take(Tok::RightBrace, 1, start)
            }
            other => fail(format!("unexpected character inside braces: {other:?}"), start, start + other.len_utf8()),
        }
    }

    fn rune_after(&self, bytes: usize) -> String {
        match self.input[self.pos + bytes..].chars().next() {
            Some(c) => format!("{c:?}"),
            None => "'\\uffff'".to_owned(),
        }
    }

    fn name(&mut self, start: usize, c: char) -> Step {
        if self.brackets {
            return self.name_in_brackets(start, c);
        }
        let text = &self.input[self.pos..];
        let len = text.bytes().take_while(|b| is_alnum(*b) || *b == b':').count();
        let word = &text[..len];
        self.pos += len;
        let tok = if word.contains(':') {
            Tok::MetricIdent
        } else if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
            Tok::Number
        } else {
            Tok::Ident
        };
        self.emit(tok, start);
        Ok(())
    }

    fn name_in_brackets(&mut self, start: usize, c: char) -> Step {
        if c == ':' {
            if self.colon {
                return fail("unexpected colon ':'", start, start + 1);
            }
            self.colon = true;
            return self.take(Tok::Colon, 1, start);
        }
        let text = &self.input[self.pos..];
        let len = text.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'_').count();
        if ["step", "range", "max_of", "min_of"].iter().any(|k| k.eq_ignore_ascii_case(&text[..len])) {
            return self.take(Tok::Ident, len, start);
        }
        fail(format!("unexpected character: {c:?}, expected ':'"), start, start + 1)
    }

    fn number_or_duration(&mut self, start: usize) -> Step {
        let bytes = &self.input.as_bytes()[start..];
        if let Some(len) = duration_len(bytes) {
            return self.take(Tok::Duration, len, start);
        }
        let len = number_len(bytes);
        let ends_well = !bytes.get(len).is_some_and(|b| is_alnum(*b) || *b == b'.');
        if len > 0 && ends_well {
            return self.take(Tok::Number, len, start);
        }
        let stop = start + bad_number_len(bytes, len).min(bytes.len());
        let stop = (stop..=self.input.len()).find(|i| self.input.is_char_boundary(*i)).unwrap_or(stop);
        fail(format!("bad number or duration syntax: {:?}", &self.input[start..stop]), start, stop)
    }

    fn string(&mut self, start: usize, quote: char) -> Step {
        self.pos += 1;
        loop {
            let Some(c) = self.peek() else {
                let what = if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" };
                return fail(what, start, self.pos);
            };
            self.pos += c.len_utf8();
            match c {
                c if c == quote => {
                    self.emit(Tok::Str, start);
                    return Ok(());
                }
                '\n' if quote != '`' => return fail("unterminated quoted string", start, self.pos),
                '\\' if quote != '`' => self.escape(start, quote)?,
                _ => {}
            }
        }
    }

    /// Checks one escape after its backslash; the bytes are decoded by [`super::numbers::unquote`].
    fn escape(&mut self, start: usize, quote: char) -> Step {
        let Some(c) = self.peek() else {
            return fail("escape sequence not terminated", start, self.pos);
        };
        let (digits, radix, max) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => (0, 16, 0),
            c if c == quote => (0, 16, 0),
            '0'..='7' => (3, 8, 255),
            'x' => (2, 16, 255),
            'u' => (4, 16, 0x10_ffff),
            'U' => (8, 16, 0x10_ffff),
            other => {
                return fail(format!("unknown escape sequence U+{:04X} {other:?}", other as u32), start, self.pos);
            }
        };
        if digits == 0 || radix == 16 {
            self.pos += c.len_utf8();
        }
        let mut value = 0u32;
        for _ in 0..digits {
            let Some(c) = self.peek() else {
                return fail("escape sequence not terminated", start, self.pos);
            };
            let Some(digit) = c.to_digit(radix) else {
                let message = format!("illegal character U+{:04X} {c:?} in escape sequence", c as u32);
                return fail(message, start, self.pos);
            };
            value = value.saturating_mul(radix).saturating_add(digit);
            self.pos += 1;
        }
        if digits > 0 && (value > max || (0xd800..0xe000).contains(&value)) {
            return fail("escape sequence is an invalid Unicode code point", start, self.pos);
        }
        Ok(())
    }
}

fn fail(message: impl Into<String>, start: usize, end: usize) -> Step {
    Err(SyntaxError { message: message.into(), span: Span::new(start, end) })
}

/// Go's `%q` of a quote.
fn quoted_rune(c: char) -> String {
    if c == '\'' { "'\\''".to_owned() } else { format!("'{c}'") }
}

fn is_alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// Length of the duration at the start of `bytes`: digits and units, at least once, not followed by a name.
fn duration_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            break;
        }
        let unit = at + digits;
        match bytes.get(unit) {
            // Units like hs are found out when the duration is read.
            Some(b's' | b'm' | b'h' | b'd' | b'w' | b'y') if bytes.get(unit + 1) == Some(&b's') => at = unit + 2,
            Some(b's' | b'm' | b'h' | b'd' | b'w' | b'y') => at = unit + 1,
            _ => return None,
        }
    }
    (at > 0 && !bytes.get(at).is_some_and(|b| is_alnum(*b))).then_some(at)
}

/// How far Prometheus' lexer reads before it gives up on what begins like a number of `number` bytes.
fn bad_number_len(bytes: &[u8], number: usize) -> usize {
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|b| set.contains(b));
    let mut at = number;
    if is(at, b".") {
        return at + 1;
    }
    if !is(at, b"smhdwy") {
        return at;
    }
    loop {
        at += 1 + usize::from(is(at + 1, b"s"));
        let digits = bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
        at += digits;
        if digits == 0 {
            return at + 1;
        }
        if !is(at, b"smhdw") {
            return at;
        }
    }
}

/// Length of the number at the start of `bytes`: decimal or hex digits with single underscores, fraction, exponent.
fn number_len(bytes: &[u8]) -> usize {
    if bytes.len() > 2 && bytes[0] == b'0' && matches!(bytes[1], b'x' | b'X') {
        let digits = run_len(&bytes[2..], u8::is_ascii_hexdigit);
        return if digits == 0 { 0 } else { 2 + digits };
    }
    let mut at = run_len(bytes, u8::is_ascii_digit);
    if bytes.get(at) == Some(&b'.') {
        at += 1 + run_len(&bytes[at + 1..], u8::is_ascii_digit);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let digits = run_len(&bytes[(at + 1 + sign).min(bytes.len())..], u8::is_ascii_digit);
        if digits > 0 {
            at += 1 + sign + digits;
        }
    }
    at
}

/// Length of a run of digits in which single underscores stand between digits.
fn run_len(bytes: &[u8], is_digit: impl Fn(&u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        let underscore = *b == b'_' && at > 0 && bytes.get(at + 1).is_some_and(&is_digit);
        if !is_digit(b) && !underscore {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(input: &str) -> Vec<Tok> {
        tokens(input).0.into_iter().map(|t| t.tok).collect()
    }

    #[test]
    fn numbers_durations_and_names() {
        use Tok::*;
        for (input, expected) in [
            ("1e3 0x1F .5 1_000 2.", vec![Number, Number, Number, Number, Number, Eof]),
            ("5m 1h30m 100ms 1y2w", vec![Duration, Duration, Duration, Duration, Eof]),
            ("a:b sum Inf nan", vec![MetricIdent, Ident, Number, Number, Eof]),
            ("a # comment\n+ 1", vec![Ident, Add, Number, Eof]),
            ("x[5m:1m]", vec![Ident, LeftBracket, Duration, Colon, Duration, RightBracket, Eof]),
            ("{a=~'x'}", vec![LeftBrace, Ident, AssignRegex, Str, RightBrace, Eof]),
        ] {
            assert_eq!(kinds(input), expected, "{input}");
        }
    }

    #[test]
    fn errors_are_prometheus_words() {
        for (input, message) in [
            ("(", "unclosed left parenthesis"),
            ("a[5m", "unclosed left bracket"),
            (")", "unexpected right parenthesis ')'"),
            ("{a=\"b\"", "unexpected end of input inside braces"),
            ("\"a", "unterminated quoted string"),
            ("\"\\k\"", "unknown escape sequence U+006B 'k'"),
            ("$", "unexpected character: '$'"),
        ] {
            assert_eq!(tokens(input).1.map(|e| e.message).as_deref(), Some(message), "{input}");
        }
    }
}
