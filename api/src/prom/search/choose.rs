//! Which of the names that are there a search shows, and in what order: pure. Holds no more than it shows.
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::terms::Terms;

/// Order of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
    /// Best first; equally good ones ascend.
    Score,
}

/// A name that is shown, by its place in the list; the less, the better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) at: usize,
    /// Above 0, up to 1.
    pub(super) score: f64,
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.at.cmp(&other.at))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

/// What is shown, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) hits: Vec<Hit>,
    /// The limit has cut it.
    pub(super) has_more: bool,
}

/// The first `limit` of `names`, which ascend, that match. `check` is asked before each name whether to go on.
pub(super) fn choose<E>(
    names: &[String],
    terms: &mut Terms,
    order: Order,
    limit: usize,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<Chosen, E> {
    let mut score = |at: usize| {
        check()?;
        Ok(terms.score(&names[at]).map(|score| Hit { at, score }))
    };
    match order {
        Order::Ascending => first(0..names.len(), limit, &mut score),
        Order::Descending => first((0..names.len()).rev(), limit, &mut score),
        Order::Score => best(names.len(), limit, &mut score),
    }
}

type Score<'a, E> = &'a mut dyn FnMut(usize) -> Result<Option<Hit>, E>;

fn first<E>(places: impl Iterator<Item = usize>, limit: usize, score: Score<'_, E>) -> Result<Chosen, E> {
    let mut chosen = Chosen::default();
    for at in places {
        let Some(hit) = score(at)? else { continue };
        if chosen.hits.len() == limit {
            chosen.has_more = true;
            break;
        }
        chosen.hits.push(hit);
    }
    Ok(chosen)
}

fn best<E>(count: usize, limit: usize, score: Score<'_, E>) -> Result<Chosen, E> {
    // The worst of those kept is on top.
    let (mut kept, mut has_more) = (BinaryHeap::new(), false);
    for at in 0..count {
        kept.extend(score(at)?);
        if kept.len() > limit {
            kept.pop();
            has_more = true;
        }
    }
    Ok(Chosen { hits: kept.into_sorted_vec(), has_more })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::terms::Algorithm;
    use super::*;

    fn terms(word: &str) -> Terms {
        Terms::new([word], Algorithm::Subsequence, 0.0, true)
    }

    proptest! {
        #[test]
        fn it_is_the_beginning_of_all_that_match_in_order(
            mut names in proptest::collection::vec("[abc]{0,4}", 0..30),
            word in "[ab]{0,2}",
            limit in 1usize..10,
        ) {
            names.sort();
            names.dedup();
            for order in [Order::Ascending, Order::Descending, Order::Score] {
                let mut all: Vec<(f64, &String)> =
                    names.iter().filter_map(|name| Some((terms(&word).score(name)?, name))).collect();
                match order {
                    Order::Ascending => {}
                    Order::Descending => all.reverse(),
                    Order::Score => all.sort_by(|a, b| b.0.total_cmp(&a.0)),
                }
                let chosen = choose(&names, &mut terms(&word), order, limit, || Ok::<_, Infallible>(())).unwrap();
                let shown: Vec<(f64, &String)> = chosen.hits.iter().map(|hit| (hit.score, &names[hit.at])).collect();
                prop_assert_eq!(chosen.has_more, all.len() > limit);
                all.truncate(limit);
                prop_assert_eq!(shown, all);
            }
        }
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        for order in [Order::Ascending, Order::Descending, Order::Score] {
            let mut left = 2;
            let check = || {
                left -= 1;
                if left < 0 { Err("enough") } else { Ok(()) }
            };
            assert_eq!(choose(&names, &mut terms(""), order, 9, check).unwrap_err(), "enough", "{order:?}");
        }
    }
}
