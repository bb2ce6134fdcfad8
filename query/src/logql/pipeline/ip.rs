//! `ip("…")`: one address, a range `a-b` or a network `a/n`; found as the value of a label or anywhere in a line.
use std::net::IpAddr;

use crate::error::{Error, Result};

/// A closed range of addresses of one family.
#[derive(Debug)]
pub(in super::super) struct IpSet {
    v4: bool,
    first: u128,
    last: u128,
}

impl IpSet {
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::parse_parts(text.trim())
            .ok_or_else(|| Error::Parse { message: format!("parse error : ip: invalid pattern: {text:?}") })
    }

    fn parse_parts(text: &str) -> Option<Self> {
        if let Some((address, bits)) = text.split_once('/') {
            let (v4, value) = number(address)?;
            let width: u32 = if v4 { 32 } else { 128 };
            let bits: u32 = bits.parse().ok().filter(|b| *b <= width)?;
            let host = width - bits;
            let mask = if host == 128 { u128::MAX } else { (1u128 << host) - 1 };
            return Some(Self { v4, first: value & !mask, last: value | mask });
        }
        if let Some((first, last)) = text.split_once('-') {
            let ((v4, first), (last_v4, last)) = (number(first.trim())?, number(last.trim())?);
            return (v4 == last_v4).then_some(Self { v4, first, last });
        }
        let (v4, value) = number(text)?;
        Some(Self { v4, first: value, last: value })
    }

    /// Whether `text` is an address of the set; `None` when it is no address.
    pub(super) fn contains(&self, text: &str) -> Option<bool> {
        let (v4, value) = number(text.trim())?;
        Some(v4 == self.v4 && (self.first..=self.last).contains(&value))
    }

    /// Whether an address of the set stands somewhere in `line`.
    pub(super) fn occurs_in(&self, line: &str) -> bool {
        let part = |c: char| c.is_ascii_hexdigit() || c == '.' || (!self.v4 && c == ':');
        line.split(|c| !part(c)).any(|word| {
            let bare = word.trim_end_matches('.');
            bare.len() > 1 && self.contains(bare) == Some(true)
        })
    }
}

fn number(text: &str) -> Option<(bool, u128)> {
    match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(a) => Some((true, u128::from(a.to_bits()))),
        IpAddr::V6(a) => Some((false, a.to_bits())),
    }
}
