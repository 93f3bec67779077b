//! PostgreSQL databases in the stack's containers: backup, dump, rebuild.
//!
//! Owns what lies below `paths.backups/databases`, the seeds, and the databases that stand beside another while it is
//! replaced. Works on a [`Server`], whose container and credentials come from whoever knows the manifest; that
//! services stop meanwhile is a [`Dependents`]' affair. Prints nothing and asks nobody.
//!
//! - [`Server`]: the way in. `psql`: programs in containers, and the password's way to them. `sql`: quoting.
//! - `helper`: containers beside the server's, with a folder of ours, or with a volume to and from which `ferry` carries
//!   files; `stale` removes what killed runs left of them. `throwaway`: a server of our own, without a network.
//! - [`backup()`] and [`dump_seed`]: `dump` writes the archive, `follow` compresses it meanwhile, `inventory` counts,
//!   `record` is the `backup.json` beside it; all of it in a `workshop` until it is complete.
//! - [`verify()`]: digests, the archive's list, and a restore into a throw-away server; the result is a `verification`
//!   beside the dump.
//! - [`convert()`]: SQL in plain text, run in a throw-away server and dumped from there.
//! - [`query()`]: a person's own statements, which `statements` tells apart. [`Shell`]: psql at their terminal.
//! - [`plan_prune`]: which backups go, by the rules of `retention`.
//! - [`rebuild()`]: [`examine()`] with `source`, `fitness`, `roles` and `room` before, `restore` with `patches`, `exchange` with
//!   `swap`, `preserve` and `carry`, then `retire`; `guard` and `recovery` after a kill. [`rollback()`]: the way back.

mod archive;
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
mod server;
mod sql;
mod verify;

pub use archive::record::RecordError;
pub use containers::helper::{HELPER_LABEL, HELPER_SERVER_LABEL};
pub use containers::throwaway::ServerImage;
pub use convert::{Conversion, Converted, DefaultLocale, convert, convert_for_now};
pub use described::roles::MissingRoles;
pub use documents::{
    BackupDocument, BackupsDocument, DatabaseDocument, DatabasesDocument, KeptBackup, PatchReport, PreserveReport,
    PruneDatabase, PruneDocument, RebuildReport, RebuildsDocument, RollbackReport, RollbacksDocument, VerifiesDocument,
    VerifyReport,
};
pub use dump::backup::{BackupSettings, Shrink, backup};
pub use dump::seed::{SeedSettings, dump_seed};
pub use dump::{Jobs, Level, PasswordHashes};
pub use error::{DatabasesError, Said};
pub use list::{
    BackupStamp, ServerDatabase, backup_stamps, backups, dump_at, is_kept, leftovers_of, list, unreadable_backups,
};
pub use replace::examine::source::{SourceKind, find_backup, source_kind};
pub use replace::examine::{Examination, Origin, examine};
pub use replace::exchange::{Dependents, DependentsError};
pub use replace::patches::{Patches, Variable, VariableValue};
pub use replace::preserve::PreservedRows;
pub use replace::retire::{OldDatabase, thin_out_kept};
pub use replace::rollback::{kept_databases, rollback};
pub use replace::{NewDatabase, Placement, RebuildOptions, mend, rebuild};
pub use retention::Retention;
pub use retention::prune::{PrunePlan, plan_prune};
pub use server::connect::psql::{Credentials, Secret};
pub use server::connect::{Outside, Server};
pub use sql::query::{Column, QueryResult, check_statements, query};
pub use sql::shell::Shell;
pub use verify::{Depth, VerifySettings, verify, verify_files};
