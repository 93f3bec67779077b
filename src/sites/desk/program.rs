//! dpl's own program at a site: brought once for each version, checked before it is run, in a folder that is the user's alone.
//!
//! What is typed there goes through whatever login shell the user has (bash, fish, csh), so it is words
//! in single quotes without quotes, line breaks and exclamation marks inside.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::remote::{Remote, beside_ourselves};
use crate::fs::{Digest, HashingReader, open_program};
use crate::report::Message;
use crate::sites::{SitesError, shown};

/// The folders that may have it, in the words of the far side's shell, the best first. A home may be full or not allow programs.
const FOLDERS: [&str; 2] = [r#""${XDG_CACHE_HOME:-$HOME/.cache}/dpl""#, r#""/var/tmp/dpl-$(id -u)""#];
/// The one that root alone may write to, for sudo.
const ROOTS_FOLDER: &str = "/var/lib/dpl/bin";
/// What a machine says that has no program of ours; its architecture follows.
pub(super) const MISSING: &str = "dpl-missing";
const INSTALLED: &str = "dpl-installed";
/// How many versions stay there.
const KEPT_VERSIONS: usize = 2;

/// A program that can be brought to a site.
pub(super) struct Program {
    path: PathBuf,
    digest: String,
}

impl Program {
    /// The one that runs.
    pub async fn own() -> Result<Self, SitesError> {
        let path = std::env::current_exe().map_err(|source| SitesError::OwnProgram { source })?;
        Self::of(path).await.map_err(|source| SitesError::OwnProgram { source })
    }

    /// The one for machines of this architecture (as `uname -m` says it).
    pub async fn for_architecture(architecture: &str, site: &str) -> Result<Self, SitesError> {
        let ours = rustix::system::uname();
        if architecture.is_empty() || ours.machine().to_bytes() == architecture.as_bytes() {
            return Self::own().await;
        }
        let path = beside_ourselves(architecture)
            .filter(|_| architecture.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        let looked_for = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let found = match path {
            Some(path) => Self::of(path).await.ok(),
            None => None,
        };
        let (site, architecture) = (site.to_owned(), architecture.to_owned());
        found.ok_or(SitesError::Architecture { site, architecture, looked_for })
    }

    async fn of(path: PathBuf) -> io::Result<Self> {
        let digest = tokio::task::spawn_blocking({
            let path = path.clone();
            move || digest_of(&path)
        });
        Ok(Self { path, digest: digest.await.map_err(io::Error::other)?? })
    }

    /// The folder's name: each content has one of its own.
    fn name(&self) -> String {
        format!("{}-{}", env!("CARGO_PKG_VERSION"), &self.digest[..16])
    }
}

/// The digest of a program's file; remembered, since reading it takes longer than all the rest of a short command.
fn digest_of(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    let state = format!(
        "{} {} {} {} {}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let cache = cache.map(|folder| folder.join("dpl"));
    let remembered =
        cache.as_ref().map(|folder| folder.join(format!("digest-{}", &Digest::of(state.as_bytes()).hex()[..16])));
    if let Some(text) = remembered.as_ref().and_then(|file| std::fs::read_to_string(file).ok())
        && let Some((known, digest)) = text.trim().split_once('\n')
        && known == state
        && digest.len() == 64
    {
        return Ok(digest.to_owned());
    }
    // A package that stands behind the program stays here.
    let mut program = HashingReader::new(open_program(path)?.0);
    io::copy(&mut program, &mut io::sink())?;
    let digest = program.finish().1.hex().to_owned();
    if let (Some(folder), Some(file)) = (cache, remembered) {
        // Where it can't be remembered it is read again next time.
        let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(file, format!("{state}\n{digest}\n")));
    }
    Ok(digest)
}

/// Starts dpl, or says that it is missing.
pub(super) fn serve_script(program: &Program, sudo: bool) -> String {
    let name = program.name();
    if sudo {
        // A folder that the user may write to is never run as root.
        let file = format!("{ROOTS_FOLDER}/{name}/dpl");
        return shell(
            &format!(r#"if [ -x "{file}" ]; then exec "{file}" serve --stdio; fi; echo; echo "{MISSING} $(uname -m)""#),
            true,
        );
    }
    let folders = FOLDERS.join(" ");
    shell(
        &format!(
            r#"for d in {folders}; do p="$d/{name}/dpl"; if [ -x "$p" ] && [ -O "$d" ]; then exec "$p" serve --stdio; fi; done; echo; echo "{MISSING} $(uname -m)""#
        ),
        false,
    )
}

fn shell(script: &str, sudo: bool) -> String {
    debug_assert!(!script.contains(['\'', '!', '\n']), "{script}");
    match sudo {
        // sudo passes none of ssh's variables on; the journal there says from where a command came. The second word is the
        // script of the inner shell, and `$1` in it the variable.
        true => format!(
            r#"sh -c 'exec sudo -n -- sh -c "$0" dpl "$SSH_CLIENT"' 'SSH_CLIENT="$1"; export SSH_CLIENT; {script}'"#
        ),
        false => format!("sh -c '{script}'"),
    }
}

/// Brings the program to the first folder of the site that takes it.
pub(super) async fn bring(remote: &Remote, program: &Program) -> Result<(), SitesError> {
    let path = program.path.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        open_program(&path)?.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let read = read.await.map_err(io::Error::other).flatten();
    let bytes = read.map_err(|source| SitesError::OwnProgram { source })?;
    let sudo = remote.options.sudo;
    let folders: &[&str] = if sudo { &[ROOTS_FOLDER] } else { &FOLDERS };
    let mut reasons = Vec::new();
    for folder in folders {
        let said = remote.script(&install_script(folder, program, sudo), &bytes).await?;
        if said.stdout.lines().any(|line| line.trim() == INSTALLED) {
            return Ok(());
        }
        let why = crate::ssh::last_words(&said.stderr);
        if sudo && said.stdout.is_empty() && why.contains("sudo") {
            return Err(SitesError::Sudo { site: remote.name().to_owned(), said: why });
        }
        let place = said.stdout.lines().rev().find_map(|line| line.strip_prefix("dpl-folder ")).unwrap_or(folder);
        reasons.push(message!("site-folder-reason", folder = shown(place), why = reason(said.code, &why)));
    }
    Err(SitesError::Program { site: remote.name().to_owned(), reasons })
}

/// What went wrong in [`install_script`], by its exit code, and what was said.
fn reason(code: Option<i32>, said: &str) -> Message {
    let what = match code {
        Some(11) => message!("site-install-folder"),
        Some(12) => message!("site-install-owner"),
        Some(13) => message!("site-install-write"),
        Some(14) => message!("site-install-no-digest"),
        Some(15) => message!("site-install-digest"),
        Some(16) => message!("site-install-run"),
        _ => message!("site-install-unknown"),
    };
    match said.is_empty() {
        true => what,
        false => message!("because", what = what, why = shown(said)),
    }
}

/// Takes the program from standard input, checks it, tries it, gives it its name, and removes versions before the last ones.
fn install_script(folder: &str, program: &Program, sudo: bool) -> String {
    let (name, digest) = (program.name(), &program.digest);
    let script = [
        format!("umask 077; d={folder}"),
        r#"echo "dpl-folder $d""#.to_owned(),
        r#"mkdir -p "$d" || exit 11"#.to_owned(),
        r#"[ -O "$d" ] || exit 12"#.to_owned(),
        format!(r#"p="$d/{name}"; mkdir -p "$p" || exit 11"#),
        r#"n="$p/dpl.$$"; trap "rm -f \"$n\"" EXIT"#.to_owned(),
        r#"cat >"$n" || exit 13"#.to_owned(),
        r#"s=$( { sha256sum || busybox sha256sum; } <"$n" 2>/dev/null | cut -c1-64); [ -n "$s" ] || exit 14"#
            .to_owned(),
        format!(r#"[ "$s" = {digest} ] || exit 15"#),
        r#"chmod 700 "$n" && "$n" --version >/dev/null || exit 16"#.to_owned(),
        r#"mv -f "$n" "$p/dpl" || exit 13"#.to_owned(),
        // Version folders have a dash and a digest; the newest come first.
        format!(
            r#"ls -1dt "$d"/*-*/ 2>/dev/null | tail -n +{} | while read -r old; do rm -rf "$old"; done"#,
            KEPT_VERSIONS + 1
        ),
        format!("echo; echo {INSTALLED}"),
    ];
    shell(&script.join("; "), sudo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_quoted_for_every_shell() {
        let program = Program { path: "/bin/true".into(), digest: "0".repeat(64) };
        for script in [
            serve_script(&program, false),
            serve_script(&program, true),
            install_script(FOLDERS[0], &program, false),
            install_script(ROOTS_FOLDER, &program, true),
        ] {
            let words = shell_words::split(&script).unwrap();
            assert_eq!(script.matches('\'').count(), 2 * (words.len() - 2), "{script}");
            assert!(!script.contains(['!', '\n']), "{script}");
        }
    }

    #[test]
    fn the_digest_of_a_file_is_remembered_until_it_changes() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("program");
        std::fs::write(&file, "one").unwrap();
        let first = digest_of(&file).unwrap();
        assert_eq!(first, digest_of(&file).unwrap());
        std::fs::write(&file, "two!").unwrap();
        assert_ne!(first, digest_of(&file).unwrap());
    }
}
