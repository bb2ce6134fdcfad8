//! `trine query promql`: an expression, asked of a node over HTTP, in a terminal.
mod answer;
mod plot;
mod table;

use std::io::{IsTerminal, Write, stderr, stdout};

use serde_json::Value as Json;

use self::answer::Answer;
use self::plot::{Canvas, plot};
use super::moment::{Moment, now_ms};
use super::out;
use super::url::server_url;
use crate::cli::{PromqlFlags, QueryFlags, QueryFormat, QueryLanguage};
use crate::error::{Error, chain, io};

/// Steps of a range whose step is not given.
const STEPS: f64 = 120.0;

pub(crate) fn run(flags: &QueryFlags) -> Result<(), Error> {
    let QueryLanguage::Promql(flags) = &flags.language;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("start the runtime"))?;
    let reply = runtime.block_on(ask(flags))?;
    reply.tell()?;
    let format = flags.format.unwrap_or(match flags.start {
        Some(_) if stdout().is_terminal() => QueryFormat::Plot,
        _ => QueryFormat::Table,
    });
    match format {
        QueryFormat::Json => out::line(format_args!("{:#}", reply.json)),
        QueryFormat::Csv => out::print(table::csv(&reply.answer()?)),
        QueryFormat::Table => out::print(table::table(&reply.answer()?)),
        QueryFormat::Plot => out::print(plot(&reply.answer()?, &Canvas::of_terminal())),
    }
}

/// A successful reply.
struct Reply {
    json: Json,
    /// Shards that answered of all, as the node says it, unless all did.
    partial: Option<String>,
}

impl Reply {
    fn answer(&self) -> Result<Answer, Error> {
        Answer::of(&self.json["data"]).ok_or_else(|| Error::Query("the answer has a form that is not known".into()))
    }

    /// Says what the node has to say about the answer.
    fn tell(&self) -> Result<(), Error> {
        let mut lines = String::new();
        if let Some(partial) = &self.partial {
            lines.push_str(&format!("warning: {partial} shards answered: the answer is not whole\n"));
        }
        for (word, key) in [("warning", "warnings"), ("info", "infos")] {
            for text in self.json[key].as_array().into_iter().flatten().filter_map(Json::as_str) {
                lines.push_str(&format!("{word}: {text}\n"));
            }
        }
        stderr().write_all(lines.as_bytes()).map_err(io("write to the standard error"))
    }
}

async fn ask(flags: &PromqlFlags) -> Result<Reply, Error> {
    let url = server_url(&flags.url).map_err(Error::Query)?.as_str().trim_end_matches('/').to_owned();
    let (path, form) = form(flags, now_ms())?;
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(|e| Error::Query(format!("make a client: {e}")))?;
    let mut request = client.post(format!("{url}{path}")).form(&form);
    if let Some(tenant) = &flags.tenant {
        request = request.header("x-scope-orgid", tenant);
    }
    if flags.strict {
        request = request.header("x-trine-strict", "true");
    }
    let unreachable = |e: reqwest::Error| {
        Error::Query(format!("no answer from {url}: {}; give a node's address with --url", chain(&e)))
    };
    let reply = request.send().await.map_err(unreachable)?;
    let status = reply.status();
    let completeness = reply.headers().get("x-trine-completeness").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = reply.text().await.map_err(unreachable)?;
    let Ok(json) = serde_json::from_str::<Json>(&body) else {
        return Err(Error::Query(format!("{url} answered {status}: {}", body.trim())));
    };
    if !status.is_success() || json["status"] != "success" {
        let text = json["error"].as_str().unwrap_or(&body);
        return Err(Error::Query(format!("{}: {text}", json["errorType"].as_str().unwrap_or(status.as_str()))));
    }
    let is_partial = |c: &String| c.split_once('/').is_some_and(|(answered, all)| answered != all);
    Ok(Reply { json, partial: completeness.filter(is_partial) })
}

type Form = Vec<(&'static str, String)>;

/// Path and form of the request.
fn form(flags: &PromqlFlags, now_ms: i64) -> Result<(&'static str, Form), Error> {
    let text = |ms: i64| format!("{:.3}", ms as f64 / 1000.0);
    let query = ("query", flags.expression.clone());
    let Some(start) = flags.start else {
        let time = flags.time.unwrap_or(Moment::Ago(0)).resolve(now_ms);
        return Ok(("/api/v1/query", vec![query, ("time", text(time))]));
    };
    let (start, end) = (start.resolve(now_ms), flags.end.unwrap_or(Moment::Ago(0)).resolve(now_ms));
    if end < start {
        return Err(Error::Query("--end is before --start".into()));
    }
    let step = flags.step.unwrap_or_else(|| (end.saturating_sub(start) as f64 / 1000.0 / STEPS).ceil().max(1.0));
    let form = vec![query, ("start", text(start)), ("end", text(end)), ("step", step.to_string())];
    Ok(("/api/v1/query_range", form))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flags(args: &[&str]) -> Result<PromqlFlags, clap::Error> {
        let cli = Cli::try_parse_from([&["trine", "query", "promql"], args].concat())?;
        let Command::Query(flags) = cli.command else { panic!("another command") };
        let QueryLanguage::Promql(flags) = flags.language;
        Ok(flags)
    }

    #[test]
    fn a_range_has_a_step_that_fits() {
        let form_of = |args: &[&str]| form(&flags(args).unwrap(), 1_763_719_200_000).unwrap();
        let (path, asked) = form_of(&["up", "--start", "-1h"]);
        assert_eq!(path, "/api/v1/query_range");
        let texts: Vec<String> = asked.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(texts, ["query=up", "start=1763715600.000", "end=1763719200.000", "step=30"]);
        assert_eq!(form_of(&["up", "--start", "-5s"]).1[3].1, "1");
        assert_eq!(form_of(&["up", "--start", "-1h", "--step", "1m30s"]).1[3].1, "90");
        assert_eq!(form_of(&["up"]).1[1].1, "1763719200.000");
        let (_, negative) = form_of(&["-up / 0", "--start", "-1h"]);
        assert_eq!((negative[0].1.as_str(), negative.len()), ("-up / 0", 4));
        assert!(form(&flags(&["up", "--start", "-1h", "--end", "-2h"]).unwrap(), 0).is_err());
    }

    #[test]
    fn flags_that_contradict_are_usage_errors() {
        for args in [
            &["up", "--time", "now", "--start", "-1h"][..],
            &["up", "--end", "now"],
            &["up", "--step", "15s"],
            &["up", "--start", "yesterday"],
            &["up", "--format", "xml"],
            &[],
        ] {
            assert_eq!(flags(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
