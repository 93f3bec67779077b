//! `dpl --help`: one screen, the commands side by side in groups of what people want to do.

use std::fmt::Write;

use clap::Command;

/// Commands, and what they are for in few words; two on a line say it together.
type Line = (&'static [&'static str], &'static str);

/// What somebody wants to do, and the commands that do it.
struct Group {
    title: &'static str,
    lines: &'static [Line],
}

const LEFT: &[Group] = &[
    Group {
        title: "Carry images",
        lines: &[
            (&["save"], "from the engine to the store"),
            (&["load"], "from the store into the engine"),
            (&["images"], "list, verify, prune, import …"),
        ],
    },
    Group {
        title: "Run services",
        lines: &[
            (&["plan"], "what start would do, and why"),
            (&["start"], "start, with what they need"),
            (&["restart"], "changed ones anew"),
            (&["stop"], "dependents first"),
            (&["remove"], "take the containers away"),
            (&["rollback"], "as before an action"),
        ],
    },
    Group {
        title: "Keep databases",
        lines: &[(&["db"], "list, backup, restore, dump,"), (&[], "rebuild, verify, sql, shell …")],
    },
    Group { title: "Do more at once", lines: &[(&["do"], "a chain: \"2 - 25 - 3 - 25\"")] },
];

const RIGHT: &[Group] = &[
    Group {
        title: "See how things are",
        lines: &[
            (&["status"], "state, health, drift"),
            (&["logs"], "what services have written"),
            (&["stats"], "CPU, memory, network, disk"),
            (&["graph"], "who needs whom"),
            (&["exec"], "a command in a service"),
            (&["doctor"], "what will not work here"),
            (&["history"], "what was done, by whom"),
            (&["lock"], "who is at work"),
        ],
    },
    Group {
        title: "Set up",
        lines: &[
            (&["use"], "a manifest for this folder"),
            (&["check"], "is it right?"),
            (&["list"], "numbers and names"),
            (&["config", "schema"], "all that it says"),
            (&["completions", "man"], "for the shell"),
        ],
    },
];

const USAGE: &str = "\
Usage: dpl [MANIFEST.json]  opens the menu
       dpl COMMAND [MANIFEST.json] [TARGET]... [FLAG]...";

const FOOT: &str = "\
Targets: 25, 17..25, [2, 3], a name, metis_*, @group, all, !x to leave one out.
Everywhere: -f FILE, -H ENGINE, --lang en|zh, --json, --dry-run, --yes, --quiet
`dpl COMMAND --help` has two examples, and all flags with their defaults.";

/// Columns of the left half; both together fit into 80.
const HALF: usize = 42;

/// The page. Commands that the grammar does not have are left out, so that it promises nothing.
pub fn page(root: &Command) -> String {
    let (left, right) = (column(LEFT, root), column(RIGHT, root));
    let mut page = format!("{USAGE}\n\n");
    for row in 0..left.len().max(right.len()) {
        let (plain, shown) = left.get(row).map_or(("", ""), |(plain, shown)| (plain, shown));
        let other = right.get(row).map_or("", |(_, shown)| shown);
        let gap = HALF.saturating_sub(plain.chars().count());
        let line = format!("{shown}{:gap$}{other}", "");
        let _ = writeln!(page, "{}", line.trim_end());
    }
    page.push('\n');
    page.push_str(FOOT);
    page
}

/// Each line as it is measured and as it is shown.
fn column(groups: &[Group], root: &Command) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for group in groups {
        rows.push((group.title.to_owned(), format!("\x1b[1;4m{}\x1b[0m", group.title)));
        for (names, text) in group.lines {
            let names: Vec<&str> = names.iter().copied().filter(|name| root.find_subcommand(name).is_some()).collect();
            let name = names.join(", ");
            let bold = format!("\x1b[1m{name}\x1b[0m");
            let gap = 10usize.saturating_sub(name.chars().count()).max(if name.len() > 8 { 2 } else { 0 });
            rows.push((format!("  {name}{:gap$}{text}", ""), format!("  {bold}{:gap$}{text}", "")));
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
