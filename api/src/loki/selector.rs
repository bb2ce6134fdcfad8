//! The label set of a pushed stream in its text form: `{a="b", c="d"}` with Go's string literals.

/// Whether a label can be selected by this name.
pub(super) fn is_label_name(name: &str) -> bool {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(is_name) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// Parses into pairs in their order. `Err` says what is wrong and where.
pub(super) fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut c = Cursor { text, at: 0 };
    let mut pairs = Vec::new();
    c.expect('{')?;
    c.skip_space();
    while !c.eat('}') {
        let name = c.name()?;
        c.skip_space();
        c.expect('=')?;
        c.skip_space();
        let value = c.string()?;
        pairs.push((name, value));
        c.skip_space();
        if !c.eat(',') {
            c.expect('}')?;
            break;
        }
        c.skip_space();
    }
    c.skip_space();
    if c.at < text.len() {
        return Err(c.unexpected());
    }
    Ok(pairs)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn unexpected(&self) -> String {
        let found = self.rest().chars().next().map_or_else(|| "end of input".to_owned(), |c| format!("{c:?}"));
        format!("parse error at line 1, col {}: syntax error: unexpected {found}", self.at + 1)
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        self.skip_space();
        if self.eat(c) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn name(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if len == 0 || rest.as_bytes()[0].is_ascii_digit() {
            return Err(self.unexpected());
        }
        self.at += len;
        Ok(rest[..len].to_owned())
    }

    fn string(&mut self) -> Result<String, String> {
        if self.eat('`') {
            let end = self.rest().find('`').ok_or_else(|| self.unterminated())?;
            let value = self.rest()[..end].to_owned();
            self.at += end + 1;
            return Ok(value);
        }
        if !self.eat('"') {
            return Err(self.unexpected());
        }
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            let plain =
                rest.bytes().position(|b| matches!(b, b'"' | b'\\' | b'\n')).ok_or_else(|| self.unterminated())?;
            out.extend_from_slice(&rest.as_bytes()[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => break,
                b'\\' => self.escape(&mut out)?,
                _ => return Err(self.unterminated()),
            }
        }
        String::from_utf8(out).map_err(|_| format!("parse error at line 1, col {}: value is not UTF-8", self.at))
    }

    fn unterminated(&self) -> String {
        format!("parse error at line 1, col {}: literal not terminated", self.at + 1)
    }

    /// After a backslash. `\x` and octal give bytes, `\u` and `\U` characters.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let kind = self.rest().chars().next().ok_or_else(|| self.unterminated())?;
        self.at += kind.len_utf8();
        let simple = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' => kind as u8,
            'x' => self.digits(2, 16)? as u8,
            '0'..='7' => {
                self.at -= 1;
                u8::try_from(self.digits(3, 8)?).map_err(|_| self.bad_escape())?
            }
            'u' | 'U' => {
                let code = self.digits(if kind == 'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code).ok_or_else(|| self.bad_escape())?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.bad_escape()),
        };
        out.push(simple);
        Ok(())
    }

    fn bad_escape(&self) -> String {
        format!("parse error at line 1, col {}: invalid char escape", self.at)
    }

    fn digits(&mut self, n: usize, radix: u32) -> Result<u32, String> {
        let digits = self.rest().get(..n).filter(|d| d.chars().all(|c| c.is_digit(radix)));
        let value = digits.and_then(|d| u32::from_str_radix(d, radix).ok()).ok_or_else(|| self.bad_escape())?;
        self.at += n;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn label_sets() {
        for (text, pairs) in [
            ("{}", vec![]),
            (r#"{a="b"}"#, vec![("a", "b")]),
            (r#" { a = "b" , c="d", } "#, vec![("a", "b"), ("c", "d")]),
            (r#"{a="q\"\\\n\t\x41\u00e9\101"}"#, vec![("a", "q\"\\\n\tA\u{e9}A")]),
            ("{a=`raw\\n`}", vec![("a", "raw\\n")]),
        ] {
            let got = parse_labels(text).unwrap();
            assert_eq!(got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), pairs, "{text}");
        }
        for bad in
            ["", "{", "a=\"b\"", "{a}", "{a=b}", "{a=\"b}", "{1a=\"b\"}", r#"{a="\q"}"#, r#"{a="\xff"}"#, "{a=\"b\"} x"]
        {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in r#"[{}a=",\\xu0 `é]{0,20}"#) {
            let _unchecked = parse_labels(&text);
        }
    }
}
