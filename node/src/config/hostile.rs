//! Configuration files with damage: refused in words or read, never a panic.
use super::Config;
use crate::cli::NodeFlags;

/// What is put into a file somewhere.
const PIECES: [&str; 10] = ["[", "]", "\"", "=", "\n", "-1", "18446744073709551616", "1e999", "é", "\u{0}"];

#[test]
fn no_damage_to_a_file_is_a_panic() {
    let text = toml::to_string(&Config::default()).expect("the defaults can be written");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trine.toml");
    let flags = NodeFlags { config: Some(path.clone()), ..NodeFlags::default() };
    let load = |text: String| {
        std::fs::write(&path, text).unwrap();
        Config::load(&flags)
    };
    assert!(load(text.clone()).is_ok());
    let mut refused = 0;
    for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)).step_by(9) {
        for piece in PIECES {
            refused += usize::from(load([&text[..at], piece, &text[at..]].concat()).is_err());
        }
        refused += usize::from(load(text[..at].to_owned()).is_err());
    }
    assert!(refused > text.len() / 9, "most damage is noticed, not {refused} times only");
}
