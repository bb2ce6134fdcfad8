//! What a backslash begins.
use super::Fault;

const INVALID_ESCAPE: &str = "invalid escape sequence";
pub(super) const INVALID_RANGE: &str = "invalid character class range";

/// Categories of characters that Go has by these names; it has scripts, too.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs", "Any",
];

/// An escape sequence.
pub(super) enum Escape {
    WordBoundary,
    NoWordBoundary,
    /// Of the text, whatever the flags.
    Start,
    End,
    /// What is inside the brackets of a class.
    Class(String),
    Literal(char),
}

/// Appends what stands for the character itself, within a class, too.
pub(super) fn put_literal(c: char, out: &mut String) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        out.push_str(&format!("\\x{:02X}", c as u32));
    } else {
        out.push(c);
    }
}

impl Escape {
    /// Reads the one that `text` begins with, backslash included; gives what is behind it, too.
    pub(super) fn read(text: &str) -> Result<(Self, &str), Fault<'_>> {
        let Some(c) = text[1..].chars().next() else { return Err(("trailing backslash at end of expression", "")) };
        let rest = &text[1 + c.len_utf8()..];
        let simple = match c {
            'A' => Self::Start,
            'z' => Self::End,
            'b' => Self::WordBoundary,
            'B' => Self::NoWordBoundary,
            'p' | 'P' => return property(text),
            _ => match perl_class(c) {
                Some(class) => Self::Class(class.to_owned()),
                None => return character(text).map(|(c, rest)| (Self::Literal(c), rest)),
            },
        };
        Ok((simple, rest))
    }
}

fn perl_class(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        'D' => "[^0-9]",
        's' => r"\t\n\x0C\r\x20",
        'S' => r"[^\t\n\x0C\r\x20]",
        'w' => "0-9A-Za-z_",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// `\pN`, `\p{Greek}`, `\P…`, `\p{^…}`.
fn property(text: &str) -> Result<(Escape, &str), Fault<'_>> {
    let name_on = &text[2..];
    let (name, rest) = match name_on.strip_prefix('{') {
        Some(inside) => inside.split_once('}').ok_or((INVALID_RANGE, text))?,
        None => {
            let len = name_on.chars().next().ok_or((INVALID_RANGE, text))?.len_utf8();
            name_on.split_at(len)
        }
    };
    let (name, is_turned) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let sign = if text.starts_with(r"\P") == is_turned { 'p' } else { 'P' };
    let class = match name {
        "Any" if sign == 'p' => r"\x00-\x{10FFFF}".to_owned(),
        "Any" => r"[^\x00-\x{10FFFF}]".to_owned(),
        _ if CATEGORIES.contains(&name) => format!(r"\{sign}{{{name}}}"),
        _ => format!(r"\{sign}{{sc={name}}}"),
    };
    let is_script_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
        && regex_syntax::parse(&format!("[{class}]")).is_ok();
    if !is_script_name {
        return Err((INVALID_RANGE, &text[..text.len() - rest.len()]));
    }
    Ok((Escape::Class(class), rest))
}

/// The character that an escape sequence stands for, in a class or not.
pub(super) fn character(text: &str) -> Result<(char, &str), Fault<'_>> {
    let Some(c) = text[1..].chars().next() else { return Err(("trailing backslash at end of expression", "")) };
    let rest = &text[1 + c.len_utf8()..];
    let until = |rest: &str| &text[..text.len() - rest.len()];
    let c = match c {
        '1'..='7' if !rest.starts_with(|next| ('0'..='7').contains(&next)) => {
            return Err((INVALID_ESCAPE, until(rest)));
        }
        '0'..='7' => return Ok(octal(&text[1..])),
        'x' => return hex(text, rest),
        'a' => '\x07',
        'f' => '\x0C',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0B',
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err((INVALID_ESCAPE, until(rest))),
    };
    Ok((c, rest))
}

/// Up to three digits.
fn octal(digits: &str) -> (char, &str) {
    let len = digits.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let value = digits[..len].bytes().fold(0, |value, b| value * 8 + u32::from(b - b'0'));
    (char::from_u32(value).unwrap_or_default(), &digits[len..])
}

/// `\x7F` or `\x{10FFFF}`; `digits` are behind the `x`.
fn hex<'a>(text: &'a str, digits: &'a str) -> Result<(char, &'a str), Fault<'a>> {
    let fault = |len: usize| {
        let end = text.len() - digits.len() + len;
        (INVALID_ESCAPE, text.get(..end).unwrap_or(text))
    };
    let Some(inside) = digits.strip_prefix('{') else {
        let pair = digits.get(..2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        let pair = pair.ok_or_else(|| fault(digits.chars().take(2).map(char::len_utf8).sum()))?;
        let value = u32::from_str_radix(pair, 16).unwrap_or_default();
        return Ok((char::from_u32(value).unwrap_or_default(), &digits[2..]));
    };
    let (mut value, mut count) = (0u32, 0);
    for (at, c) in inside.char_indices() {
        if c == '}' && count > 0 {
            let c = char::from_u32(value).ok_or_else(|| fault(1 + at + 1))?;
            return Ok((c, &inside[at + 1..]));
        }
        let digit = c.to_digit(16).ok_or_else(|| fault(1 + at + c.len_utf8()))?;
        (value, count) = (value * 16 + digit, count + 1);
        if value > u32::from(char::MAX) {
            return Err(fault(1 + at + 1));
        }
    }
    Err(fault(digits.len()))
}
