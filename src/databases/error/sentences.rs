//! What each error says, and what to do about it.

use super::{DatabasesError, DependentsOperation};
use crate::report::{Listed, Message, Several, Told};

impl Told for DatabasesError {
    fn message(&self) -> Message {
        match self {
            Self::Engine(error) => error.message(),
            Self::NoContainer { container } => message!("error-databases-no-container", container = container),
            Self::NotRunning { container, state } => {
                message!("error-databases-not-running", container = container, state = state.message())
            }
            Self::Login { user, server, .. } => message!("error-databases-login", user = user, server = server),
            Self::NoWay { server, .. } => message!("error-databases-no-way", server = server),
            Self::TooOld { server, version } => message!("error-databases-too-old", server = server, version = version),
            Self::UnusablePassword => message!("error-databases-unusable-password"),
            Self::Nul { operation, database } => {
                message!("error-databases-nul", operation = operation, database = database)
            }
            Self::NotFound { database, server } => {
                message!("error-databases-not-found", database = database, server = server)
            }
            Self::Sql { operation, database, .. } => {
                message!("error-databases-sql", operation = operation, database = database)
            }
            Self::Answer { operation, .. } => message!("error-databases-answer", operation = operation),
            Self::Tool { program, database, code, .. } => {
                message!("error-databases-tool", program = program, database = database, code = code)
            }
            Self::Unseen => message!("error-databases-unseen"),
            Self::CopyFailed { folder, code, .. } => {
                message!("error-databases-copy-failed", folder = folder.display(), code = code)
            }
            Self::Throwaway { server, .. } => message!("error-databases-throwaway", server = server),
            Self::NotTried { id, reason } => message!("error-databases-not-tried", id = id, reason = reason),
            Self::NoRoom { database, problem } => {
                message!("error-databases-no-room", database = database, problem = problem)
            }
            Self::NoToolsImage { image } => message!("error-databases-no-tools-image", image = image),
            Self::File { operation, path, .. } => {
                message!("error-file", operation = operation, path = path.display())
            }
            Self::Record { path, .. } => message!("error-databases-record", path = path.display()),
            Self::Damaged { path, damage } => {
                message!("error-databases-damaged", path = path.display(), damage = damage)
            }
            Self::NewerArchive { path, .. } => message!("error-databases-newer-archive", path = path.display()),
            Self::LockedByOthers { database, seconds, .. } => {
                message!("error-databases-locked-by-others", database = database, seconds = seconds)
            }
            Self::LockLost { database } => message!("error-databases-lock-lost", database = database),
            Self::Incomplete { database, missing } => {
                message!("error-databases-incomplete", database = database, missing = missing)
            }
            Self::Shrunk { what, database, new_bytes, old_bytes } => message!(
                "error-databases-shrunk",
                what = what.message(),
                database = database,
                new_bytes = new_bytes,
                old_bytes = old_bytes
            ),
            Self::Emptied { what, database, tables: 0 } => {
                message!("error-databases-no-tables", database = database, what = what.message())
            }
            Self::Emptied { what, database, .. } => {
                message!("error-databases-no-rows", database = database, what = what.message())
            }
            Self::RestoredOtherwise { source_path, difference } => message!(
                "error-databases-restored-otherwise",
                source_path = source_path.display(),
                difference = difference
            ),
            Self::DiskFull { database, free_mebibytes, folder } => message!(
                "error-databases-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder
            ),
            Self::DumpDiskFull { database, free_mebibytes, folder, reserve_mebibytes } => message!(
                "error-databases-dump-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder.display(),
                reserve_mebibytes = reserve_mebibytes
            ),
            Self::EngineDiskFull { database, free_mebibytes, folder, reserve_mebibytes } => message!(
                "error-databases-engine-disk-full",
                database = database,
                free_mebibytes = free_mebibytes,
                folder = folder.display(),
                reserve_mebibytes = reserve_mebibytes
            ),
            Self::Unfit { database, source_path, problems } => message!(
                "error-databases-unfit",
                source_path = source_path.display(),
                database = database,
                problems = Several(problems.clone())
            ),
            Self::NoArchive { path, why } => message!("error-databases-no-archive", path = path.display(), why = why),
            Self::Unconvertible { path, .. } => message!("error-databases-unconvertible", path = path.display()),
            Self::SeveralDatabases { path, found, database } => {
                message!(
                    "error-databases-several-databases",
                    path = path.display(),
                    found = Listed::of(found),
                    database = database
                )
            }
            Self::Patch { path, database, .. } => {
                message!("error-databases-patch", path = path.display(), database = database)
            }
            Self::Patches { database, problems } => {
                message!("error-databases-patches", database = database, problems = Several(problems.clone()))
            }
            Self::CannotPreserve { database, problems } => {
                message!("error-databases-cannot-preserve", database = database, problems = Several(problems.clone()))
            }
            Self::NotKept { name } => message!("error-databases-not-kept", name = name),
            Self::NothingKept { database } => message!("error-databases-nothing-kept", database = database),
            Self::CannotRollBack { database, problems } => {
                message!("error-databases-cannot-roll-back", database = database, problems = Several(problems.clone()))
            }
            Self::NoBackup { id: Some(id), database, folder, .. } => {
                message!("error-databases-no-backup", id = id, database = database, folder = folder.display())
            }
            Self::NoBackup { id: None, database, folder, .. } => {
                message!("error-databases-no-backups", database = database, folder = folder.display())
            }
            Self::Busy { database } => message!("error-databases-busy", database = database),
            Self::Dependents { operation: DependentsOperation::Stop, database, .. } => {
                message!("error-databases-dependents-stop", database = database)
            }
            Self::Dependents { operation: DependentsOperation::Start, database, .. } => {
                message!("error-databases-dependents-start", database = database)
            }
            Self::Orphaned { database, old } => message!("error-databases-orphaned", database = database, old = old),
            Self::NeverQuiet { database, .. } => message!("error-databases-never-quiet", database = database),
            Self::ServerEnded { server, code, .. } => {
                message!("error-databases-server-ended", server = server, code = code)
            }
            Self::AfterSwap { database, .. } => message!("error-databases-after-swap", database = database),
            Self::Statement { line, .. } => message!("error-databases-statement", line = line),
            Self::NotAStatement { line, reason } => {
                message!("error-databases-not-a-statement", line = line, reason = reason)
            }
            Self::Stopped { database } => message!("error-databases-stopped", database = database),
        }
    }

    fn hint(&self) -> Option<Message> {
        match self {
            Self::Patch { database, .. } | Self::Patches { database, .. } | Self::CannotPreserve { database, .. } => {
                Some(message!("hint-exact", database = database))
            }
            Self::AfterSwap { database, .. } => Some(message!("hint-after-swap", database = database)),
            Self::Login { .. } => Some(message!("hint-login")),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some(message!("hint-disk-full"))
            }
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some(message!("hint-file-absent"))
            }
            // As programs in containers say it in C's language.
            Self::Tool { source, .. } | Self::CopyFailed { source, .. }
                if source.text().contains("No space left on device") =>
            {
                Some(message!("hint-disk-full"))
            }
            Self::NoBackup { nearest: Some(meant), .. } => Some(message!("hint-backup-meant", meant = meant)),
            Self::NoBackup { last: Some(last), database, .. } => {
                Some(message!("hint-backup-last", last = last, database = database))
            }
            _ => None,
        }
    }
}
