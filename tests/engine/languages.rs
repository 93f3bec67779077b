//! Chinese on a real engine: plans, progress, tables and closing lines; documents are the same in both languages.

use serde_json::Value;

use crate::support_engine::Stack;

const MANIFEST: &str = r#"{ "project": "PROJECT", "paths": { "images": "store" }, "services": {
    "api": { "image": "expert/expert_api:latest", "stop_grace_period": "1s" } } }"#;

/// A document without what changes from one look to the next: clocks, disks, how long something took.
fn steady(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[test]
fn a_service_and_its_image_go_their_way_in_chinese() {
    let stack = Stack::new(MANIFEST);
    let chinese = |arguments: &[&str]| stack.run(&[arguments, &["--lang", "zh"]].concat());
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    let is_like = |text: &str, pattern: &str| {
        assert!(regex::Regex::new(pattern).unwrap().is_match(text), "{text} is not like {pattern}");
    };

    let plan = chinese(&["plan"]).success();
    assert!(plan.stdout.starts_with("步骤 ") && plan.stdout.contains("尚不存在"), "{}", plan.stdout);

    let save = chinese(&["save", "--progress", "plain"]).success();
    is_like(&save.stderr, "✓ expert/expert_api:latest: 已保存，新增 [0-9.]+ [kM]?B \\([0-9.]+ 秒\\)");
    is_like(&last(&save.stderr), "^已保存 1 个镜像，0 个未变；写入 .+，省去 .+；用时 [0-9.]+ 秒$");

    let load = chinese(&["load", "--progress", "json"]).success();
    let lines = load.stderr.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended = lines.iter().find(|line| line["event"] == "ended").unwrap();
    assert_eq!(ended["text"], "present already", "what programs read is English");
    is_like(&last(&load.stderr), "^已加载 0 个镜像，1 个已存在；");

    let start = chinese(&["start"]).success();
    is_like(&last(&start.stderr), "^服务：新建 1 个；用时 [0-9.]+ 秒$");
    let status = chinese(&["status"]).success();
    assert!(status.stdout.starts_with("编号  服务") && status.stdout.contains("运行中"), "{}", status.stdout);
    assert_eq!(last(&chinese(&["plan"]).success().stderr), "无需任何操作：一切与清单一致");
    let doctor = chinese(&["doctor"]);
    assert!(doctor.stdout.contains("存储驱动") && doctor.stdout.contains("没有问题"), "{}", doctor.stdout);

    for command in
        [&["plan"] as &[&str], &["status"], &["doctor"], &["images", "list"], &["save"], &["load", "--dry-run"]]
    {
        let document = |language| {
            let run = stack.run(&[command, &["--json", "--lang", language]].concat());
            steady(&run.stdout)
        };
        let (english, chinese) = (document("en"), document("zh"));
        assert!(english.starts_with('{') && english == chinese, "{command:?}:\n{english}\n{chinese}");
    }
    is_like(&last(&chinese(&["stop", "api"]).success().stderr), "^已停止 1 个服务；用时 [0-9.]+ 秒$");
    is_like(&last(&chinese(&["remove", "api", "--yes"]).success().stderr), "^已移除 1 个服务；用时 [0-9.]+ 秒$");
}
