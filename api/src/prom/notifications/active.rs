//! Which notifications a node has, and what has changed since somebody was told. No clock, no listeners.
use crate::backend::Troubles;

/// Something that whoever runs the node should know, while it lasts. Its text names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    pub(super) text: String,
    /// When it was first seen, Unix ns.
    pub(super) since_ns: i64,
}

/// What lasts, and since when; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Active(Vec<Notification>);

impl Active {
    /// Takes in what is seen at `now_ns`: what was seen before keeps its time.
    pub(super) fn look(&mut self, texts: Vec<String>, now_ns: i64) {
        self.0.retain(|known| texts.contains(&known.text));
        for text in texts {
            if !self.0.iter().any(|known| known.text == text) {
                self.0.push(Notification { text, since_ns: now_ns });
            }
        }
    }

    pub(super) fn all(&self) -> &[Notification] {
        &self.0
    }

    /// What who was told `self` has yet to be told of `now`: endings (false) before beginnings (true).
    pub(super) fn changes(&self, now: &Self) -> Vec<(Notification, bool)> {
        let ended = self.0.iter().filter(|n| !now.0.contains(n)).map(|n| (n.clone(), false));
        let begun = now.0.iter().filter(|n| !self.0.contains(n)).map(|n| (n.clone(), true));
        ended.chain(begun).collect()
    }
}

/// What is to be said of a node. A text names what lasts, so none has a number that changes meanwhile.
pub(super) fn texts(is_ready: bool, troubles: &Troubles) -> Vec<String> {
    let mut texts = Vec::new();
    if troubles.is_stopping {
        texts.push("This node is stopping: it takes no new requests and hands its leaders over.".to_owned());
    } else if !is_ready {
        texts.push(
            "This node is starting: it opens its shards and replays its log. /ready says how far it is.".to_owned(),
        );
    } else if !troubles.leaderless.is_empty() {
        // Before and after that a node without leaders is no news.
        let shards = listed(&troubles.leaderless);
        texts.push(format!(
            "This node knows of no leader of shards {shards}: their writes and queries wait, then fail."
        ));
    }
    if troubles.is_disk_full {
        texts.push(
            "The disk of this node is full: writes to shards that it leads are refused, queries go on.".to_owned(),
        );
    }
    if !troubles.damaged.is_empty() {
        let shards = listed(&troubles.damaged);
        texts.push(format!("Damaged blocks of shards {shards} are in quarantine on this node until they are healed."));
    }
    texts
}

fn listed(shards: &[u32]) -> String {
    shards.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(active: &mut Active, texts: &[&str], now_ns: i64) {
        active.look(texts.iter().map(|t| (*t).to_owned()).collect(), now_ns);
    }

    fn seen(active: &Active) -> Vec<(&str, i64)> {
        active.all().iter().map(|n| (n.text.as_str(), n.since_ns)).collect()
    }

    #[test]
    fn what_lasts_keeps_its_date() {
        let mut active = Active::default();
        look(&mut active, &["b"], 1);
        look(&mut active, &["a", "b"], 2);
        assert_eq!(seen(&active), [("b", 1), ("a", 2)]);
        look(&mut active, &["a"], 3);
        look(&mut active, &["a", "b"], 4);
        assert_eq!(seen(&active), [("a", 2), ("b", 4)], "b ended in between");
    }

    #[test]
    fn who_was_told_hears_of_changes_only() {
        let (mut now, nothing) = (Active::default(), Active::default());
        look(&mut now, &["a", "b"], 1);
        let told = now.clone();
        let changes = |from: &Active, to: &Active| -> Vec<(String, i64, bool)> {
            from.changes(to).into_iter().map(|(n, is_active)| (n.text, n.since_ns, is_active)).collect()
        };
        assert_eq!(changes(&nothing, &now), [("a".to_owned(), 1, true), ("b".to_owned(), 1, true)]);
        assert_eq!(changes(&told, &now), []);
        look(&mut now, &["b", "c"], 2);
        assert_eq!(changes(&told, &now), [("a".to_owned(), 1, false), ("c".to_owned(), 2, true)]);
        look(&mut now, &[], 3);
        look(&mut now, &["a"], 4);
        // It ended and began again while nobody looked.
        assert_eq!(
            changes(&told, &now),
            [("a".to_owned(), 1, false), ("b".to_owned(), 1, false), ("a".to_owned(), 4, true)]
        );
    }

    #[test]
    fn texts_say_what_is_wrong() {
        let leaderless = Troubles { leaderless: vec![3, 7], ..Troubles::default() };
        let worst = Troubles { is_stopping: true, is_disk_full: true, damaged: vec![1], ..leaderless.clone() };
        for (is_ready, troubles, parts) in [
            (true, Troubles::default(), &[][..]),
            (false, Troubles::default(), &["is starting"]),
            (true, leaderless.clone(), &["no leader of shards 3, 7:"]),
            (false, leaderless, &["is starting"]),
            (false, worst, &["is stopping", "The disk of this node is full", "Damaged blocks of shards 1 "]),
        ] {
            let texts = texts(is_ready, &troubles);
            assert_eq!(texts.len(), parts.len(), "{texts:?}");
            for (text, part) in texts.iter().zip(parts) {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}
