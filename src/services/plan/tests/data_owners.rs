//! Data have one owner.

use super::*;
use crate::engine;
use crate::manifest::model::{Mount, MountKind};

fn bind(source: &str, target: &str) -> Mount {
    Mount { kind: MountKind::Bind, source: Some(source.to_owned()), target: target.to_owned(), ..Mount::default() }
}

fn bound(source: &str) -> MountView {
    MountView { kind: "bind".to_owned(), source: source.to_owned(), ..MountView::default() }
}

fn postgres() -> Stack {
    Stack::new().service("postgres", |service| service.volumes.push(bind("/srv/pg", "/var/lib/postgresql/data"))).with(
        |stack| {
            let image = stack.snapshot.images.get_mut("postgres:1").unwrap();
            image.postgres.insert("PG_MAJOR".to_owned(), "15".to_owned());
        },
    )
}

fn foreign(change: impl FnOnce(&mut ForeignContainer)) -> ForeignContainer {
    let mut other = ForeignContainer {
        id: "f".repeat(64),
        name: "ad_postgres_1".to_owned(),
        state: ContainerState::Running,
        mounts: vec![bound("/srv/pg")],
        ..ForeignContainer::default()
    };
    change(&mut other);
    other
}

#[test]
fn a_folder_that_a_container_outside_of_the_plan_writes_to_is_a_conflict() {
    let with = |change: &dyn Fn(&mut ForeignContainer)| {
        postgres().with(|stack| stack.snapshot.foreign_containers.push(foreign(change)))
    };
    let conflict = "postgres: container ad_postgres_1 writes to /srv/pg as well";
    let adopt = |options: &mut Options| options.namesakes = Namesakes::Adopt;
    for stack in [with(&|_| {}), with(&|other| other.state = ContainerState::Restarting)] {
        for plan in [stack.plan(Action::Start, &["postgres"], |_| {}), stack.plan(Action::Start, &["postgres"], adopt)]
        {
            let text = text(plan);
            assert!(text.contains(conflict), "{text}");
        }
    }
    let returning = with(&|other| {
        other.state = ContainerState::Exited;
        other.restart = engine::RestartPolicy::Always;
    });
    let returns = "the engine starts it again";
    assert!(returning.start(&["postgres"]).contains(returns), "{}", returning.start(&["postgres"]));
    let failed = with(&|other| {
        other.state = ContainerState::Exited;
        other.restart = engine::RestartPolicy::OnFailure(None);
    });
    assert!(failed.start(&["postgres"]).contains(returns), "{}", failed.start(&["postgres"]));

    let down = with(&|other| other.state = ContainerState::Exited);
    let reads = with(&|other| other.mounts[0].read_only = true);
    let elsewhere = with(&|other| other.mounts[0].source = "/srv/other".to_owned());
    let helper = with(&|other| other.helper_of = Some("p".to_owned()));
    for stack in [down, reads, elsewhere, helper] {
        assert!(stack.plan(Action::Start, &["postgres"], |_| {}).is_ok());
    }
}

#[test]
fn a_container_of_a_service_that_was_renamed_keeps_its_data_to_itself() {
    let stack = postgres().runs("postgres").seen("postgres", |view| view.mounts.push(bound("/srv/pg")));
    let stack = stack.with(|stack| stack.snapshot.containers[0].service = "pg".to_owned());
    let stack = stack.seen("pg", |view| view.name = "p-pg-1".to_owned());
    let text = stack.start(&["postgres"]);
    let told = "postgres: container p-pg-1 of a service that the manifest does not name writes to /srv/pg as well";
    assert!(text.contains(told) && text.contains("`dpl remove --orphans` removes it"), "{text}");
    // Another manifest of the project has it: it is nobody's orphan.
    let named = stack.with(|stack| stack.snapshot.named_elsewhere = ["pg".to_owned()].into());
    let text = named.start(&["postgres"]);
    assert!(text.contains("container p-pg-1 writes to /srv/pg as well: stop it"), "{text}");
}

#[test]
fn services_of_a_manifest_may_share_a_folder_but_never_a_database_servers() {
    let shared = |path: &'static str| {
        postgres()
            .service("web", |service| service.volumes.push(bind("/srv/media", "/media")))
            .service("encoder", move |service| service.volumes.push(bind(path, "/in")))
    };
    assert!(shared("/srv/media").plan(Action::Start, &["web", "encoder"], |_| {}).is_ok());
    let text = shared("/srv/pg").start(&["encoder"]);
    let said = "encoder: service postgres writes to /srv/pg as well, which contains the data of a database server";
    assert!(text.contains(said), "{text}");
    let reads = shared("/srv/pg").change("encoder", |service| service.volumes[0].read_only = true);
    assert!(reads.plan(Action::Start, &["encoder"], |_| {}).is_ok());
}

#[test]
fn an_old_container_can_not_come_back_with_the_engine_once_it_was_stopped() {
    let plan = Stack::new()
        .service("api", |service| service.restart = RestartPolicy::Always)
        .runs("api")
        .new_image("api")
        .plan(Action::Start, &["api"], |_| {})
        .unwrap();
    let step = |wanted: fn(&Operation) -> bool| plan.steps.iter().position(|step| wanted(&step.operation)).unwrap();
    let policy = step(|operation| matches!(operation, Operation::SetRestartPolicy { .. }));
    let stop = step(|operation| matches!(operation, Operation::StopContainer { .. }));
    assert!(policy < stop);
}

#[test]
fn a_kept_container_that_runs_is_stopped_before_anything_else_uses_its_data() {
    let up = |view: &mut ContainerView| view.restart = engine::RestartPolicy::No;
    let stack = || Stack::new().service("api", |_| {}).has("api", 1, Role::Kept, up).new_image("api");
    let proving = stack().runs("api").start(&["api"]);
    assert!(proving.starts_with("0: stop p-api-1.dpl-kept"), "{proving}");
    let replacing = stack().start(&["api"]);
    assert!(replacing.starts_with("0: stop p-api-1.dpl-kept"), "{replacing}");
}
