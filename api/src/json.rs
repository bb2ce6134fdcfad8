//! Writing JSON straight into a string, so that key order and number forms are exactly the contract's.

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_json_str(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        // Escaped bytes are ASCII, so both cuts are at character borders.
        out.push_str(&text[plain_from..at]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain_from = at + 1;
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Appends `items` between brackets, separated by commas.
pub(crate) fn push_json_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// Appends an object; `push` writes a key with its value.
pub(crate) fn push_json_object<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('{');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push('}');
}

/// Appends an object of strings in the order given.
pub(crate) fn push_json_map<'a>(out: &mut String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push('{');
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_json_str(out, key);
        out.push(':');
        push_json_str(out, value);
    }
    out.push('}');
}

/// A JSON array of strings.
pub(crate) fn push_json_strs<'a>(out: &mut String, items: impl IntoIterator<Item = &'a str>) {
    push_json_list(out, items, push_json_str);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text: String) {
            let mut out = String::new();
            push_json_str(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn maps_and_lists() {
        let mut out = String::new();
        push_json_map(&mut out, [("a", "1"), ("b", "\u{1}\"")]);
        push_json_strs(&mut out, ["x", "y"]);
        assert_eq!(out, r#"{"a":"1","b":"\u0001\""}["x","y"]"#);
    }
}
