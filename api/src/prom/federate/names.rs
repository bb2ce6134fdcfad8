//! Names beyond `[a-zA-Z_:][a-zA-Z0-9_:]*` for readers that know only those.

/// What becomes of such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// Written as it is, in quotes.
    AllowUtf8,
    /// Each foreign character becomes an underscore.
    Underscores,
    /// Dots become `_dot_`, underscores double.
    Dots,
    /// `U__`, and each foreign character as its number; can be undone.
    Values,
}

impl Escaping {
    /// Of an `escaping` parameter; underscores for what is not known.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "allow-utf-8" => Self::AllowUtf8,
            "dots" => Self::Dots,
            "values" => Self::Values,
            _ => Self::Underscores,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The name as the reader gets it.
    pub(super) fn name(self, name: &str) -> String {
        let legal =
            |at: usize, c: char| c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0);
        let mut out = String::with_capacity(name.len() + 8);
        match self {
            Self::AllowUtf8 => out.push_str(name),
            Self::Underscores | Self::Values if is_classic(name) => out.push_str(name),
            Self::Underscores => {
                name.chars().enumerate().for_each(|(at, c)| out.push(if legal(at, c) { c } else { '_' }));
            }
            Self::Dots => {
                for (at, c) in name.chars().enumerate() {
                    match c {
                        '_' => out.push_str("__"),
                        '.' => out.push_str("_dot_"),
                        c if legal(at, c) => out.push(c),
                        _ => out.push_str("__"),
                    }
                }
            }
            Self::Values => {
                out.push_str("U__");
                for (at, c) in name.chars().enumerate() {
                    match c {
                        '_' => out.push_str("__"),
                        c if legal(at, c) => out.push(c),
                        c => out.push_str(&format!("_{:x}_", u32::from(c))),
                    }
                }
            }
        }
        out
    }
}

/// Whether a name needs no quotes.
pub(super) fn is_classic(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':');
    first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_prometheus_does() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        for (escaping, name, expected) in [
            (Underscores, "http.status:sum", "http_status:sum"),
            (Underscores, "a_b", "a_b"),
            (Underscores, "1é", "__"),
            (Dots, "http.status_sum", "http_dot_status__sum"),
            (Values, "mysystem.prod.west", "U__mysystem_2e_prod_2e_west"),
            (Values, "a_b", "a_b"),
            (Values, "a_b.c", "U__a__b_2e_c"),
            (AllowUtf8, "http.status", "http.status"),
        ] {
            assert_eq!(escaping.name(name), expected, "{name}");
        }
    }
}
