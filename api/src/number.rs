//! Numbers as Prometheus prints them.
use std::fmt::Write;

/// Appends a sample value: shortest decimal that comes back, plain for 1e-6 <= |v| < 1e21 and 0, otherwise with a signed
/// exponent of at least two digits; `NaN`, `+Inf`, `-Inf`.
pub(crate) fn push_float(out: &mut String, v: f64) {
    let written = if v.is_nan() {
        out.push_str("NaN");
        Ok(())
    } else if v.is_infinite() {
        out.push_str(if v > 0.0 { "+Inf" } else { "-Inf" });
        Ok(())
    } else if v == 0.0 || (1e-6..1e21).contains(&v.abs()) {
        write!(out, "{v}")
    } else {
        push_exponent(out, v)
    };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

fn push_exponent(out: &mut String, v: f64) -> std::fmt::Result {
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    write!(out, "{mantissa}e{sign}{digits:0>2}")
}

/// [`push_float`] into a new string.
pub(crate) fn float_text(v: f64) -> String {
    let mut out = String::new();
    push_float(&mut out, v);
    out
}

/// Appends milliseconds as a JSON number of seconds, whole or with exactly three decimals, as Prometheus does.
pub(crate) fn push_seconds(out: &mut String, time_ms: i64) {
    let magnitude = time_ms.unsigned_abs();
    let sign = if time_ms < 0 { "-" } else { "" };
    let (s, ms) = (magnitude / 1000, magnitude % 1000);
    let written = if ms == 0 { write!(out, "{sign}{s}") } else { write!(out, "{sign}{s}.{ms:03}") };
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// [`push_seconds`] without trailing zeros, as Loki does.
pub(crate) fn push_seconds_short(out: &mut String, time_ms: i64) {
    let from = out.len();
    push_seconds(out, time_ms);
    if out[from..].contains('.') {
        out.truncate(from + out[from..].trim_end_matches('0').len());
    }
}

/// A value without any exponent, as Loki prints it.
pub(crate) fn push_float_plain(out: &mut String, v: f64) {
    if v.is_finite() {
        let written = write!(out, "{v}");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    } else {
        push_float(out, v);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_as_prometheus_prints_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (-2.5e-9, "-2.5e-09"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float_text(v), text);
        }
    }

    #[test]
    fn seconds_keep_at_most_three_decimals() {
        for (ms, text) in [
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_430_000, "1435781430"),
            (4_000_500, "4000.500"),
            (10, "0.010"),
            (-1, "-0.001"),
        ] {
            let mut out = String::new();
            push_seconds(&mut out, ms);
            assert_eq!(out, text);
        }
        let mut out = String::new();
        push_seconds_short(&mut out, 4_000_500);
        assert_eq!(out, "4000.5");
    }

    proptest! {
        #[test]
        fn a_printed_float_comes_back(bits: u64) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            prop_assert_eq!(float_text(v).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
