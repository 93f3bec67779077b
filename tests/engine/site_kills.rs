//! What `dpl send` writes at a site is killed at each of its named points: what has a name is whole, and the same command again
//! comes to its end.

use std::fs;
use std::path::Path;

use crate::fetching::same;
use crate::support::{Site, side_by_side};
use crate::two_hosts::{Delivery, Ends, SEND, takes_all};

/// Named points that the site's side of a transfer passes, and how often each is passed first.
const FIRST: &[(&str, u64)] = &[
    ("sites.receive.before-name", 3),
    ("sites.place.before-record", 1),
    ("images.adopt.after-move", 2),
    ("images.save.after-index", 1),
    ("sites.place.before-seed", 1),
    ("sites.receive.after-piece", 1),
    ("sites.receive.after-piece", 6),
    ("sites.receive.before-name", 1),
    ("sites.receive.after-name", 1),
    ("sites.receive.after-name", 4),
    ("sites.place.before-file", 1),
    ("sites.place.before-file", 2),
    ("sites.place.before-record", 2),
    ("sites.place.before-clean", 1),
    ("fs.durable.before-rename", 1),
    ("fs.durable.after-rename", 1),
    ("fs.durable.before-rename", 3),
    ("images.adopt.before-move", 1),
    ("images.adopt.before-move", 4),
    ("images.adopt.before-names", 1),
    ("images.save.before-index", 1),
    ("sites.place.after-seed", 1),
    ("sites.place.before-seed-record", 1),
    ("state.journal.before-end", 1),
];

/// The same for a second delivery, which replaces files and a seed.
const SECOND: &[(&str, u64)] = &[
    ("databases.seed.before-old-removed", 1),
    ("databases.seed.old-is-aside", 1),
    ("sites.place.before-file", 1),
    ("sites.place.before-record", 1),
    ("sites.place.before-seed", 1),
    ("sites.place.after-seed", 1),
    ("sites.place.before-seed-record", 1),
];

/// So many of each table in an ordinary run.
const SAMPLE: (usize, usize) = (4, 2);

/// A site whose next dpl that passes a point is killed there; after that nothing is started until it may again.
fn killing(folder: &Path) -> String {
    let kill = folder.join("kill").display().to_string();
    format!(
        "ForceCommand [ ! -e {kill}.done ] || exit 1; [ ! -e {kill} ] || . {kill}; sh -c \"$SSH_ORIGINAL_COMMAND\"; code=$?; \
         [ $code != 137 ] || mv {kill} {kill}.done; exit $code"
    )
}

fn kill_at(ends: &Ends, aside: &Site, point: &str, nth: u64, look: impl Fn(&str)) {
    let context = format!("{point}:{nth}");
    // Not every file system can exchange two names.
    let pretends = if point.ends_with("old-is-aside") { "export DPL_PRETENDS=fs.no-exchange\n" } else { "" };
    aside.write("kill", &format!("export DPL_FAILPOINT={context}\n{pretends}"));
    let killed = ends.run(&SEND);
    assert!(aside.file("kill.done").exists(), "{context}: the point was not passed: {}", killed.stderr);
    assert_eq!(killed.code, 4, "{context}: {}", killed.stderr);
    look(&context);
    fs::remove_file(aside.file("kill.done")).unwrap();
    ends.run(&SEND).success();
}

fn sample<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    all[..if takes_all() { all.len() } else { count }].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_delivery_that_is_killed_there_is_finished_by_the_next() {
    let delivery = Delivery::new().await;
    side_by_side(3, &sample(FIRST, SAMPLE.0), |(point, nth)| {
        let (there, aside) = (Site::new(), Site::new());
        let ends = Ends::new(there.path(), &killing(aside.path()));
        delivery.copy_to(&ends);
        kill_at(&ends, &aside, point, *nth, |context| delivery.holds(&ends, context));
        delivery.is_done(&ends, point);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_delivery_that_is_killed_there_leaves_the_old_file_or_the_new_one() {
    let first = Delivery::new().await;
    side_by_side(2, &sample(SECOND, SAMPLE.1), |(point, nth)| {
        let (there, aside) = (Site::new(), Site::new());
        let ends = Ends::new(there.path(), &killing(aside.path()));
        first.copy_to(&ends);
        ends.run(&SEND).success();
        ends.desk.write("vars.env", "A=2\n");
        ends.desk.write("seeds/d/archive/toc.dat", "PGDMP, another one");
        kill_at(&ends, &aside, point, *nth, |context| {
            let vars = fs::read_to_string(there.file("vars.env")).unwrap();
            assert!(["A=1\n", "A=2\n"].contains(&vars.as_str()), "{context}: {vars}");
            // Where two names can't be exchanged the old one stands aside for a moment.
            let seed = fs::read_to_string(there.file("seeds/d/archive/toc.dat"));
            let is_aside = point.ends_with("old-is-aside");
            assert!(is_aside || seed.is_ok_and(|seed| seed.starts_with("PGDMP")), "{context}");
        });
        assert_eq!(fs::read_to_string(there.file("vars.env")).unwrap(), "A=2\n", "{point}");
        same(&there.file("seeds/d"), &ends.desk.file("seeds/d"));
        let again = ends.run(&[&["--json"], &SEND[..]].concat()).success().json();
        assert_eq!(again["sites"][0]["plan"]["bytes"], 0, "{point}");
    });
}
