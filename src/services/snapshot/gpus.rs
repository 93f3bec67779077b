//! Whether the engine can give a service the GPUs that it asks for.
//!
//! No API tells: a container is created with any request, and only its start fails. So a throw-away container asks for
//! the very GPUs and is started with a program that no image has. Devices are attached before the program is looked
//! for: an engine that gives them refuses the program (400), one that can't fails earlier (500). Tried on 20.10 and 28.

use super::starting::Starting;
use crate::engine::{EngineError, EngineErrorKind, GpuRequest};
use crate::failpoint;
use crate::manifest::Manifest;
use crate::manifest::model::Service;
use crate::services::container::labels;
use crate::services::container::spec;
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::{EngineTraits, Gpus, Observed};

/// A path that no image has.
const NO_PROGRAM: &str = "/dpl-gpu-probe/no-such-program";

/// What is tried: GPU requests, and the runtime that is to fulfil them.
type Attempt = (Vec<GpuRequest>, Option<String>);

/// Whether its container had to do without a GPU that it would take.
pub(in crate::services) fn waits_for_one(name: &str, service: &Service, observed: &Observed) -> bool {
    service.wants_gpu()
        && observed.containers.iter().any(|seen| seen.service == name && seen.view.labels.contains_key(labels::GPUS))
}

/// Tries every wish once, for services whose image is there.
pub(in crate::services) async fn probe(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    starting: &[Starting<'_>],
    observed: &mut Observed,
) -> Result<(), EngineError> {
    let mut tried: Vec<(Attempt, bool)> = Vec::new();
    let lacks_runtime = |service: &Service, engine: &EngineTraits| {
        service.runtime.as_ref().is_some_and(|runtime| engine.lacks_runtime(runtime))
    };
    for starting in starting.iter().filter(|starting| starting.service.wants_gpu()) {
        // Of such a service no container can be made, not even one to try: the plan names what it lacks.
        if lacks_runtime(starting.service, &observed.engine) {
            continue;
        }
        let Some(image) = observed.image(&starting.service.image).map(|image| image.id.clone()) else {
            continue;
        };
        let runtime = || starting.service.runtime.clone();
        let all = (spec::wanted_gpus(starting.service), runtime());
        let required = (spec::required_gpus(starting.service), runtime());
        let gpus = if try_once(helpers, manifest, &image, &all, &mut tried).await? {
            Gpus::Present
        } else if required.0.is_empty() || required == all {
            Gpus::Absent
        } else if try_once(helpers, manifest, &image, &required, &mut tried).await? {
            Gpus::RequiredOnly
        } else {
            Gpus::Absent
        };
        observed.gpus.insert(starting.name.to_owned(), gpus);
    }
    Ok(())
}

async fn try_once(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    image: &str,
    attempt: &Attempt,
    tried: &mut Vec<(Attempt, bool)>,
) -> Result<bool, EngineError> {
    if let Some((_, is_there)) = tried.iter().find(|(other, _)| other == attempt) {
        return Ok(*is_there);
    }
    let mut started = start_probe(helpers, manifest, image, attempt, tried.len()).await?;
    if started.is_none() {
        // A run that holds the lock has thrown it away.
        started = start_probe(helpers, manifest, image, attempt, tried.len()).await?;
    }
    let is_there = started.unwrap_or(false);
    tried.push((attempt.clone(), is_there));
    Ok(is_there)
}

/// Whether the engine gives what the probe asks for; `None` where somebody removed the probe before it was started.
async fn start_probe(
    helpers: &Helpers<'_>,
    manifest: &Manifest,
    image: &str,
    attempt: &Attempt,
    number: usize,
) -> Result<Option<bool>, EngineError> {
    let mut spec = helpers.spec(image);
    spec.name = format!("{}.dpl-gpu-probe-{}-{}", manifest.project, std::process::id(), number);
    spec.entrypoint = Some(vec![NO_PROGRAM.to_owned()]);
    (spec.gpus, spec.runtime) = attempt.clone();
    failpoint!("services.gpus.before-probe");
    let id = helpers.create(&spec).await?;
    failpoint!("services.gpus.after-create");
    let started = helpers.engine.start_container(&id).await;
    // A program that is not found is the same answer as a container that is not.
    let is_gone = helpers.engine.inspect_container(&id).await?.is_none();
    helpers.engine.discard_container(&id).await?;
    match started {
        Ok(()) => Ok(Some(true)),
        Err(error) => match error.kind() {
            EngineErrorKind::NotFound if is_gone => Ok(None),
            EngineErrorKind::Refused | EngineErrorKind::NotFound => Ok(Some(true)),
            EngineErrorKind::Failed => Ok(Some(false)),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Address, Engine};
    use crate::manifest::model::Gpu;
    use crate::services::scripted_engine::{Answer, FakeEngine};
    use crate::services::snapshot::observed::ObservedImage;

    const THERE: Answer = Answer::Json(200, r#"{"Id": "probe"}"#);
    const GONE: Answer = Answer::Json(404, r#"{"message": "No such container"}"#);
    /// Devices were attached, and there is no such program.
    const NO_PROGRAM_THERE: Answer = Answer::Json(400, r#"{"message": "no such file or directory"}"#);
    const NO_DRIVER: Answer = Answer::Json(500, r#"{"message": "could not select device driver"}"#);

    struct Probed {
        observed: Observed,
        /// What was created, as it was asked for.
        created: Vec<String>,
    }

    /// Services that ask for GPUs that are required or not, tried on an engine that answers so.
    async fn probed(services: &[(&str, &[bool])], starts: Vec<Answer>, inspects: Vec<Answer>) -> Probed {
        probed_with(services, starts, inspects, |_, _| {}).await
    }

    async fn probed_with(
        services: &[(&str, &[bool])],
        starts: Vec<Answer>,
        inspects: Vec<Answer>,
        change: impl FnOnce(&mut Service, &mut Observed),
    ) -> Probed {
        let folder = tempfile::tempdir().unwrap();
        let rules = vec![
            ("POST", "/containers/create", Answer::Json(201, r#"{"Id": "probe", "Warnings": []}"#)),
            ("POST", "/containers/probe/start", Answer::Each(starts)),
            ("GET", "/containers/probe/json", Answer::Each(inspects)),
            ("DELETE", "/containers/probe", Answer::Json(204, "")),
        ];
        let fake = FakeEngine::start(&folder.path().join("docker.sock"), rules);
        let engine = Engine::connect(Address::resolve(Some(&fake.address)).unwrap()).await.unwrap();
        let mut observed = Observed::default();
        let mut made: Vec<Service> = services
            .iter()
            .map(|(name, required)| {
                let image = ObservedImage { id: format!("{name}@1"), ..ObservedImage::default() };
                observed.images.insert(format!("{name}:1"), image);
                let gpu = |required: &bool| Gpu { required: *required, ..Gpu::default() };
                let gpus = required.iter().map(gpu).collect();
                Service { image: format!("{name}:1").parse().unwrap(), gpus, ..Service::default() }
            })
            .collect();
        change(&mut made[0], &mut observed);
        let manifest = Manifest { project: "p".to_owned(), ..Manifest::default() };
        let starting: Vec<Starting> =
            services.iter().zip(&made).map(|((name, _), service)| Starting { name, service, is_made: true }).collect();
        let helpers = Helpers::new(&engine, "p", &[]);
        probe(&helpers, &manifest, &starting, &mut observed).await.unwrap();
        let requests = fake.requests();
        let removed = requests.iter().filter(|request| request.starts_with("DELETE")).count();
        let created: Vec<String> = requests.into_iter().filter(|request| request.contains("/create?")).collect();
        assert_eq!(created.len(), removed, "nothing of it stays");
        Probed { observed, created }
    }

    #[tokio::test]
    async fn an_engine_that_looks_for_the_program_has_attached_the_gpus() {
        for (answer, gpus) in
            [(NO_PROGRAM_THERE, Gpus::Present), (Answer::Json(204, ""), Gpus::Present), (NO_DRIVER, Gpus::Absent)]
        {
            let probed = probed(&[("a", &[true])], vec![answer], vec![THERE]).await;
            assert_eq!((probed.observed.gpus_of("a"), probed.created.len()), (gpus, 1));
        }
    }

    #[tokio::test]
    async fn those_that_are_required_are_tried_alone_where_all_together_are_not_to_be_had() {
        let both: &[(&str, &[bool])] = &[("a", &[true, false])];
        let part = probed(both, vec![NO_DRIVER, NO_PROGRAM_THERE], vec![THERE]).await;
        assert_eq!(part.observed.gpus_of("a"), Gpus::RequiredOnly);
        let asked = |request: &String| request.matches("\"Capabilities\"").count();
        assert_eq!(part.created.iter().map(asked).collect::<Vec<_>>(), [2, 1]);
        let none = probed(both, vec![NO_DRIVER], vec![THERE]).await;
        assert_eq!((none.observed.gpus_of("a"), none.created.len()), (Gpus::Absent, 2));
        // None is required: there is nothing to try beside.
        let optional = probed(&[("a", &[false])], vec![NO_DRIVER], vec![THERE]).await;
        assert_eq!((optional.observed.gpus_of("a"), optional.created.len()), (Gpus::Absent, 1));
    }

    #[tokio::test]
    async fn the_same_wish_of_two_services_is_tried_once() {
        let probed = probed(&[("a", &[true]), ("b", &[true])], vec![NO_PROGRAM_THERE], vec![THERE]).await;
        assert_eq!((probed.observed.gpus_of("a"), probed.observed.gpus_of("b")), (Gpus::Present, Gpus::Present));
        assert_eq!(probed.created.len(), 1);
    }

    #[tokio::test]
    async fn a_probe_that_somebody_removed_is_no_answer() {
        let again = probed(&[("a", &[true])], vec![GONE, NO_DRIVER], vec![GONE, THERE]).await;
        assert_eq!((again.observed.gpus_of("a"), again.created.len()), (Gpus::Absent, 2));
        let missing_program = probed(&[("a", &[true])], vec![GONE], vec![THERE]).await;
        assert_eq!((missing_program.observed.gpus_of("a"), missing_program.created.len()), (Gpus::Present, 1));
    }

    #[tokio::test]
    async fn nothing_is_tried_without_the_image_or_the_runtime() {
        let without_image =
            probed_with(&[("a", &[true])], Vec::new(), Vec::new(), |_, observed| observed.images.clear()).await;
        let without_runtime = probed_with(&[("a", &[true])], Vec::new(), Vec::new(), |service, observed| {
            service.runtime = Some("nvidia".to_owned());
            observed.engine.runtimes = vec!["runc".to_owned()];
        })
        .await;
        for probed in [without_image, without_runtime] {
            assert_eq!((probed.observed.gpus_of("a"), probed.created.len()), (Gpus::Unknown, 0));
        }
    }
}
