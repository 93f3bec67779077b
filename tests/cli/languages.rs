//! English and Chinese: which one, what is said in it, and what stays as it is.

use crate::support::{Run, Site};

const STACK: &str = r#"{
  "project": "danganju",
  "paths": { "images": "images", "backups": "backups" },
  "databases": {
    "minerva": { "service": "postgres", "seed": "seeds/minerva" },
    "档案": { "service": "postgres" }
  },
  "services": {
    "postgres": { "image": "postgres:15", "groups": ["platform"] },
    "expert-api": { "image": "expert/expert_api:latest", "groups": ["档案", "expert"],
      "depends_on": { "postgres": { "condition": "service_healthy", "restart": true } } },
    "metis_worker_gpu": { "image": "metis/metis_worker_gpu:v1.5_no_subtask", "gpus": "all",
      "depends_on": { "expert-api": { "condition": "service_started", "required": false } } }
  }
}"#;

const JOURNAL: &str = r#"{"entry":"begin","number":1,"at":"2026-11-22T21:30:00Z","user":"li","host":"site","ssh_client":"127.0.0.7","version":"0.1.0","manifest":"/srv/stack.json","manifest_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","engine":"unix:///run/docker.sock","command":"dpl load web"}
{"entry":"step","action":1,"at":"2026-11-22T21:30:01Z","activity":"load-image","subject":"web:1"}
{"entry":"end","action":1,"at":"2026-11-22T21:33:24Z","exit_code":0}
{"entry":"begin","number":2,"at":"2026-11-22T22:30:00Z","user":"li","host":"site","version":"0.1.0","manifest":"/srv/stack.json","manifest_digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","engine":"unix:///run/docker.sock","command":"dpl start all"}
{"entry":"step","action":2,"at":"2026-11-22T22:30:01Z","activity":"create-container","subject":"danganju-web-1"}
"#;

fn site(language: &str) -> Site {
    let mut site = Site::with_manifest(STACK);
    site.write(".dpl/journal.jsonl", JOURNAL);
    site.set("TZ", "UTC").set("DPL_MANIFEST", "stack.json").set("LANG", language);
    site
}

fn chinese() -> Site {
    site("zh_CN.UTF-8")
}

/// Commands that need no engine and print tables or talk.
const LOOKS: [&[&str]; 11] = [
    &["list"],
    &["list", "@档案"],
    &["check"],
    &["graph"],
    &["history"],
    &["history", "show", "1"],
    &["history", "show", "2"],
    &["images", "prune"],
    &["db", "sql", "minerva", "select 1", "--dry-run"],
    &["exec", "--dry-run", "postgres", "psql", "-l"],
    &["use", "stack.json"],
];

/// Commands that go wrong.
const FAILURES: [&[&str]; 15] = [
    &["list", "nobody"],
    &["stop"],
    &["do", "2 - "],
    &["history", "show", "9"],
    &["schema", "lits"],
    &["doctor"],
    &["exec", "all", "true"],
    &["db", "verify"],
    &["db", "dump", "档案"],
    &["start", "--profile", "tools"],
    &["logs", "--since", "yesterday"],
    &["strat"],
    &["load", "--xyzzy"],
    &["save", "--format", "zip"],
    &["exec"],
];

fn page(site: &Site, commands: &[&[&str]]) -> String {
    let shown = |arguments: &&[&str]| {
        let Run { code, stdout, stderr } = site.run(arguments);
        format!("$ dpl {}\n{stdout}{stderr}[{code}]\n", arguments.join(" "))
    };
    commands.iter().map(shown).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_shown_without_an_engine_is_shown_in_both_languages() {
    insta::assert_snapshot!("looks_in_english", page(&site("C"), &LOOKS));
    insta::assert_snapshot!("looks_in_chinese", page(&chinese(), &LOOKS));
}

#[test]
fn failures_are_said_in_the_language_with_the_same_exit_code() {
    insta::assert_snapshot!("failures_in_english", page(&site("C"), &FAILURES));
    insta::assert_snapshot!("failures_in_chinese", page(&chinese(), &FAILURES));
    for arguments in FAILURES {
        let [english, chinese] = ["C", "zh_CN.UTF-8"].map(|language| site(language).run(arguments));
        assert_eq!(english.code, chinese.code, "{arguments:?}");
        assert!(english.stderr.starts_with("error: ") && chinese.stderr.starts_with("错误: "), "{arguments:?}");
    }
}

/// Errors of each module that come without an engine: what they are about, and what they say at least.
#[test]
fn causes_of_every_module_are_in_the_language_of_the_session() {
    let mut site = chinese();
    site.write("else.tar", &"neither a tar nor anything else that is an archive of images\n".repeat(20));
    site.write("others/broken.json", r#"{"project": "p", "services": {"a": {"imag": "a b", "ports": ["99999999"]}}}"#);
    site.write("damaged/stack.json", STACK);
    site.write("damaged/images/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    site.write("damaged/images/index.json", "{\"manifests");
    site.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let failures: [(&[&str], &str); 14] = [
        (&["images", "list", "-f", "damaged/stack.json"], "index.json 已损坏"),
        (&["images", "import", "else.tar"], "它不是 tar 归档"),
        (&["images", "export", "nobody:1", "--output", "x.tar"], "中没有镜像 nobody:1"),
        (&["images", "import", "nowhere.tar"], "无法读取：nowhere.tar"),
        (&["check", "others/broken.json"], "未知的键 `imag`"),
        (&["check", "nowhere.json"], "文件不存在"),
        (&["list", "@nobody"], "未知的分组 `@nobody`"),
        (&["list", "9..3"], "`9..3` 的顺序反了"),
        (&["list", "99"], "编号为 1 到 3"),
        (&["load", "nowhere.tar"], "未知的服务 `nowhere.tar`"),
        (&["status"], "套接字 /nowhere/docker.sock 不存在"),
        (&["status", "-H", "ftp://host"], "不是引擎的地址"),
        (&["start", "--wait-timeout", "soon"], "不是有效的时长"),
        (&["images", "import", "else.tar", "--platform", "linux"], "不是有效的平台"),
    ];
    for (arguments, said) in failures {
        let run = site.run(arguments);
        assert_ne!(run.code, 0, "{arguments:?}");
        assert!(run.stderr.contains(said), "{arguments:?} does not say {said}:\n{}", run.stderr);
        for line in run.stderr.lines() {
            // A line of a manifest page is the manifest's own.
            let text = line.split('`').step_by(2).collect::<String>();
            let words = text.split(|letter: char| !letter.is_ascii_alphabetic() && letter != ' ');
            let phrase = words.map(str::trim).find(|words| words.split_whitespace().count() >= 3);
            let is_quoted = line.trim_start().starts_with(|letter: char| letter.is_ascii_digit() || letter == '|');
            assert!(is_quoted || phrase.is_none(), "{arguments:?} says in English: {phrase:?}\n{}", run.stderr);
        }
    }
}

#[test]
fn the_language_is_the_flags_else_that_of_the_first_variable_that_is_set() {
    let title = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut site = Site::with_manifest(STACK);
        for (name, value) in variables {
            site.set(name, *value);
        }
        let run = site.run(&[&["list", "stack.json"], arguments].concat()).success();
        run.stdout.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(title(&[], &[]), "NO");
    assert_eq!(title(&[("LANG", "zh_CN.UTF-8")], &[]), "编号");
    assert_eq!(title(&[("LC_MESSAGES", "zh_SG.UTF-8"), ("LANG", "en_US.UTF-8")], &[]), "编号");
    assert_eq!(title(&[("LC_ALL", "C.UTF-8"), ("LANG", "zh_CN.UTF-8")], &[]), "NO");
    assert_eq!(title(&[("LANG", "zh_CN.GBK")], &[]), "NO");
    assert_eq!(title(&[("LANG", "zh_CN.UTF-8")], &["--lang", "en"]), "NO");
    assert_eq!(title(&[("LC_ALL", "C")], &["--lang=zh"]), "编号");
    let run = Site::with_manifest(STACK).run(&["list", "stack.json", "--lang", "fr"]).failure(2);
    assert!(run.stderr.contains("`--lang` can't be `fr`\n  hint: one of: en, zh"), "{}", run.stderr);
    let run = Site::new().run(&["strat", "--lang", "zh"]).failure(2);
    assert_eq!(run.stderr, "错误: 未知的命令 `strat`\n  提示: 您是指 `start` 吗？\n");
}

/// What programs read: documents, schemas, other programs' formats.
#[test]
fn what_programs_read_is_the_same_in_both_languages_to_the_byte() {
    let commands: [&[&str]; 12] = [
        &["list", "--json"],
        &["check", "--json"],
        &["config"],
        &["graph", "--json"],
        &["graph", "--format", "mermaid"],
        &["graph", "--format", "dot"],
        &["history", "--json"],
        &["history", "show", "2", "--json"],
        &["schema"],
        &["schema", "doctor"],
        &["images", "verify", "--json"],
        &["images", "prune", "--json", "--dry-run"],
    ];
    let sites = ["C", "zh_CN.UTF-8"].map(site);
    for arguments in commands {
        let [english, chinese] = sites.each_ref().map(|site| site.run(arguments));
        let english = english.stdout.replace(&*sites[0].path().to_string_lossy(), "SITE");
        let chinese = chinese.stdout.replace(&*sites[1].path().to_string_lossy(), "SITE");
        assert_eq!(english, chinese, "{arguments:?}");
    }
}

#[test]
fn a_question_without_a_terminal_is_an_error_with_the_question_in_it() {
    let site = chinese();
    site.write("seeds/minerva/backup.json", "{}");
    let run = site.run(&["db", "rebuild", "minerva"]).failure(2);
    assert_eq!(
        run.stderr,
        "错误: 没有终端，无法询问：minerva 将被交付转储中的数据替换。请输入它的名称以继续：\n  提示: 加 --yes 则不必输入名称 `minerva`，直接执行\n"
    );
}
