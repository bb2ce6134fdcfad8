//! Which info series `info()` asks for, which the scripts do not show.
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine_query::memory::Account;
use trine_query::promql::{self, Answer, InstantQuery, Value};
use trine_query::scatter::{QueryContext, Scatter};

use crate::load::{Series, series_of};
use crate::memory::MemoryScatter;
use crate::script::{self, Command};
use crate::stored::{StoreScatter, TENANT};

/// Samples of everything but the fleet's.
const DATA: &str = r#"load 1m
  up{instance="a",job="x"} 1+1x5
  up{instance="b",job="x"} 1+1x5
  jobless{instance="c"} 1+1x5
  nobody 1+1x5
  target_info{instance="a",job="x",zone="eu"} 1+0x5
  target_info{instance="b",job="x",zone="us"} 1+0x5
  target_info{instance="c",zone="asia"} 1+0x5
  build_info{instance="a",job="x",version="3"} 1+0x5
  build_info{instance="[a]+",job="x",version="4"} 1+0x5
"#;
/// As many hosts with an info series more, most of them of one job.
const HOSTS: usize = 1_200;

fn data() -> Vec<Series> {
    let mut text = DATA.to_owned();
    for host in 0..HOSTS {
        text += &format!("  target_info{{instance=\"host-{host}\",job=\"fleet\",rack=\"{}\"}} 1+0x5\n", host % 7);
        text += &format!("  load{{instance=\"host-{host}\",job=\"fleet\"}} {host}+0x5\n");
    }
    let commands = script::parse(&text);
    commands.into_iter().find_map(|c| if let Command::Load(load) = c { Some(series_of(load)) } else { None }).unwrap()
}

async fn ask(scatter: &Arc<dyn Scatter>, query: &str) -> Answer {
    try_ask(scatter, query).await.unwrap_or_else(|e| panic!("{query}: {e}"))
}

async fn try_ask(scatter: &Arc<dyn Scatter>, query: &str) -> trine_query::Result<Answer> {
    let ctx = QueryContext {
        tenant: Arc::from(TENANT),
        deadline: Instant::now() + Duration::from_secs(60),
        strict: false,
        no_cache: false,
        count_steps: true,
        memory: Account::unbounded(),
    };
    let query =
        InstantQuery { query: query.to_owned(), time_ms: 240_000, lookback_ms: promql::LOOKBACK_MS_DEFAULT, limit: 0 };
    promql::instant(scatter, &ctx, &query).await
}

fn texts(answer: &Answer) -> Vec<String> {
    let Value::Vector(samples) = &answer.value else { panic!("{:?}", answer.value) };
    let mut texts: Vec<String> = samples.iter().map(|s| format!("{} {}", s.labels, s.value)).collect();
    texts.sort();
    texts
}

/// A query, its answer, and the samples that it looks at.
const CASES: &[(&str, &[&str], u64)] = &[
    ("info(up{instance='a'})", &[r#"{__name__="up", instance="a", job="x", zone="eu"} 5"#], 1 + 1),
    // Nothing that has an info series: none is looked for.
    ("info(nobody)", &[r#"{__name__="nobody"} 5"#], 1),
    ("info(missing)", &[], 0),
    // Info series themselves are left as they are.
    ("info(target_info{instance='a'})", &[r#"{__name__="target_info", instance="a", job="x", zone="eu"} 1"#], 1),
    ("info(jobless)", &[r#"{__name__="jobless", instance="c", zone="asia"} 5"#], 1 + 1),
    // As soon as a series has a job, info series without one are not asked for.
    (
        "info({__name__=~'jobless|up', instance=~'a|c'})",
        &[r#"{__name__="jobless", instance="c"} 5"#, r#"{__name__="up", instance="a", job="x", zone="eu"} 5"#],
        2 + 1,
    ),
    // Labels that only the evaluation makes.
    (
        "info(label_replace(label_replace(nobody, 'instance', 'b', '', ''), 'job', 'x', '', ''))",
        &[r#"{__name__="nobody", instance="b", job="x", zone="us"} 5"#],
        1 + 1,
    ),
    (
        "info(label_replace(label_replace(nobody, 'instance', '[a]+', '', ''), 'job', 'x', '', ''), {__name__='build_info'})",
        &[r#"{__name__="nobody", instance="[a]+", job="x", version="4"} 5"#],
        1 + 1,
    ),
    // One in the other, on both sides of an operator, in a subquery.
    (
        "info(info(up{instance='a'}), {__name__='build_info'})",
        &[r#"{__name__="up", instance="a", job="x", version="3", zone="eu"} 5"#],
        1 + 1 + 1,
    ),
    (
        "info(up{instance='a'}) - on (job) group_left info(up{instance='b'})",
        &[r#"{instance="a", job="x", zone="eu"} 0"#],
        4,
    ),
    ("max_over_time(info(up{instance='a'})[2m:1m])", &[r#"{instance="a", job="x", zone="eu"} 5"#], 2),
    ("count(info(load, {rack=~'.+'}))", &["{} 1200"], 2 * HOSTS as u64),
    ("count by (rack) (info(load{instance='host-8'}))", &[r#"{rack="1"} 1"#], 1 + 1),
];

/// What Prometheus refuses is refused where it has no effect, too.
#[tokio::test]
async fn two_info_series_of_one_time_are_an_error_though_nothing_joins_them() {
    let text = "load 1m
  m{instance=\"a\",job=\"1\"} 1+0x5
  m{instance=\"b\",job=\"2\"} 1+0x5
  target_info{instance=\"a\",job=\"2\",v=\"x\"} 1+0x5
  target_info{instance=\"a\",job=\"2\",v=\"y\"} 1+0x5
";
    let commands = script::parse(text);
    let data = commands.into_iter().find_map(|c| if let Command::Load(l) = c { Some(series_of(l)) } else { None });
    let scatter: Arc<dyn Scatter> = Arc::new(MemoryScatter::new(&data.unwrap(), 3));
    let error = try_ask(&scatter, "info(m)").await.unwrap_err().to_string();
    assert!(error.contains("found duplicate series for info metric"), "{error}");
    assert!(try_ask(&scatter, "info(m{job='1'})").await.is_ok(), "not asked for");
}

#[tokio::test]
async fn only_what_can_be_joined_is_asked_for() {
    let data = data();
    let scatters: [Arc<dyn Scatter>; 2] =
        [Arc::new(MemoryScatter::new(&data, 3)), Arc::new(StoreScatter::new(&data, 3))];
    for scatter in &scatters {
        for (query, expected, looked_at) in CASES {
            let answer = ask(scatter, query).await;
            assert_eq!(texts(&answer), *expected, "{query}");
            let counts = answer.step_counts.as_ref().unwrap();
            assert_eq!(counts.queryable_sum(), *looked_at, "{query}");
        }
        // Samples that were read are not many more than what was looked at.
        let of_one = ask(scatter, "info(up{instance='a'})").await.stats;
        assert!(of_one.samples_read < 40 && of_one.series == 2, "{of_one:?}");
    }
}
