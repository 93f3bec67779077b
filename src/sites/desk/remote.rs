//! A site that is connected to: its ssh connection, and dpl there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openssh::{Session, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::conversation::{Conversation, NoConversation};
use super::program::{self, Program};
use crate::catalogue::english;
use crate::manifest::Site;
use crate::sites::SitesError;
use crate::sites::protocol::{Frame, Request};
use crate::ssh::{Destination, Master, Questions};

/// Between two tries of a question whose connection was lost; after the longest there is none.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How a site is reached.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Its name, for messages.
    pub name: String,
    pub destination: String,
    pub sudo: bool,
}

impl RemoteOptions {
    /// `None` for one that nothing connects to.
    pub fn of(name: &str, site: &Site) -> Option<Self> {
        let destination = site.ssh.clone()?;
        Some(Self { name: name.to_owned(), destination, sudo: site.sudo })
    }
}

/// A site, connected when it is first needed.
pub struct Remote {
    pub(super) options: RemoteOptions,
    connection: Mutex<Option<Arc<Connection>>>,
    program: Mutex<Option<Arc<Program>>>,
    /// Set once a command at the site has the terminal.
    is_silent: AtomicBool,
}

/// An ssh connection.
pub(super) struct Connection {
    session: Arc<Session>,
    master: Master,
}

/// What a command at the far side said, when it was over.
pub(super) struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Remote {
    pub fn new(options: RemoteOptions) -> Self {
        Self { options, connection: Mutex::default(), program: Mutex::default(), is_silent: AtomicBool::new(false) }
    }

    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Asks something of dpl at the site, which is brought there first where it is missing.
    pub(super) async fn ask(&self, request: &Request) -> Result<Conversation, SitesError> {
        let mut conversation = match self.talk().await {
            Ok(conversation) => conversation,
            Err(NoConversation::Final(error)) => return Err(error),
            Err(NoConversation::Refused(why) | NoConversation::Gone(why)) => {
                tracing::debug!(target: "dpl::sites", "{}: {}", self.options.name, english(&why));
                self.reconnect_alone().await?;
                self.talk_again().await?
            }
            Err(NoConversation::Missing(architecture)) => {
                self.bring(&architecture).await?;
                self.talk_again().await?
            }
        };
        conversation.send(&Frame::control(request)).await.map_err(|why| self.lost(why))?;
        Ok(conversation)
    }

    /// Asks what changes nothing there, again where the connection is lost before all of the answer has come.
    pub(super) async fn ask_patiently<T>(&self, ask: impl AsyncFn() -> Result<T, SitesError>) -> Result<T, SitesError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match ask().await {
                Err(SitesError::ConnectionLost { .. }) if pause <= LONGEST_PAUSE => {}
                answer => return answer,
            }
            self.forget().await;
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// The second try, after what was in the way of the first one was put right.
    async fn talk_again(&self) -> Result<Conversation, SitesError> {
        self.talk().await.map_err(|why| match why {
            NoConversation::Final(error) => error,
            NoConversation::Refused(why) | NoConversation::Gone(why) => {
                SitesError::ConnectionLost { site: self.options.name.clone(), why }
            }
            NoConversation::Missing(_) => self.still_missing(),
        })
    }

    /// Connects while ssh may still ask at the terminal; from then on it asks nothing.
    ///
    /// # Errors
    /// Where there is no connection.
    pub async fn connect_first(&self) -> Result<(), SitesError> {
        self.connection().await?;
        self.is_silent.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn questions(&self) -> Questions {
        match self.is_silent.load(Ordering::SeqCst) {
            true => Questions::Refused,
            false => Questions::Allowed,
        }
    }

    fn lost(&self, error: io::Error) -> SitesError {
        SitesError::ConnectionLost { site: self.options.name.clone(), why: message!("words", text = error) }
    }

    /// The program was there a moment ago.
    fn still_missing(&self) -> SitesError {
        let reasons = vec![message!("site-install-gone")];
        SitesError::Program { site: self.options.name.clone(), reasons }
    }

    /// Starts dpl there, and waits for its first word.
    async fn talk(&self) -> Result<Conversation, NoConversation> {
        let connection = self.connection().await.map_err(NoConversation::Final)?;
        let program = self.program().await.map_err(NoConversation::Final)?;
        let script = program::serve_script(&program, self.options.sudo);
        Conversation::begin(&self.options, connection.session.clone(), &script).await
    }

    async fn bring(&self, architecture: &str) -> Result<(), SitesError> {
        let program = Program::for_architecture(architecture, &self.options.name).await?;
        let program = Arc::new(program);
        *self.program.lock().await = Some(program.clone());
        program::bring(self, &program).await
    }

    pub(super) async fn connection(&self) -> Result<Arc<Connection>, SitesError> {
        let mut known = self.connection.lock().await;
        if let Some(connection) = known.as_ref() {
            return Ok(connection.clone());
        }
        let connection = self.connect(Master::shared(&self.destination(), self.questions()).await).await?;
        *known = Some(connection.clone());
        Ok(connection)
    }

    /// Replaces a connection that gives nothing by one that nobody else uses: the server may allow one stream a connection.
    async fn reconnect_alone(&self) -> Result<(), SitesError> {
        let mut known = self.connection.lock().await;
        if let Some(dead) = known.take()
            && dead.session.check().await.is_err()
        {
            dead.master.end();
        }
        *known = Some(self.connect(Master::start(&self.destination(), self.questions()).await).await?);
        Ok(())
    }

    /// Lets a connection go that ended in the middle of something, so that the next request makes a new one. Others may be using
    /// it: only one that is over is taken away from them too.
    pub(super) async fn forget(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && connection.session.check().await.is_err()
        {
            connection.master.end();
        }
    }

    async fn connect(&self, master: io::Result<Master>) -> Result<Arc<Connection>, SitesError> {
        let master = master.map_err(|source| SitesError::Unreachable { site: self.options.name.clone(), source })?;
        let session = Arc::new(Session::resume_mux(master.socket().into_boxed_path(), None));
        Ok(Arc::new(Connection { session, master }))
    }

    fn destination(&self) -> Destination {
        Destination::as_typed(&self.options.destination)
    }

    async fn program(&self) -> Result<Arc<Program>, SitesError> {
        let mut known = self.program.lock().await;
        if known.is_none() {
            *known = Some(Arc::new(Program::own().await?));
        }
        known.clone().ok_or_else(|| SitesError::OwnProgram { source: io::ErrorKind::NotFound.into() })
    }

    /// Runs a script of `sh` there, with `input`.
    pub(super) async fn script(&self, script: &str, input: &[u8]) -> Result<Said, SitesError> {
        let connection = self.connection().await?;
        let unreachable = |error: openssh::Error| SitesError::ConnectionLost {
            site: self.options.name.clone(),
            why: message!("words", text = error),
        };
        let mut command = connection.session.clone().arc_raw_command(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().await.map_err(unreachable)?;
        if let Some(mut stdin) = child.stdin().take() {
            // One that ended before it took all says why itself.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
        let output = child.wait_with_output().await.map_err(unreachable)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}

/// Where a program of another architecture is looked for.
pub(super) fn beside_ourselves(architecture: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(format!("dpl-{architecture}")))
}
