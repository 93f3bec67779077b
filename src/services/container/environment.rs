//! What a container's environment is made of: `env_file`s, values of the manifest, and secrets from files or from
//! dpl's own environment.
//!
//! Values are held in memory only, never printed: debug output and errors name variables and files. Each container is
//! made from what is read at that moment; a snapshot reads the same to tell whether a running one has drifted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::manifest::model::{EnvFile, EnvFormat, EnvValue, SecretSource, Service};
use crate::manifest::{EnvEntry, EnvProblem, env_entries, raw_entries, read_capped};
use crate::report::{Message, Told};

/// No environment is larger: the kernel's limit for one argument is 128 KiB, for all of them 2 MiB by default.
const LARGEST_FILE: u64 = 2 << 20;

/// A value of the environment can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InputError {
    EnvFile { path: PathBuf, source: Arc<io::Error> },
    EnvFileLine { path: PathBuf, line: usize, what: Message },
    SecretFile { variable: String, path: PathBuf, source: Arc<io::Error> },
    SecretEmpty { variable: String, path: PathBuf },
    SecretVariable { variable: String, name: String },
    NotText { variable: String },
}

impl Told for InputError {
    fn message(&self) -> Message {
        match self {
            Self::EnvFile { path, .. } => message!("error-input-env-file", path = path.display()),
            Self::EnvFileLine { path, line, what } => {
                message!("error-input-line", path = path.display(), line = line, what = what)
            }
            Self::SecretFile { variable, path, .. } => {
                message!("error-input-secret-file", variable = variable, path = path.display())
            }
            Self::SecretEmpty { variable, path } => {
                message!("error-input-secret-empty", variable = variable, path = path.display())
            }
            Self::SecretVariable { variable, name } => {
                message!("error-input-secret-variable", variable = variable, name = name)
            }
            Self::NotText { variable } => message!("error-input-not-text", variable = variable),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::SecretFile { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some(message!("hint-secret-file", path = path.display()))
            }
            Self::SecretEmpty { path, .. } => Some(message!("hint-secret-file", path = path.display())),
            Self::SecretVariable { name, .. } => Some(message!("hint-secret-variable", name = name)),
            _ => None,
        }
    }
}

/// A service's environment as far as it can be read.
#[derive(Clone, Default)]
pub struct Inputs {
    values: BTreeMap<String, String>,
    /// Variables whose values come from secret sources or files.
    secret: BTreeSet<String>,
    /// Variables that are wanted and could not be read.
    unreadable: BTreeSet<String>,
    /// Whether every file that may set more variables could be read.
    complete: bool,
    errors: Vec<InputError>,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inputs")
            .field("variables", &self.values.keys())
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

impl Inputs {
    /// Reads all that the service's environment is made of; what can't be read is kept as an error.
    pub fn read(service: &Service) -> Self {
        let mut inputs = Self { complete: true, ..Self::default() };
        if let Some(past) = &service.past_env {
            inputs.secret.extend(past.keys().cloned());
            inputs.values.extend(past.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        for file in service.env_file.iter().filter(|_| service.past_env.is_none()) {
            match read_capped(&file.path, LARGEST_FILE) {
                Ok(text) => inputs.add_file(service, file, &text),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !file.required => {}
                Err(error) => {
                    inputs.complete = false;
                    inputs.errors.push(InputError::EnvFile { path: file.path.clone(), source: Arc::new(error) });
                }
            }
        }
        for (variable, value) in &service.environment {
            let read = match value {
                EnvValue::Plain(text) => Ok(text.clone()),
                EnvValue::Secret(source) => read_secret(variable, source),
            };
            match read {
                Ok(text) if text.contains('\0') => {
                    inputs.fail(variable, InputError::NotText { variable: variable.clone() });
                }
                Ok(text) => {
                    if matches!(value, EnvValue::Secret(_)) {
                        inputs.secret.insert(variable.clone());
                    } else {
                        inputs.secret.remove(variable);
                    }
                    inputs.values.insert(variable.clone(), text);
                }
                Err(error) => inputs.fail(variable, error),
            }
        }
        inputs
    }

    /// The environment for a container, or all that stands in its way.
    pub fn environment(&self) -> Result<&BTreeMap<String, String>, &[InputError]> {
        if self.errors.is_empty() { Ok(&self.values) } else { Err(&self.errors) }
    }

    /// The value of one variable, where it is set and could be read.
    pub fn value(&self, variable: &str) -> Option<&str> {
        self.values.get(variable).map(String::as_str)
    }

    pub fn errors(&self) -> &[InputError] {
        &self.errors
    }

    /// Names of the variables that differ from what a container was made with: another value, one that is new, or
    /// one of `made_with` that is wanted no more. What can't be read is left out.
    pub fn differing(&self, actual: &BTreeMap<String, String>, made_with: &BTreeSet<String>) -> Vec<String> {
        let mut names: Vec<String> = self
            .values
            .iter()
            .filter(|(name, value)| actual.get(*name) != Some(*value))
            .map(|(name, _)| name.clone())
            .collect();
        if self.complete {
            let gone =
                made_with.iter().filter(|name| !self.values.contains_key(*name) && !self.unreadable.contains(*name));
            names.extend(gone.cloned());
        }
        names.sort();
        names
    }

    /// Every value that came from a secret source or a file, longest first. Short values are left: to mask them would
    /// hide ordinary words.
    pub fn masked(&self) -> Vec<String> {
        let known = self.secret.iter().filter_map(|name| self.values.get(name));
        let mut values: Vec<String> = known.filter(|value| value.len() >= 6).cloned().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values
    }

    /// The text with every one of these values made unreadable.
    pub fn mask(&self, text: &str) -> String {
        self.masked().iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "******"))
    }

    /// In `${NAME}` dpl's own environment wins, then what the service's `environment` says, then earlier files, then the
    /// manifest's own.
    fn add_file(&mut self, service: &Service, file: &EnvFile, text: &str) {
        let plain = |name: &str| match service.environment.get(name) {
            Some(EnvValue::Plain(value)) => Some(value.clone()),
            _ => None,
        };
        let entries = match file.format {
            EnvFormat::Raw => raw_entries(text),
            EnvFormat::Dotenv => env_entries(text, &|name| {
                let own = || self.values.get(name).or_else(|| service.variables.get(name)).cloned();
                std::env::var(name).ok().or_else(|| plain(name)).or_else(own)
            }),
        };
        for (_, entry) in entries {
            match entry {
                // A bare name takes dpl's own value; without one it stays unset (Compose, "env_file").
                Ok(EnvEntry { name, value }) => {
                    let of_dpl = || std::env::var(&name).ok().or_else(|| service.variables.get(&name).cloned());
                    if let Some(value) = value.or_else(of_dpl) {
                        self.secret.insert(name.clone());
                        self.values.insert(name, value);
                    }
                }
                Err(EnvProblem { line, why }) => {
                    // The variable that the line would set is not known.
                    self.complete = false;
                    self.errors.push(InputError::EnvFileLine { path: file.path.clone(), line, what: why });
                }
            }
        }
    }

    fn fail(&mut self, variable: &str, error: InputError) {
        self.values.remove(variable);
        self.unreadable.insert(variable.to_owned());
        self.errors.push(error);
    }
}

/// Reads one secret; one newline at a file's end does not count. `variable` is what errors call it.
///
/// # Errors
/// Also for an empty file: it is one that was made and never filled, and many servers take an empty password for none.
pub fn read_secret(variable: &str, source: &SecretSource) -> Result<String, InputError> {
    match source {
        SecretSource::File(path) => {
            let mut text = read_capped(path, LARGEST_FILE).map_err(|error| InputError::SecretFile {
                variable: variable.to_owned(),
                path: path.clone(),
                source: Arc::new(error),
            })?;
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            match text.is_empty() {
                true => Err(InputError::SecretEmpty { variable: variable.to_owned(), path: path.clone() }),
                false => Ok(text),
            }
        }
        SecretSource::Env(name) => std::env::var(name)
            .map_err(|_| InputError::SecretVariable { variable: variable.to_owned(), name: name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::EnvFile;

    fn with(environment: &[(&str, EnvValue)]) -> Service {
        Service {
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ..Service::default()
        }
    }

    #[test]
    fn values_of_the_manifest_lie_over_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.env");
        std::fs::write(&path, "# settings\nA=1\nexport B='its $x'\nC=\"two\\nlines\"\nD= plain # why\n\n").unwrap();
        let mut service = with(&[("A", EnvValue::Plain("2".to_owned()))]);
        service.env_file.push(EnvFile { path, required: true, ..EnvFile::default() });
        let inputs = Inputs::read(&service);
        let values = inputs.environment().unwrap();
        let wanted = [("A", "2"), ("B", "its $x"), ("C", "two\nlines"), ("D", "plain")];
        assert_eq!(values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_file_is_filled_in_from_the_environment_above_it_and_a_line_that_is_wrong_leaves_drift_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            EnvFile { path, required: true, ..EnvFile::default() }
        };
        let mut service = with(&[("HOST", EnvValue::Plain("db".to_owned()))]);
        service.env_file = vec![
            path("a.env", "PORT=5432\nURL=postgres://${HOST}:$PORT/x\nPASSWORD=pa$$word\n"),
            path("b.env", "AGAIN=${URL}\n"),
            EnvFile { format: EnvFormat::Raw, ..path("c.env", "RAW=$URL\n") },
        ];
        let inputs = Inputs::read(&service);
        let values = inputs.environment().unwrap();
        assert_eq!(values["AGAIN"], "postgres://db:5432/x");
        assert_eq!((values["PASSWORD"].as_str(), values["RAW"].as_str()), ("pa$word", "$URL"));
        service.env_file = vec![path("a.env", "two words\nSET=1\n")];
        let inputs = Inputs::read(&service);
        assert!(inputs.environment().unwrap_err()[0].to_string().contains("a.env, line 1"));
        assert_eq!(inputs.differing(&BTreeMap::new(), &["FORGOTTEN".to_owned()].into()), ["HOST", "SET"]);
    }

    #[test]
    fn a_services_file_sees_what_the_manifests_own_file_sets() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("site.env", "DPL_TEST_DOMAIN=a.example\nDPL_TEST_HOST=of-the-site\n");
        write("app.env", "URL=https://${DPL_TEST_DOMAIN}/\nAT=${DPL_TEST_HOST}\n");
        let text = r#"{ "project": "p", "env_file": "site.env", "services": { "app": { "image": "a:1", "env_file": "app.env",
            "environment": { "DPL_TEST_HOST": "of-the-service" } } } }"#;
        write("stack.json", text);
        let variables = crate::manifest::Variables::new(BTreeMap::new());
        let loaded = crate::manifest::read_manifest(&folder.path().join("stack.json"), variables).unwrap();
        let inputs = |loaded: &crate::manifest::Loaded| Inputs::read(loaded.manifest.services.get("app").unwrap());
        let values = inputs(&loaded).environment().unwrap().clone();
        assert_eq!((values["URL"].as_str(), values["AT"].as_str()), ("https://a.example/", "of-the-service"));
        assert!(!values.contains_key("DPL_TEST_DOMAIN"), "it is for filling in, not for the container");
        // A name alone takes its value, as it would take dpl's own.
        write("app.env", "DPL_TEST_DOMAIN\n");
        assert_eq!(inputs(&loaded).environment().unwrap()["DPL_TEST_DOMAIN"], "a.example");
    }

    #[test]
    fn one_newline_at_the_end_of_a_secret_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "s3cret\n\n").unwrap();
        let service = with(&[("PASSWORD", EnvValue::Secret(SecretSource::File(path)))]);
        let inputs = Inputs::read(&service);
        assert_eq!(inputs.environment().unwrap()["PASSWORD"], "s3cret\n");
    }

    #[test]
    fn an_empty_secret_file_is_an_error_and_never_an_empty_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for text in ["", "\n", "\r\n"] {
            std::fs::write(&path, text).unwrap();
            let service = with(&[("PASSWORD", EnvValue::Secret(SecretSource::File(path.clone())))]);
            let inputs = Inputs::read(&service);
            let [error] = inputs.environment().unwrap_err() else { panic!("{inputs:?}") };
            let said = format!("the secret for PASSWORD is missing: {} is empty", path.display());
            assert_eq!((error.to_string(), inputs.value("PASSWORD")), (said, None), "{text:?}");
            assert_eq!(error.hint().map(|hint| hint.key), Some("hint-secret-file"));
        }
    }

    #[test]
    fn errors_and_debug_output_name_variables_and_files_never_values() {
        let missing = PathBuf::from("/nowhere/password");
        let service = with(&[
            ("TOKEN", EnvValue::Plain("hunter2hunter2".to_owned())),
            ("PASSWORD", EnvValue::Secret(SecretSource::File(missing))),
            ("KEY", EnvValue::Secret(SecretSource::Env("DPL_TEST_SURELY_UNSET".to_owned()))),
            ("BAD", EnvValue::Plain("nul\0".to_owned())),
        ]);
        let inputs = Inputs::read(&service);
        let texts: Vec<String> = inputs.environment().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "the secret for PASSWORD can't be read from /nowhere/password",
                "the secret for KEY is taken from the environment variable DPL_TEST_SURELY_UNSET, which is not set",
                "the value of BAD contains a NUL, which a variable can't hold",
            ]
        );
        assert!(!format!("{inputs:?}").contains("hunter2"));
    }

    #[test]
    fn a_missing_env_file_matters_only_where_it_is_required() {
        let file = |required| EnvFile { path: PathBuf::from("/nowhere/x.env"), required, ..EnvFile::default() };
        let service = |required| Service { env_file: vec![file(required)], ..Service::default() };
        assert!(Inputs::read(&service(false)).environment().is_ok());
        assert!(Inputs::read(&service(true)).environment().is_err());
    }

    #[test]
    fn a_pipe_or_a_device_is_no_env_file_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.env");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [pipe, PathBuf::from("/dev/zero"), folder.path().to_owned()] {
            let file = EnvFile { path, required: false, ..EnvFile::default() };
            let inputs = Inputs::read(&Service { env_file: vec![file], ..Service::default() });
            assert_eq!(inputs.errors().len(), 1, "{inputs:?}");
        }
    }

    #[test]
    fn drift_of_the_environment_is_named_by_variable() {
        let service = with(&[
            ("SAME", EnvValue::Plain("1".to_owned())),
            ("CHANGED", EnvValue::Plain("new".to_owned())),
            ("ADDED", EnvValue::Plain("1".to_owned())),
            ("UNREADABLE", EnvValue::Secret(SecretSource::Env("DPL_TEST_SURELY_UNSET".to_owned()))),
        ]);
        let actual = BTreeMap::from(
            [("SAME", "1"), ("CHANGED", "old"), ("GONE", "1"), ("PATH", "/bin"), ("UNREADABLE", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let made_with = ["SAME", "CHANGED", "GONE", "UNREADABLE"].map(str::to_owned).into();
        assert_eq!(Inputs::read(&service).differing(&actual, &made_with), ["ADDED", "CHANGED", "GONE"]);
    }

    #[test]
    fn secrets_are_masked_in_what_an_application_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "correct horse").unwrap();
        let service = with(&[("PASSWORD", EnvValue::Secret(SecretSource::File(path)))]);
        assert_eq!(Inputs::read(&service).mask("login with correct horse failed"), "login with ****** failed");
    }
}
