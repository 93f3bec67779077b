//! What stands between the program and an engine, and drops or holds back what goes through.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Drops every connection once so many bytes went one way, or freezes then; nothing goes through while it is frozen.
pub struct Proxy {
    pub address: String,
    pub up_left: Arc<AtomicU64>,
    pub down_left: Arc<AtomicU64>,
    pub is_frozen: Arc<AtomicBool>,
    pub freezes: Arc<AtomicBool>,
    /// How often the engine was asked whether it is there.
    pub probes: Arc<AtomicU64>,
}

impl Proxy {
    pub fn start(socket: &Path, engine: &str) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let proxy = Self {
            address: format!("unix://{}", socket.display()),
            up_left: Arc::new(AtomicU64::new(u64::MAX)),
            down_left: Arc::new(AtomicU64::new(u64::MAX)),
            is_frozen: Arc::default(),
            freezes: Arc::default(),
            probes: Arc::default(),
        };
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let up = Way {
            left: proxy.up_left.clone(),
            is_frozen: proxy.is_frozen.clone(),
            freezes: proxy.freezes.clone(),
            probes: proxy.probes.clone(),
        };
        let down = Way { left: proxy.down_left.clone(), ..up.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&engine).unwrap();
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (up, down) = (up.clone(), down.clone());
                std::thread::spawn(move || up.pass_on(client, server));
                std::thread::spawn(move || down.pass_on(server_too, client_too));
            }
        });
        proxy
    }
}

/// One of the two ways through it.
#[derive(Clone)]
struct Way {
    left: Arc<AtomicU64>,
    is_frozen: Arc<AtomicBool>,
    freezes: Arc<AtomicBool>,
    probes: Arc<AtomicU64>,
}

impl Way {
    /// Copies until an end, which is passed on, or until no byte is left; then both ends are closed.
    fn pass_on(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            // A request comes in one piece.
            if buffer[..read].windows(7).any(|window| window == b"/_ping ") {
                self.probes.fetch_add(1, Ordering::SeqCst);
            }
            self.wait_while_frozen();
            let before = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(read as u64)));
            let allowed = before.unwrap().min(read as u64) as usize;
            let mut is_passed_on = to.write_all(&buffer[..allowed]).is_ok();
            if allowed < read && self.freezes.swap(false, Ordering::SeqCst) {
                self.is_frozen.store(true, Ordering::SeqCst);
                self.left.store(u64::MAX, Ordering::SeqCst);
                self.wait_while_frozen();
                is_passed_on = to.write_all(&buffer[allowed..read]).is_ok();
            } else if allowed < read {
                is_passed_on = false;
            }
            if !is_passed_on {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        // The other way stays open: a command in a container goes on when its input has ended.
        let _ = to.shutdown(Shutdown::Write);
    }

    fn wait_while_frozen(&self) {
        while self.is_frozen.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}
