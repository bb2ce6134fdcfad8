//! Parameters of a query: the form body first, then the URL, as Go's `FormValue` merges them.
use std::collections::HashSet;

use http::Uri;

use crate::error::ApiError;

/// Decoded parameters in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

/// What a pair takes beside its text.
const PAIR_BYTES: usize = 64;

impl Params {
    /// About what [`Self::parse`] will take: many tiny pairs are more than their text.
    pub(crate) fn decoded_bytes(form: &[u8], uri: &Uri) -> usize {
        let url = uri.query().unwrap_or_default().as_bytes();
        let pairs = form.iter().chain(url).filter(|b| **b == b'&').count() + 1;
        form.len() + url.len() + pairs * PAIR_BYTES
    }

    /// From a form body (may be empty) and the URL's query. Errors: a `%` that escapes nothing, text that is not UTF-8.
    pub(crate) fn parse(form: &[u8], uri: &Uri) -> Result<Self, ApiError> {
        let mut out = Vec::new();
        for encoded in [form, uri.query().unwrap_or_default().as_bytes()] {
            check(encoded)?;
            out.extend(form_urlencoded::parse(encoded).into_owned());
        }
        Ok(Self(out))
    }

    /// First value of `name`; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// First value of the first of `names` that is present.
    pub(crate) fn get_any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The different values of `name` in their order, at most `count_max`.
    pub(crate) fn distinct<'a>(&'a self, name: &'a str, count_max: usize) -> Result<Vec<&'a str>, ApiError> {
        let (mut seen, mut out) = (HashSet::new(), Vec::new());
        for value in self.all(name) {
            if seen.insert(value) {
                out.push(value);
            }
            if out.len() > count_max {
                let text = format!("invalid parameter \"{name}\": more than {count_max} different values");
                return Err(ApiError::BadRequest(text));
            }
        }
        Ok(out)
    }

    /// Every pair.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of a parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::BadRequest(format!("missing parameter \"{name}\"")))
    }
}

/// Refuses what decoding would let pass as another text. A reader of such a text would look for what nobody asked for.
fn check(encoded: &[u8]) -> Result<(), ApiError> {
    if !encoded.contains(&b'%') && encoded.is_ascii() {
        return Ok(());
    }
    for pair in encoded.split(|b| *b == b'&') {
        let (name, value) =
            pair.iter().position(|b| *b == b'=').map_or((pair, &[][..]), |at| (&pair[..at], &pair[at..]));
        for part in [name, value] {
            let mut bytes = Vec::with_capacity(part.len());
            let mut rest = part;
            while let [first, behind @ ..] = rest {
                let escaped = match (first, behind) {
                    (b'%', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                        std::str::from_utf8(&behind[..2]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
                    }
                    (b'%', _) => {
                        let escape = String::from_utf8_lossy(&rest[..rest.len().min(3)]);
                        return Err(ApiError::BadRequest(format!("invalid URL escape {escape:?}")));
                    }
                    _ => None,
                };
                bytes.push(escaped.unwrap_or(*first));
                rest = if escaped.is_some() { &behind[2..] } else { behind };
            }
            if std::str::from_utf8(&bytes).is_err() {
                let name = form_urlencoded::parse(name).next().map_or(String::new(), |(name, _)| name.into_owned());
                return Err(ApiError::BadRequest(format!("invalid parameter {name:?}: it is not valid UTF-8")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_comes_before_the_url() {
        let uri: Uri = "/x?a=url&match%5B%5D=%7Bc%3D%22d%22%7D&e=".parse().unwrap();
        let p = Params::parse(b"a=body&match[]=up", &uri).unwrap();
        assert_eq!(p.get("a"), Some("body"));
        assert_eq!(p.all("match[]").collect::<Vec<_>>(), ["up", "{c=\"d\"}"]);
        assert_eq!(p.get("e"), None);
        assert!(p.required("q").is_err());
        let p = Params::parse(b"a=1&a=2&a=1", &Uri::from_static("/")).unwrap();
        assert_eq!(p.distinct("a", 2).unwrap(), ["1", "2"]);
        assert!(p.distinct("a", 1).is_err());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let parse = |form: &str| Params::parse(form.as_bytes(), &Uri::from_static("/")).map_err(|e| e.to_string());
        assert_eq!(parse("a=%C3%A9+%25&b=é").unwrap().iter().collect::<Vec<_>>(), [("a", "é %"), ("b", "é")]);
        for (form, expected) in [
            ("query=%7Ba%3D%22%ff%22%7D", "invalid parameter \"query\": it is not valid UTF-8"),
            ("a=1&%ff=x", "invalid parameter \"\u{fffd}\": it is not valid UTF-8"),
            ("query=a%zz", "invalid URL escape \"%zz\""),
            ("query=100%", "invalid URL escape \"%\""),
            ("query=%4", "invalid URL escape \"%4\""),
        ] {
            assert_eq!(parse(form).unwrap_err(), expected, "{form}");
        }
        let url: Uri = "/x?query=%ff".parse().unwrap();
        assert!(Params::parse(b"", &url).is_err());
    }
}
