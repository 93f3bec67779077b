//! The ways to an engine: its socket, TCP with or without TLS, or a command on its host behind ssh.
//!
//! One [`Dialler`] opens the streams for everything: for bollard's requests, which [`Transport`] sends, and for the
//! connections that leave HTTP behind ([`hijack`]).

mod dialler;
mod hijack;
mod ssh;
mod tls;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::address::Address;
use crate::catalogue::Catalogue;
use dialler::Dialler;

/// In which an engine names the version of its API, in each of its answers.
const API_VERSION: &str = "Api-Version";

/// Sends requests to one engine: cheap to clone.
#[derive(Clone)]
pub(super) struct Transport {
    dialler: Dialler,
    /// What stands for the engine in requests: their `Host`.
    authority: String,
    api_version: Arc<OnceLock<String>>,
}

impl Transport {
    /// Reads what an encrypted connection is made with; connects nothing yet.
    pub fn new(address: &Address) -> io::Result<Self> {
        let authority = address.tcp_authority().unwrap_or("engine").to_owned();
        Ok(Self { dialler: Dialler::new(address)?, authority, api_version: Arc::default() })
    }

    /// A client over this transport; the engine has so many seconds until its answer begins.
    pub fn client(&self, seconds: u64) -> Result<Docker, Error> {
        let mut builder = Client::builder(TokioExecutor::new());
        if !self.dialler.is_costly() {
            // An engine that is started again would leave dead connections behind, and new ones cost nothing.
            builder.pool_max_idle_per_host(0);
        }
        let client = builder.build(self.dialler.clone());
        let api_version = Arc::clone(&self.api_version);
        let transport = move |request: BollardRequest| {
            let (client, api_version) = (client.clone(), Arc::clone(&api_version));
            async move {
                let call = Call::begin(request.method().as_str(), request.uri());
                let answer = client.request(request).await.map_err(Error::from);
                call.ended(&answer);
                if let Ok(answer) = &answer
                    && let Some(version) = answer.headers().get(API_VERSION).and_then(|version| version.to_str().ok())
                {
                    api_version.get_or_init(|| version.to_owned());
                }
                answer
            }
        };
        let address = format!("http://{}", self.authority);
        Docker::connect_with_custom_transport(transport, Some(address), seconds, API_DEFAULT_VERSION)
    }

    /// The version of the API that the engine speaks; `None` before its first answer, and where it doesn't say.
    pub fn api_version(&self) -> Option<&str> {
        self.api_version.get().map(String::as_str)
    }
}

/// A request that is under way, for the log: never its body, which may hold secrets.
struct Call {
    method: String,
    path: String,
    begun: Instant,
}

impl Call {
    fn begin(method: &str, uri: &hyper::Uri) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Self { method: method.to_owned(), path: path.to_owned(), begun: Instant::now() }
    }

    /// The head of the answer is there, or none will come.
    fn ended(&self, answer: &Result<Response<Incoming>, Error>) {
        let Self { method, path, begun } = self;
        let ms = begun.elapsed().as_millis();
        match answer {
            Ok(answer) => {
                tracing::debug!(target: "dpl::engine", "{method} {path} {} in {ms} ms", answer.status().as_u16())
            }
            Err(error) => {
                let cause = Catalogue::english().text(&super::error::innermost(error));
                tracing::debug!(target: "dpl::engine", "{method} {path} failed in {ms} ms: {cause}");
            }
        }
    }
}
