//! Two examples of each command, as somebody types them at work. A test runs every one through the grammar.

use std::fmt::Write;

use super::chinese;
use crate::catalogue::Language;

/// A command line, and what it does.
pub type Example = (&'static str, &'static str);

/// A command by its path (`db rebuild`), and its examples.
const EXAMPLES: &[(&str, [Example; 2])] = &[
    (
        "use",
        [
            ("dpl use manifests/prod-docker.json", "commands in this folder use this manifest from now on"),
            ("dpl use ../site/local-docker.json", "a path to anywhere; `dpl load FILE` remembers it too"),
        ],
    ),
    (
        "check",
        [
            ("dpl check manifests/prod-docker.json", "every mistake in it and in the files it extends, with its line"),
            ("dpl check --json", "the remembered manifest, for a program"),
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
            ("dpl config manifests/prod-docker.json", "the manifest as dpl understands it; values are masked"),
            ("dpl config --show-values", "with the values that are not secrets"),
        ],
    ),
    (
        "schema",
        [
            ("dpl schema > manifest.schema.json", "for an editor that completes and checks manifests"),
            ("dpl schema status", "the schema of what `dpl status --json` prints"),
        ],
    ),
    (
        "doctor",
        [
            ("dpl doctor", "checks this engine, and what in the manifest will not work on it"),
            ("dpl doctor -H ssh://root@site manifests/prod-docker.json", "the same for the engine of another machine"),
        ],
    ),
    (
        "save",
        [
            ("dpl save 17..25", "the nine images of an upgrade; layers already in the store are not read again"),
            ("dpl save all --format docker-archive", "one archive for each image, named as deploy.py does"),
        ],
    ),
    (
        "load",
        [
            ("dpl load manifests/local-docker.json", "all images; only layers that the engine lacks are sent"),
            ("dpl load 25 --dry-run", "which layers of one image would be sent, and their size"),
        ],
    ),
    (
        "images list",
        [
            ("dpl images list", "the images in the store, and which of them the engine has"),
            ("dpl images list manifests/prod-docker.json --json", "the same for a program"),
        ],
    ),
    (
        "images verify",
        [
            ("dpl images verify", "reads every byte of the store, for example after a copy from a USB disk"),
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
            ("dpl images import /media/usb/*.tar.gz", "imports archives of `docker save`; each layer is stored once"),
            ("dpl images import --platform linux/arm64 layout/", "chooses one platform from a folder with several"),
        ],
    ),
    (
        "images export",
        [
            ("dpl images export 17..25 -o upgrade.tar", "one archive with nine images for `docker load`"),
            ("dpl images export --compression gzip -o all.tar.gz", "all images, compressed, for every engine"),
        ],
    ),
    (
        "images repair",
        [
            ("dpl images repair", "after another store was copied over this one"),
            ("dpl images repair --dry-run", "shows which names would be restored"),
        ],
    ),
    (
        "images remove",
        [
            ("dpl images remove expert/metis_ui:v2.1.0", "removes one reference"),
            ("dpl images remove metis-ui --force", "a service's image, although a manifest still names it"),
        ],
    ),
    (
        "plan",
        [
            ("dpl plan", "what `dpl start` would do, and the reason for each step"),
            ("dpl plan 17..25 --exit-code", "exit code 6 when there is something to do, for scripts"),
        ],
    ),
    (
        "start",
        [
            ("dpl start", "everything; what runs unchanged is not touched"),
            ("dpl start metis-api --wait-timeout 10m", "one service and what it depends on; waits longer"),
        ],
    ),
    (
        "stop",
        [
            ("dpl stop 17..25", "nine services; dependents stop first"),
            ("dpl stop all '!postgres'", "everything but the database"),
        ],
    ),
    (
        "restart",
        [
            ("dpl restart 25", "on the image that was just loaded; returns to the old container on failure"),
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
            ("dpl status", "every service: state, health, uptime, ports, differences from the manifest"),
            ("dpl status @metis --watch --stats", "one group with CPU and memory, refreshed every two seconds"),
        ],
    ),
    (
        "logs",
        [
            ("dpl logs metis-api --follow", "keeps showing new lines, also after restarts and replacements"),
            ("dpl logs 17..25 --since 10m --grep ERROR", "the errors of nine services, ordered by time"),
        ],
    ),
    (
        "stats",
        [
            ("dpl stats", "CPU, memory, network and disk use, refreshed"),
            ("dpl stats @worker --no-stream", "once, for a script"),
        ],
    ),
    (
        "graph",
        [
            ("dpl graph metis-api", "what it depends on, in layers"),
            ("dpl graph --format mermaid", "the whole stack as a diagram for a document"),
        ],
    ),
    (
        "exec",
        [
            ("dpl exec metis-api bash", "a shell in the container of a service"),
            ("dpl exec -u root redis redis-cli -p 6380 info", "one command; dpl exits with its exit code"),
        ],
    ),
    (
        "db list",
        [
            ("dpl db list", "databases with their size, last backup and last verified backup"),
            ("dpl db list expert --json", "one database and all its backups, for a program"),
        ],
    ),
    (
        "db dump",
        [
            ("dpl db dump 2 3", "the seeds of databases 2 and 3 for a delivery"),
            ("dpl db dump expert --verify", "restored into a temporary server right away and compared"),
        ],
    ),
    (
        "db rebuild",
        [
            ("dpl db rebuild expert metis", "from their seeds; an old one is removed only when its backup is verified"),
            ("dpl db rebuild 2 --keep-old 1", "keeps the old one beside it for `dpl db rollback`"),
        ],
    ),
    (
        "db restore",
        [
            ("dpl db restore expert", "from its last backup"),
            (
                "dpl db restore expert --backup 20260704T101530Z --as expert_july",
                "an older backup, into a new database beside the present one",
            ),
        ],
    ),
    (
        "db convert",
        [
            ("dpl db convert expert.sql.gz", "converts a plain SQL dump into an archive beside it"),
            (
                "dpl db convert old.sql --database metis -o /srv/metis.dump",
                "names the database it came from and the folder to write",
            ),
        ],
    ),
    (
        "db rollback",
        [
            ("dpl db rollback expert", "back to the database that the last rebuild kept; run again to undo"),
            ("dpl db rollback 2 3 --yes", "two databases, without a question"),
        ],
    ),
    (
        "db backup",
        [
            ("dpl db backup", "all databases"),
            ("dpl db backup 2 3 --verify", "two databases, each verified by a restore"),
        ],
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
            ("dpl db prune expert --yes", "removes them for one database"),
        ],
    ),
    (
        "db leftovers",
        [
            ("dpl db leftovers", "what rebuilds left beside the manifest's databases"),
            ("dpl db leftovers --json", "the same as a JSON document"),
        ],
    ),
    (
        "db leftovers list",
        [("dpl db leftovers list", "for all databases"), ("dpl db leftovers list expert metis", "for two databases")],
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
                "`dpl db rollback expert` can return to it",
            ),
            ("dpl db leftovers keep expert~old~20260704T101530Z~3f2a9c1e77d0 --yes", "so that no rebuild drops it"),
        ],
    ),
    (
        "db sql",
        [
            ("dpl db sql expert 'select count(*) from workflow'", "one statement; the result is a table"),
            ("dpl db sql metis --file report.sql --csv", "runs a file, prints CSV for a spreadsheet"),
        ],
    ),
    (
        "db shell",
        [
            ("dpl db shell expert", "psql at this terminal"),
            ("dpl db shell 3 --start", "starts the server first if it does not run"),
        ],
    ),
    (
        "data init",
        [
            ("dpl data init", "asks, makes the repository below paths.backups and prints the recovery sheet"),
            (
                "dpl data init --yes > sheet.txt",
                "without a terminal; prints the sheet again where the repository is there",
            ),
        ],
    ),
    (
        "data list",
        [
            ("dpl data list", "the data folders with their numbers, and all snapshots"),
            ("dpl data list expert --json", "the snapshots of one folder, with their whole IDs"),
        ],
    ),
    (
        "data snapshot",
        [
            ("dpl data snapshot", "snapshots of all data folders; only what changed is stored"),
            ("dpl data snapshot expert --stop", "while the services that write into it are stopped"),
        ],
    ),
    (
        "data diff",
        [
            ("dpl data diff expert", "what changed since the last snapshot"),
            ("dpl data diff expert --from 0a1b2c3d --to latest", "what changed between two snapshots"),
        ],
    ),
    (
        "data restore",
        [
            (
                "dpl data restore expert --snapshot latest",
                "shows what would change, asks, snapshots what is there, restores",
            ),
            (
                "dpl data restore expert modules/ocr --snapshot 0a1b2c3d --to /tmp/look",
                "a folder of an older snapshot, beside what is there",
            ),
        ],
    ),
    (
        "data verify",
        [
            ("dpl data verify", "lists of files, and whether all packs are there in their size"),
            ("dpl data verify --read-data=10", "reads a tenth of the data too; without a number all of it"),
        ],
    ),
    (
        "data prune",
        [
            (
                "dpl data prune all --dry-run",
                "which snapshots the manifest's rules no longer keep, and what that frees",
            ),
            ("dpl data prune expert --yes", "removes them for one data folder"),
        ],
    ),
    (
        "history",
        [
            ("dpl history -n 10", "the last ten actions: when, by whom, with what result"),
            ("dpl history manifests/prod-docker.json --json", "all actions, for a program"),
        ],
    ),
    (
        "history show",
        [("dpl history show 12", "every step of action 12"), ("dpl history show 12 --json", "the same for a program")],
    ),
    (
        "rollback",
        [
            ("dpl rollback --dry-run", "shows the plan that undoes the last change"),
            ("dpl rollback 12", "returns services to their state before action 12 of `dpl history`"),
        ],
    ),
    (
        "lock status",
        [
            ("dpl lock status", "who holds the lock, here and on the engine, and whether the process is alive"),
            ("dpl lock status manifests/prod-docker.json --json", "the same for a program"),
        ],
    ),
    (
        "lock release",
        [
            ("dpl lock release", "removes a lock that was left behind; asks first"),
            ("dpl lock release -H ssh://root@site", "the lock on another machine's engine"),
        ],
    ),
    (
        "do",
        [
            ("dpl do \"2 - 25 - 3 - 25\"", "load the image of service 25, then restart it"),
            ("dpl do \"7 - [2, 3] - 4 - [17..25]\" --dry-run", "shows what a chain would do"),
        ],
    ),
    (
        "sites",
        [
            ("dpl sites --check", "connects to all sites at once: rights, engine, free disk, clock"),
            ("dpl sites @shanghai --check", "the sites of a group"),
        ],
    ),
    (
        "on",
        [
            ("dpl on prod status", "what runs at the site `prod`, by the site's own manifest"),
            (
                "dpl on prod restart 17..25",
                "goes on there when the connection is lost; `dpl on prod attach` shows the rest",
            ),
        ],
    ),
    (
        "fetch",
        [
            ("dpl fetch prod", "the newest backup of every database of the site, and its journal"),
            (
                "dpl fetch prod --support -o case-17.tar",
                "doctor, status, history and logs of the site, to send to support",
            ),
        ],
    ),
    (
        "inventory",
        [
            ("dpl inventory prod > prod.json", "what the site has: for a package, by mail"),
            ("dpl inventory --qr", "what this machine has, for a phone's camera"),
        ],
    ),
    (
        "inventory read",
        [
            ("dpl inventory read prod.txt", "the text that a phone has read from the QR code, as JSON"),
            ("dpl inventory read -", "from standard input; lines that a mail has broken are joined"),
        ],
    ),
    (
        "send",
        [
            ("dpl send prod --dry-run", "shows what the site `prod` lacks, its bytes and the time"),
            (
                "dpl send prod 17..25 --only images --limit 5MB/s",
                "the images of services 17 to 25, with room left on the line",
            ),
        ],
    ),
    (
        "release create",
        [
            ("dpl release create v2", "all images, the manifest with what it reads, and the seeds"),
            ("dpl release create v2 17..25 --only images,manifest", "a part of the project"),
        ],
    ),
    (
        "release list",
        [
            ("dpl release list", "name, time, size and who made it"),
            ("dpl release list --json | jq -r '.releases[].name'", "for a script"),
        ],
    ),
    (
        "release show",
        [("dpl release show v2", "its images, files and seeds"), ("dpl release show v2 --json", "with all digests")],
    ),
    (
        "release diff",
        [
            ("dpl release diff v1 v2", "what changed: images, layers, files, fields, seeds"),
            ("dpl release diff v1 v2 --json | jq .new_bytes", "the bytes of new layers"),
        ],
    ),
    (
        "release remove",
        [
            ("dpl release remove v1", "its images go with the next prune"),
            ("dpl release remove v1 --yes", "without a question"),
        ],
    ),
    (
        "pack",
        [
            ("dpl pack --release v2 --for v1 -o /mnt/usb/v2.dpl.tar", "for all who have release v1"),
            ("dpl pack --for vault.json -o vault.dpl.tar", "what lies here, for the machine of an inventory"),
        ],
    ),
    (
        "unpack",
        [
            ("dpl unpack /mnt/usb/v2.dpl.tar --dry-run", "shows what would be done here"),
            ("dpl unpack /mnt/usb/v2.dpl.tar", "asks, then receives all of it"),
        ],
    ),
    (
        "key generate",
        [
            ("dpl key generate", "a key named `dpl`; every package is signed with it from now on"),
            ("dpl key generate spare --password-file pw.txt", "a second one, encrypted, for a rotation"),
        ],
    ),
    (
        "key list",
        [
            ("dpl key list", "own, trusted and revoked keys"),
            ("dpl key list --json | jq -r '.trusted[].id'", "for a script"),
        ],
    ),
    (
        "key trust",
        [
            ("dpl key trust /mnt/usb/dpl.pub", "asks, with all of the key to compare"),
            ("dpl key trust dpl.pub --yes", "without a question"),
        ],
    ),
    (
        "key revoke",
        [
            ("dpl key revoke old.pub", "one that was lost"),
            ("dpl key revoke 8A1FBE1E5C6B7A90", "by the ID that `dpl key list` shows"),
        ],
    ),
    (
        "package show",
        [
            ("dpl package show v2.dpl.tar", "project, release, images, files, seeds"),
            ("dpl package show v2.dpl.tar --json", "with all digests"),
        ],
    ),
    (
        "package plan",
        [
            ("dpl package plan v2.dpl.tar", "what would come here, and which services it changes"),
            ("dpl package plan v2.dpl.tar --folder /srv/danganju", "for a project elsewhere"),
        ],
    ),
    (
        "receipt",
        [("dpl receipt", "what the last package brought"), ("dpl receipt --qr", "the same, for a phone's camera")],
    ),
    (
        "completions",
        [
            (
                "dpl completions bash > ~/.local/share/bash-completion/completions/dpl",
                "for bash; `source` it to try it right away",
            ),
            ("dpl completions fish > ~/.config/fish/completions/dpl.fish", "for fish"),
        ],
    ),
    (
        "man",
        [
            ("dpl man /usr/local/share/man/man1", "writes dpl.1 and a page for each command: `man dpl-load`"),
            ("dpl man | man -l -", "shows the first page right away"),
        ],
    ),
];

/// The examples of a command; none for one that only holds others.
pub fn of(path: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(known, _)| *known == path).map_or(&[], |(_, examples)| examples)
}

/// What stands below a command's help: examples, and where the flags are that every command takes.
pub fn section(examples: &[Example], language: Language) -> String {
    let (title, flags) = match language {
        Language::English => ("Examples:", "Flags of every command: dpl help flags"),
        Language::Chinese => ("示例：", "每个命令都接受的选项：dpl help flags"),
    };
    let mut text = String::new();
    if !examples.is_empty() {
        let _ = write!(text, "\x1b[1;4m{title}\x1b[0m");
    }
    for (line, what) in examples {
        let what = match language {
            Language::English => what,
            Language::Chinese => chinese::text(what),
        };
        let _ = write!(text, "\n  \x1b[1m{line}\x1b[0m\n          {what}");
    }
    let gap = if text.is_empty() { "" } else { "\n\n" };
    let _ = write!(text, "{gap}{flags}");
    text
}

/// The commands that have examples.
#[cfg(test)]
pub fn paths() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(path, _)| *path)
}

/// Every text beside an example.
#[cfg(test)]
pub fn texts() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().flat_map(|(_, examples)| examples).map(|(_, what)| *what)
}
