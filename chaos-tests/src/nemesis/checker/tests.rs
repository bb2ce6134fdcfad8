//! Made-up histories: sound ones pass, and each kind of violation is found.
use super::*;
use crate::client::ReadError;
use crate::fact::Batch;

const S: Signal = Signal::Logs;

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn write(begun: u64, ended: u64, first: u64, outcome: Outcome) -> Event {
    let batch = Batch { signal: S, first, count: 2 };
    Event { begun: at(begun), ended: at(ended), node: 0, what: What::Write { batch, outcome } }
}

fn failed() -> Outcome {
    Outcome::Failed { status: 503, text: "no leader".into() }
}

fn read_as(begun: u64, ended: u64, answer: Result<Answer, ReadError>) -> Event {
    Event { begun: at(begun), ended: at(ended), node: 1, what: What::Read { signal: S, numbers: 0..10, answer } }
}

fn read(begun: u64, ended: u64, numbers: &[u64]) -> Event {
    read_as(begun, ended, Ok(Answer { numbers: numbers.to_vec(), altered: Vec::new() }))
}

fn broken(events: &[Event]) -> Vec<Broken> {
    check(events).into_iter().map(|v| v.broken).collect()
}

fn lost(number: u64, acknowledged: u64) -> Broken {
    Broken::Lost { signal: S, number, acknowledged: at(acknowledged) }
}

#[test]
fn sound_histories_pass() {
    let acknowledged = write(0, 10, 0, Outcome::Acknowledged);
    // While the write runs, both are right: even one fact of a request without the other.
    assert_eq!(broken(&[acknowledged.clone(), read(5, 20, &[])]), []);
    assert_eq!(broken(&[acknowledged.clone(), read(5, 20, &[1])]), []);
    assert_eq!(broken(&[acknowledged.clone(), read(1, 5, &[0, 1]), read(11, 20, &[1, 0])]), []);
    // A failed write may be there in part, appear late, and be completed by its repetition.
    let history = [write(0, 10, 0, failed()), read(11, 12, &[]), read(20, 21, &[1]), read(20, 25, &[])];
    assert_eq!(broken(&history), []);
    let completed = [write(0, 10, 0, failed()), write(30, 40, 0, Outcome::Acknowledged), read(41, 42, &[0, 1])];
    assert_eq!(broken(&completed), []);
    // No answer, or one that says that it is incomplete, proves nothing.
    let incomplete = read_as(20, 30, Err(ReadError::Incomplete("shard 3".into())));
    assert_eq!(broken(&[acknowledged, incomplete]), []);
}

#[test]
fn an_acknowledged_fact_must_be_in_every_later_complete_answer() {
    let history = [write(0, 10, 0, Outcome::Acknowledged), read(11, 20, &[0]), read(30, 40, &[])];
    assert_eq!(broken(&history), [lost(1, 10), lost(0, 10), lost(1, 10)]);
    let retried = [write(0, 10, 0, failed()), write(11, 20, 0, Outcome::Acknowledged), read(15, 30, &[])];
    assert_eq!(broken(&retried), []);
    let later = [write(0, 10, 0, failed()), write(11, 20, 0, Outcome::Acknowledged), read(21, 30, &[1])];
    assert_eq!(broken(&later), [lost(0, 20)]);
    // A failure after an acknowledgement takes nothing back.
    let again = [write(0, 10, 0, Outcome::Acknowledged), write(11, 12, 0, failed()), read(13, 20, &[1])];
    assert_eq!(broken(&again), [lost(0, 10)]);
}

#[test]
fn no_answer_is_staler_than_one_before_it() {
    let history = [write(0, 90, 0, Outcome::Acknowledged), read(5, 20, &[0]), read(21, 30, &[1]), read(19, 40, &[])];
    let vanished = |number, seen| Broken::Vanished { signal: S, number, seen: at(seen) };
    assert_eq!(broken(&history), [vanished(0, 20)]);
    let unclear = [write(0, 10, 0, failed()), read(11, 20, &[0, 1]), read(21, 30, &[0])];
    assert_eq!(broken(&unclear), [vanished(1, 20)]);
}

#[test]
fn doubled_invented_and_altered_facts_are_found() {
    let one = write(0, 10, 0, Outcome::Acknowledged);
    let doubled = |number, times| Broken::Doubled { signal: S, number, times };
    assert_eq!(broken(&[one.clone(), read(11, 12, &[0, 1, 1])]), [doubled(1, 2)]);
    assert_eq!(broken(&[write(0, 10, 0, failed()), read(11, 12, &[0, 0, 0])]), [doubled(0, 3)]);
    let invented = |number| Broken::Invented { signal: S, number };
    assert_eq!(broken(&[one.clone(), read(11, 12, &[0, 1, 7])]), [invented(7)]);
    // Sent, but only later; and sent, but not asked for.
    assert_eq!(broken(&[one.clone(), read(11, 12, &[0, 1, 4]), write(20, 30, 4, failed())]), [invented(4)]);
    let beyond = [one.clone(), write(0, 10, 12, Outcome::Acknowledged), read(11, 12, &[0, 1, 12])];
    assert_eq!(broken(&beyond), [invented(12)]);
    let altered = read_as(11, 12, Ok(Answer { numbers: vec![0, 1], altered: vec!["x".into()] }));
    assert_eq!(broken(&[one, altered]), [Broken::Altered { signal: S, seen: "x".into() }]);
}

#[test]
fn a_violation_names_node_and_time() {
    let found = check(&[write(0, 10, 0, Outcome::Acknowledged), read(11, 20, &[0])]);
    let text = found[0].to_string();
    assert_eq!(text, "node-2 at 0.020 s: P1/P2: Logs 1, acknowledged at 0.010 s, is missing");
}
