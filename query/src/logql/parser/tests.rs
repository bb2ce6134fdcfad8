//! The corpus of queries with a real Loki's verdicts, and properties of printing.
use std::path::PathBuf;

use super::parse;
use crate::logql::ast::Expr;

fn corpus(file: &str) -> Vec<serde_json::Value> {
    let root = std::env::var_os("TRINE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("conformance/logql").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_valid_query_parses_with_its_result_type() {
    let corpus = corpus("logql_valid.json");
    let mut failures = Vec::new();
    for case in &corpus {
        let query = case["query"].as_str().unwrap();
        match parse(query) {
            Ok(expr) => {
                let kind = if matches!(expr, Expr::Log(_)) { "streams" } else { "matrix" };
                if case["result_type"] != kind {
                    failures.push(format!("{query}: {kind}"));
                }
            }
            Err(e) => failures.push(format!("{query}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), corpus.len(), failures.join("\n"));
}

#[test]
fn every_invalid_query_is_refused_in_the_same_words() {
    let corpus = corpus("logql_invalid.json");
    let mut accepted = Vec::new();
    let mut other_words = Vec::new();
    for case in &corpus {
        let query = case["query"].as_str().unwrap();
        match parse(query) {
            Ok(_) => accepted.push(query.to_owned()),
            Err(e) if Some(e.to_string().as_str()) != case["error"].as_str() => {
                other_words.push(format!("{query}\n   want {}\n   got  {e}", case["error"]));
            }
            Err(_) => {}
        }
    }
    assert!(accepted.is_empty(), "accepted:\n{}", accepted.join("\n"));
    assert_eq!(other_words.len(), 0, "of {}, in other words:\n{}", corpus.len(), other_words.join("\n"));
}

#[test]
fn keywords_name_labels_only_in_text_between_nodes() {
    let query = "sum by (offset, json) (rate({drop=\"a\", on!=\"b\"}[5m]))";
    assert!(parse(query).is_err());
    let expr = super::parse_unchecked(query).unwrap();
    assert_eq!(super::parse_unchecked(&expr.to_string()).unwrap(), expr);
}

#[test]
fn printing_and_parsing_again_gives_the_same_tree() {
    for case in &corpus("logql_valid.json") {
        let query = case["query"].as_str().unwrap();
        let expr = parse(query).unwrap();
        for text in [expr.to_string(), crate::logql::print::pretty(&expr)] {
            match parse(&text) {
                Ok(again) => assert_eq!(again, expr, "{query}\n{text}"),
                Err(e) => panic!("{query}\n{text}\n{e}"),
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ \\[\\](){}|=~!><\"`a-z0-9.,+*/%^#\\-\\\\\\n\u{e9}]{0,60}") {
        drop(parse(&text));
    }

    #[test]
    fn no_cut_of_a_query_panics(cut in 0usize..200) {
        let query = "sum by (a) (rate({a=\"b\"} |= \"x\" or ip(\"1.1.1.1\") | json a=\"b\" | a > 5m or b < 5KB | unwrap bytes(c) [5m])) > bool on (a) group_left (b) vector(1)";
        drop(parse(query.get(..cut).unwrap_or(query)));
    }
}

/// As Go's parser of numbers has it: what is too large is no infinity.
#[test]
fn a_literal_beyond_the_largest_float_is_refused() {
    for text in ["{a=\"b\"} | n >= 777E777", "777E777", "sum_over_time({a=\"b\"} | unwrap n [1m]) > 1e999"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("value out of range"), "{text}: {error}");
    }
    assert!(parse("{a=\"b\"} | n >= 1e308").is_ok());
}

/// What folds to no number of the language is printed as something that folds to it again.
#[test]
fn numbers_without_a_literal_come_back() {
    for (text, printed) in [("1/0", "(0 / 0)"), ("7^717", "(10 ^ 400)"), ("-1 * 7^717", "(0 - 10 ^ 400)")] {
        let once = parse(text).unwrap().to_string();
        assert_eq!(once, printed, "{text}");
        assert_eq!(parse(&once).unwrap().to_string(), printed, "{text}");
    }
}

/// `0B` would begin a binary number.
#[test]
fn no_bytes_come_back() {
    for text in ["{a=\"b\"} | size >= 0k", "{a=\"b\"} | size >= 0KiB"] {
        let once = parse(text).unwrap().to_string();
        assert_eq!(once, "{a=\"b\"} | size>=0kB", "{text}");
        assert_eq!(parse(&once).unwrap().to_string(), once, "{text}");
    }
}
