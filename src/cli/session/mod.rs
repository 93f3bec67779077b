//! What one run of the program holds: the manifest, the engine, how it speaks.

mod asking;
pub(super) mod interrupt;
pub(super) mod journal;
pub(super) mod lock;
pub(super) mod log;
pub(super) mod operations;
mod project;
pub(super) mod select;
pub(super) mod stopped_services;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::interrupt::{InterruptWatch, came_too_late};
use self::journal::JournalListener;
use crate::cli::grammar::arguments::{GlobalArguments, names_manifest};
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Output;
use crate::cli::text::progress::ProgressListener;
use crate::engine::{Address, Engine, StallLimits};
use crate::manifest::model::Period;
use crate::manifest::{Loaded, Manifest, Variables, likely_manifest, read_manifest};
use crate::report::{Listener, Reporter, Told as _};
use crate::services::{OtherFolder, other_folders};
use crate::state::{Holder, Journal, Lock, Operator, StateDir, chosen_manifest, undivided_manifests};

pub use self::project::Project;

/// One run of the program.
pub struct Session {
    pub global: GlobalArguments,
    pub output: Output,
    /// How many of the last arguments stood behind `--`.
    after_dashes: usize,
    project: Option<Arc<Project>>,
    runtime: Option<Arc<Runtime>>,
    engine: Option<Engine>,
    /// Whether a chain is under way, which says itself what is next.
    pub is_in_chain: bool,
    /// The work of a chain or a menu's action that holds the lock already.
    current: Option<CurrentAction>,
    interrupts: Option<InterruptWatch>,
    /// Images that a plan takes for granted: reference and ID of what earlier links of a chain bring.
    pub supposed_images: BTreeMap<String, String>,
    /// Whether the action that comes next asks what the engine is: that is asked while its begin is written down.
    pub asks_what_the_engine_is: bool,
}

/// An action that changes something: locked, journalled, interruptible.
struct CurrentAction {
    _lock: Lock,
    /// Its number in the journal.
    number: u64,
    reporter: Reporter,
}

impl Session {
    pub fn new(global: GlobalArguments, after_dashes: usize, output: Output) -> Self {
        Self {
            global,
            output,
            after_dashes,
            project: None,
            runtime: None,
            engine: None,
            is_in_chain: false,
            current: None,
            interrupts: None,
            supposed_images: BTreeMap::new(),
            asks_what_the_engine_is: false,
        }
    }

    /// Splits arguments into the manifest, if one is named, and selectors; and reads the manifest.
    pub fn targets(&mut self, arguments: &[String]) -> Result<(Arc<Project>, Vec<String>), Failure> {
        let behind = self.after_dashes.min(arguments.len());
        let before = arguments.len() - behind;
        let place = arguments[..before].iter().position(|argument| names_manifest(argument));
        let mut selectors = arguments.to_vec();
        let named = place.map(|place| PathBuf::from(selectors.remove(place)));
        Ok((self.project(named.as_deref())?, selectors))
    }

    /// As [`Session::targets`] for arguments that are files: takes the one that names the manifest out of them.
    pub fn manifest_among(&self, files: &mut Vec<PathBuf>) -> Option<PathBuf> {
        let before = files.len() - self.after_dashes.min(files.len());
        let place = files[..before].iter().position(|file| names_manifest(&file.to_string_lossy()))?;
        Some(files.remove(place))
    }

    /// The manifest that is meant: `named`, `--manifest`, `DPL_MANIFEST`, the one remembered.
    pub fn project(&mut self, named: Option<&Path>) -> Result<Arc<Project>, Failure> {
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        let path = match self.manifest_path(named) {
            Some((path, Chosen::Now)) => path,
            Some((path, Chosen::Remembered)) => {
                self.output.say(&message!("manifest-remembered", path = path.display()));
                path
            }
            None => {
                let hint = match likely_manifest(&[Path::new("."), Path::new("manifests")]) {
                    Some(path) => message!("hint-use-manifest", path = path.display()),
                    None => message!("hint-name-manifest"),
                };
                return Err(Failure::usage_with_hint(message!("usage-no-manifest"), hint));
            }
        };
        if let Some(named) = named.filter(|named| !names_manifest(&named.to_string_lossy()) && !named.exists()) {
            let message = message!("usage-manifest-missing", path = named.display());
            return Err(Failure::usage_with_hint(message, message!("hint-takes-manifest")));
        }
        let loaded = read_manifest(&path, Variables::of_process())?;
        let path = std::path::absolute(&path).map_err(Failure::Output)?;
        let state = self.state_of(&path, &loaded.manifest);
        let project = Arc::new(Project { path, loaded, state });
        self.project = Some(project.clone());
        Ok(project)
    }

    /// A project whose manifest is on its way to a place.
    pub fn coming_project(&self, path: &Path, loaded: Loaded) -> Project {
        let state = self.state_of(path, &loaded.manifest);
        Project { path: path.to_owned(), loaded, state }
    }

    /// Where the project's state lies: `--state`, `DPL_STATE`, or beside the manifest.
    fn state_of(&self, path: &Path, manifest: &Manifest) -> StateDir {
        let from_variable = || env::var_os("DPL_STATE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let state = match self.global.state.clone().or_else(from_variable) {
            Some(folder) => StateDir::in_folder(folder, &manifest.project),
            None => StateDir::beside(path, &manifest.project),
        };
        // An older dpl kept one journal for all projects of the folder. One that can't be read is an error of what needs it.
        let manifests = undivided_manifests(&state).unwrap_or_default();
        let project_of = |other: &Path| match other == path {
            true => Some(manifest.project.clone()),
            false => read_manifest(other, Variables::of_process()).ok().map(|loaded| loaded.manifest.project),
        };
        let owners = manifests.into_iter().filter_map(|other| project_of(&other).map(|project| (other, project)));
        state.with_owners(owners.collect())
    }

    /// The manifest's file, where one is meant; nothing is read.
    pub fn manifest_file(&self) -> Option<PathBuf> {
        self.manifest_path(None).map(|(path, _)| path)
    }

    fn manifest_path(&self, named: Option<&Path>) -> Option<(PathBuf, Chosen)> {
        let from_variable = || env::var_os("DPL_MANIFEST").filter(|path| !path.is_empty()).map(PathBuf::from);
        let now = named.map(Path::to_owned).or_else(|| self.global.manifest.clone()).or_else(from_variable);
        match now {
            Some(path) => Some((path, Chosen::Now)),
            None => Some((chosen_manifest(&env::current_dir().ok()?)?, Chosen::Remembered)),
        }
    }

    /// The runtime that work on an engine needs; made when it is first needed, since `--version` must be quick.
    pub fn runtime(&mut self) -> Result<Arc<Runtime>, Failure> {
        if let Some(runtime) = &self.runtime {
            return Ok(runtime.clone());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::Work(Box::new(error)))?;
        {
            let _inside = runtime.enter();
            // A file that may not grow (`ulimit -f`) is an error of its write then, not the end of the program. Where it
            // can't be watched, it is as before.
            let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        }
        let runtime = Arc::new(runtime);
        self.runtime = Some(runtime.clone());
        Ok(runtime)
    }

    /// The engine, connected.
    pub fn engine(&mut self) -> Result<Engine, Failure> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let address = Address::resolve(self.global.host.as_deref())?;
        let limits = period("DPL_STALL_TIMEOUT")?.map_or_else(StallLimits::default, StallLimits::of);
        let patience = period("DPL_ENGINE_PATIENCE")?;
        let mut engine = self.wait_for(async { Ok(Engine::connect_within(address, limits).await?) })?;
        if let Some(patience) = patience {
            engine = engine.with_patience(patience);
        }
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    /// The engine, where it is one of this machine and answers.
    pub fn local_engine(&mut self) -> Result<Engine, Failure> {
        let address = Address::resolve(self.global.host.as_deref())?;
        match address.as_str().starts_with("unix://") {
            true => self.engine(),
            false => Err(Failure::usage(message!("usage-engine-elsewhere"))),
        }
    }

    /// Says from which other folders containers of the project were created: what was done there stands in no record here.
    pub fn say_other_folders(&mut self, project: &Project, engine: &Engine) -> Result<(), Failure> {
        let others = self.runtime()?.block_on(other_folders(engine, project.manifest()))?;
        self.tell_other_folders(&others);
        Ok(())
    }

    /// The same of folders that are known.
    pub fn tell_other_folders(&self, others: &[OtherFolder]) {
        for OtherFolder { folder, last_created } in others {
            let at = jiff::Timestamp::from_second(*last_created).map(|at| at.to_string()).unwrap_or_default();
            self.output.warn(&message!("other-folder-last", folder = folder, at = at));
        }
    }

    /// The engine's own identity, by which what was done on it is remembered.
    pub fn engine_id(&mut self, engine: &Engine) -> Result<String, Failure> {
        Ok(self.runtime()?.block_on(engine.facts())?.id.clone())
    }

    /// The number in the journal of the action that is under way; 0 where none is.
    pub fn action_number(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.number)
    }

    /// As [`Session::change_at`], on the engine.
    pub fn change<T>(
        &mut self,
        project: &Project,
        command: &str,
        work: impl FnOnce(&mut Self, Reporter) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.change_at(WorkPlace::Engine, project, command, work)
    }

    /// Runs `work`, which changes something: with the project's lock, in the journal, and stopping safely when asked
    /// to. Inside another such action it is a part of that one.
    pub fn change_at<T>(
        &mut self,
        place: WorkPlace,
        project: &Project,
        command: &str,
        work: impl FnOnce(&mut Self, Reporter) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let asks_what_the_engine_is = std::mem::take(&mut self.asks_what_the_engine_is);
        if let Some(current) = &self.current {
            let reporter = current.reporter.clone();
            return work(self, reporter);
        }
        let state = project.state();
        let operator = Operator::of_process();
        let patience = lock::patience(self.global.lock_wait.as_deref())?;
        let lock = Lock::acquire(&state, &operator, command, patience)?;
        // From the first record on, a terminal that goes away ends nothing.
        self.watch_signals()?;
        // Kept, to go on with when the lock on it is given back.
        let engine = match place {
            WorkPlace::Engine => Some(self.engine()?),
            WorkPlace::Here => None,
        };
        if let Some(engine) = engine.clone().filter(|_| asks_what_the_engine_is) {
            // It runs other programs to answer. Who needs the answer waits for this one, and says what is wrong with it.
            self.runtime()?.spawn(async move {
                let _ = engine.facts().await;
            });
        }
        if let Some(engine) = &engine {
            let holder = Holder::of_process(&operator, command);
            self.engine = Some(engine.locked(lock::request(project, &holder, patience, &self.output)));
        }
        let address = engine.as_ref().map_or("none", |engine| engine.address().as_str());
        let journal = Journal::begin(&state, &operator, (&project.path, project.digest()), address, command);
        // Looks that follow in the menu ask for no lock.
        let journal = journal.inspect_err(|_| {
            if engine.is_some() {
                self.engine.clone_from(&engine);
            }
        })?;
        let number = journal.action();
        let journal = Arc::new(JournalListener::new(journal));
        let stop = CancellationToken::new();
        self.watch_interrupts(stop.clone())?;
        // The journal first: what is shown has been written down.
        let listeners: Vec<Arc<dyn Listener>> =
            vec![journal.clone(), Arc::new(ProgressListener::new(self.output.clone()))];
        let reporter = Reporter::new(listeners, stop);
        self.current = Some(CurrentAction { _lock: lock, number, reporter: reporter.clone() });
        let mut result = match &engine {
            Some(_) => self.under_lock(&reporter, |session| work(session, reporter.clone())),
            None => work(self, reporter.clone()),
        };
        if reporter.asked_to_stop()
            && let Err(failure) = result
        {
            // An error that is more than the end that was asked for is told as well: somebody has to act on it.
            if !failure.is_stop() {
                failure.show(&self.output);
            }
            result = Err(Failure::Interrupted);
        }
        let (code, error) = match &result {
            Ok(_) => (0, None),
            Err(failure) => (failure.exit_code(), Some(failure.summary())),
        };
        let written = journal.end(code, error);
        if let Some(engine) = engine {
            self.give_back(engine);
        }
        self.current = None;
        if let Some(interrupts) = &self.interrupts {
            interrupts.ended();
        }
        if let Some(words) = came_too_late(&reporter, result.is_ok()) {
            self.output.say(&words);
        }
        match (result, written) {
            (Ok(_), Err(error)) => Err(error.into()),
            (result, _) => result,
        }
    }
}

impl Session {
    /// Runs work that changes something on the engine. Work that ends because somebody took the lock over says so, after
    /// what it has to say itself.
    fn under_lock<T>(
        &mut self,
        reporter: &Reporter,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (engine, runtime) = (self.engine()?, self.runtime()?);
        runtime.block_on(async {
            tokio::select! {
                minded = engine.wait_for_other_operators() => minded.map_err(Failure::from),
                // Nothing was done yet, so that nothing has to be brought to an end.
                () = reporter.stop_asked() => Err(Failure::Interrupted),
            }
        })?;
        let result = work(self);
        if let Err(failure) = &result
            && let Some(lost) = runtime.block_on(engine.lock_lost())
        {
            failure.show(&self.output);
            return Err(lost.into());
        }
        result
    }

    /// Gives the lock on the engine back, and goes on with the engine as it was before. One that can't be given back
    /// is taken over by the next, since this process will be gone.
    fn give_back(&mut self, engine: Engine) {
        let Some(locked) = self.engine.replace(engine) else { return };
        let released = self.runtime.as_ref().map(|runtime| runtime.block_on(locked.release_lock()));
        if let Some(Err(error)) = released {
            let reason = Failure::from(error).message();
            self.output.warn(&message!("lock-not-given-back", reason = reason));
        }
    }

    /// From here on an interrupt does what [`InterruptWatch`] says.
    pub fn watch_signals(&mut self) -> Result<(), Failure> {
        if self.interrupts.is_none() {
            let runtime = self.runtime()?;
            let _inside = runtime.enter();
            let watch = InterruptWatch::start(self.output.clone());
            self.interrupts = Some(watch.map_err(|error| Failure::Work(Box::new(error)))?);
        }
        Ok(())
    }

    fn watch_interrupts(&mut self, stop: CancellationToken) -> Result<(), Failure> {
        self.watch_signals()?;
        if let Some(interrupts) = &self.interrupts {
            interrupts.action_begins(stop);
        }
        Ok(())
    }

    /// Runs `look`, which changes nothing, so that Ctrl-C ends it and not the program.
    pub fn look<T>(&mut self, look: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.watch_signals()?;
        if let Some(interrupts) = &self.interrupts {
            interrupts.look_begins(CancellationToken::new());
        }
        let result = look(self);
        if let Some(interrupts) = &self.interrupts {
            interrupts.ended();
        }
        result
    }

    /// What ends the look of the menu that is under way; nobody else may listen to signals then, or one Ctrl-C would be
    /// heard twice: by the look, and by the menu behind it.
    pub fn end_of_look(&self) -> Option<CancellationToken> {
        self.interrupts.as_ref().and_then(InterruptWatch::end_of_look)
    }

    /// Waits for something that only looks; inside [`Session::look`] until it is interrupted.
    pub fn wait_for<T>(&mut self, look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = self.runtime()?;
        match self.end_of_look() {
            None => runtime.block_on(look),
            Some(end) => runtime.block_on(async {
                tokio::select! {
                    looked = look => looked,
                    () = end.cancelled() => Err(Failure::Interrupted),
                }
            }),
        }
    }
}

/// Where an action changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkPlace {
    /// On the engine, which must answer.
    Engine,
    /// In files of this machine.
    Here,
}

/// The period (`20m`) that a variable of the environment says, where it is set.
fn period(name: &str) -> Result<Option<Duration>, Failure> {
    let Some(text) = env::var(name).ok().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse::<Period>() {
        Ok(period) if !period.0.is_zero() => Ok(Some(period.0)),
        Ok(_) => Err(Failure::usage(message!("usage-period-empty", name = name))),
        Err(error) => Err(Failure::usage(message!("usage-flag-value", flag = name, why = error.message()))),
    }
}

enum Chosen {
    Now,
    Remembered,
}
