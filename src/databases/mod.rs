//! PostgreSQL databases in the stack's containers: backup, dump, rebuild.
//!
//! Owns what lies below `paths.backups/databases`, the seeds, and the databases that stand beside another while it is
//! replaced. Works on a [`Server`], whose container and credentials come from whoever knows the manifest; that
//! services stop meanwhile is a [`Dependents`]' affair. Prints nothing and asks nobody.
//!
//! - [`Server`]: the way in. `psql`: programs in containers, and the password's way to them. `sql`: quoting.
//! - `helper`: containers beside the server's, with a folder of ours.
//! - [`backup()`] and [`dump_seed`]: `dump` writes the archive, `follow` compresses it meanwhile, `inventory` counts,
//!   `record` is the `backup.json` beside it.
//! - [`verify_files`]: digests and the archive's list.
//! - [`rebuild()`]: `fitness` before, `restore`, `swap`, and `recovery` after a kill.

mod backup;
mod documents;
mod dump;
mod error;
mod fitness;
mod follow;
mod helper;
mod inventory;
mod list;
mod names;
mod properties;
mod psql;
mod rebuild;
mod record;
mod recovery;
mod restore;
mod seed;
mod server;
mod sql;
mod swap;
mod toc;
mod verify;

pub use backup::{BackupSettings, Shrink, backup};
pub use documents::{
    BackupDocument, BackupsDocument, DatabaseDocument, DatabasesDocument, RebuildReport, RebuildsDocument,
};
pub use dump::Jobs;
pub use error::{DatabasesError, Said};
pub use helper::{HELPER_LABEL, HELPER_SERVER_LABEL};
pub use list::{ServerDatabase, backups, leftovers_of, list};
pub use psql::{Credentials, Secret};
pub use rebuild::{Dependents, DependentsError, NewDatabase, OldDatabase, RebuildOptions, rebuild};
pub use record::RecordError;
pub use seed::{SeedSettings, dump_seed};
pub use server::Server;
pub use verify::verify_files;
