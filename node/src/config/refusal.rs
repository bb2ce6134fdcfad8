//! figment's errors in an operator's words: the key, the value, what is allowed, and where it was read.
use figment::error::Kind;

use super::Config;
use crate::error::Error;

/// Where all keys are described.
const ALL_KEYS: &str = "docs/config.md has all keys";

/// The first of figment's errors.
pub(super) fn refusal(error: &figment::Error) -> Error {
    let place = place(error);
    let section = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(field, _) => {
            // figment's path ends with the unknown field.
            let parents: Vec<&str> = error.path.iter().map(String::as_str).filter(|p| p != field).collect();
            let key = parents.iter().copied().chain([field.as_str()]).collect::<Vec<_>>().join(".");
            Error::Config { key, reason: format!("{place}: there is no such key; {}; {ALL_KEYS}", siblings(&parents)) }
        }
        _ if section.is_empty() => {
            Error::ConfigSource(format!("configuration{place}: {}", error.kind.to_string().trim_end()))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            let reason = format!("{place}: {found} is not {}; {ALL_KEYS}", plain(expected));
            Error::Config { key: section, reason }
        }
        other => Error::Config { key: section, reason: format!("{place}: {other}") },
    }
}

/// The keys that a section has, or the sections.
fn siblings(parents: &[&str]) -> String {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let names = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>().join(", ");
    match parents {
        [section, ..] => {
            let keys = defaults.get(*section).and_then(toml::Value::as_table).map(names).unwrap_or_default();
            format!("[{section}] has {keys}")
        }
        [] => format!("the sections are {}", names(&defaults)),
    }
}

/// serde's names of types in plain words.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "a sequence" => "a list like [\"a:1\", \"b:1\"]",
        "path string" => "a path",
        other => other,
    }
}

/// Where the value was read, as ` in …`; empty where that is not known.
fn place(error: &figment::Error) -> String {
    let Some(metadata) = &error.metadata else { return String::new() };
    if let Some(path) = metadata.source.as_ref().and_then(|s| s.file_path()) {
        return format!(" in {}", path.display());
    }
    if metadata.name.contains("environment") {
        return " in the environment (TRINE__SECTION__KEY)".to_owned();
    }
    " in --set".to_owned()
}
