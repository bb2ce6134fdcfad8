//! Byte counts as people write them: `536870912`, `512MiB`.
use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

const EXPECTED: &str = "a number of bytes, or a size like 512MiB or 2GiB";

/// Bytes of a unit: binary with an `i`, as in Kubernetes also without the `B`; decimal otherwise.
fn unit_bytes(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

/// Parses a byte count; the error says what is expected.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let count: Option<u64> = number.parse().ok();
    let bytes = count.zip(unit_bytes(unit.trim_start())).and_then(|(count, unit)| count.checked_mul(unit));
    bytes.ok_or_else(|| format!("{text:?} is not {EXPECTED}"))
}

/// For a key of the configuration whose value is a byte count.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Size;
    impl Visitor<'_> for Size {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom(format!("{bytes} is not {EXPECTED}")))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("536870912", Some(512 << 20)),
            ("512MiB", Some(512 << 20)),
            ("512 mib", Some(512 << 20)),
            ("2Gi", Some(2 << 30)),
            ("1kB", Some(1000)),
            ("7B", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777216TiB", None),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("512M", None),
            ("５", None),
        ] {
            assert_eq!(parse(text).ok(), bytes, "{text:?}");
        }
        assert!(parse("512M").unwrap_err().contains("512MiB"));
    }
}
