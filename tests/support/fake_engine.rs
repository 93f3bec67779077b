//! A scripted engine on a Unix socket, for the faults that a real one won't show.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How the fake answers a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer with a JSON body.
    Json(u16, &'static str),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, a few at a time with pauses, then the connection is closed.
    Slowly(Vec<u8>),
    /// As many pieces of about one length, each when the engine has been asked whether it is there once more.
    WhenAsked { bytes: Vec<u8>, pieces: usize },
    /// Nothing: the connection is closed.
    Close,
    /// One answer after the other, and the last one for ever.
    Each(Vec<Answer>),
    /// A whole answer with a JSON body the first time, and from then on the connection is closed.
    OnceThenClose(u16, &'static str),
    /// A whole answer with a JSON body the first time, and from then on nothing, for ever.
    OnceThenStall(u16, &'static str),
    /// Nothing, for ever.
    Stall,
    /// These bytes, and then nothing, for ever.
    Begin(Vec<u8>),
    /// Not even the request's body is read.
    Deaf,
}

/// Method and beginning of the path, and the answer; the first rule that fits counts.
pub type Rule = (&'static str, &'static str, Answer);

/// The fake; it ends with the test.
pub struct FakeEngine {
    pub address: String,
    socket: PathBuf,
    rules: Vec<Rule>,
    heard: Arc<Heard>,
    bodies: Arc<Mutex<Vec<Body>>>,
}

/// All requests so far; each wakes those that wait for one.
#[derive(Default)]
struct Heard {
    requests: Mutex<Vec<String>>,
    came: Condvar,
}

impl Heard {
    fn add(&self, request: String) {
        self.requests.lock().unwrap().push(request);
        self.came.notify_all();
    }

    fn count(&self, word: &str) -> usize {
        count(&self.requests.lock().unwrap(), word)
    }

    /// Waits until more than so many requests have this word in them; whether they came in time.
    fn more_than(&self, most: usize, word: &str, time: Duration) -> bool {
        let requests = self.requests.lock().unwrap();
        let waited = self.came.wait_timeout_while(requests, time, |heard| count(heard, word) <= most).unwrap();
        !waited.1.timed_out()
    }
}

fn count(requests: &[String], word: &str) -> usize {
    requests.iter().filter(|request| request.contains(word)).count()
}

/// What came in chunks with a request.
#[derive(Debug, Clone)]
pub struct Body {
    /// The beginning of it, as far as it is kept.
    pub bytes: Vec<u8>,
    /// Whether it came to its end.
    pub is_whole: bool,
}

impl Body {
    /// Whether an engine would make images of it: the document that names them has come, and then the end.
    pub fn makes_an_image(&self) -> bool {
        self.is_whole && self.bytes.windows(13).any(|window| window == b"manifest.json")
    }
}

/// As that of the other tests (support/mod.rs), which unit tests don't have.
const PATIENCE: Duration = Duration::from_secs(120);

/// More of a body than this is not kept.
const KEPT_BYTES: usize = 16 << 20;

/// What an engine must say to be talked to at all.
const VERSION: &str =
    r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;
const INFO: &str = r#"{"ID":"fake","Name":"fake","Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]],"DockerRootDir":"/nonexistent","ServerVersion":"20.10.24"}"#;

impl FakeEngine {
    /// Listens on `socket`; `rules` come before the ordinary answers to /version, /info and /_ping.
    pub fn start(socket: &Path, rules: Vec<Rule>) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (socket, answers) = (socket.to_owned(), rules.clone());
        let heard: Arc<Heard> = Arc::default();
        let bodies: Arc<Mutex<Vec<Body>>> = Arc::default();
        let (told, taken) = (heard.clone(), bodies.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (rules, heard, taken) = (rules.clone(), told.clone(), taken.clone());
                std::thread::spawn(move || serve(stream, &rules, &heard, &taken));
            }
        });
        Self { address: format!("unix://{}", socket.display()), socket, rules: answers, heard, bodies }
    }

    /// Another one at the same address: what a client sent before it gave up may come late, and is this one's no more.
    pub fn renew(&mut self) {
        std::fs::remove_file(&self.socket).unwrap();
        *self = Self::start(&self.socket, self.rules.clone());
    }

    /// The bodies that came in chunks since this was asked last.
    pub fn take_bodies(&self) -> Vec<Body> {
        std::mem::take(&mut self.bodies.lock().unwrap())
    }

    /// `METHOD /path`, and the body that came in one piece, of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.heard.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have this word in them, or fails the test when they don't.
    #[track_caller]
    pub fn wait_for(&self, count: usize, word: &str) {
        let came = self.heard.more_than(count - 1, word, PATIENCE);
        assert!(came, "not {count} times within {PATIENCE:?}: {word}: {:?}", self.requests());
    }
}

fn serve(mut stream: UnixStream, rules: &[Rule], heard: &Heard, bodies: &Mutex<Vec<Body>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            match header.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap_or(0);
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => is_chunked = true,
                _ => {}
            }
        }
        let bare = path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')).map(|(_, rest)| format!("/{rest}"));
        let bare = bare.unwrap_or_else(|| path.clone());
        let rule = rules.iter().find(|(wanted, beginning, _)| *wanted == method && bare.starts_with(beginning));
        if matches!(rule, Some((_, _, Answer::Deaf))) {
            heard.add(format!("{method} {path}"));
            stall();
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if is_chunked {
            let body = read_chunks(&mut reader);
            let is_whole = body.is_whole;
            bodies.lock().unwrap().push(body);
            if !is_whole {
                return;
            }
        }
        heard.add(format!("{method} {path} {}", String::from_utf8_lossy(&body)).trim_end().to_owned());
        // The version's prefix says nothing that a rule would ask for.
        let path = match path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => format!("/{rest}"),
            None => path,
        };
        let answer = rules
            .iter()
            .find(|(wanted, beginning, _)| *wanted == method && path.starts_with(beginning))
            .map(|(_, _, answer)| answer.clone())
            .unwrap_or_else(|| ordinary(&method, &path));
        let is_first = || heard.count(&path) == 1;
        let next = |answers: Vec<Answer>| {
            let heard = heard.requests.lock().unwrap();
            let asked = heard.iter().filter(|request| request.starts_with(&method) && request.contains(&path)).count();
            let asked = asked.clamp(1, answers.len());
            answers.into_iter().nth(asked - 1).unwrap_or(Answer::Close)
        };
        let answer = match answer {
            Answer::Each(answers) => next(answers),
            other => other,
        };
        let answer = match answer {
            Answer::OnceThenClose(status, body) | Answer::OnceThenStall(status, body) if is_first() => {
                Answer::Json(status, body)
            }
            Answer::OnceThenClose(..) => Answer::Close,
            Answer::OnceThenStall(..) => Answer::Stall,
            other => other,
        };
        match answer {
            Answer::Json(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                    return;
                }
            }
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
            Answer::Slowly(bytes) => {
                for few in bytes.chunks(7) {
                    if stream.write_all(few).is_err() {
                        return;
                    }
                    std::thread::park_timeout(std::time::Duration::from_millis(15));
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
            Answer::WhenAsked { bytes, pieces } => {
                let mut before = heard.count("/_ping");
                for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
                    heard.more_than(before, "/_ping", Duration::MAX);
                    before = heard.count("/_ping");
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
            Answer::Close | Answer::OnceThenClose(..) | Answer::Each(_) => {
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
            Answer::Begin(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
                stall()
            }
            Answer::Stall | Answer::OnceThenStall(..) | Answer::Deaf => stall(),
        }
    }
}

fn stall() -> ! {
    loop {
        std::thread::park();
    }
}

/// Reads a body that comes in chunks.
fn read_chunks(reader: &mut impl BufRead) -> Body {
    let mut body = Body { bytes: Vec::new(), is_whole: false };
    loop {
        let mut size = String::new();
        if reader.read_line(&mut size).unwrap_or(0) == 0 {
            return body;
        }
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return body };
        // Each chunk ends with a line of its own, the last one too.
        let mut chunk = vec![0; size + 2];
        if reader.read_exact(&mut chunk).is_err() {
            return body;
        }
        if size == 0 {
            body.is_whole = true;
            return body;
        }
        let room = KEPT_BYTES.saturating_sub(body.bytes.len());
        body.bytes.extend_from_slice(&chunk[..size.min(room)]);
    }
}

fn ordinary(method: &str, path: &str) -> Answer {
    match path {
        "/version" => Answer::Json(200, VERSION),
        "/info" => Answer::Json(200, INFO),
        "/_ping" => Answer::Json(200, "\"OK\""),
        // The lock of a process that is about to change something.
        _ if method == "POST" && path.contains("-dpl-lock") => Answer::Json(201, r#"{"Id":"the-lock","Warnings":[]}"#),
        _ if method == "PUT" && path.contains("/archive") => Answer::Json(200, ""),
        _ if path.starts_with("/containers/the-lock") => Answer::Json(200, ""),
        _ => Answer::Json(404, r#"{"message":"the fake engine knows nothing of that"}"#),
    }
}
