//! Which replica of which pair a remote write request is from: what its first series says, as Mimir does.
use super::decode::decode_label;
use crate::error::ApiError;
use crate::wire::{Field, WireError, fields};

/// Labels of a series: how many there may be before it is not looked at any more.
const LABELS_MAX: usize = 1000;

/// Cluster and replica; `None` when the first series has not both labels.
pub(crate) fn of(
    message: &[u8],
    is_v2: bool,
    cluster_label: &str,
    replica_label: &str,
) -> Result<Option<(String, String)>, ApiError> {
    let labels = if is_v2 { first_of_v2(message)? } else { first_of_v1(message)? };
    let value = |name: &str| labels.iter().find(|(n, v)| *n == name && !v.is_empty()).map(|(_, v)| (*v).to_owned());
    Ok(value(cluster_label).zip(value(replica_label)))
}

fn first_of_v1(message: &[u8]) -> Result<Vec<(&str, &str)>, WireError> {
    let mut labels = Vec::new();
    let Some(series) = first(message, "WriteRequest", 1)? else { return Ok(labels) };
    let mut walk = fields(series, "TimeSeries");
    while let Some((number, field)) = walk.next_field()? {
        if let (1, Field::Bytes(label)) = (number, field)
            && let Some(pair) = decode_label(label)?
        {
            labels.push(pair);
        }
        if labels.len() >= LABELS_MAX {
            break;
        }
    }
    Ok(labels)
}

fn first_of_v2(message: &[u8]) -> Result<Vec<(&str, &str)>, WireError> {
    let Some(series) = first(message, "Request", 5)? else { return Ok(Vec::new()) };
    let mut refs = Vec::new();
    let mut walk = fields(series, "TimeSeries");
    while let Some((number, field)) = walk.next_field()? {
        if number == 1 {
            super::decode_v2::push_refs(field, &mut refs)?;
        }
    }
    let mut symbols = Vec::new();
    let mut walk = fields(message, "Request");
    while let Some((number, field)) = walk.next_field()? {
        if let (4, Field::Bytes(symbol)) = (number, field) {
            symbols.push(symbol);
        }
    }
    let text = |r: &u32| symbols.get(*r as usize).and_then(|s| std::str::from_utf8(s).ok());
    let pairs = refs.chunks_exact(2).take(LABELS_MAX);
    Ok(pairs.filter_map(|pair| text(&pair[0]).zip(text(&pair[1]))).collect())
}

/// The first submessage of that number.
fn first<'a>(message: &'a [u8], name: &'static str, wanted: u32) -> Result<Option<&'a [u8]>, WireError> {
    let mut walk = fields(message, name);
    while let Some((number, field)) = walk.next_field()? {
        if let (true, Field::Bytes(bytes)) = (number == wanted, field) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::{request, series};
    use super::*;

    fn of_v1(labels: &[(&str, &str)]) -> Option<(String, String)> {
        of(&request(&[series(labels, &[(1, 1.0)])]), false, "cluster", "__replica__").unwrap()
    }

    #[test]
    fn the_first_series_says_it() {
        let both = [("__name__", "up"), ("cluster", "a"), ("__replica__", "b")];
        assert_eq!(of_v1(&both), Some(("a".to_owned(), "b".to_owned())));
        assert_eq!(of_v1(&both[..2]), None);
        assert_eq!(of(&[], false, "cluster", "__replica__").unwrap(), None);
        let mut v2 = vec![0x2a, 6, 0x0a, 4, 1, 2, 3, 4];
        for symbol in ["", "cluster", "a", "__replica__", "b"] {
            v2.push(0x22);
            trine_store::codec::put_bytes(&mut v2, symbol.as_bytes());
        }
        assert_eq!(of(&v2, true, "cluster", "__replica__").unwrap(), Some(("a".to_owned(), "b".to_owned())));
    }
}
