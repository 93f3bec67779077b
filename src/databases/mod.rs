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

mod backup;
mod carry;
mod convert;
mod documents;
mod dump;
mod error;
mod examine;
mod exchange;
mod ferry;
mod fitness;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guard;
mod helper;
mod inventory;
mod list;
mod names;
mod patches;
mod preserve;
mod properties;
mod prune;
mod psql;
mod query;
mod rebuild;
mod record;
mod recovery;
mod restore;
mod retention;
mod retire;
mod roles;
mod rollback;
mod room;
mod script;
mod seed;
mod server;
mod shell;
mod source;
mod sql;
mod stale;
mod statements;
mod swap;
mod throwaway;
mod toc;
mod verification;
mod verify;
mod workshop;

pub use backup::{BackupSettings, Shrink, backup};
pub use convert::{Conversion, Converted, DefaultLocale, convert, convert_for_now};
pub use documents::{
    BackupDocument, BackupsDocument, DatabaseDocument, DatabasesDocument, KeptBackup, PatchReport, PreserveReport,
    PruneDatabase, PruneDocument, RebuildReport, RebuildsDocument, RollbackReport, RollbacksDocument, VerifiesDocument,
    VerifyReport,
};
pub use dump::{Jobs, Level, PasswordHashes};
pub use error::{DatabasesError, Said};
pub use examine::{Examination, Origin, examine};
pub use exchange::{Dependents, DependentsError};
pub use helper::{HELPER_LABEL, HELPER_SERVER_LABEL};
pub use list::{
    BackupStamp, ServerDatabase, backup_stamps, backups, dump_at, is_kept, leftovers_of, list, unreadable_backups,
};
pub use patches::{Patches, Variable, VariableValue};
pub use preserve::PreservedRows;
pub use prune::{PrunePlan, plan_prune};
pub use psql::{Credentials, Secret};
pub use query::{Column, QueryResult, check_statements, query};
pub use rebuild::{NewDatabase, Placement, RebuildOptions, mend, rebuild};
pub use record::RecordError;
pub use retention::Retention;
pub use retire::{OldDatabase, thin_out_kept};
pub use roles::MissingRoles;
pub use rollback::{kept_databases, rollback};
pub use seed::{SeedSettings, dump_seed};
pub use server::{Outside, Server};
pub use shell::Shell;
pub use source::{SourceKind, find_backup, source_kind};
pub use throwaway::ServerImage;
pub use verify::{Depth, VerifySettings, verify, verify_files};
