//! What the services need and may not find: the files of their secrets, their images, the servers of the databases.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;

use super::report::{DoctorCheck, Say, Verdict};
use crate::cli::commands::databases::{is_same_server, refusal};
use crate::cli::commands::images::load_of;
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::engine::Engine;
use crate::images::{LoadPlan, is_for_another_machine};
use crate::manifest::model::Database;
use crate::manifest::{FileUse, Reference, UsedFile, is_empty_secret};
use crate::report::Listed;
use crate::services::{ServiceStatus, status};

/// Secret files that are empty or can't be read: a start that has to create or replace a container does not begin then.
pub(super) fn secrets(files: &[UsedFile], say: Say) -> Vec<DoctorCheck> {
    let (mut missing, mut empty, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for file in files.iter().filter(|file| file.purpose == FileUse::Secret) {
        match File::open(&file.path) {
            Ok(_) if is_empty_secret(&file.path) => empty.push(file.path.display()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(file.path.display()),
            Err(_) => closed.push(file.path.display()),
        }
    }
    let check = |found, advice| DoctorCheck::ok("secrets", say(found)).but(Verdict::Problem, say(advice));
    let mut checks = Vec::new();
    if !missing.is_empty() {
        let found = message!("doctor-no-secrets", count = missing.len(), paths = Listed::of(&missing));
        checks.push(check(found, message!("doctor-make-secrets")));
    }
    if !empty.is_empty() {
        let found = message!("doctor-empty-secrets", count = empty.len(), paths = Listed::of(&empty));
        checks.push(check(found, message!("doctor-make-secrets")));
    }
    if !closed.is_empty() {
        let found = message!("doctor-closed-secrets", count = closed.len(), paths = Listed::of(&closed));
        checks.push(check(found, message!("doctor-open-secrets")));
    }
    checks
}

/// Images that the engine lacks and that nothing brings to it. A service with a profile is not started by itself.
pub(super) fn images(project: &Project, session: &mut Session, say: Say) -> Result<Vec<DoctorCheck>, Failure> {
    let engine = session.engine()?;
    let mut missing: Vec<Reference> = Vec::new();
    for (_, _, service) in project.manifest().services.iter().filter(|(.., service)| service.profiles.is_empty()) {
        let asked = service.image.to_string();
        let is_there = session.wait_for(async { Ok(engine.inspect_image(&asked).await?.is_some()) })?;
        if !is_there && !missing.contains(&service.image) {
            missing.push(service.image.clone());
        }
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(load) = stored(&missing, project, session)? {
        return Ok(for_other_machines(&load, say));
    }
    let (mut nowhere, mut checks) = (Vec::new(), Vec::new());
    for reference in missing {
        match stored(std::slice::from_ref(&reference), project, session)? {
            Some(load) => checks.extend(for_other_machines(&load, say)),
            None => nowhere.push(reference),
        }
    }
    let found = message!("doctor-images-nowhere", count = nowhere.len(), references = Listed::of(&nowhere));
    checks.push(DoctorCheck::ok("images", say(found)).but(Verdict::Problem, say(message!("doctor-bring-images"))));
    Ok(checks)
}

/// The load by which a start brings them, where the image store has all of them.
fn stored(references: &[Reference], project: &Project, session: &mut Session) -> Result<Option<LoadPlan>, Failure> {
    match load_of(references, project, session) {
        Ok(load) => Ok(Some(load)),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(_) => Ok(None),
    }
}

/// Images of the store that the engine's machine can only run under emulation.
fn for_other_machines(load: &LoadPlan, say: Say) -> Vec<DoctorCheck> {
    let told = load.notices.iter().filter(|notice| is_for_another_machine(notice));
    let advice = || say(message!("doctor-bring-own-architecture"));
    told.map(|notice| DoctorCheck::ok("images", say(notice.clone())).but(Verdict::Warning, advice())).collect()
}

/// Servers of the manifest's databases that do not run, or let nobody in with what the manifest says.
pub(super) fn databases(
    project: &Project,
    engine: &Engine,
    session: &mut Session,
    say: Say,
) -> Result<Vec<DoctorCheck>, Failure> {
    let manifest = project.manifest();
    let mut served: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, name, database) in manifest.databases.iter() {
        if let Some(service) = database.service.as_ref() {
            served.entry(service.clone()).or_default().push(name.to_owned());
        }
    }
    let servers: Vec<String> = served.keys().cloned().collect();
    let mut checks = Vec::new();
    if !servers.is_empty() {
        let report = session.wait_for(async { Ok(status(engine, manifest, &servers).await?) })?;
        checks.extend(report.services.iter().filter_map(|service| stopped(service, &served, say)));
    }
    let mut asked: Vec<&Database> = Vec::new();
    for (_, _, database) in manifest.databases.iter() {
        if asked.iter().any(|other| is_same_server(other, database)) {
            continue;
        }
        asked.push(database);
        let refusal = session.wait_for(async { Ok(refusal(engine, manifest, database).await) })?;
        checks.extend(refusal.map(|(found, advice)| DoctorCheck {
            verdict: Verdict::Problem,
            advice: advice.map(say),
            ..DoctorCheck::ok("databases", say(found))
        }));
    }
    Ok(checks)
}

/// `None` for a server that runs.
fn stopped(server: &ServiceStatus, served: &BTreeMap<String, Vec<String>>, say: Say) -> Option<DoctorCheck> {
    if server.running > 0 {
        return None;
    }
    let databases = served.get(&server.name).map(Listed::of).unwrap_or_default();
    let found = say(message!("doctor-server-down", service = &server.name, databases = databases));
    let advice = say(message!("doctor-start-server", service = &server.name));
    Some(DoctorCheck::ok("databases", found).but(Verdict::Warning, advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::report::Message;

    #[test]
    fn missing_secrets_are_one_line_that_names_the_files() {
        let catalogue = Catalogue::english();
        let say = |message: Message| catalogue.text(&message);
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, purpose| UsedFile { path: folder.path().join(name), purpose };
        std::fs::write(folder.path().join("there"), "secret").unwrap();
        let mut files = vec![file("there", FileUse::Secret), file("fix.sql", FileUse::Patch)];
        assert!(secrets(&files, &say).is_empty());
        files.extend([file("a", FileUse::Secret), file("b", FileUse::Secret)]);
        let checks = secrets(&files, &say);
        let [check] = checks.as_slice() else { panic!("{checks:?}") };
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(check.found, format!("2 secret files do not exist: {}, {}", a.display(), b.display()));
        assert_eq!(check.verdict, Verdict::Problem);
        assert!(check.advice.as_ref().unwrap().contains("chmod 600"), "{checks:?}");
    }

    #[test]
    fn an_empty_secret_file_is_a_problem() {
        let say = |message: Message| Catalogue::english().text(&message);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "\n").unwrap();
        let checks = secrets(&[UsedFile { path: path.clone(), purpose: FileUse::Secret }], &say);
        let [check] = checks.as_slice() else { panic!("{checks:?}") };
        assert_eq!(check.found, format!("1 secret file is empty: {}", path.display()));
        assert_eq!(check.verdict, Verdict::Problem);
    }

    #[test]
    fn a_database_server_that_does_not_run_is_named_with_its_databases() {
        let catalogue = Catalogue::english();
        let say = |message: Message| catalogue.text(&message);
        let served = BTreeMap::from([("postgres".to_owned(), vec!["expert".to_owned(), "metis".to_owned()])]);
        let server = |running| ServiceStatus { name: "postgres".to_owned(), running, ..ServiceStatus::default() };
        assert!(stopped(&server(1), &served, &say).is_none());
        let check = stopped(&server(0), &served, &say).unwrap();
        assert_eq!(check.found, "postgres does not run: expert, metis can't be backed up, verified or replaced");
        assert_eq!(check.advice.as_deref(), Some("`dpl start postgres`"));
    }
}
