//! Probes from inside the network of a container that is not reachable from here: with what its own image brings, a shell
//! with curl, nc, wget or bash; where that has none of them, from a helper of another image of the project in its network.

use super::http::path;
use super::{Look, Wait};
use crate::engine::{ContainerView, EngineErrorKind, ExecResult, ExecSpec};
use crate::manifest::model::HttpProbe;
use crate::report::Message;
use crate::services::error::NotReady;
use crate::services::snapshot::helper::Running;

/// No tool is there: a shell's own code for a command that it can't find.
const NO_TOOL: [i64; 2] = [126, 127];

/// Whether an image has what the scripts below need.
const HAS_TOOL: &str = "command -v nc >/dev/null || command -v curl >/dev/null || command -v bash >/dev/null";

const TCP: &str = r#"
if command -v nc >/dev/null 2>&1; then nc -w 3 "$1" "$2" </dev/null >/dev/null 2>&1
elif command -v bash >/dev/null 2>&1; then bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>/dev/null
elif command -v curl >/dev/null 2>&1; then
  curl -s -m 3 -o /dev/null "telnet://$1:$2" </dev/null; code=$?
  [ "$code" = 0 ] || [ "$code" = 28 ] || [ "$code" = 49 ]
else exit 127; fi
"#;

/// Prints the answer's first line. What one tool can't tell, another one may: some images bring a curl that is none.
const HTTP: &str = r#"
first() { IFS= read -r line && echo "$line"; }
ask() {
  case $1 in
    curl) curl -s -m 3 -o /dev/null -w 'HTTP/1.1 %{http_code}' "http://$2:$3$4" ;;
    nc) printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$4" "$2" | nc -w 3 "$2" "$3" | first ;;
    bash)
      bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$3" "$1" >&3 &&
        IFS= read -r -t 3 line <&3 && echo "$line"' bash "$2" "$3" "$4" ;;
    wget)
      wget -S -T 3 -O /dev/null "http://$2:$3$4" 2>&1 |
        while read -r word rest; do case $word in HTTP/*) echo "$word $rest"; break ;; esac; done ;;
  esac
}
found=
for tool in curl nc bash wget; do
  command -v "$tool" >/dev/null 2>&1 || continue
  found=$tool
  answer=$(ask "$tool" "$@" 2>/dev/null)
  case $answer in HTTP/*' '[1-5][0-9][0-9]*) echo "$answer"; exit 0 ;; esac
done
[ -n "$found" ] || exit 127
exit 1
"#;

/// Where the scripts run, from one look to the next.
#[derive(Default)]
pub(super) enum Inside<'a> {
    /// In the container itself.
    #[default]
    Own,
    /// In a helper, which shares the network that the container had since this start.
    Helper { helper: Running<'a>, started_at: String },
    /// The container has no tool, and there is no helper for its present network.
    NoHelper,
}

impl<'a> Inside<'a> {
    pub async fn tcp(&mut self, wait: &Wait<'a>, view: &ContainerView, port: u16) -> Result<Look, NotReady> {
        let result = self.run(wait, view, TCP, &[address(view), &port.to_string()]).await?;
        Ok(if result.exit_code == 0 { Look::Ready } else { Look::NotYet(message!("look-port-refused", port = port)) })
    }

    /// The answer's status, or why there is none.
    pub async fn http(
        &mut self,
        wait: &Wait<'a>,
        view: &ContainerView,
        probe: &HttpProbe,
    ) -> Result<Result<u16, Message>, NotReady> {
        let result = self.run(wait, view, HTTP, &[address(view), &probe.port.to_string(), path(probe)]).await?;
        let text = String::from_utf8_lossy(&result.stdout);
        let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).filter(|status| *status > 0);
        Ok(status.ok_or_else(|| message!("look-no-answer", path = probe.path)))
    }

    async fn run(
        &mut self,
        wait: &Wait<'a>,
        view: &ContainerView,
        script: &str,
        arguments: &[&str],
    ) -> Result<ExecResult, NotReady> {
        if let Self::Own = self {
            let mut command: Vec<String> = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).into();
            command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            match wait.engine.exec(wait.id, &ExecSpec { command, ..ExecSpec::default() }, b"").await {
                Ok(result) if !NO_TOOL.contains(&result.exit_code) => return Ok(result),
                Ok(_) => {}
                // Engines refuse a program that the container has not.
                Err(error) if matches!(error.kind(), EngineErrorKind::Refused | EngineErrorKind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
            *self = Self::NoHelper;
        }
        // A container that was started again has another network.
        if matches!(self, Self::Helper { started_at, .. } if *started_at != view.started_at) {
            std::mem::replace(self, Self::NoHelper).end().await;
        }
        if let Self::NoHelper = self {
            let network = format!("container:{}", wait.id);
            let helper = wait.helpers.start(&network, HAS_TOOL).await?;
            let helper = helper.ok_or_else(|| NotReady::OutOfReach { container: wait.name.to_owned() })?;
            *self = Self::Helper { helper, started_at: view.started_at.clone() };
        }
        match self {
            Self::Helper { helper, .. } => Ok(helper.shell(script, arguments).await?),
            Self::Own | Self::NoHelper => Err(NotReady::OutOfReach { container: wait.name.to_owned() }),
        }
    }

    pub async fn end(self) {
        if let Self::Helper { helper, .. } = self {
            helper.end().await;
        }
    }
}

/// Its own address, so that a server that listens on the loopback alone does not count; where it has none it uses
/// another's network, and only the loopback is left.
fn address(view: &ContainerView) -> &str {
    view.networks.values().find(|address| !address.is_empty()).map_or("127.0.0.1", String::as_str)
}
