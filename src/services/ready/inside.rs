//! Probes from inside a container that is not reachable from here, with what its image brings: a shell with curl, nc,
//! wget or bash.

use super::http::path;
use super::{Look, Wait};
use crate::engine::{ContainerView, ExecResult, ExecSpec};
use crate::manifest::model::HttpProbe;
use crate::services::error::NotReady;

/// No tool is there: a shell's own code for a command that it can't find.
const NO_TOOL: [i64; 2] = [126, 127];

const TCP: &str = r#"
if command -v nc >/dev/null 2>&1; then nc -w 3 "$1" "$2" </dev/null >/dev/null 2>&1
elif command -v bash >/dev/null 2>&1; then bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>/dev/null
elif command -v curl >/dev/null 2>&1; then
  curl -s -m 3 -o /dev/null "telnet://$1:$2" </dev/null; code=$?
  [ "$code" = 0 ] || [ "$code" = 28 ] || [ "$code" = 49 ]
else exit 127; fi
"#;

/// Prints the answer's first line.
const HTTP: &str = r#"
if command -v curl >/dev/null 2>&1; then curl -s -m 3 -o /dev/null -w 'HTTP/1.1 %{http_code}' "http://$1:$2$3"
elif command -v nc >/dev/null 2>&1; then
  printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$3" "$1" | nc -w 3 "$1" "$2" | head -n 1
elif command -v wget >/dev/null 2>&1; then
  wget -S -T 3 -O /dev/null "http://$1:$2$3" 2>&1 | grep -m 1 'HTTP/'
elif command -v bash >/dev/null 2>&1; then
  bash -c 'exec 3<>"/dev/tcp/$1/$2"; printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$3" "$1" >&3; head -n 1 <&3' \
    bash "$1" "$2" "$3"
else exit 127; fi
"#;

pub(super) async fn tcp(wait: &Wait<'_>, view: &ContainerView, port: u16) -> Result<Look, NotReady> {
    let result = run(wait, TCP, &[address(view), &port.to_string()]).await?;
    Ok(if result.exit_code == 0 { Look::Ready } else { Look::NotYet(format!("port {port} refuses connections")) })
}

/// The answer's status, or why there is none.
pub(super) async fn http(
    wait: &Wait<'_>,
    view: &ContainerView,
    probe: &HttpProbe,
) -> Result<Result<u16, String>, NotReady> {
    let result = run(wait, HTTP, &[address(view), &probe.port.to_string(), path(probe)]).await?;
    let text = String::from_utf8_lossy(&result.stdout);
    let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).filter(|status| *status > 0);
    Ok(status.ok_or_else(|| format!("{} does not answer", probe.path)))
}

/// Its own address, so that a server that listens on the loopback alone does not count; where it has none it uses
/// another's network, and only the loopback is left.
fn address(view: &ContainerView) -> &str {
    view.networks.values().find(|address| !address.is_empty()).map_or("127.0.0.1", String::as_str)
}

async fn run(wait: &Wait<'_>, script: &str, arguments: &[&str]) -> Result<ExecResult, NotReady> {
    let mut command: Vec<String> = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).into();
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let result = wait.engine.exec(wait.id, &ExecSpec { command, ..ExecSpec::default() }, b"").await?;
    if NO_TOOL.contains(&result.exit_code) {
        return Err(NotReady::OutOfReach { container: wait.name.to_owned() });
    }
    Ok(result)
}
