//! `db leftovers`.

use std::sync::Arc;

use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::chosen::database;
use super::reach::connect;
use crate::cli::grammar::arguments::TargetArguments;
use crate::cli::grammar::typed::quoted;
use crate::cli::session::operations::{self, Operation, Shown, document};
use crate::cli::session::select::{self, Unselected};
use crate::cli::session::{Project, Session};
use crate::cli::text::failure::Failure;
use crate::cli::text::table::{self, Column};
use crate::databases::{self, LeftoverKind, leftover_kind};
use crate::manifest::Manifest;
use crate::report::{Message, Reporter};

#[derive(Debug, Args)]
pub struct LeftoversArguments {
    #[command(subcommand)]
    pub command: Option<LeftoversCommand>,
}

#[derive(Debug, Subcommand)]
pub enum LeftoversCommand {
    /// List what stands beside the manifest's databases on their servers (default)
    List(TargetArguments),
    /// Drop one without a backup
    Drop(LeftoverArguments),
    /// Keep one for `db rollback`
    Keep(LeftoverArguments),
}

#[derive(Debug, Args)]
pub struct LeftoverArguments {
    /// The name of the leftover, as `db leftovers list` shows it, and a manifest (.json)
    #[arg(value_name = "LEFTOVER", required = true)]
    pub targets: Vec<String>,
}

/// What `db leftovers list` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftoversDocument {
    pub leftovers: Vec<LeftoverDocument>,
}

/// A database that stands beside others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftoverDocument {
    pub name: String,
    /// The database that it stands beside, or one on the same server where it stands beside none.
    pub database: String,
    /// `old`, `left`, `kept`, `unfinished`, or `other` for one that the manifest does not have.
    pub kind: String,
    /// On the server's disk, indexes included.
    pub size_bytes: u64,
}

/// `dpl db leftovers …`.
pub fn run(arguments: &LeftoversArguments, session: &mut Session) -> Result<u8, Failure> {
    let (targets, act) = match &arguments.command {
        None => (&[][..], None),
        Some(LeftoversCommand::List(arguments)) => (arguments.targets.as_slice(), None),
        Some(LeftoversCommand::Drop(arguments)) => (arguments.targets.as_slice(), Some(Act::Drop)),
        Some(LeftoversCommand::Keep(arguments)) => (arguments.targets.as_slice(), Some(Act::Keep)),
    };
    let (project, named) = session.targets(targets)?;
    let Some(act) = act else { return list(&project, &named, session) };
    let [name] = named.as_slice() else { return Err(Failure::usage(message!("usage-name-leftover"))) };
    let found = look(&project, &[], session)?.leftovers.into_iter().find(|leftover| leftover.name == *name);
    let found = found.ok_or_else(|| {
        let hint = message!("hint-leftovers");
        Failure::usage_with_hint(message!("usage-no-leftover", name = name), hint)
    })?;
    operations::act(&Settle { leftover: found, act }, &project, session)
}

fn list(project: &Arc<Project>, named: &[String], session: &mut Session) -> Result<u8, Failure> {
    let found = look(project, named, session)?;
    if session.output.json {
        session.output.document(&found)?;
        return Ok(0);
    }
    if found.leftovers.is_empty() {
        session.output.say(&message!("leftovers-none"));
        return Ok(0);
    }
    let catalogue = session.output.catalogue;
    let rows = found.leftovers.iter().map(|leftover| {
        let why = match leftover.kind.as_str() {
            "old" => message!("leftover-why-old"),
            "left" => message!("leftover-why-left"),
            "kept" => message!("leftover-why-kept"),
            "unfinished" => message!("leftover-why-unfinished"),
            _ => message!("leftover-why-other"),
        };
        // It stands beside none of them, only on their server.
        let beside = if leftover.kind == "other" { "-" } else { leftover.database.as_str() };
        vec![beside.to_owned(), leftover.name.clone(), table::size(leftover.size_bytes), catalogue.text(&why)]
    });
    let title = |key| Column::new(catalogue.word(key));
    let columns = [
        title(message!("column-database")).at_least(8),
        title(message!("column-beside")).at_least(20),
        title(message!("column-size")).leaves(2),
        title(message!("column-why")).leaves(1),
    ];
    let page = table::within(&columns, rows.collect(), session.output.width());
    session.output.data(&page)?;
    Ok(0)
}

/// Everything on the servers of these databases that is none of the manifest's own.
fn look(project: &Project, named: &[String], session: &mut Session) -> Result<LeftoversDocument, Failure> {
    let manifest = project.manifest();
    let chosen = select::databases(manifest, named, Unselected::All)?;
    let engine = session.engine()?;
    let mut found = LeftoversDocument::default();
    for name in &chosen {
        let database = database(project, name)?;
        let there = session.wait_for(async {
            let server = connect(&engine, manifest, database).await?;
            Ok(databases::list(&server).await?)
        })?;
        for there in there.into_iter().filter(|there| !is_own(manifest, &there.name)) {
            let kind = leftover_kind(name, &there.name);
            let is_known = found.leftovers.iter().any(|leftover| leftover.name == there.name);
            if is_known || kind.is_none() && !is_of_nobody(manifest, &there.name) {
                continue;
            }
            found.leftovers.push(LeftoverDocument {
                name: there.name,
                database: name.clone(),
                kind: kind.map_or("other", LeftoverKind::word).to_owned(),
                size_bytes: there.size_bytes,
            });
        }
    }
    Ok(found)
}

/// Whether the manifest has a database of this name, or every server.
fn is_own(manifest: &Manifest, there: &str) -> bool {
    manifest.databases.get(there).is_some() || there == "postgres"
}

/// Whether a database of a server is neither the manifest's nor stands beside one of those.
pub fn is_of_nobody(manifest: &Manifest, there: &str) -> bool {
    let stands_beside_one = || manifest.databases.names().any(|name| leftover_kind(name, there).is_some());
    !is_own(manifest, there) && !stands_beside_one()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Drop,
    Keep,
}

/// Drops or keeps one.
#[derive(Debug)]
struct Settle {
    leftover: LeftoverDocument,
    act: Act,
}

impl Operation for Settle {
    fn announcement(&self) -> Message {
        match self.act {
            Act::Drop => message!("will-drop-leftover", name = &self.leftover.name),
            Act::Keep => message!("will-keep-leftover", name = &self.leftover.name),
        }
    }

    fn command(&self) -> String {
        let act = if self.act == Act::Drop { "drop" } else { "keep" };
        format!("dpl db leftovers {act} {}", quoted(&self.leftover.name))
    }

    fn confirm(&self, _project: &Arc<Project>, session: &mut Session) -> Result<(), Failure> {
        if self.act == Act::Keep {
            return Ok(());
        }
        let question = message!("confirm-drop-leftover", name = &self.leftover.name);
        session.confirm_by_name(&question, &self.leftover.name)
    }

    fn show(&self, _project: &Arc<Project>, session: &mut Session) -> Result<Shown, Failure> {
        let message = match self.act {
            Act::Drop => message!("would-drop-leftover", name = &self.leftover.name),
            Act::Keep => message!("would-keep-leftover", name = &self.leftover.name),
        };
        session.output.say(&message);
        Shown::of(&LeftoversDocument { leftovers: vec![self.leftover.clone()] })
    }

    fn run(&self, project: &Arc<Project>, session: &mut Session, reporter: &Reporter) -> Result<Value, Failure> {
        let LeftoverDocument { name, database: beside, .. } = &self.leftover;
        let engine = session.engine()?;
        let database = database(project, beside)?;
        let mut left = self.leftover.clone();
        session.runtime()?.block_on(async {
            let server = connect(&engine, project.manifest(), database).await?;
            match self.act {
                Act::Drop => databases::drop_leftover(&server, beside, name, reporter).await?,
                Act::Keep => left.name = databases::keep_leftover(&server, beside, name).await?,
            }
            Ok::<_, Failure>(())
        })?;
        let message = match self.act {
            Act::Drop => message!("leftover-dropped", name = name),
            Act::Keep => message!("leftover-kept", name = &left.name, database = beside),
        };
        session.output.say(&message);
        document(&LeftoversDocument { leftovers: vec![left] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::model::Database;

    #[test]
    fn a_database_that_nobody_knows_is_of_nobody() {
        let mut manifest = Manifest::default();
        manifest.databases.push("expert".to_owned(), Some(Database::default()));
        assert!(is_of_nobody(&manifest, "expert_check"));
        assert!(!is_of_nobody(&manifest, "expert") && !is_of_nobody(&manifest, "postgres"));
    }
}
