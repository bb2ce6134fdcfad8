//! Pipelines over single lines: what passes, with which line and labels.
use std::borrow::Cow;

use trine_store::model::Labels;

use super::{EntryLabels, Pipeline, Wanted};
use crate::logql::parser::parse_log;

/// Runs `stages` over a line of stream `{app="x", level="info"}` with metadata `trace_id="t1"`; prints what is left.
fn run(stages: &str, line: &str) -> String {
    let log = parse_log(&format!("{{app=\"x\"}} {stages}")).unwrap();
    let pipeline = match Pipeline::compile(&log.stages, Wanted::All) {
        Ok(pipeline) => pipeline,
        Err(e) => return e.to_string(),
    };
    let mut labels = EntryLabels::new(&crate::memory::Account::unbounded());
    labels.begin_stream(&Labels::from_pairs([("app", "x"), ("level", "info")]).unwrap());
    labels.begin_entry();
    labels.push_metadata("trace_id", "t1");
    let mut line = Cow::Borrowed(line);
    if !pipeline.process(&mut line, &mut labels, 1_700_000_000_000_000_000).unwrap() {
        return "dropped".to_owned();
    }
    let entry = labels.to_entry(0, &line);
    let pairs = |pairs: &[(String, String)]| {
        pairs
            .iter()
            .filter(|(n, _)| n != "__error_details__")
            .map(|(n, v)| format!("{n}={v}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let stream = labels.changed_stream().map_or_else(String::new, |l| format!(" stream{l}"));
    let metadata = match pairs(&entry.structured_metadata).as_str() {
        "trace_id=t1" => String::new(),
        other => format!(" metadata[{other}]"),
    };
    format!("{} [{}]{metadata}{stream}", entry.line, pairs(&entry.parsed))
}

#[test]
fn stages() {
    let json =
        r#"{"msg":"hi \"x\"","http":{"status":200,"path":"/a"},"level":"warn","n":null,"ok":true,"tags":["a"],"9x":1}"#;
    let apache = r#"[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv in error state 6"#;
    let sshd = "Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for root from 173.234.31.186 port 38926 ssh2";
    for (stages, line, expected) in [
        ("|= \"hi\"", "oh hi", "oh hi []"),
        ("|= \"hi\" != \"oh\"", "oh hi", "dropped"),
        ("|= \"a\" or \"hi\"", "oh hi", "oh hi []"),
        ("!= \"a\" or \"hi\"", "oh hi", "dropped"),
        ("|~ \"o.\"", "oh", "oh []"),
        ("!~ \"(?i)O.\"", "oh", "dropped"),
        ("|> \"<_>error<_>\"", apache, &format!("{apache} []")),
        ("|> \"error<_>\"", apache, "dropped"),
        ("|= ip(\"173.234.0.0/16\")", sshd, &format!("{sshd} []")),
        ("|= ip(\"10.0.0.0/8\")", sshd, "dropped"),
        (
            "| json",
            json,
            &format!("{json} [_9x=1,http_path=/a,http_status=200,level_extracted=warn,msg=hi \"x\",ok=true]"),
        ),
        ("| json s=\"http.status\", t=\"tags[0]\", level", json, &format!("{json} [level_extracted=warn,s=200,t=a]")),
        ("| json", "no json", "no json [__error__=JSONParserErr]"),
        ("| json | __error__=\"\"", "no json", "dropped"),
        ("| json | drop __error__, __error_details__", "no json", "no json []"),
        ("| json | http_status > 300", json, "dropped"),
        (
            "| json | http_status >= 200 and ok=\"true\" | keep msg",
            json,
            &format!("{json} [msg=hi \"x\"] metadata[] stream{{}}"),
        ),
        (
            "| json | line_format \"{{.http_path}} {{ .msg | upper | trunc 2 }}\" | keep app",
            json,
            "/a HI [] metadata[] stream{app=\"x\"}",
        ),
        (
            "| json | msg > 5 | keep app",
            json,
            &format!("{json} [__error__=LabelFilterErr] metadata[] stream{{app=\"x\"}}"),
        ),
        ("| logfmt", "a=1 b=\"x y\" c= d e=f=g", "a=1 b=\"x y\" c= d e=f=g [a=1,b=x y]"),
        ("| logfmt --strict", "a=1 =2", "a=1 =2 [__error__=LogfmtParserErr,a=1]"),
        ("| logfmt x=\"b\"", "a=1 b=2", "a=1 b=2 [x=2]"),
        ("| logfmt | took > 5ms", "took=1.5s", "took=1.5s [took=1.5s]"),
        ("| logfmt | size <= 1KB", "size=2KiB", "dropped"),
        ("| logfmt | missing > 1", "a=1", "dropped"),
        ("| logfmt | a=\"2\" or b=\"2\"", "a=1 b=2", "a=1 b=2 [a=1,b=2]"),
        ("| logfmt | from=ip(\"10.0.0.1-10.0.0.9\")", "from=10.0.0.5", "from=10.0.0.5 [from=10.0.0.5]"),
        (
            "| pattern \"[<_>] [<level>] <msg>\"",
            apache,
            &format!("{apache} [level_extracted=error,msg=mod_jk child workerEnv in error state 6]"),
        ),
        (
            "| regexp \"from (?P<addr>\\\\S+) port (?P<port>\\\\d+)\"",
            sshd,
            &format!("{sshd} [addr=173.234.31.186,port=38926]"),
        ),
        ("| logfmt | from!=ip(\"10.0.0.0/8\")", "from=10.0.0.5", "dropped"),
        ("| logfmt | from!=ip(\"10.0.0.0/8\")", "to=10.0.0.5", "dropped"),
        ("| logfmt | from!=ip(\"10.0.0.0/8\")", "from=::1", "from=::1 [from=::1]"),
        ("| unpack", r#"{"_entry":"inner","pod":"p","n":1}"#, "inner [pod=p]"),
        ("| label_format lvl=level, y=\"<{{.app}}>\"", "l", "l [lvl=info,y=<x>] stream{app=\"x\"}"),
        ("| drop app, trace_id", "l", "l [] metadata[] stream{level=\"info\"}"),
        ("| drop level=\"warn\"", "l", "l []"),
        ("| trace_id=\"t1\"", "l", "l []"),
        ("| trace_id=\"t2\"", "l", "dropped"),
        ("| decolorize", "\u{1b}[31mred\u{1b}[0m", "red []"),
        ("| line_format \"{{if .app}}x{{end}}{{if .none}}y{{else}}z{{end}}\"", "l", "xz []"),
        ("| line_format `{{if .none}}a{{else if eq .level \"info\"}}b{{else}}c{{end}}!`", "l", "b! []"),
        ("| line_format `{{ if .app | hasPrefix \"y\" }}a{{- end }} {{ contains \"x\" .app }}`", "l", " true []"),
        ("| line_format `<{{- /* c */ -}} {{ __line__ | replace \"l\" \"L\" }} {{- \"!\" }}>`", "l", "<L!> []"),
        ("| line_format `{{if .app}}x`", "l", "parse error : invalid template \"{{if .app}}x\": if without end"),
        (
            "| line_format `x{{end}}`",
            "l",
            "parse error : invalid template \"x{{end}}\": unexpected {{end}} or {{else}}",
        ),
        ("| line_format `{{range .app}}x{{end}}`", "l", "unsupported: template expression \"range .app\""),
        ("| line_format `{{ .app | fromJson }}`", "l", "unsupported: template expression \"fromJson\""),
        ("|~ \"(\"", "l", "parse error : error parsing regexp: missing closing ): `(`"),
    ] {
        assert_eq!(run(stages, line), expected, "{stages}  over  {line}");
    }
}

#[test]
fn only_wanted_labels_are_made() {
    let log = parse_log("{a=\"b\"} | json | x=\"1\"").unwrap();
    let wanted = Wanted::Names(["level_extracted".to_owned()].into());
    let pipeline = Pipeline::compile(&log.stages, wanted).unwrap();
    let mut labels = EntryLabels::new(&crate::memory::Account::unbounded());
    labels.begin_stream(&Labels::from_pairs([("level", "info")]).unwrap());
    labels.begin_entry();
    let mut line = Cow::Borrowed(r#"{"x":"1","y":"2","level":"warn"}"#);
    assert!(pipeline.process(&mut line, &mut labels, 0).unwrap());
    assert_eq!(labels.get("level_extracted"), Some("warn"));
    assert_eq!(labels.get("y"), None);
}

proptest::proptest! {
    #[test]
    fn no_template_panics(text in "(\\{\\{|\\}\\}|if |else |end|\\.a|[ \"`|a-\u{e9}-]){0,30}") {
        run(&format!("| line_format {}", crate::logql::units::quote(&text)), "line");
    }

    #[test]
    fn no_line_panics(line in "[{}\\[\\]\":,a-c0-9\\\\u =.<>\u{1b}\u{e9}\n-]{0,60}") {
        for stages in [
            "| json", "| json a=\"b[0].c\"", "| logfmt", "| logfmt --strict --keep-empty", "| unpack", "| decolorize",
            "| pattern \"<a> <b>\"", "|> \"<_>a<_>\"", "| regexp \"(?P<x>a*)\"", "|= ip(\"1.1.1.1\")",
        ] {
            run(stages, &line);
        }
    }
}
