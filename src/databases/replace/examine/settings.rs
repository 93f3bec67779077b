//! Settings of a database that is recreated: those that this server does not know would fail behind the whole restore.

use crate::databases::described::properties::{Properties, Settings, set};
use crate::databases::error::DatabasesError;
use crate::databases::server::connect::Server;
use crate::databases::server::quoting;
use crate::report::Reporter;

/// Leaves out what the server does not take, and says so: versions drop settings, and values of them.
pub(in crate::databases) async fn leave_out_unknown(
    server: &Server,
    properties: &mut Properties,
    reporter: &Reporter,
) -> Result<(), DatabasesError> {
    for settings in &mut properties.settings {
        let mut known = Vec::new();
        for value in std::mem::take(&mut settings.values) {
            match refusal(server, &value).await? {
                None => known.push(value),
                Some(reason) => {
                    reporter.warn(message!("databases-setting-left-out", setting = value, reason = reason));
                }
            }
        }
        settings.values = known;
    }
    properties.settings.retain(|Settings { values, .. }| !values.is_empty());
    Ok(())
}

/// Why the server does not take `name=value`: tried on another database, and taken back.
async fn refusal(server: &Server, value: &str) -> Result<Option<String>, DatabasesError> {
    let target = format!("ALTER DATABASE {}", quoting::ident(server.home()));
    let Some(statement) = set(&target, &[value.to_owned()]).pop() else { return Ok(None) };
    let tried = format!("BEGIN; {statement}; ROLLBACK;");
    match server.client.execute(server.home(), || message!("sql-try-a-setting"), &tried).await {
        Ok(_) => Ok(None),
        Err(DatabasesError::Sql { source, .. }) => {
            Ok(Some(source.text().lines().next().unwrap_or_default().to_owned()))
        }
        Err(error) => Err(error),
    }
}
