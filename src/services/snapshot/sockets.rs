//! Ports of the host that processes hold.
//!
//! On this machine the port itself is tried: nothing else knows about address families and wildcards as well as the
//! kernel. On another one a helper in the host's network reads the kernel's tables (proc(5), "/proc/net/tcp").

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use super::host::{HeldPort, Holder};
use super::starting::Starting;
use crate::engine::EngineError;
use crate::manifest::model::{Port, Protocol};
use crate::services::container::ports::collide;
use crate::services::snapshot::helper::Helpers;
use crate::services::snapshot::observed::Observed;

/// A socket that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// The ports that services want to publish, each once; without those that containers hold, who are known better.
pub(in crate::services) fn wanted(starting: &[Starting<'_>], observed: &Observed) -> Vec<Port> {
    let ours = observed.containers.iter().flat_map(|seen| seen.held_ports().iter().cloned());
    let foreign_containers = observed.foreign_containers.iter().flat_map(|foreign| foreign.published.iter().cloned());
    let published: Vec<_> = ours.chain(foreign_containers).collect();
    let mut ports: Vec<Port> = Vec::new();
    for port in starting.iter().flat_map(|starting| &starting.service.ports) {
        let is_known = ports.iter().any(|other| {
            (other.published, other.protocol, &other.host_ip) == (port.published, port.protocol, &port.host_ip)
        });
        let is_open = port.single_port().is_some() && !published.iter().any(|held| collide(port, held));
        if is_open && !is_known && port.protocol != Protocol::Sctp {
            ports.push(port.clone());
        }
    }
    ports
}

/// Reads who listens, and opens no port: what only looks must not take one that a container is about to get.
pub(in crate::services) fn listed_here(ports: &[Port]) -> Vec<HeldPort> {
    let tables = read_tables();
    let held = ports.iter().filter_map(|port| {
        let here = |address: &String| UdpSocket::bind(SocketAddr::new(address.parse().ok()?, 0)).err();
        let is_elsewhere =
            port.host_ip.as_ref().and_then(here).is_some_and(|error| error.kind() == ErrorKind::AddrNotAvailable);
        if is_elsewhere {
            return Some(found(port, Holder::NoSuchAddress));
        }
        let socket = tables.iter().find(|socket| is_taken_by(port, socket))?;
        Some(found(port, Holder::Process(owner(socket.inode))))
    });
    held.collect()
}

/// Tries them.
pub(in crate::services) fn held_here(ports: &[Port]) -> Vec<HeldPort> {
    let mut tables: Option<Vec<Socket>> = None;
    let held = ports.iter().filter_map(|port| {
        let by = match refused(port)? {
            ErrorKind::AddrInUse => {
                let tables = tables.get_or_insert_with(read_tables);
                let process =
                    tables.iter().find(|socket| is_taken_by(port, socket)).and_then(|socket| owner(socket.inode));
                Holder::Process(process)
            }
            ErrorKind::AddrNotAvailable => Holder::NoSuchAddress,
            // It may not be this process's to try, and be the engine's all the same.
            _ => {
                let socket = tables.get_or_insert_with(read_tables).iter().find(|socket| is_taken_by(port, socket))?;
                Holder::Process(owner(socket.inode))
            }
        };
        Some(found(port, by))
    });
    held.collect()
}

/// Reads the kernel's tables where the engine publishes; where no image has what it takes, nothing is known.
pub(in crate::services) async fn held_there(
    ports: &[Port],
    helpers: &Helpers<'_>,
) -> Result<Vec<HeldPort>, EngineError> {
    const READ: &str = "for table in tcp tcp6 udp udp6; do echo \"== $table\"; \
                        while read -r line; do echo \"$line\"; done </proc/net/$table; done 2>/dev/null";
    let Some(helper) = helpers.start("host", "test -r /proc/net/tcp").await? else {
        return Ok(Vec::new());
    };
    let answer = helper.shell(READ, &[]).await;
    helper.end().await;
    let text = String::from_utf8_lossy(&answer?.stdout).into_owned();
    let mut sockets = Vec::new();
    for table in text.split("== ").skip(1) {
        let (name, lines) = table.split_once('\n').unwrap_or((table, ""));
        sockets.extend(table_protocol(name).into_iter().flat_map(|protocol| parse(protocol, lines)));
    }
    // Its processes are not this machine's, and the helper may not look at them.
    let is_taken = |port: &&Port| sockets.iter().any(|socket| is_taken_by(port, socket));
    Ok(ports.iter().filter(is_taken).map(|port| found(port, Holder::Process(None))).collect())
}

fn found(port: &Port, by: Holder) -> HeldPort {
    let number = port.published.unwrap_or_default();
    HeldPort { host_ip: port.host_ip.clone(), port: number, protocol: port.protocol, by }
}

/// Why it can't be had; `None` when it can.
fn refused(port: &Port) -> Option<ErrorKind> {
    let number = port.published?;
    let tried = |address: IpAddr| {
        let address = SocketAddr::new(address, number);
        match port.protocol {
            Protocol::Udp => UdpSocket::bind(address).map(drop),
            _ => TcpListener::bind(address).map(drop),
        }
    };
    match &port.host_ip {
        Some(address) => tried(address.parse().ok()?).err().map(|error| error.kind()),
        // The engine takes both families; a host without IPv6 has only the first.
        None => tried(Ipv4Addr::UNSPECIFIED.into()).err().map(|error| error.kind()).or_else(|| {
            let error = tried(Ipv6Addr::UNSPECIFIED.into()).err()?.kind();
            (error == ErrorKind::AddrInUse).then_some(error)
        }),
    }
}

/// Whether a socket surely keeps a port from being published. One on all IPv6 addresses may leave IPv4 alone.
fn is_taken_by(port: &Port, socket: &Socket) -> bool {
    if port.published != Some(socket.port) || port.protocol != socket.protocol {
        return false;
    }
    match port.host_ip.as_deref().map(str::parse::<IpAddr>) {
        None => true,
        Some(Ok(wanted)) => {
            wanted == socket.address
                || (wanted.is_ipv4() == socket.address.is_ipv4()
                    && (wanted.is_unspecified() || socket.address.is_unspecified()))
        }
        Some(Err(_)) => false,
    }
}

fn read_tables() -> Vec<Socket> {
    let tables = ["tcp", "tcp6", "udp", "udp6"].into_iter().filter_map(|name| {
        let text = std::fs::read_to_string(format!("/proc/net/{name}")).ok()?;
        Some(parse(table_protocol(name)?, &text))
    });
    tables.flatten().collect()
}

fn table_protocol(name: &str) -> Option<Protocol> {
    match name.trim() {
        "tcp" | "tcp6" => Some(Protocol::Tcp),
        "udp" | "udp6" => Some(Protocol::Udp),
        _ => None,
    }
}

/// Listening sockets, and unconnected ones of UDP.
fn parse(protocol: Protocol, table: &str) -> Vec<Socket> {
    let waits = match protocol {
        Protocol::Udp => "07",
        _ => "0A",
    };
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        (*fields.get(3)? == waits).then_some(())?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Socket { protocol, address: parse_address(address)?, port, inode: fields.get(9)?.parse().ok()? })
    };
    table.lines().filter_map(socket).collect()
}

/// The kernel writes addresses as words of 32 bits in the machine's own order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        (word.len() == 8).then(|| u32::from_str_radix(word, 16).ok()).flatten().map(u32::to_ne_bytes)
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| match Ipv6Addr::from(bytes) {
            mapped if mapped.to_ipv4_mapped().is_some() => {
                IpAddr::from(mapped.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED))
            }
            address => IpAddr::from(address),
        }),
        _ => None,
    }
}

/// The process that has a socket open, as far as this user may see it.
fn owner(inode: u64) -> Option<String> {
    let link = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    for (pid, path) in processes {
        let Ok(open) = std::fs::read_dir(path.join("fd")) else {
            continue;
        };
        let has_it = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        if open.flatten().any(has_it) {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            return Some(format!("{} ({pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
        1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 0 0 10 0\n";

    fn port(host_ip: Option<&str>, published: u16, protocol: Protocol) -> Port {
        let host_ip = host_ip.map(str::to_owned);
        Port { target: 80, published: Some(published), host_ip, protocol, ..Port::default() }
    }

    #[test]
    fn listening_sockets_are_read_from_the_kernels_table() {
        if cfg!(target_endian = "little") {
            let wanted =
                Socket { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST.into(), port: 8080, inode: 4711 };
            assert_eq!(parse(Protocol::Tcp, TCP), [wanted]);
        }
        assert_eq!(parse_address("00000000000000000000000000000000"), Some(Ipv6Addr::UNSPECIFIED.into()));
        assert_eq!(parse_address("zz"), None);
    }

    #[test]
    fn addresses_and_protocols_count() {
        let on =
            |address: &str| Socket { protocol: Protocol::Tcp, address: address.parse().unwrap(), port: 80, inode: 1 };
        let wants = |host_ip| port(host_ip, 80, Protocol::Tcp);
        assert!(is_taken_by(&wants(None), &on("127.0.0.1")));
        assert!(is_taken_by(&wants(Some("10.0.0.1")), &on("0.0.0.0")));
        assert!(is_taken_by(&wants(Some("0.0.0.0")), &on("10.0.0.1")));
        assert!(!is_taken_by(&wants(Some("10.0.0.1")), &on("10.0.0.2")));
        assert!(!is_taken_by(&wants(Some("10.0.0.1")), &on("::")), "it may be for IPv6 alone");
        assert!(!is_taken_by(&port(None, 80, Protocol::Udp), &on("0.0.0.0")));
        assert!(!is_taken_by(&port(None, 81, Protocol::Tcp), &on("0.0.0.0")));
    }

    #[test]
    fn a_port_that_this_very_process_holds_is_named_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let wants = |host_ip| port(host_ip, number, Protocol::Tcp);
        for taken in [None, Some("127.0.0.1"), Some("0.0.0.0")] {
            let held = held_here(&[wants(taken)]);
            let Some(HeldPort { by: Holder::Process(Some(process)), .. }) = held.first() else {
                panic!("{taken:?}: {held:?}");
            };
            assert!(process.contains(&std::process::id().to_string()), "{process}");
        }
        assert_eq!(held_here(&[wants(Some("127.0.0.2"))]), [], "another address");
        assert_eq!(held_here(&[port(Some("127.0.0.1"), number, Protocol::Udp)]), [], "another protocol");
        let nowhere = held_here(&[port(Some("192.0.2.7"), number, Protocol::Tcp)]);
        assert_eq!(nowhere.first().map(|held| &held.by), Some(&Holder::NoSuchAddress));
        // Nobody has this one: it is below those that the kernel gives out, and reserved (RFC 6335: 1023).
        assert_eq!(held_here(&[port(None, 1023, Protocol::Tcp)]), []);
    }
}
