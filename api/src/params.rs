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

    /// From a form body (may be empty) and the URL's query.
    pub(crate) fn parse(form: &[u8], uri: &Uri) -> Self {
        let url = uri.query().unwrap_or_default().as_bytes();
        Self(form_urlencoded::parse(form).into_owned().chain(form_urlencoded::parse(url).into_owned()).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_comes_before_the_url() {
        let uri: Uri = "/x?a=url&match%5B%5D=%7Bc%3D%22d%22%7D&e=".parse().unwrap();
        let p = Params::parse(b"a=body&match[]=up", &uri);
        assert_eq!(p.get("a"), Some("body"));
        assert_eq!(p.all("match[]").collect::<Vec<_>>(), ["up", "{c=\"d\"}"]);
        assert_eq!(p.get("e"), None);
        assert!(p.required("q").is_err());
        let p = Params::parse(b"a=1&a=2&a=1", &Uri::from_static("/"));
        assert_eq!(p.distinct("a", 2).unwrap(), ["1", "2"]);
        assert!(p.distinct("a", 1).is_err());
    }
}
