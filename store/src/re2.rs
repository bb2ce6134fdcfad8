//! Regular expressions as Go's `regexp` reads them (RE2's syntax), which is what selectors are written in, put in the words of the
//! `regex` crate, which reads much of it otherwise: there `\d`, `\w`, `\s` and `\b` are about all of Unicode, `&&`, `--` and `~~` are
//! operators in a class, `\<` is an assertion, and some of what Go refuses is accepted.
//!
//! The grammar is that of Go's package `regexp/syntax` with its flags `Perl`; errors are in its words.
mod class;
mod escape;

use escape::{Escape, put_literal};

/// Most repetitions that `{n,m}` may ask for.
const REPEAT_MAX: u32 = 1000;
/// Most bytes of a compiled expression.
pub const SIZE_MAX: usize = 10 << 20;

/// The expression in the syntax of the `regex` crate, accepting the same texts. Errors: what Go says behind `error parsing
/// regexp: `.
pub fn translate(pattern: &str) -> Result<String, String> {
    let mut parser = Parser { pattern, rest: pattern, out: String::with_capacity(pattern.len() + 8), open: 0 };
    parser.whole().map_err(|(what, at)| format!("{what}: `{at}`"))?;
    Ok(parser.out)
}

/// The same, compiled: what is too large to compile is an error, too.
pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
    let translated = translate(pattern)?;
    regex::RegexBuilder::new(&translated).size_limit(SIZE_MAX).build().map_err(|error| refusal(&error))
}

/// Why the `regex` crate refuses a translated expression, in one line.
pub(crate) fn refusal(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// What is wrong, and the part of the expression.
type Fault<'a> = (&'static str, &'a str);

struct Parser<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    /// Groups that are not closed yet.
    open: usize,
}

/// What came last, as far as a repetition cares.
#[derive(Clone, Copy)]
enum Last<'a> {
    /// Nothing that can be repeated.
    Nothing,
    Atom,
    /// A repetition, and the expression from it on.
    Repetition(&'a str),
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<(), Fault<'a>> {
        let mut last = Last::Nothing;
        while let Some(c) = self.rest.chars().next() {
            last = match c {
                '(' => self.group()?,
                ')' if self.open == 0 => return Err(("unexpected )", self.pattern)),
                ')' => {
                    self.open -= 1;
                    self.copy(1);
                    Last::Atom
                }
                '|' => {
                    self.copy(1);
                    Last::Nothing
                }
                '*' | '+' | '?' => self.repeated(last, 1)?,
                '{' => match repeat(self.rest) {
                    Some((len, true)) => self.repeated(last, len)?,
                    Some((len, false)) => return Err(("invalid repeat count", &self.rest[..len])),
                    None => self.literal(c),
                },
                '[' => {
                    self.rest = class::translate(self.rest, &mut self.out)?;
                    Last::Atom
                }
                '\\' => self.escaped()?,
                '^' | '$' | '.' => {
                    self.copy(1);
                    Last::Atom
                }
                _ => self.literal(c),
            };
        }
        if self.open > 0 { Err(("missing closing )", self.pattern)) } else { Ok(()) }
    }

    fn copy(&mut self, len: usize) {
        let (part, rest) = self.rest.split_at(len);
        self.out.push_str(part);
        self.rest = rest;
    }

    fn literal(&mut self, c: char) -> Last<'a> {
        put_literal(c, &mut self.out);
        self.rest = &self.rest[c.len_utf8()..];
        Last::Atom
    }

    /// `*`, `+`, `?` or `{n,m}` of `len` bytes, lazy or not.
    fn repeated(&mut self, last: Last<'a>, len: usize) -> Result<Last<'a>, Fault<'a>> {
        let before = self.rest;
        let len = len + usize::from(before[len..].starts_with('?'));
        match last {
            Last::Nothing => return Err(("missing argument to repetition operator", &before[..len])),
            Last::Repetition(first) => {
                let both = first.len() - before.len() + len;
                return Err(("invalid nested repetition operator", &first[..both]));
            }
            Last::Atom => {}
        }
        self.copy(len);
        Ok(Last::Repetition(before))
    }

    /// `(`, `(?:`, `(?P<name>` or flags.
    fn group(&mut self) -> Result<Last<'a>, Fault<'a>> {
        let rest = self.rest;
        let Some(perl) = rest.strip_prefix("(?") else {
            self.open += 1;
            self.copy(1);
            return Ok(Last::Nothing);
        };
        let name = perl.strip_prefix("P<").or_else(|| perl.strip_prefix('<'));
        if let Some(name) = name.filter(|name| !name.starts_with(['=', '!'])) {
            let Some(end) = name.find('>') else { return Err(("invalid named capture", rest)) };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let len = rest.len() - name.len() + end + 1;
            if end == 0 || !name[..end].chars().all(is_word) {
                return Err(("invalid named capture", &rest[..len]));
            }
            self.open += 1;
            self.copy(len);
            return Ok(Last::Nothing);
        }
        self.flags(perl)
    }

    /// `imsU` after `(?`, switched on or off for the group behind a colon, or for what follows.
    fn flags(&mut self, perl: &'a str) -> Result<Last<'a>, Fault<'a>> {
        let (mut on, mut off, mut is_off, mut has_any) = (String::new(), String::new(), false, false);
        for (at, c) in perl.char_indices() {
            let len = self.rest.len() - perl.len() + at + c.len_utf8();
            match c {
                'i' | 'm' | 's' | 'U' => {
                    has_any = true;
                    let (flags, others) = if is_off { (&mut off, &mut on) } else { (&mut on, &mut off) };
                    others.retain(|other| other != c);
                    if !flags.contains(c) {
                        flags.push(c);
                    }
                }
                // Switched off is what comes behind it, of which there must be something.
                '-' if !is_off => (is_off, has_any) = (true, false),
                ':' | ')' if !is_off || has_any => {
                    self.rest = &self.rest[len..];
                    let dash = if off.is_empty() { "" } else { "-" };
                    let is_empty = on.is_empty() && off.is_empty();
                    if c == ':' || !is_empty {
                        self.out.push_str(&format!("(?{on}{dash}{off}{c}"));
                    }
                    self.open += usize::from(c == ':');
                    return Ok(Last::Nothing);
                }
                _ => return Err(("invalid or unsupported Perl syntax", &self.rest[..len])),
            }
        }
        Err(("missing closing )", self.pattern))
    }

    fn escaped(&mut self) -> Result<Last<'a>, Fault<'a>> {
        if let Some(quoted) = self.rest.strip_prefix(r"\Q") {
            let (literal, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            literal.chars().for_each(|c| put_literal(c, &mut self.out));
            self.rest = rest;
            // Nothing that is quoted is nothing to repeat, unless there is something before it; either way an atom.
            return Ok(Last::Atom);
        }
        let (escape, rest) = Escape::read(self.rest)?;
        match escape {
            Escape::WordBoundary => self.out.push_str(r"(?-u:\b)"),
            Escape::NoWordBoundary => self.out.push_str(r"(?-u:\B)"),
            Escape::Start => self.out.push_str(r"\A"),
            Escape::End => self.out.push_str(r"\z"),
            Escape::Class(class) => {
                self.out.push('[');
                self.out.push_str(&class);
                self.out.push(']');
            }
            Escape::Literal(c) => put_literal(c, &mut self.out),
        }
        self.rest = rest;
        Ok(Last::Atom)
    }
}

/// The length of `{n}`, `{n,}` or `{n,m}`, and whether it is one that may be; none of what is no repetition, and stands for itself.
fn repeat(text: &str) -> Option<(usize, bool)> {
    let end = text.find('}')?;
    let inside = &text[1..end];
    let (min, max) =
        inside.split_once(',').map_or((inside, Some(inside)), |(min, max)| (min, (!max.is_empty()).then_some(max)));
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let is_plain = digits.len() == 1 || !digits.starts_with('0');
        (is_number && is_plain).then(|| digits.parse::<u32>().unwrap_or(u32::MAX))
    };
    let min = number(min)?;
    let max = match max {
        Some(max) => number(max)?,
        None => min,
    };
    Some((end + 1, min <= max && max <= REPEAT_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        compile(&format!("^(?s:{pattern})$")).unwrap().is_match(text)
    }

    #[track_caller]
    fn accepts(pattern: &str, yes: &[&str], no: &[&str]) {
        yes.iter().for_each(|text| assert!(is_match(pattern, text), "{pattern} does not match {text}"));
        no.iter().for_each(|text| assert!(!is_match(pattern, text), "{pattern} matches {text}"));
    }

    #[test]
    fn classes_are_about_ascii() {
        accepts(r"\w+", &["a_1"], &["é", "aé", "٣", "日本"]);
        accepts(r"\W", &["é", "-"], &["a"]);
        accepts(r"\d", &["3"], &["٣"]);
        accepts(r"\D", &["٣"], &["3"]);
        accepts(r"\s", &[" ", "\t", "\u{c}"], &["\u{b}", "\u{a0}", "a"]);
        accepts(r"[\d-]+", &["1-2"], &["a"]);
        accepts(r"[^\W\d]", &["a", "_"], &["1", "é"]);
        accepts("[[:word:][:^alnum:]]", &["a", "é"], &[]);
        accepts(r"a\b.*", &["a", "aé", "a b"], &["ab"]);
        accepts(r"a\B.", &["ab"], &["aé", "a-"]);
    }

    #[test]
    fn what_is_an_operator_elsewhere_stands_for_itself() {
        accepts("[a&&b]", &["a", "b", "&"], &["~"]);
        accepts("[a~~b]", &["a", "b", "~"], &["&"]);
        accepts("[+--a]", &["+", ",", "-", "a"], &["b"]);
        accepts("[[a]b]", &["[b]", "ab]"], &["a", "b"]);
        accepts("[[b]", &["[", "b"], &["a"]);
        accepts("[]a]", &["]", "a"], &["b"]);
        accepts("[^]a]", &["b"], &["]", "a"]);
        accepts("[a-]", &["a", "-"], &["b"]);
        accepts("[a-c-e]", &["b", "-", "e"], &["d"]);
        accepts(r"\<foo\>", &["<foo>"], &["foo"]);
        accepts("a{", &["a{"], &[]);
        accepts("a{,2}", &["a{,2}"], &["aa"]);
        accepts("a{02}", &["a{02}"], &["aa"]);
        accepts("x#y z", &["x#y z"], &[]);
        accepts(r"\Qa.b\E+", &["a.bb"], &["axb"]);
        accepts(r"\101\x41\x{e9}\_\-", &["AAé_-"], &[]);
        accepts(r"[\x00-\x{7f}\n]", &["a", "\n"], &["é"]);
        accepts("(?)a", &["a"], &["A"]);
        accepts("(?i)a(?-i:b)", &["ab", "Ab"], &["AB"]);
        accepts("(?i)[^k]", &["b"], &["K", "\u{212a}"]);
        accepts(r"\pL\p{Greek}\PN\p{^Lu}", &["éαab"], &["éaab", "éαaB"]);
        accepts("(?P<a>x)(?<b>y)", &["xy"], &[]);
        accepts("a{2}|b{1,}|c{1,2}?", &["aa", "b", "bbb", "cc"], &["a", "ccc"]);
        // What the group around it does not enclose.
        accepts("a)|(b", &["a", "abc", "b", "cb"], &["c"]);
    }

    #[test]
    fn errors_are_in_the_words_of_go() {
        for (pattern, expected) in [
            ("*foo", "missing argument to repetition operator: `*`"),
            ("(*)", "missing argument to repetition operator: `*`"),
            ("a|{2}", "missing argument to repetition operator: `{2}`"),
            ("a++", "invalid nested repetition operator: `++`"),
            ("a*?*", "invalid nested repetition operator: `*?*`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{2000}", "invalid repeat count: `{2000}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("(?x)a b", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
            ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?P<é>a)", "invalid named capture: `(?P<é>`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("[", "missing closing ]: `[`"),
            ("[]", "missing closing ]: `[]`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Alphabetic}+", r"invalid character class range: `\p{Alphabetic}`"),
            (r"\p{L", r"invalid character class range: `\p{L`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\u0041", r"invalid escape sequence: `\u`"),
            (r"\q", r"invalid escape sequence: `\q`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
            (r"\Z", r"invalid escape sequence: `\Z`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(translate(pattern), Err(expected.to_owned()), "{pattern}");
        }
    }

    proptest! {
        /// Whatever is translated, the crate reads, or says in a line that it is too large.
        #[test]
        fn what_is_translated_compiles(pattern in r"([a-c.*+?|()^$\[\]{}&~<>#\-]|\\[a-zA-Z0-9&~<>\\]|\{[0-9],?[0-9]?\}|\(\?[imsUP:<>-]{1,3}|\[:[a-z]{4,5}:\]|é){0,12}") {
            if let Ok(translated) = translate(&pattern) {
                let compiled = regex::RegexBuilder::new(&translated).build();
                if let Err(error) = compiled {
                    let known = ["duplicate capture", "too big", "exceeds size limit", "repetition operator missing"];
                    prop_assert!(known.iter().any(|text| error.to_string().contains(text)), "{} -> {}: {}", pattern, translated, error);
                }
            }
        }

        #[test]
        fn no_text_is_too_odd(pattern in any::<String>()) {
            drop(compile(&pattern));
        }
    }
}
