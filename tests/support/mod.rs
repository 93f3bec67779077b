//! What every kind of test uses: a folder of its own, and `dpl` in an environment of its own.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// What has not come by then never comes: long enough for a machine that is busy with other builds, since no test is there to
/// find out how fast something is.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a manifest in it, and the program run beside it with nothing of the caller's environment.
pub struct Site {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    pub fn new() -> Self {
        Self { folder: TempDir::with_prefix("dpl-test-").unwrap(), variables: Vec::new() }
    }

    /// A site in memory, where nothing waits for a disk, whose `stack.json` has this text.
    pub fn in_memory(text: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dpl-test-").tempdir_in("/dev/shm").unwrap();
        let site = Self { folder, variables: Vec::new() };
        site.write("stack.json", text);
        site
    }

    /// A site whose `stack.json` has this text.
    pub fn with_manifest(text: &str) -> Self {
        let site = Self::new();
        site.write("stack.json", text);
        site
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A file of the state of the one project whose manifest lies here; one that does not exist where there is none yet.
    pub fn state(&self, name: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.file(".dpl")).into_iter().flatten().filter_map(Result::ok);
        let mut projects: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        projects.sort();
        projects.pop().unwrap_or_else(|| self.file(".dpl/nobody")).join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Sets a variable for all runs from here on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dpl"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `dpl`; the site's own folder reads `SITE` in what it says.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.finish(self.command(arguments).output().unwrap())
    }

    /// Runs `dpl` with this as its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        use std::io::Write;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that ends before it has read everything is judged by what it said.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        self.finish(child.wait_with_output().unwrap())
    }

    fn finish(&self, output: std::process::Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&*self.path().to_string_lossy(), "SITE");
        Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    /// The run, which must have gone well.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The run, which must have ended with this code.
    #[track_caller]
    pub fn failure(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as the JSON document that it must be.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The project's own folder.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Docker Compose as it is called here: the docker command's plugin, or a program of its own, of version 2 or later.
pub fn compose_command() -> Option<Vec<&'static str>> {
    [vec!["docker-compose"], vec!["docker", "compose"]].into_iter().find(|words| {
        let asked = Command::new(words[0]).args(&words[1..]).args(["version", "--short"]).output();
        asked.is_ok_and(|output| {
            let version = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned();
            let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
            // The first that knows `gpus`.
            output.status.success() && (numbers.next(), numbers.next()) >= (Some(2), Some(30))
        })
    })
}

/// Does the same for each case, as many side by side: for tests that wait for an engine more than they work.
pub fn side_by_side<T: Sync>(at_once: usize, cases: &[T], each: impl Fn(&T) + Sync) {
    in_lanes(at_once, cases, || (), |(), case| each(case));
}

/// The same where each case needs a place of its own: one is made for each lane, and used for one case after the other.
pub fn in_lanes<T: Sync, P>(lanes: usize, cases: &[T], make: impl Fn() -> P + Sync, each: impl Fn(&mut P, &T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..lanes.min(cases.len()) {
            scope.spawn(|| {
                let mut place = make();
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    each(&mut place, case);
                }
            });
        }
    });
}

/// The record of a backup or a seed as `db backup` and `db dump` write it; the dump itself is elsewhere.
pub fn record_of_dump(database: &str) -> String {
    include_str!("seed.json").replace("expert", database)
}
