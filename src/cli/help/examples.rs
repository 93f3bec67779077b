//! Two examples of each command, as somebody types them at work. A test runs every one through the grammar.

use std::fmt::Write;

/// A command line, and what it does.
pub type Example = (&'static str, &'static str);

/// A command by its path (`db rebuild`), and its examples.
const EXAMPLES: &[(&str, [Example; 2])] = &[
    (
        "use",
        [
            ("dpl use manifests/prod-docker.json", "from here on, commands in this folder mean this manifest"),
            ("dpl use ../site/local-docker.json", "any path will do; `dpl load FILE` remembers it as well"),
        ],
    ),
    (
        "check",
        [
            ("dpl check manifests/prod-docker.json", "every mistake of it and of what it extends, each in its line"),
            ("dpl check --json", "the same of the remembered manifest, for a program"),
        ],
    ),
    (
        "list",
        [
            ("dpl list", "all services and databases with their numbers"),
            ("dpl list @metis '!25'", "the group metis without service 25"),
        ],
    ),
    (
        "config",
        [
            ("dpl config manifests/prod-docker.json", "the manifest as dpl reads it; values are masked"),
            ("dpl config --show-values", "with the environment's values that are no secrets"),
        ],
    ),
    (
        "schema",
        [
            ("dpl schema > manifest.schema.json", "for an editor that completes and checks manifests"),
            ("dpl schema status", "of what `dpl status --json` prints"),
        ],
    ),
    (
        "doctor",
        [
            ("dpl doctor", "this engine, and what of the manifest will not work on it"),
            ("dpl doctor -H ssh://root@site manifests/prod-docker.json", "the same of another machine's engine"),
        ],
    ),
    (
        "save",
        [
            ("dpl save 17..25", "the nine images of an upgrade; layers that the store has are not read"),
            ("dpl save all --format docker-archive", "one archive for each image, under deploy.py's names"),
        ],
    ),
    (
        "load",
        [
            ("dpl load manifests/local-docker.json", "all images; only layers that the engine lacks move"),
            ("dpl load 25 --dry-run", "which layers of one image would be sent, and how much that is"),
        ],
    ),
    (
        "images list",
        [
            ("dpl images list", "what the store holds, and what of it the engine has"),
            ("dpl images list manifests/prod-docker.json --json", "the same for a program"),
        ],
    ),
    (
        "images verify",
        [
            ("dpl images verify", "reads every byte of the store: after a copy from a USB disk, say"),
            ("dpl images verify --quick", "documents and sizes only"),
        ],
    ),
    (
        "images prune",
        [
            ("dpl images prune --dry-run", "what no manifest of the project needs any more"),
            ("dpl images prune --engine", "what earlier loads left in the engine"),
        ],
    ),
    (
        "images import",
        [
            ("dpl images import /media/usb/*.tar.gz", "archives of `docker save` into the store, each layer once"),
            ("dpl images import --platform linux/arm64 layout/", "a folder of several platforms: which one is meant"),
        ],
    ),
    (
        "images export",
        [
            ("dpl images export 17..25 -o upgrade.tar", "one archive of nine images for `docker load`"),
            ("dpl images export --compression gzip -o all.tar.gz", "all images, smaller, for every engine"),
        ],
    ),
    (
        "images repair",
        [
            ("dpl images repair", "after another store was copied over this one"),
            ("dpl images repair --dry-run", "which names would be put back"),
        ],
    ),
    (
        "images remove",
        [
            ("dpl images remove expert/metis_ui:v2.1.0", "one reference out of the store"),
            ("dpl images remove metis-ui --force", "a service's image, although a manifest still names it"),
        ],
    ),
    (
        "plan",
        [
            ("dpl plan", "what `dpl start` would do, and the cause of each step"),
            ("dpl plan 17..25 --exit-code", "ends with 6 where there is work, for scripts"),
        ],
    ),
    (
        "start",
        [
            ("dpl start", "everything; what runs unchanged is left alone"),
            ("dpl start metis-api --wait-timeout 10m", "one service and what it needs, with more patience"),
        ],
    ),
    (
        "stop",
        [
            ("dpl stop 17..25", "nine services, dependents before what they depend on"),
            ("dpl stop all '!postgres'", "everything but the database"),
        ],
    ),
    (
        "restart",
        [
            ("dpl restart 25", "on the image that was just loaded, with the way back"),
            ("dpl restart @worker --force-recreate", "new containers for a group, changed or not"),
        ],
    ),
    (
        "remove",
        [
            ("dpl remove metis_worker_crypt", "its containers; volumes stay"),
            ("dpl remove all --networks --orphans", "the whole stack, and what the manifest no longer names"),
        ],
    ),
    (
        "status",
        [
            ("dpl status", "every service: state, health, since when, ports, drift"),
            ("dpl status @metis --watch --stats", "a group, drawn anew every two seconds, with CPU and memory"),
        ],
    ),
    (
        "logs",
        [
            ("dpl logs metis-api --follow", "goes on through restarts and replacements"),
            ("dpl logs 17..25 --since 10m --grep ERROR", "the errors of nine services in order of time"),
        ],
    ),
    (
        "stats",
        [
            ("dpl stats", "CPU, memory, network and disk, again and again"),
            ("dpl stats @worker --no-stream", "once, for a note or a script"),
        ],
    ),
    (
        "graph",
        [
            ("dpl graph metis-api", "what it needs, in layers"),
            ("dpl graph --format mermaid", "the whole stack as a drawing for a document"),
        ],
    ),
    (
        "exec",
        [
            ("dpl exec metis-api bash", "a shell in the container of a service"),
            ("dpl exec -u root redis redis-cli -p 6380 info", "one command; dpl ends with its exit code"),
        ],
    ),
    (
        "db list",
        [
            ("dpl db list", "databases with their sizes, last backups and last verified ones"),
            ("dpl db list expert --json", "one database and all its backups, for a program"),
        ],
    ),
    (
        "db dump",
        [
            ("dpl db dump 2 3", "the seeds of databases 2 and 3 that a delivery carries"),
            ("dpl db dump expert --verify", "restored into a throw-away server at once, and compared"),
        ],
    ),
    (
        "db rebuild",
        [
            ("dpl db rebuild expert metis", "from their seeds; each old one goes only when its backup is proved"),
            ("dpl db rebuild 2 --keep-old 1", "keeps the old one beside it for `dpl db rollback`"),
        ],
    ),
    (
        "db restore",
        [
            ("dpl db restore expert", "the last backup of it"),
            ("dpl db restore expert --backup 20260704T101530Z --as expert_july", "another one, beside the present"),
        ],
    ),
    (
        "db convert",
        [
            ("dpl db convert expert.sql.gz", "an archive of a plain SQL dump, beside it"),
            ("dpl db convert old.sql --database metis -o /srv/metis.dump", "for which server, and to where"),
        ],
    ),
    (
        "db rollback",
        [
            ("dpl db rollback expert", "back to the one that the last rebuild kept; again leads forward"),
            ("dpl db rollback 2 3 --yes", "two of them, without a question"),
        ],
    ),
    (
        "db backup",
        [("dpl db backup", "all databases"), ("dpl db backup 2 3 --verify", "two of them, each proved by a restore")],
    ),
    (
        "db verify",
        [
            ("dpl db verify", "the last backup of each database, restored and compared"),
            ("dpl db verify expert/20260704T101530Z --quick", "digests of one backup; nothing is restored"),
        ],
    ),
    (
        "db prune",
        [
            ("dpl db prune all --dry-run", "which backups the manifest's rules no longer keep"),
            ("dpl db prune expert --yes", "removes those of one database"),
        ],
    ),
    (
        "db leftovers",
        [
            ("dpl db leftovers", "what rebuilds left beside the manifest's databases"),
            ("dpl db leftovers --json", "the same as a document"),
        ],
    ),
    (
        "db leftovers list",
        [
            ("dpl db leftovers list", "beside all databases"),
            ("dpl db leftovers list expert metis", "beside two of them"),
        ],
    ),
    (
        "db leftovers drop",
        [
            ("dpl db leftovers drop expert~left~20260704T101530Z~3f2a9c1e77d0", "asks for its name, then drops it"),
            ("dpl db leftovers drop copy --yes", "what `db restore --as copy` made"),
        ],
    ),
    (
        "db leftovers keep",
        [
            (
                "dpl db leftovers keep expert~left~20260704T101530Z~3f2a9c1e77d0",
                "`dpl db rollback expert` goes back to it",
            ),
            ("dpl db leftovers keep expert~old~20260704T101530Z~3f2a9c1e77d0 --yes", "so that no rebuild drops it"),
        ],
    ),
    (
        "db sql",
        [
            ("dpl db sql expert 'select count(*) from workflow'", "one statement; the result is a table"),
            ("dpl db sql metis --file report.sql --csv", "statements of a file, for a spreadsheet"),
        ],
    ),
    (
        "db shell",
        [
            ("dpl db shell expert", "psql at this terminal"),
            ("dpl db shell 3 --start", "starts the server first where it is not up"),
        ],
    ),
    (
        "history",
        [
            ("dpl history -n 10", "the last ten actions: when, by whom, how they ended"),
            ("dpl history manifests/prod-docker.json --json", "all of them, for a program"),
        ],
    ),
    (
        "history show",
        [("dpl history show 12", "every step of action 12"), ("dpl history show 12 --json", "the same for a program")],
    ),
    (
        "rollback",
        [
            ("dpl rollback --dry-run", "the way back before the last change, as a plan"),
            ("dpl rollback 12", "services as they were before action 12 of `dpl history`"),
        ],
    ),
    (
        "lock status",
        [
            ("dpl lock status", "who is at work, here and on the engine, and whether they are alive"),
            ("dpl lock status manifests/prod-docker.json --json", "the same for a program"),
        ],
    ),
    (
        "lock release",
        [
            ("dpl lock release", "takes a lock away that somebody left; asks first"),
            ("dpl lock release -H ssh://root@site", "that of another machine's engine"),
        ],
    ),
    (
        "do",
        [
            ("dpl do \"2 - 25 - 3 - 25\"", "load the image of service 25, then restart it"),
            ("dpl do \"7 - [2, 3] - 4 - [17..25]\" --dry-run", "what a chain of the notes would do"),
        ],
    ),
    (
        "completions",
        [
            (
                "dpl completions bash > ~/.local/share/bash-completion/completions/dpl",
                "for bash; `source` it to try it at once",
            ),
            ("dpl completions fish > ~/.config/fish/completions/dpl.fish", "for fish"),
        ],
    ),
    (
        "man",
        [
            ("dpl man /usr/local/share/man/man1", "writes dpl.1 and a page for each command: `man dpl-load`"),
            ("dpl man | man -l -", "reads the first page at once"),
        ],
    ),
];

/// The examples of a command; none for one that only holds others.
pub fn of(path: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(known, _)| *known == path).map_or(&[], |(_, examples)| examples)
}

/// What stands below a command's help.
pub fn section(examples: &[Example]) -> String {
    let mut text = "\x1b[1;4mExamples:\x1b[0m".to_owned();
    for (line, what) in examples {
        let _ = write!(text, "\n  \x1b[1m{line}\x1b[0m\n          {what}");
    }
    text
}

/// The commands that have examples.
#[cfg(test)]
pub fn paths() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(path, _)| *path)
}
