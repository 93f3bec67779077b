//! PostgreSQL databases in the stack's containers: backup, dump, rebuild.
//!
//! Owns what lies below `paths.backups/databases`, the seeds, and the databases that stand beside another while it is
//! replaced. Works on a [`Server`], whose container and credentials come from a module that knows the manifest; services
//! are stopped meanwhile by a [`Dependents`]. Prints nothing and asks nobody.
//!
//! - `server`: the way in ([`Server`]), programs in containers and the password's way to them, quoting, disk space.
//! - `containers`: short-lived containers of ours: helpers with a folder, throw-away servers, copies of files.
//! - `described`: tables and rows, properties, roles, as data and as SQL.
//! - `archive`: a dump on disk: names, `backup.json`, `verified.json`, contents, and the staging folder it is made in.
//! - `dump`: [`backup()`] and [`dump_seed`]; pg_dump, compression beside it, counting.
//! - [`verify()`]: digests, the archive's list, and a restore into a throw-away server. [`convert()`]: SQL to an archive.
//! - `replace`: [`rebuild()`] and [`rollback()`]: lock, recover, examine, restore, preserve, swap, drop.
//! - `retention`: [`plan_prune`]: which backups go. `sql`: a person's own statements ([`query()`], [`Shell`]).

mod archive;
mod arriving_dump;
mod containers;
mod convert;
mod described;
mod documents;
mod dump;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod list;
mod replace;
mod retention;
mod said;
mod server;
mod sql;
mod stopping;
mod verify;

pub use archive::record::RecordError;
pub use archive::staging::put_seed_in_place;
pub use arriving_dump::{Arrival, Arriving, ArrivingFile, BACKUP_RECORD, MissingFile};
pub use containers::helper::{HELPER_LABEL, HELPER_SERVER_LABEL};
pub use containers::throwaway::ServerImage;
pub use convert::{Conversion, Converted, DefaultLocale, convert, convert_for_now};
pub use described::roles::MissingRoles;
pub use documents::{
    BackupDocument, BackupsDocument, DatabaseDocument, DatabasesDocument, FailedBackup, KeptBackup, OtherDatabase,
    PatchReport, PreserveReport, PruneDatabase, PruneDocument, RebuildReport, RebuildsDocument, RollbackReport,
    RollbacksDocument, VerifiesDocument, VerifyReport,
};
pub use dump::backup::{BackupFolder, BackupSettings, Shrink, backup};
pub use dump::seed::{SeedSettings, dump_seed};
pub use dump::{Jobs, Level, LockPatience, PasswordHashes};
pub use error::{DatabasesError, DependentsOperation, DumpKind, Said, as_told};
pub use list::{
    BackupStamp, DumpOrigin, ServerDatabase, backup_stamps, backups, dump_at, is_kept, leftovers_of, list,
    origin_of_dump, unreadable_backups,
};
pub use replace::drop_old::{OldDatabase, thin_out_kept};
pub use replace::examine::source::{
    LastBackup, PassedOver, PassedOverBecause, SourceKind, find_backup, last_backup, source_kind,
};
pub use replace::examine::{Examination, Origin, examine};
pub use replace::leftovers::{LeftoverKind, drop_leftover, keep_leftover, leftover_kind};
pub use replace::patches::{Patches, Variable, VariableValue};
pub use replace::preserve::PreservedRows;
pub use replace::recovery::recover_unless_busy as recover;
pub use replace::rollback::{kept_databases, rollback};
pub use replace::swap::{Dependents, DependentsError};
pub use replace::{
    Adaptation, Identity, NewDatabase, OwnerMap, Owners, Part, Placement, RebuildOptions, Repeat, rebuild,
};
pub use retention::prune::{PrunePlan, plan_prune};
pub use retention::{BadBackups, Retention};
pub use server::client::{Credentials, Secret};
pub use server::connect::{Outside, Server, file_in};
pub use sql::query::{Column, QueryResult, bytes_of, check_statements, query, shown, text_of};
pub use sql::shell::Shell;
pub use verify::{Depth, VerifySettings, prove, verify, verify_files};
