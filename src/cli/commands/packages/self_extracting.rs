//! Packages that bring dpl along: one file that is a program and a package, for machines on which dpl was never installed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::signatures::Signer;
use crate::cli::session::Session;
use crate::cli::text::failure::Failure;
use crate::engine::image_architecture;
use crate::fs::{
    Attached, DurableFile, Mode, Output as OutputFile, TRAILER_BYTES, create_dir_durably, make_runnable, open_program,
    write_durably,
};
use crate::packages::PackagesError;

#[derive(Debug, Default, Args)]
pub struct SelfExtractingArguments {
    /// Put dpl itself before the package: the file is a program then, and FILE.minisig its signature
    #[arg(long, conflicts_with = "split")]
    pub self_extracting: bool,
}

#[derive(Debug, Args)]
pub struct InstallArguments {
    /// The folder
    #[arg(value_name = "FOLDER", default_value = "/usr/local/bin")]
    pub folder: PathBuf,
}

/// A program that goes before a package.
pub struct Program {
    path: PathBuf,
    bytes: u64,
}

impl SelfExtractingArguments {
    /// dpl for machines of an architecture, as images name it.
    pub fn program(&self, architecture: &str) -> Result<Option<Program>, Failure> {
        if !self.self_extracting {
            return Ok(None);
        }
        let own = std::env::current_exe().map_err(Failure::Output)?;
        let path = match architecture == image_architecture(std::env::consts::ARCH) {
            true => own,
            // As for sites: a program of another architecture lies beside this one.
            false => own.with_file_name(format!("dpl-{}", machine_of(architecture))),
        };
        let failed = |source| PackagesError::Source { path: path.clone(), source };
        let (_, bytes) = open_program(&path).map_err(failed)?;
        Ok(Some(Program { path, bytes }))
    }
}

/// What `uname -m` calls an architecture.
fn machine_of(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

impl Program {
    /// What it adds to the package's bytes.
    pub fn added_bytes(&self) -> u64 {
        self.bytes + TRAILER_BYTES as u64
    }

    /// Writes the program, and makes of the file what can be run.
    pub fn begin(&self, out: &mut OutputFile) -> io::Result<()> {
        if let OutputFile::File(file) = out {
            make_runnable(file.file())?;
        }
        let (mut program, bytes) = open_program(&self.path)?;
        match io::copy(&mut program, out)? {
            copied if copied == bytes && bytes == self.bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes what stands behind the package.
    pub fn end(&self, out: &mut OutputFile) -> io::Result<()> {
        out.write_all(&Attached::trailer(self.bytes))
    }
}

/// `FILE.minisig`, the signature of all of a file. Without a key there is none; that of an earlier file goes.
pub fn sign_file(path: &Path, signer: Option<&Signer>) -> Result<Option<PathBuf>, PackagesError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    let beside = PathBuf::from(name);
    let failed = |source| PackagesError::File { path: beside.clone(), source: Box::new(PackagesError::Write(source)) };
    let Some(signer) = signer else {
        return match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(None),
        };
    };
    write_durably(&beside, &signer.of_file(path)?, Mode::Shared).map_err(failed)?;
    Ok(Some(beside))
}

/// What was typed, as it is typed with an installed dpl, where this program has a package behind it.
///
/// # Errors
/// A word that such a file does not know.
pub fn arguments(typed: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let Some(own) = own_package() else { return Ok(typed) };
    let program = typed.first().cloned().unwrap_or_else(|| OsString::from("dpl"));
    let word = typed.get(1).map(|word| word.to_string_lossy().into_owned());
    let rest = || typed.iter().skip(2).cloned();
    let with = |words: &[&str]| -> Vec<OsString> {
        let words = words.iter().map(OsString::from).chain([own.clone()]);
        [program.clone()].into_iter().chain(words).chain(rest()).collect()
    };
    match word.as_deref() {
        None => Ok(with(&["package", "plan"])),
        Some("plan") => Ok(with(&["package", "plan"])),
        Some("show") => Ok(with(&["package", "show"])),
        Some("unpack") => Ok(with(&["unpack"])),
        Some("install") => Ok([program, "install-program".into()].into_iter().chain(rest()).collect()),
        Some("on-this-machine") => Ok([program].into_iter().chain(rest()).collect()),
        // dpl starts itself so.
        Some("serve" | "--help" | "-h" | "--version" | "-V") => Ok(typed),
        Some(other) => Err(Failure::usage_with_hint(
            message!("usage-self-extracting", word = other.escape_debug()),
            message!("hint-self-extracting"),
        )),
    }
}

/// This program's file, where a package stands behind it.
fn own_package() -> Option<OsString> {
    let attached = File::open("/proc/self/exe").and_then(|file| Attached::of(&file)).ok().flatten();
    attached.and_then(|_| std::env::current_exe().ok()).map(PathBuf::into_os_string)
}

/// Whether this program has a package behind it.
pub fn is_one() -> bool {
    own_package().is_some()
}

/// `FILE install`: copies the program alone.
pub fn install(arguments: &InstallArguments, session: &mut Session) -> Result<u8, Failure> {
    let own = std::env::current_exe().map_err(Failure::Output)?;
    let target = arguments.folder.join("dpl");
    let copy = || {
        create_dir_durably(&arguments.folder)?;
        let (mut program, _) = open_program(&own)?;
        let mut file = DurableFile::create_marked(&target, Mode::Shared, ".dpl-install-")?;
        io::copy(&mut program, file.file())?;
        file.file().set_permissions(Permissions::from_mode(0o755))?;
        file.commit()
    };
    if session.global.dry_run {
        session.output.say(&message!("program-would-install", path = target.display()));
        return Ok(0);
    }
    session.confirm(&message!("confirm-install", path = target.display()))?;
    let written = |source| PackagesError::File { path: target.clone(), source: Box::new(PackagesError::Write(source)) };
    copy().map_err(written)?;
    session.output.say(&message!("program-installed", path = target.display()));
    Ok(0)
}

/// What a file that brings dpl along takes, for those who typed nothing.
pub fn words(session: &Session) {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or(OsStr::new("dpl")).to_string_lossy().into_owned();
    session.output.say(&message!("self-extracting-words", file = name));
}
