//! Which shards and replicas an answer comes from, and up to which position of their logs (P4).

/// One shard's account of its part in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardAnswer {
    pub shard: u32,
    /// Name of the node that answered, or was asked last.
    pub node: String,
    /// The replica that answered; 0 when none did.
    pub replica: u64,
    /// Log index up to which the answer is complete; 0 when no replica answered.
    pub position: u64,
    /// Why the shard, or a part of it, is missing from the answer.
    pub error: Option<String>,
}

impl ShardAnswer {
    /// The sentence for people where the answer is not whole.
    pub fn account(&self) -> Option<String> {
        let (Self { shard, node, .. }, why) = (self, self.error.as_ref()?);
        let what = if self.replica == 0 { "missing from" } else { "incomplete in" };
        Some(format!("shard {shard} is {what} this answer (node {node}): {why}"))
    }
}

/// What an engine learnt about its answer besides the answer; `api` puts it into each protocol's place.
#[derive(Clone, Debug, Default)]
pub struct Completeness {
    /// One a shard, by shard.
    pub shards: Vec<ShardAnswer>,
}

impl Completeness {
    /// Adds a shard's account. Of two, as a query of several fragments has them, the worse one stays: a shard that any
    /// fragment misses is missing from the answer, and the answer is as new as its oldest part.
    pub fn add(&mut self, answer: ShardAnswer) {
        let at = self.shards.partition_point(|s| s.shard < answer.shard);
        match self.shards.get_mut(at).filter(|s| s.shard == answer.shard) {
            None => self.shards.insert(at, answer),
            Some(known) if known.error.is_none() && answer.error.is_some() => *known = answer,
            Some(known) if known.error.is_some() && answer.error.is_none() => {}
            Some(known) if answer.position < known.position => *known = answer,
            Some(_) => {}
        }
    }

    /// Adds what another fragment of the same query learnt.
    pub fn add_all(&mut self, other: Self) {
        for answer in other.shards {
            self.add(answer);
        }
    }

    /// Shards whose answer is whole.
    pub fn whole(&self) -> usize {
        self.shards.iter().filter(|s| s.error.is_none()).count()
    }

    /// One sentence for each shard that is missing from the answer, or incomplete in it.
    pub fn warnings(&self) -> Vec<String> {
        self.shards.iter().filter_map(ShardAnswer::account).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shard: u32, position: u64, error: Option<&str>) -> ShardAnswer {
        ShardAnswer { shard, node: "n".into(), replica: 1, position, error: error.map(str::to_owned) }
    }

    #[test]
    fn of_two_accounts_of_a_shard_the_worse_one_stays() {
        for (name, first, second, expected) in [
            ("older", answer(1, 9, None), answer(1, 7, None), answer(1, 7, None)),
            ("missing later", answer(1, 9, None), answer(1, 0, Some("x")), answer(1, 0, Some("x"))),
            ("missing first", answer(1, 0, Some("x")), answer(1, 9, None), answer(1, 0, Some("x"))),
            ("newer", answer(1, 7, None), answer(1, 9, None), answer(1, 7, None)),
        ] {
            let mut completeness = Completeness::default();
            completeness.add(answer(3, 1, None));
            completeness.add(first);
            completeness.add_all(Completeness { shards: vec![second, answer(2, 5, None)] });
            assert_eq!(completeness.shards, [expected, answer(2, 5, None), answer(3, 1, None)], "{name}");
        }
    }

    #[test]
    fn a_warning_names_the_shard_the_node_and_why() {
        let missing = ShardAnswer { replica: 0, ..answer(4, 0, Some("no leader")) };
        let completeness = Completeness { shards: vec![answer(0, 3, None), missing, answer(5, 9, Some("a block"))] };
        assert_eq!(completeness.whole(), 1);
        let wanted = [
            "shard 4 is missing from this answer (node n): no leader",
            "shard 5 is incomplete in this answer (node n): a block",
        ];
        assert_eq!(completeness.warnings(), wanted);
    }
}
