//! An engine behind TLS that wants to know who asks, with certificates as `openssl` makes them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::housekeeping::{make, wipe};
use crate::images::bench::tar_of;
use crate::support_engine::{Stack, shared_engine};

/// The shared engine, behind TLS.
struct TlsEngine {
    address: String,
    /// What clients have sent so far, without TLS.
    sent: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl TlsEngine {
    fn start(certificates: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut authorities = RootCertStore::empty();
        authorities.add(CertificateDer::from_pem_file(certificates.join("ca.pem")).unwrap()).unwrap();
        let asks =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone()).build().unwrap();
        let chain = vec![CertificateDer::from_pem_file(certificates.join("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(certificates.join("server-key.pem")).unwrap();
        let configuration =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let configuration = configuration.with_client_cert_verifier(asks).with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(configuration));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let socket = shared_engine().trim_start_matches("unix://").to_owned();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, count, socket) = (acceptor.clone(), Arc::clone(&count), socket.clone());
                tokio::spawn(async move {
                    let Ok(client) = acceptor.accept(client).await else { return };
                    let (mut from, mut back) = tokio::io::split(client);
                    let (mut answers, mut engine) = UnixStream::connect(socket).await.unwrap().into_split();
                    let up = async move {
                        let mut buffer = vec![0; 64 << 10];
                        while let Ok(read @ 1..) = from.read(&mut buffer).await {
                            count.fetch_add(read as u64, Ordering::SeqCst);
                            if engine.write_all(&buffer[..read]).await.is_err() {
                                break;
                            }
                        }
                        let _ = engine.shutdown().await;
                    };
                    let down = async move {
                        let _ = tokio::io::copy(&mut answers, &mut back).await;
                        let _ = back.shutdown().await;
                    };
                    futures::join!(up, down);
                });
            }
        });
        Self { address, sent, _runtime: runtime }
    }
}

/// `ca.pem`, `server.pem`, `cert.pem` and their keys.
fn make_certificates(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let script = r#"
        set -e
        key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        openssl req -x509 $key -keyout ca-key.pem -out ca.pem -subj /CN=authority -days 2
        sign() { openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out $1.pem -extfile $1.ext; }
        echo subjectAltName=IP:127.0.0.1 >server.ext; echo extendedKeyUsage=clientAuth >cert.ext
        openssl req $key -keyout server-key.pem -out server.csr -subj /CN=engine; sign server
        openssl req $key -keyout key.pem -out cert.csr -subj /CN=operator; sign cert
    "#;
    let output = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_engine_behind_tls_is_used_as_the_docker_command_uses_it() {
    let mut stack = Stack::new(
        r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {
            "a": {"image": "redis:7.0", "stop_signal": "SIGKILL"}}}"#,
    );
    let certificates = stack.site.file("certificates");
    make_certificates(&certificates);
    let engine = TlsEngine::start(&certificates);
    let folder = certificates.display().to_string();
    // The certificates are good: the docker command says so.
    let docker = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_CONFIG", stack.site.file(".docker"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let files = ["ca", "cert", "key"]
        .map(|name| format!("--tls{}={folder}/{name}.pem", if name == "ca" { "cacert" } else { name }));
    docker(&["--tlsverify", &files[0], &files[1], &files[2], "-H", &engine.address, "version"]);
    let host = &engine.address;
    let endpoint = format!("host={host},ca={folder}/ca.pem,cert={folder}/cert.pem,key={folder}/key.pem");
    docker(&["context", "create", "site", "--docker", &endpoint]);
    stack.site.run(&["status", "-f", "stack.json", "-H", "site"]).success();

    stack.site.set("DOCKER_HOST", host).set("DOCKER_CERT_PATH", &folder).set("DOCKER_TLS_VERIFY", "1");
    stack.run(&["start", "a"]).success();
    let echoed = stack.site.run_with_input(&["exec", "-f", "stack.json", "a", "cat"], "through\n").success();
    assert_eq!(echoed.stdout, "through\n");

    // Without the authority's certificate it is nobody's engine, without our own we are nobody.
    fs::rename(certificates.join("cert.pem"), certificates.join("cert.away")).unwrap();
    let failed = stack.run(&["status"]).failure(4);
    assert!(failed.stderr.contains("CertificateRequired"), "{}", failed.stderr);
    fs::rename(certificates.join("cert.away"), certificates.join("cert.pem")).unwrap();
    let others = stack.site.file("others");
    make_certificates(&others);
    fs::copy(others.join("ca.pem"), certificates.join("ca.pem")).unwrap();
    let failed = stack.run(&["status"]).failure(4);
    assert!(failed.stderr.contains("TLS: invalid peer certificate"), "{}", failed.stderr);
    // Nobody's certificate is looked at where that is what was asked for.
    stack.site.set("DOCKER_TLS_VERIFY", "").set("DOCKER_TLS", "1");
    stack.run(&["status"]).success();
    // A plain connection is not made by mistake.
    stack.site.set("DOCKER_TLS", "");
    stack.run(&["status"]).failure(4);
}

#[test]
fn an_upload_to_another_machines_engine_is_compressed() {
    const BYTES: usize = 8 << 20;
    let mut stack = Stack::new(
        r#"{"project": "PROJECT", "paths": {"images": "store"}, "services": {"b": {"image": "PROJECT/b:1"}}}"#,
    );
    let name = format!("{}/b:1", stack.project);
    let id = make(&stack, "b:1", &[tar_of(&[(stack.project.clone(), vec![b'x'; BYTES])])]);
    stack.run(&["save"]).success();
    let certificates = stack.site.file("certificates");
    make_certificates(&certificates);
    let engine = TlsEngine::start(&certificates);
    stack.site.set("DOCKER_HOST", &engine.address).set("DOCKER_CERT_PATH", certificates.display().to_string());
    stack.site.set("DOCKER_TLS_VERIFY", "1");
    for (elsewhere, most) in [("1", BYTES / 8), ("", usize::MAX)] {
        wipe(&stack, &[&name]);
        stack.site.set("DPL_ENGINE_ELSEWHERE", elsewhere);
        let before = engine.sent.load(Ordering::SeqCst);
        stack.run(&["load"]).success();
        let sent = (engine.sent.load(Ordering::SeqCst) - before) as usize;
        assert!(sent < most, "{sent} bytes were sent");
        // The other engine is on this machine, and gets what there is.
        assert!(!elsewhere.is_empty() || sent > BYTES, "{sent} bytes were sent");
        assert_eq!(stack.docker(&["image", "inspect", "--format", "{{.Id}}", &name]), id);
    }
    wipe(&stack, &[&name]);
}
