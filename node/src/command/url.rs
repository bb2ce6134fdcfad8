//! The `--url` of a server.
use reqwest::Url;

/// Parses a `--url`; the error says what is expected.
pub(super) fn server_url(text: &str) -> Result<Url, String> {
    let like = "it is like http://127.0.0.1:9090";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("--url {text} does not begin with http://; {like}"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return Err(format!("--url {text}: TLS is not supported yet; give a node itself, as http://{rest}"));
        }
        other => return Err(format!("--url {text}: {other}:// is not supported; {like}")),
    }
    let parsed = Url::parse(text).map_err(|e| format!("--url {text}: {e}; {like}"))?;
    if parsed.has_host() { Ok(parsed) } else { Err(format!("--url {text} names no host; {like}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_say_why() {
        for (text, part) in [
            ("foo", "does not begin with http://"),
            ("127.0.0.1:9090", "does not begin with http://"),
            ("https://trine:9090", "TLS is not supported yet; give a node itself, as http://trine:9090"),
            ("HTTPS://trine", "TLS is not supported yet"),
            ("ftp://trine", "ftp:// is not supported"),
            ("http://", "--url http://: empty host"),
            ("http://a:99999", "invalid port number"),
        ] {
            let said = server_url(text).unwrap_err();
            assert!(said.contains(part) && said.contains(text), "{said}");
        }
        assert_eq!(server_url("http://trine:9090/x").unwrap().as_str(), "http://trine:9090/x");
    }
}
