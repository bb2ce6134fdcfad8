//! `docs/config.md`, made of the structs' own documents, defaults and flags, so that it cannot lag behind them.
//!
//! `TRINE_FIX=1 cargo test -p trine --bin trine config::` (or `.ci/fix`) writes it; otherwise the test compares.
use std::fmt::Write;
use std::path::Path;

use super::Config;

/// One section: its name, what its struct says, its fields with what they say.
struct Section {
    name: String,
    about: String,
    fields: Vec<(String, String)>,
}

/// The documented fields of `struct name` in the source, in order, and the struct's own document.
fn fields_of(source: &str, name: &str) -> (String, Vec<(String, String, String)>) {
    let head = format!("pub(crate) struct {name} {{");
    let (before, after) = source.split_once(&head).unwrap_or_else(|| panic!("no section {name}"));
    let lines: Vec<&str> = before.lines().collect();
    let about = lines
        .iter()
        .rev()
        .take_while(|l| l.starts_with("///") || l.starts_with("#["))
        .filter_map(|l| l.strip_prefix("///"));
    let mut about: Vec<&str> = about.map(str::trim).collect();
    about.reverse();
    let (body, _) = after.split_once("\n}").expect("a struct ends");
    let (mut fields, mut said) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            said.push(text.trim());
        } else if let Some(field) = line.strip_prefix("pub(crate) ") {
            let (field, kind) = field.trim_end_matches(',').split_once(": ").expect("a field has a type");
            fields.push((field.to_owned(), kind.to_owned(), said.join(" ")));
            said.clear();
        }
    }
    (about.join(" "), fields)
}

fn sections(source: &str) -> Vec<Section> {
    let (_, sections) = fields_of(source, "Config");
    let section = |(name, kind, _): (String, String, String)| {
        let (about, fields) = fields_of(source, &kind);
        Section { name, about, fields: fields.into_iter().map(|(field, _, said)| (field, said)).collect() }
    };
    sections.into_iter().map(section).collect()
}

/// The flag that sets a key, as `Config::override_with` says.
fn flag_of(source: &str, section: &str, field: &str) -> Option<String> {
    let (_, after) = source.split_once(&format!("set(&mut self.{section}.{field}, &flags."))?;
    let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    Some(format!("--{}", name.replace('_', "-")))
}

fn render(source: &str) -> String {
    let defaults = toml::Table::try_from(Config::default()).expect("the defaults are TOML");
    let mut out = String::from(
        "# Configuration\n\n\
         Made by `.ci/fix` from `node/src/config/sections.rs`; a test compares.\n\n\
         `trine node` takes its settings from, later ones winning: the defaults, a TOML file (`--config FILE` or `TRINE_CONFIG`),\n\
         the environment, flags. Key `data_dir` of `[node]` is `TRINE__NODE__DATA_DIR` in the environment and\n\
         `--set node.data_dir=…` as a flag; some have a flag of their own. An unknown key is an error that names it.\n",
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).and_then(|()| out.write_char('\n')).expect("writing to a string does not fail");
    };
    for Section { name, about, fields } in sections(source) {
        line(format_args!("\n## `[{name}]`\n\n{about}\n\n| key | default | flag | meaning |\n|---|---|---|---|"));
        let values = defaults[&name].as_table().expect("a section is a table");
        assert_eq!(values.len(), fields.len(), "fields of [{name}] that only the source or only the defaults have");
        for (field, said) in fields {
            assert!(!said.is_empty(), "{name}.{field} does not say what it means");
            let flag = flag_of(source, &name, &field).map_or(String::new(), |f| format!("`{f}`"));
            let said = said.replace('|', "\\|");
            line(format_args!("| `{field}` | `{}` | {flag} | {said} |", values[&field]));
        }
    }
    out
}

#[test]
fn the_document_says_what_the_structs_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let made = render(concat!(include_str!("../config.rs"), include_str!("sections.rs")));
    if std::env::var_os("TRINE_FIX").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "docs/config.md is not what node/src/config/sections.rs says; run .ci/fix");
}
