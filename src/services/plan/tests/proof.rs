//! What proves that a container is up, and what a job is.

use super::*;
use crate::engine::HealthTimes;
use crate::manifest::model::{Ready, ReadyProbe};

fn times(interval: u64, start_period: u64) -> HealthTimes {
    let seconds = Duration::from_secs;
    HealthTimes { interval: seconds(interval), start_period: seconds(start_period), ..HealthTimes::default() }
}

fn job(service: &mut Service) {
    service.restart = RestartPolicy::No;
}

/// `job` has run and ended well.
fn done() -> Stack {
    Stack::new().service("job", job).runs("job").stopped("job")
}

fn seen(id: &str) -> impl Fn(&mut Options) {
    move |options| options.completed = [id.to_owned()].into()
}

#[test]
fn each_time_of_a_health_check_is_the_manifests_else_the_images() {
    let wait = |change: fn(&mut Healthcheck), image: Option<HealthTimes>| {
        let stack = Stack::new()
            .service("a", |service| {
                let mut check = Healthcheck::default();
                change(&mut check);
                service.healthcheck = (check != Healthcheck::default()).then_some(check);
            })
            .with(|stack| stack.snapshot.images.get_mut("a:1").unwrap().healthcheck = image);
        let text = stack.start(&["a"]);
        text.lines().find_map(|line| Some(line.split_once("wait ")?.1.split(' ').next()?.to_owned())).unwrap()
    };
    // Three checks of 30 s, 30 s apart, and slack.
    assert_eq!(wait(|_| {}, Some(HealthTimes::default())), "3m30s");
    assert_eq!(wait(|_| {}, Some(times(30, 600))), "13m30s", "the image gives itself ten minutes");
    assert_eq!(wait(|check| check.interval = "5s".parse().ok(), Some(times(60, 600))), "12m15s");
    assert_eq!(wait(|check| check.start_period = "1m".parse().ok(), Some(times(30, 600))), "4m30s");
}

#[test]
fn the_time_that_ready_gives_counts_for_the_health_check_of_an_image_too() {
    let stack = Stack::new()
        .service("a", |service| {
            service.ready = Some(Ready { probe: ReadyProbe::Tcp(1), timeout: "7m".parse().ok() });
        })
        .with(|stack| stack.snapshot.images.get_mut("a:1").unwrap().healthcheck = Some(times(1, 0)));
    assert!(stack.start(&["a"]).contains("wait 7m for p-a-1: healthy"), "{}", stack.start(&["a"]));
    let unsaid = stack.change("a", |service| service.ready = None);
    // Three checks of 30 s, one second apart, and slack.
    assert!(unsaid.start(&["a"]).contains("wait 2m3s for p-a-1: healthy"), "{}", unsaid.start(&["a"]));
}

#[test]
fn a_replacement_that_nothing_proves_runs_for_ten_seconds_unless_the_manifest_says_otherwise() {
    let stack = Stack::new().service("a", |_| {}).runs("a").new_image("a");
    assert!(stack.start(&["a"]).contains("for p-a-1: running for 10s"), "{}", stack.start(&["a"]));
    let stack = stack.change("a", |service| {
        let probe = ReadyProbe::RunningFor("1m".parse().unwrap());
        service.ready = Some(Ready { probe, timeout: None });
    });
    assert!(stack.start(&["a"]).contains("for p-a-1: running for 1m"));
}

#[test]
fn waiting_for_the_health_of_what_has_no_check_is_a_problem_of_the_plan() {
    let stack =
        Stack::new().service("db", |_| {}).service("api", |service| needs(service, "db", Condition::ServiceHealthy));
    let said = stack.start(&["db", "api"]);
    assert!(
        said.contains("api: it waits until db is healthy, and neither the manifest nor image db:1 has a check"),
        "{said}"
    );
    let from_image = stack.with(|stack| stack.snapshot.images.get_mut("db:1").unwrap().healthcheck = Some(times(1, 0)));
    assert!(from_image.start(&["db", "api"]).contains("for p-db-1: healthy"));
    let off = from_image.change("db", |service| {
        service.healthcheck = Some(Healthcheck { disable: true, ..Healthcheck::default() });
    });
    assert!(off.start(&["db", "api"]).contains("it waits until db is healthy"));
    let ready = off.change("db", |service| {
        service.ready = Some(Ready { probe: ReadyProbe::Tcp(5432), timeout: None });
    });
    assert!(ready.start(&["db", "api"]).contains("for p-db-1: tcp 5432"));
}

#[test]
fn what_was_stopped_for_a_moment_runs_again_whatever_proves_it() {
    let stack = Stack::new()
        .service("db", |_| {})
        .service("api", |service| needs(service, "db", Condition::ServiceHealthy))
        .all_run()
        .stopped("api");
    let plan = stack.plan(Action::Start, &["api"], |options| options.recreate = Recreate::Never);
    assert!(text(plan).starts_with("0: start p-api-1"));
}

#[test]
fn a_job_that_was_seen_to_end_runs_again_only_when_it_changed() {
    let id = "job-1-0";
    let plan = |stack: &Stack, action| text(stack.plan(action, &["job"], seen(id)));
    assert_eq!(plan(&done(), Action::Start), "nothing to do");
    assert!(plan(&done(), Action::Restart).contains("start p-job-1"), "by explicit word");
    assert!(plan(&done().new_image("job"), Action::Start).contains("create p-job-1.dpl-next of job@2"));
    assert!(done().start(&["job"]).contains("start p-job-1"), "a server that was stopped ended well, too");
    let failed = done().seen("job", |view| view.exit_code = 1);
    assert!(plan(&failed, Action::Start).contains("start p-job-1"));
}

#[test]
fn a_job_that_says_so_is_waited_for_to_its_end_and_runs_once() {
    let stack = Stack::new().service("job", |service| {
        job(service);
        service.ready = Some(Ready { probe: ReadyProbe::Completed(true), timeout: None });
    });
    assert!(stack.start(&["job"]).contains("for p-job-1: completed"));
    assert_eq!(stack.runs("job").stopped("job").start(&["job"]), "nothing to do");
}

#[test]
fn a_mounted_file_that_is_gone_is_not_made_as_a_folder() {
    let bind = crate::manifest::model::Mount {
        kind: crate::manifest::model::MountKind::Bind,
        source: Some("/srv/app.conf".to_owned()),
        target: "/etc/app.conf".to_owned(),
        bind: crate::manifest::model::BindOptions { create_host_path: true, ..Default::default() },
        ..Default::default()
    };
    let mounted = MountView { kind: "bind".to_owned(), source: "/srv/app.conf".to_owned(), ..MountView::default() };
    let stack = Stack::new()
        .service("a", |service| service.volumes.push(bind))
        .with(|stack| stack.snapshot.missing_sources = ["/srv/app.conf".to_owned()].into());
    assert!(
        stack.start(&["a"]).contains("warning: a: /srv/app.conf does not exist and will be created"),
        "a first start"
    );
    let stack = stack.runs("a").seen("a", |view| view.mounts = vec![mounted.clone()]);
    assert!(
        stack.restart(&["a"]).contains("warning: a: /srv/app.conf does not exist and will be created"),
        "it never ran"
    );
    let stack = stack.seen("a", |view| view.started_at = "2026-01-01T00:00:00Z".to_owned());
    let said = "a: /srv/app.conf, mounted at /etc/app.conf, existed when p-a-1 was started, and is gone";
    assert!(stack.restart(&["a"]).contains(said), "{}", stack.restart(&["a"]));
}

#[test]
fn remove_names_anonymous_volumes_that_stay_and_goes_for_no_orphan_that_a_manifest_may_name() {
    let volume = |name: &str| MountView {
        kind: "volume".to_owned(),
        name: Some(name.to_owned()),
        target: "/data".to_owned(),
        ..MountView::default()
    };
    let anonymous = "a".repeat(64);
    let stack = Stack::new()
        .service("a", |_| {})
        .service("orphan", |_| {})
        .all_run()
        .seen("a", |view| view.mounts = vec![volume(&anonymous), volume("p_named")])
        .with(|stack| drop(stack.services.shift_remove("orphan")));
    let remove = |stack: &Stack, extent: &[Extent]| {
        text(stack.plan(Action::Remove, &["a"], |options| options.extent = extent.iter().copied().collect()))
    };
    assert!(remove(&stack, &[]).contains(&format!("anonymous volume {anonymous}, mounted at /data, stays")));
    assert!(!remove(&stack, &[Extent::Volumes]).contains("stays"));
    assert!(remove(&stack, &[Extent::Orphans]).contains("remove p-orphan-1"));
    let named = stack.with(|stack| stack.snapshot.named_elsewhere = ["orphan".to_owned()].into());
    assert!(!remove(&named, &[Extent::Orphans]).contains("p-orphan-1"));
    let unread =
        named.with(|stack| stack.snapshot.unread_manifest = Some(message!("words", text = "extra.json is broken")));
    assert!(remove(&unread, &[Extent::Orphans]).contains("extra.json is broken"));
}
