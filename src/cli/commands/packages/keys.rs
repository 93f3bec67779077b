//! `key`: the keys that sign packages, and those that this machine trusts.

use std::env;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::cli::text::output::Tone;
use crate::cli::text::table::{self, Column};
use crate::packages::{
    KeyRecord, PackagesError, PublicKey, SigningKey, TrustedKeys, generate_key, own_keys, read_public_key, signing_key,
};
use crate::sites::shown;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key that signs packages, in minisign's form
    Generate(GenerateArguments),
    /// List the keys of this desk, and those that this machine trusts or has revoked
    List,
    /// Trust a key on this machine: packages that no trusted key signed are refused from then on
    Trust(KeyArguments),
    /// Never trust a key again on this machine
    Revoke(KeyArguments),
}

#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// What the key is called
    #[arg(value_name = "NAME", default_value = "dpl")]
    pub name: String,
    /// Encrypt it with the password in this file [default: not encrypted, readable for you alone]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct KeyArguments {
    /// The public key: its file (NAME.pub), its 56 letters, or the ID of one that is trusted here
    #[arg(value_name = "KEY")]
    pub key: String,
}

/// What `key list --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeysReport {
    /// Keys with which packages can be signed here.
    pub own: Vec<OwnKeyReport>,
    /// Keys that this machine trusts.
    pub trusted: Vec<KeyRecord>,
    /// Keys that it never trusts again.
    pub revoked: Vec<KeyRecord>,
}

/// A key of this desk.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwnKeyReport {
    pub name: String,
    pub id: String,
    /// The public key, as `minisign -P` takes it.
    pub key: String,
    /// The file of the secret key.
    pub path: String,
}

/// Which key signs.
#[derive(Debug, Default, Args)]
pub struct SigningArguments {
    /// The key that signs: its name or its file [default: the only one of `dpl key list`]
    #[arg(long, value_name = "KEY", conflicts_with = "unsigned")]
    pub key: Option<String>,
    /// The file with that key's password [default: DPL_KEY_PASSWORD_FILE, else none]
    #[arg(long, value_name = "FILE")]
    pub key_password_file: Option<PathBuf>,
    /// Do not sign
    #[arg(long)]
    pub unsigned: bool,
    /// Tell machines that trust the signing key never to trust this one again [default: none]
    #[arg(long, value_name = "KEY")]
    pub revoke: Vec<String>,
}

impl SigningArguments {
    /// The key, where there is one.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, Failure> {
        if self.unsigned {
            return Ok(None);
        }
        let from_variable = || env::var_os("DPL_KEY_PASSWORD_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let password = self.key_password_file.clone().or_else(from_variable).map(|path| password(&path)).transpose()?;
        Ok(signing_key(&keys_folder(), self.key.as_deref(), password)?)
    }

    /// The keys that a package revokes: those of this desk by their names, too.
    pub fn revoked(&self) -> Result<Vec<String>, Failure> {
        let own = own_keys(&keys_folder());
        let read = self.revoke.iter().map(|text| match own.iter().find(|key| key.name == *text) {
            Some(key) => Ok(key.public.text().to_owned()),
            None => public_key(text).map(|key| key.text().to_owned()),
        });
        Ok(read.collect::<Result<Vec<_>, PackagesError>>()?)
    }
}

/// Where this desk's keys are: `DPL_KEYS`, else in the folder of the user's settings.
fn keys_folder() -> PathBuf {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = || variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    variable("DPL_KEYS").unwrap_or_else(|| settings().unwrap_or_default().join("dpl/keys"))
}

fn password(path: &Path) -> Result<String, Failure> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| PackagesError::KeyFile { path: path.to_owned(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn public_key(text: &str) -> Result<PublicKey, PackagesError> {
    let path = PathBuf::from(text);
    match path.is_file() {
        true => read_public_key(&path).map_err(|error| match error {
            PackagesError::NotAKey => PackagesError::File { path, source: Box::new(error) },
            other => other,
        }),
        // What is not a key is meant as a file.
        false => PublicKey::parse(text).map_err(|error| match error {
            PackagesError::NotAKey => PackagesError::KeyFile { path, source: Errno::NOENT.into() },
            other => other,
        }),
    }
}

/// The keys that are trusted where a project's manifest lies, or will lie.
pub fn trusted_keys(folder: &Path, manifest: Option<&Path>, session: &Session) -> Result<TrustedKeys, PackagesError> {
    let from_variable = || env::var_os("DPL_STATE").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(state) = session.global.state.clone().or_else(from_variable) {
        return TrustedKeys::read(&[state]);
    }
    let own = |folder: &Path| folder.join(".dpl");
    let beside = manifest.and_then(Path::parent).map(own);
    let mut folders: Vec<PathBuf> = beside.into_iter().chain([own(folder)]).collect();
    folders.dedup();
    TrustedKeys::read(&folders)
}

/// The keys that are trusted here.
fn trusted_here(session: &Session) -> Result<TrustedKeys, Failure> {
    let here = env::current_dir().map_err(Failure::Output)?;
    let manifest =
        session.manifest_file().map(|path| std::path::absolute(&path)).transpose().map_err(Failure::Output)?;
    Ok(trusted_keys(&here, manifest.as_deref(), session)?)
}

/// `dpl key …`.
pub fn run(command: &KeyCommand, session: &mut Session) -> Result<u8, Failure> {
    match command {
        KeyCommand::Generate(arguments) => generate(arguments, session),
        KeyCommand::List => list(session),
        KeyCommand::Trust(KeyArguments { key }) => trust(&public_key(key)?, session),
        KeyCommand::Revoke(KeyArguments { key }) => revoke(key, session),
    }
}

fn generate(arguments: &GenerateArguments, session: &mut Session) -> Result<u8, Failure> {
    let password = arguments.password_file.as_deref().map(password).transpose()?;
    let folder = keys_folder();
    if session.global.dry_run {
        session.output.say(&message!("key-would-generate", folder = folder.display()));
        return Ok(0);
    }
    let key = generate_key(&folder, &arguments.name, password)?;
    let output = &session.output;
    let public = key.path.with_extension("pub");
    output.say(&message!("key-generated", id = key.public.id(), path = key.path.display(), public = public.display()));
    output.say(&message!("key-generated-next", public = public.display()));
    if output.json {
        output.document(&report_of(&key))?;
    } else {
        output.data(&format!("{}\n", key.public.text()))?;
    }
    Ok(0)
}

fn report_of(key: &crate::packages::OwnKey) -> OwnKeyReport {
    OwnKeyReport {
        name: key.name.clone(),
        id: key.public.id(),
        key: key.public.text().to_owned(),
        path: key.path.display().to_string(),
    }
}

fn list(session: &mut Session) -> Result<u8, Failure> {
    let own: Vec<OwnKeyReport> = own_keys(&keys_folder()).iter().map(report_of).collect();
    let TrustedKeys { trusted, revoked, .. } = trusted_here(session)?;
    let output = &session.output;
    if output.json {
        output.document(&KeysReport { own, trusted, revoked })?;
        return Ok(0);
    }
    if own.is_empty() && trusted.is_empty() && revoked.is_empty() {
        output.say(&message!("keys-none"));
        return Ok(0);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for key in &own {
        let word = output.catalogue.word(message!("word-own")).to_owned();
        rows.push(vec![key.id.clone(), word, key.name.clone(), key.key.clone()]);
    }
    let kinds = [
        (&trusted, output.paint_word(Tone::Good, message!("word-trusted"))),
        (&revoked, output.paint_word(Tone::Bad, message!("word-revoked"))),
    ];
    for (records, word) in kinds {
        rows.extend(records.iter().map(|key| vec![shown(&key.id), word.clone(), shown(&key.by), shown(&key.key)]));
    }
    let title = |key| Column::new(output.catalogue.word(key));
    let columns = [
        title(message!("column-id")),
        title(message!("column-state")),
        title(message!("column-who")).at_least(8).leaves(2),
        title(message!("column-key")).leaves(1),
    ];
    output.data(&table::within(&columns, rows, output.width()))?;
    Ok(0)
}

fn trust(key: &PublicKey, session: &mut Session) -> Result<u8, Failure> {
    let mut keys = trusted_here(session)?;
    if session.global.dry_run {
        session.output.say(&message!("key-would-trust", id = key.id(), path = keys.file().display()));
        return Ok(0);
    }
    session.confirm(&message!("confirm-key-trust", id = key.id(), key = key.text()))?;
    let is_new = keys.trust(key)?;
    session.output.say(&match is_new {
        true => message!("key-trusted", id = key.id(), path = keys.file().display()),
        false => message!("key-trusted-already", id = key.id()),
    });
    Ok(0)
}

fn revoke(text: &str, session: &mut Session) -> Result<u8, Failure> {
    let mut keys = trusted_here(session)?;
    let by_id =
        keys.trusted.iter().find(|record| record.id.eq_ignore_ascii_case(text)).map(|record| record.key.clone());
    let key = match by_id {
        Some(key) => PublicKey::parse(&key)?,
        None => public_key(text)?,
    };
    if session.global.dry_run {
        session.output.say(&message!("key-would-revoke", id = key.id()));
        return Ok(0);
    }
    session.confirm(&message!("confirm-key-revoke", id = key.id()))?;
    keys.revoke(&key)?;
    session.output.say(&message!("key-revoked", id = key.id()));
    if keys.trusted.is_empty() {
        session.output.warn(&message!("key-none-left"));
    }
    Ok(0)
}
