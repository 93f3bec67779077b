//! One snapshot of what a project has on its engine, and of what on this machine decides what may be done with it.
//!
//! Reads only: nothing is created, pulled or changed, so a dry run may look as long as it likes. One list, then an
//! inspect for each container of the project, all at once.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;

use super::drift;
use super::images::look_at_images;
use super::observed::{EngineTraits, ForeignContainer, Observed, ObservedContainer, Role, is_up};
use super::ownership::{InheritedLabels, copies, own_containers};
use super::sources::Sources;
use crate::engine::{ContainerSummary, ContainerView, Engine, EngineError, EngineFacts, RestartPolicy};
use crate::manifest::in_one_line;
use crate::manifest::model::NamespaceMode;
use crate::manifest::{Manifest, Variables, services_beside};
use crate::report::Message;
use crate::services::container::environment::Inputs;
use crate::services::container::{labels, spec};
use crate::services::error::ServicesError;

impl Observed {
    /// Looks at everything once.
    pub async fn look(engine: &Engine, manifest: &Manifest) -> Result<Self, ServicesError> {
        look(engine, manifest)
            .await
            .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })
    }

    /// The same for an answer that is no plan. What the engine is, it runs other programs to say: that is asked only where a
    /// container has another limit than its service, which the host's kernel may be unable to hold.
    pub async fn look_for_status(engine: &Engine, manifest: &Manifest) -> Result<Self, ServicesError> {
        look_for_status(engine, manifest)
            .await
            .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })
    }

    /// Only the first container of each service, where it serves: for a record of what was done.
    pub async fn look_at_serving(engine: &Engine, manifest: &Manifest) -> Result<Self, ServicesError> {
        look_at_serving(engine, manifest)
            .await
            .map_err(|source| ServicesError::Observe { project: manifest.project.clone(), source })
    }
}

async fn look_at_serving(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    let ours = own_containers(engine, manifest).await?;
    let is_first = |summary: &&ContainerSummary| {
        Role::of_name(&summary.name) == Role::Main && labels::number(&summary.labels) == 1
    };
    let serving: Vec<&ContainerSummary> = ours.iter().filter(is_first).collect();
    let views = try_join_all(serving.iter().map(|summary| engine.inspect_container(&summary.id))).await?;
    // One that is gone between the list and its inspect is simply gone.
    let containers = views.into_iter().flatten().map(|view| seen(view, None)).collect();
    Ok(Observed { containers, ..Observed::default() })
}

async fn look_for_status(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    let observed = look_at_all(engine, manifest).await?;
    let is_limited_otherwise = |seen: &ObservedContainer| {
        let service = manifest.services.get(&seen.service);
        service.is_some_and(|service| drift::has_other_limits(service, &seen.view.limits))
    };
    match observed.containers.iter().any(is_limited_otherwise) {
        true => Ok(with_facts(engine.facts().await?, observed)),
        false => Ok(observed),
    }
}

async fn look(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    // What the engine is takes it as long to say as all the rest.
    let (facts, observed) = futures::try_join!(engine.facts(), look_at_all(engine, manifest))?;
    Ok(with_facts(facts, observed))
}

fn with_facts(facts: &EngineFacts, observed: Observed) -> Observed {
    let engine = EngineTraits {
        limits: facts.limits,
        cpus: facts.cpus,
        architecture: facts.architecture.clone(),
        runtimes: facts.runtimes.clone(),
        ..observed.engine.clone()
    };
    Observed { engine, ..observed }
}

/// All but the engine itself.
async fn look_at_all(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    let (observed, networks, volumes) =
        futures::try_join!(look_at_containers(engine, manifest), engine.list_networks(), engine.list_volumes())?;
    Ok(Observed { networks, volumes, ..observed })
}

/// Containers, and the images that the manifest names.
async fn look_at_containers(engine: &Engine, manifest: &Manifest) -> Result<Observed, EngineError> {
    let (summaries, listed) = futures::try_join!(engine.list_container_summaries(), engine.list_images())?;
    let inherited = InheritedLabels::of(&listed);
    let names = container_names(manifest);
    let kept: BTreeMap<String, (String, u32)> = summaries
        .iter()
        .filter(|summary| was_taken_over(summary, &summaries, (&inherited, manifest.project.as_str())))
        .filter_map(|summary| Some((summary.id.clone(), names.get(Role::Kept.stem(&summary.name))?.clone())))
        .collect();
    let kept_for = |summary: &ContainerSummary| kept.get(&summary.id).cloned();
    let copies = copies(manifest, &inherited, &summaries);
    let (ours, others): (Vec<_>, Vec<_>) = summaries.into_iter().partition(|summary| {
        let is_ours = inherited.owner(summary) == Some(&manifest.project) && !copies.contains(&summary.id);
        is_ours || kept_for(summary).is_some()
    });
    let namesakes: Vec<(&ContainerSummary, &(String, u32))> = others
        .iter()
        .filter(|summary| inherited.owner(summary).is_none() || copies.contains(&summary.id))
        .filter_map(|summary| Some((summary, names.get(&summary.name)?)))
        .collect();
    let (views, namesake_views) = futures::try_join!(
        try_join_all(ours.iter().map(|summary| engine.inspect_container(&summary.id))),
        try_join_all(namesakes.iter().map(|(summary, _)| engine.inspect_container(&summary.id)))
    )?;
    // One that is gone between the list and its inspect is simply gone.
    let containers: Vec<ObservedContainer> =
        ours.iter().zip(views).filter_map(|(summary, view)| Some(seen(view?, kept_for(summary)))).collect();
    let namesakes: Vec<ObservedContainer> = namesakes
        .into_iter()
        .zip(namesake_views)
        .filter_map(|((_, place), view)| Some(seen(view?, Some(place.clone()))))
        .collect();

    let ids: BTreeMap<String, String> =
        listed.iter().flat_map(|image| image.tags.iter().map(|tag| (tag.clone(), image.id.clone()))).collect();
    let mut foreign_containers: Vec<ForeignContainer> =
        others.into_iter().map(|summary| foreign(&inherited, &copies, summary)).collect();
    let is_local = engine.address().is_local();
    let mut sources = Sources::default();
    if is_local {
        sources.look_at(manifest, &foreign_containers);
    }
    let (images, providers, ()) = futures::try_join!(
        look_at_images(engine, manifest, &containers, &ids),
        look_at_providers(engine, manifest),
        look_at_policies(engine, manifest, &sources, &mut foreign_containers)
    )?;
    let mut containers = containers;
    // Of two in one place, the one that has its name is the one that serves.
    containers.sort_by_key(|seen| names.get(&seen.view.name) != Some(&(seen.service.clone(), seen.number)));
    let (named_elsewhere, unread_manifest) = named_elsewhere(manifest, &containers);
    let other_folders = other_folders(manifest, &ours);
    Ok(Observed {
        engine: EngineTraits { api: engine.api().numbers(), is_local, ..EngineTraits::default() },
        containers,
        foreign_containers,
        namesakes,
        providers,
        images,
        inputs: manifest.services.iter().map(|(_, name, service)| (name.to_owned(), Inputs::read(service))).collect(),
        named_elsewhere,
        unread_manifest,
        other_folders,
        missing_sources: std::mem::take(&mut sources.missing),
        sources,
        is_host_unseen: !is_local,
        ..Observed::default()
    })
}

/// Whether a container is an old one that was taken over (`--adopt`) and is kept aside. It has none of our labels, but was
/// stopped before it got its name, and the container that is to replace it has the old one's restart policy noted. One that
/// runs under such a name is somebody else's, and so is one beside a container of ours that replaced nobody.
fn was_taken_over(
    summary: &ContainerSummary,
    all: &[ContainerSummary],
    (inherited, project): (&InheritedLabels, &str),
) -> bool {
    let stem = Role::Kept.stem(&summary.name);
    if stem == summary.name || is_up(summary.state) || inherited.owner(summary).is_some() {
        return false;
    }
    let next = format!("{stem}{}", Role::Next.suffix());
    let ours = |name: &str| all.iter().find(|other| other.name == name && inherited.owner(other) == Some(project));
    let notes_it = |other: &ContainerSummary| other.labels.contains_key(labels::OLD_RESTART);
    // Where the replacement is gone, only the old one is left to go back to.
    let is_alone = all.iter().all(|other| other.name != stem);
    is_alone || [stem, next.as_str()].into_iter().filter_map(ours).any(notes_it)
}

/// The folders of other clones of the manifest, and when the last container was created for each.
fn other_folders(manifest: &Manifest, ours: &[ContainerSummary]) -> BTreeMap<String, i64> {
    let own = spec::folder(manifest);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for summary in ours {
        if let Some(folder) = summary.labels.get(labels::FOLDER).filter(|folder| own.as_ref() != Some(*folder)) {
            let created = last.entry(folder.clone()).or_default();
            *created = summary.created.max(*created);
        }
    }
    last
}

/// The services that other manifests of the project name, where a container belongs to none of this one's, and why that
/// can't be said.
fn named_elsewhere(manifest: &Manifest, containers: &[ObservedContainer]) -> (BTreeSet<String>, Option<Message>) {
    if containers.iter().all(|seen| manifest.services.get(&seen.service).is_some()) {
        return (BTreeSet::new(), None);
    }
    match services_beside(manifest, &Variables::of_process()) {
        Ok(services) => (services, None),
        Err(error) => (BTreeSet::new(), Some(in_one_line(&error))),
    }
}

/// Containers of other makers whose namespaces services share, by the name that the manifest has for them.
async fn look_at_providers(
    engine: &Engine,
    manifest: &Manifest,
) -> Result<BTreeMap<String, ContainerView>, EngineError> {
    let names: BTreeSet<&str> = manifest
        .services
        .iter()
        .flat_map(|(_, _, service)| [&service.network_mode, &service.pid, &service.ipc])
        .flatten()
        .filter_map(|mode| match mode {
            NamespaceMode::Container(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let views = try_join_all(names.iter().map(|name| engine.inspect_container(name))).await?;
    Ok(names.into_iter().zip(views).filter_map(|(name, view)| Some((name.to_owned(), view?))).collect())
}

/// The restart policies of foreign containers that are down and use data of ours: the engine may bring them back.
async fn look_at_policies(
    engine: &Engine,
    manifest: &Manifest,
    sources: &Sources,
    foreign: &mut [ForeignContainer],
) -> Result<(), EngineError> {
    let ours = sources.of_manifest(manifest);
    let shares = |other: &ForeignContainer| other.mounts.iter().any(|mount| ours.contains(&sources.of_mount(mount)));
    for other in foreign.iter_mut().filter(|other| !is_up(other.state) && shares(other)) {
        // With `on-failure` one that ended well stays down.
        let returns = |view: ContainerView| match view.restart {
            RestartPolicy::OnFailure(_) if view.exit_code == 0 => RestartPolicy::No,
            policy => policy,
        };
        other.restart = engine.inspect_container(&other.id).await?.map(returns).unwrap_or_default();
    }
    Ok(())
}

/// The names that the manifest's containers are to have → service and number.
fn container_names(manifest: &Manifest) -> BTreeMap<String, (String, u32)> {
    let places = manifest.services.iter().flat_map(|(_, name, service)| {
        (1..=service.replicas()).map(move |number| (manifest.container_name(name, number), (name.to_owned(), number)))
    });
    places.collect()
}

/// `place`: service and number, where no label says them.
fn seen(view: ContainerView, place: Option<(String, u32)>) -> ObservedContainer {
    let (service, number) = place.unwrap_or_else(|| {
        let service = view.labels.get(labels::SERVICE).cloned().unwrap_or_default();
        (service, labels::number(&view.labels))
    });
    ObservedContainer { service, number, role: Role::of_name(&view.name), view }
}

fn foreign(inherited: &InheritedLabels, copies: &BTreeSet<String>, summary: ContainerSummary) -> ForeignContainer {
    ForeignContainer {
        project: inherited.owner(&summary).filter(|_| !copies.contains(&summary.id)).map(str::to_owned),
        helper_of: summary.labels.get(labels::PROBE).cloned(),
        id: summary.id,
        name: summary.name,
        state: summary.state,
        restart: RestartPolicy::No,
        mounts: summary.mounts,
        published: summary.published,
        addresses: summary.addresses,
    }
}

/// The services whose namespaces a service shares.
pub fn providers(service: &crate::manifest::model::Service) -> Vec<&str> {
    let modes = [&service.network_mode, &service.pid, &service.ipc];
    let mut names: Vec<&str> = modes
        .into_iter()
        .flatten()
        .filter_map(|mode| match mode {
            NamespaceMode::Service(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::engine::Address;
    use crate::manifest::model::{Mount, MountKind, Service};
    use crate::services::scripted_engine::{Answer, FakeEngine, Rule};

    const GONE: Answer = Answer::Json(404, r#"{"message": "No such container"}"#);

    fn answer(body: &Value) -> Answer {
        Answer::Json(200, Box::leak(body.to_string().into_boxed_str()))
    }

    /// A container as a list has it.
    fn listed(id: &str, name: &str, labels: Value) -> Value {
        json!({"Id": id, "Names": [format!("/{name}")], "ImageID": "sha256:a", "State": "running", "Labels": labels})
    }

    fn stopped(mut container: Value) -> Value {
        container["State"] = json!("exited");
        container
    }

    fn of_ours(service: &str, number: u32) -> Value {
        json!({labels::PROJECT: "p", labels::SERVICE: service, labels::NUMBER: number.to_string(), labels::FINGERPRINT: "x"})
    }

    /// Project `p` with these services, of images `NAME:1`.
    fn manifest(services: &[&str]) -> Manifest {
        manifest_with(services, |_| {})
    }

    fn manifest_with(services: &[&str], change: impl Fn(&mut Service)) -> Manifest {
        let mut manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        for name in services {
            let mut service = Service { image: format!("{name}:1").parse().unwrap(), ..Service::default() };
            change(&mut service);
            manifest.services.push((*name).to_owned(), Some(service));
        }
        manifest
    }

    /// What is seen of an engine with these containers; each inspect shows the name and the labels of the list, where
    /// `rules` say nothing else.
    async fn seen_of(
        manifest: &Manifest,
        containers: &[Value],
        images: Value,
        rules: Vec<Rule>,
    ) -> (Observed, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut all = rules;
        for container in containers {
            let id = container["Id"].as_str().unwrap();
            let view = json!({"Id": id, "Name": container["Names"][0], "Image": container["ImageID"],
                "State": {"Status": container["State"]}, "Config": {"Labels": container["Labels"]}});
            let path: &'static str = Box::leak(format!("/containers/{id}/json").into_boxed_str());
            all.push(("GET", path, answer(&view)));
        }
        let info = json!({"ID": "fake", "Name": "fake", "Driver": "overlay2", "DriverStatus": [], "DockerRootDir": "/nowhere",
            "Architecture": "aarch64", "Runtimes": {"runc": {"path": "runc"}}});
        all.extend([
            ("GET", "/containers/json", answer(&json!(containers))),
            ("GET", "/images/json", answer(&images)),
            ("GET", "/networks", answer(&json!([]))),
            ("GET", "/volumes", answer(&json!({"Volumes": []}))),
            ("GET", "/info", answer(&info)),
        ]);
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), all);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let observed = Observed::look(&engine, manifest).await;
        (observed.unwrap_or_else(|error| panic!("{error:?}: {:?}", fake.requests())), folder)
    }

    #[tokio::test]
    async fn whose_a_container_is_is_told_by_its_labels_and_by_its_name() {
        let mut replacing = of_ours("a", 1);
        replacing[labels::OLD_RESTART] = json!("always");
        let containers = [
            listed("c1", "p-a-1", replacing),
            // One that was taken over, kept aside under a name of ours.
            stopped(listed("c2", "p-a-1.dpl-kept", json!({}))),
            // Nobody's, under a name that is to be ours.
            listed("c3", "p-b-1", json!({})),
            listed("c4", "p-b-2", json!({labels::PROJECT: "q", labels::SERVICE: "b", labels::FINGERPRINT: "y"})),
            listed("c5", "p.dpl-helper-1", json!({labels::PROBE: "p"})),
            listed("c6", "p-old-1", of_ours("old", 1)),
        ];
        let manifest = manifest(&["a", "b"]);
        let (observed, _folder) = seen_of(&manifest, &containers, json!([]), Vec::new()).await;
        let part = |seen: &ObservedContainer| (seen.view.id.clone(), seen.service.clone(), seen.number, seen.role);
        let mut ours: Vec<_> = observed.containers.iter().map(part).collect();
        ours.sort();
        let text = str::to_owned;
        assert_eq!(
            ours,
            [
                (text("c1"), text("a"), 1, Role::Main),
                (text("c2"), text("a"), 1, Role::Kept),
                (text("c6"), text("old"), 1, Role::Main)
            ]
        );
        let namesakes: Vec<_> = observed.namesakes.iter().map(part).collect();
        assert_eq!(namesakes, [(text("c3"), text("b"), 1, Role::Main)]);
        let foreign = observed.foreign_containers.iter();
        let foreign: Vec<_> =
            foreign.map(|other| (other.id.as_str(), other.project.as_deref(), other.helper_of.as_deref())).collect();
        assert_eq!(foreign, [("c3", None, None), ("c4", Some("q"), None), ("c5", None, Some("p"))]);
        let orphans: Vec<_> = observed.orphans(&manifest).map(|seen| seen.view.id.as_str()).collect();
        assert_eq!(orphans, ["c6"]);
        assert_eq!((observed.engine.architecture.as_str(), observed.engine.is_local), ("arm64", true));
        assert_eq!(observed.engine.runtimes, ["runc"]);
    }

    #[tokio::test]
    async fn a_container_of_somebody_else_under_a_name_for_kept_ones_is_theirs() {
        let strange = || listed("c2", "p-a-1.dpl-kept", json!({}));
        let ours = || listed("c1", "p-a-1", of_ours("a", 1));
        for (containers, is_kept) in [
            (vec![strange()], false),
            (vec![ours(), strange()], false),
            // The one of ours replaced nobody.
            (vec![ours(), stopped(strange())], false),
            (vec![stopped(strange())], true),
        ] {
            let (observed, _folder) = seen_of(&manifest(&["a"]), &containers, json!([]), Vec::new()).await;
            let of_ours = observed.containers.iter().any(|seen| seen.view.id == "c2");
            let foreign = observed.foreign_containers.iter().any(|other| other.id == "c2");
            assert_eq!((of_ours, foreign), (is_kept, !is_kept), "{containers:?}");
        }
    }

    #[tokio::test]
    async fn one_that_is_gone_between_the_list_and_its_inspect_is_gone() {
        let containers = [listed("c1", "p-a-1", of_ours("a", 1)), listed("c2", "p-a-2", json!({}))];
        let gone = vec![("GET", "/containers/c1/json", GONE), ("GET", "/containers/c2/json", GONE)];
        let manifest = manifest_with(&["a"], |service| service.scale = Some(2));
        let (observed, _folder) = seen_of(&manifest, &containers, json!([]), gone).await;
        assert!(observed.containers.is_empty() && observed.namesakes.is_empty(), "{observed:?}");
    }

    #[tokio::test]
    async fn of_two_in_one_place_the_one_that_has_its_name_serves() {
        // A copy that somebody made by hand, labels and all, comes first in the list.
        let containers = [listed("c9", "aaa", of_ours("a", 1)), listed("c1", "p-a-1", of_ours("a", 1))];
        let (observed, _folder) = seen_of(&manifest(&["a"]), &containers, json!([]), Vec::new()).await;
        let ours: Vec<_> = observed.containers.iter().map(|seen| seen.view.id.as_str()).collect();
        assert_eq!(ours, ["c1"], "nothing that is done to the service touches the copy");
        let others = observed.foreign_containers.iter();
        let others: Vec<_> = others.map(|other| (other.id.as_str(), other.project.as_deref())).collect();
        assert_eq!(others, [("c9", None)]);
    }

    #[tokio::test]
    async fn for_a_record_only_what_serves_is_looked_at() {
        let containers = [
            listed("c1", "p-a-1", of_ours("a", 1)),
            listed("c2", "p-a-2", of_ours("a", 2)),
            listed("c3", "p-b-1.dpl-kept", of_ours("b", 1)),
            listed("c4", "copy", of_ours("a", 1)),
            listed("c5", "p-b-1", json!({labels::PROJECT: "q", labels::SERVICE: "b", labels::FINGERPRINT: "y"})),
        ];
        let view = json!({"Id": "c1", "Name": "/p-a-1", "State": {"Status": "running"},
            "Config": {"Labels": of_ours("a", 1)}});
        let rules = vec![
            ("GET", "/containers/json", answer(&json!(containers))),
            ("GET", "/images/json", answer(&json!([]))),
            ("GET", "/containers/c1/json", answer(&view)),
        ];
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let observed = Observed::look_at_serving(&engine, &manifest(&["a", "b"])).await.unwrap();
        assert_eq!(observed.main("a", 1).map(|seen| seen.view.id.as_str()), Some("c1"));
        assert_eq!(observed.containers.len(), 1, "{:?}", fake.requests());
        let looks = fake.requests().iter().filter(|request| request.contains("/containers/c")).count();
        assert_eq!(looks, 1, "{:?}", fake.requests());
    }

    #[tokio::test]
    async fn a_status_asks_what_the_engine_is_only_where_a_limit_differs() {
        for (memory, is_asked) in [(0, false), (64 << 20, true)] {
            let container = listed("c1", "p-a-1", of_ours("a", 1));
            let view = json!({"Id": "c1", "Name": "/p-a-1", "Image": "sha256:a", "State": {"Status": "running"},
                "Config": {"Labels": container["Labels"]}, "HostConfig": {"Memory": memory, "MemorySwap": 2 * memory}});
            let info = json!({"ID": "fake", "Name": "fake", "Driver": "overlay2", "DriverStatus": [],
                "DockerRootDir": "/nowhere", "MemoryLimit": false});
            let rules = vec![
                ("GET", "/containers/c1/json", answer(&view)),
                ("GET", "/containers/json", answer(&json!([container]))),
                ("GET", "/images/json", answer(&json!([]))),
                ("GET", "/networks", answer(&json!([]))),
                ("GET", "/volumes", answer(&json!({"Volumes": []}))),
                ("GET", "/info", answer(&info)),
            ];
            let folder = tempfile::tempdir().unwrap();
            let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
            let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
            let observed = Observed::look_for_status(&engine, &manifest(&["a"])).await.unwrap();
            assert_eq!((observed.containers.len(), observed.engine.limits.memory), (1, !is_asked));
            let asked = fake.requests().iter().any(|request| request.contains("/info"));
            assert_eq!(asked, is_asked, "{:?}", fake.requests());
        }
    }

    #[tokio::test]
    async fn images_are_those_that_the_manifest_names_now() {
        let images = json!([{"Id": "sha256:a", "ParentId": "", "RepoTags": ["a:1", "other:1"], "RepoDigests": [],
            "Created": 1, "Size": 1, "SharedSize": -1, "Labels": {}, "Containers": -1}]);
        let inspected = json!({"Id": "sha256:a", "RepoTags": ["a:1"], "Size": 1, "Architecture": "amd64", "Config": {},
            "RootFS": {"Type": "layers", "Layers": []}});
        let rules = vec![("GET", "/images/a:1/json", answer(&inspected))];
        let (observed, _folder) = seen_of(&manifest(&["a", "b"]), &[], images, rules).await;
        let known: Vec<_> = observed.images.iter().map(|(name, image)| (name.as_str(), image.id.as_str())).collect();
        assert_eq!(known, [("a:1", "sha256:a")]);
        assert_eq!(observed.images["a:1"].architecture, "amd64");
    }

    #[tokio::test]
    async fn the_policy_of_a_foreign_container_counts_where_it_is_down_and_uses_our_data() {
        let data = tempfile::tempdir().unwrap();
        let source = data.path().to_str().unwrap();
        let down = |id: &str, source: &str| {
            let mut container = listed(id, id, json!({}));
            container["State"] = json!("exited");
            container["Mounts"] = json!([{"Type": "bind", "Source": source, "Destination": "/in", "RW": true}]);
            container
        };
        let bind = Mount {
            kind: MountKind::Bind,
            source: Some(source.to_owned()),
            target: "/data".to_owned(),
            ..Mount::default()
        };
        let manifest = manifest_with(&["a"], |service| service.volumes.push(bind.clone()));
        let always = json!({"Id": "x", "Name": "/x", "HostConfig": {"RestartPolicy": {"Name": "always"}}});
        let failing = |code: u32| {
            json!({"Id": "x", "Name": "/x", "State": {"ExitCode": code},
            "HostConfig": {"RestartPolicy": {"Name": "on-failure"}}})
        };
        let rules = vec![
            ("GET", "/containers/x1/json", answer(&always)),
            ("GET", "/containers/x2/json", answer(&always)),
            ("GET", "/containers/x3/json", answer(&failing(0))),
            ("GET", "/containers/x4/json", answer(&failing(137))),
        ];
        let containers = [down("x1", source), down("x2", "/somewhere/else"), down("x3", source), down("x4", source)];
        let (observed, _folder) = seen_of(&manifest, &containers, json!([]), rules).await;
        let policies: Vec<_> = observed.foreign_containers.iter().map(|other| other.restart).collect();
        let failed = RestartPolicy::OnFailure(None);
        assert_eq!(policies, [RestartPolicy::Always, RestartPolicy::No, RestartPolicy::No, failed]);
    }
}
