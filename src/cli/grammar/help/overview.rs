//! `dpl --help`: one screen, the commands side by side in groups of what people want to do.

use std::fmt::Write;

use clap::Command;
use console::measure_text_width;

use crate::catalogue::Language;

/// A text in English and in Chinese.
type Text = [&'static str; 2];

/// Commands, and what they are for in few words; two on a line say it together.
type Line = (&'static [&'static str], Text);

/// What somebody wants to do, and the commands that do it.
struct Group {
    title: Text,
    lines: &'static [Line],
}

const LEFT: &[Group] = &[
    Group {
        title: ["Move images", "镜像"],
        lines: &[
            (&["save"], ["engine → image store", "引擎 → 镜像存储目录"]),
            (&["load"], ["image store → engine", "镜像存储目录 → 引擎"]),
            (&["images"], ["list, verify, prune, import …", "列出、校验、清理、导入…"]),
        ],
    },
    Group {
        title: ["Run services", "服务"],
        lines: &[
            (&["plan"], ["what start would do, and why", "start 将做什么及原因"]),
            (&["start"], ["with what they depend on", "连同依赖一起启动"]),
            (&["restart"], ["recreate what changed", "替换有变化的容器"]),
            (&["stop", "remove"], ["dependents first", "先停止依赖方"]),
            (&["rollback"], ["undo an action", "撤销一个操作"]),
        ],
    },
    Group {
        title: ["Protect databases and folders", "数据库与文件夹"],
        lines: &[(&["db", "data"], ["backup, snapshot, restore …", "备份、快照、恢复…"])],
    },
    Group {
        title: ["Chains and other machines", "操作链与其他机器"],
        lines: &[
            (&["do"], ["a chain: \"2 - 25 - 3 - 25\"", "例如 \"2 - 25 - 3 - 25\""]),
            (&["on", "sites"], ["a command at a site", "在站点上执行命令"]),
            (&["send", "fetch"], ["to a site, from a site", "发送到站点、从站点取回"]),
            (&["pack", "unpack"], ["by USB disk", "用 U 盘交付"]),
        ],
    },
];

const RIGHT: &[Group] = &[
    Group {
        title: ["Look", "查看"],
        lines: &[
            (&["status"], ["state, health, differences", "状态、健康、差异"]),
            (&["logs", "stats"], ["of services", "服务日志、资源用量"]),
            (&["graph"], ["dependencies", "依赖关系"]),
            (&["exec"], ["run a command in a service", "在服务中执行命令"]),
            (&["doctor"], ["check engine and manifest", "检查引擎和清单"]),
            (&["history"], ["what was done, by whom", "做过什么、由谁"]),
            (&["lock"], ["who is working now", "谁正在操作"]),
            (&["inventory", "receipt"], ["what is here", "已有内容、回执"]),
        ],
    },
    Group {
        title: ["Set up", "设置"],
        lines: &[
            (&["use"], ["remember a manifest", "记住一个清单"]),
            (&["check"], ["check a manifest", "检查清单"]),
            (&["list"], ["numbers and names", "编号和名称"]),
            (&["config", "schema"], ["print it resolved", "解析后的清单"]),
            (&["release", "package", "key"], ["what travels", "发布、离线包"]),
            (&["completions", "man"], ["for the shell", "补全和手册页"]),
        ],
    },
];

const USAGE: Text = [
    "\
Usage: dpl [MANIFEST.json]  opens the menu
       dpl COMMAND [MANIFEST.json] [TARGET]... [FLAG]...",
    "\
用法：dpl [清单.json]  打开菜单
      dpl 命令 [清单.json] [对象]... [选项]...",
];

const FOOT: Text = [
    "\
Targets: 25, 17..25, [2, 3], a name, metis_*, @group, all, !x to leave one out.
Flags of every command (-f, -H, --lang, --json, --dry-run …): dpl help flags
`dpl COMMAND -h` is short; `dpl COMMAND --help` has all flags and examples.",
    "\
对象：25、17..25、[2, 3]、名称、metis_*、@分组、all，用 !x 排除。
每个命令都接受的选项（-f、-H、--lang、--json、--dry-run…）：dpl help flags
`dpl 命令 -h` 较短；`dpl 命令 --help` 有全部选项和示例。",
];

/// Columns of the left half; both together fit into 80.
const HALF: usize = 42;

/// The page. Commands that the grammar does not have are left out, so that it promises nothing.
pub fn page(root: &Command, language: Language) -> String {
    let (left, right) = (column(LEFT, root, language), column(RIGHT, root, language));
    let mut page = format!("{}\n\n", USAGE[language as usize]);
    for row in 0..left.len().max(right.len()) {
        let shown = left.get(row).map_or("", String::as_str);
        let other = right.get(row).map_or("", String::as_str);
        let gap = HALF.saturating_sub(measure_text_width(shown));
        let line = format!("{shown}{:gap$}{other}", "");
        let _ = writeln!(page, "{}", line.trim_end());
    }
    page.push('\n');
    page.push_str(FOOT[language as usize]);
    page
}

/// Each line as it is shown.
fn column(groups: &[Group], root: &Command, language: Language) -> Vec<String> {
    let mut rows = Vec::new();
    for group in groups {
        rows.push(format!("\x1b[1;4m{}\x1b[0m", group.title[language as usize]));
        for (names, text) in group.lines {
            let names: Vec<&str> = names.iter().copied().filter(|name| root.find_subcommand(name).is_some()).collect();
            let name = names.join(", ");
            let gap = 10usize.saturating_sub(name.chars().count()).max(if name.len() > 8 { 2 } else { 0 });
            rows.push(format!("  \x1b[1m{name}\x1b[0m{:gap$}{}", "", text[language as usize]));
        }
    }
    rows
}

/// Every name that the page shows.
#[cfg(test)]
pub fn names() -> Vec<&'static str> {
    let groups = LEFT.iter().chain(RIGHT);
    groups.flat_map(|group| group.lines).flat_map(|(names, _)| names.iter().copied()).collect()
}
