//! Several hosts on one machine: a network namespace each, connected by a bridge in one more.
//!
//! Nothing is changed outside the namespaces that are made here, so the addresses may be any. All of them go when the
//! value is dropped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Networks of one process, for names of their own.
static NETWORKS: AtomicUsize = AtomicUsize::new(0);

/// A network of hosts.
pub(crate) struct Hosts {
    /// What the names of the namespaces begin with.
    prefix: String,
    namespaces: Vec<String>,
}

impl Hosts {
    /// Makes a host for each number: number `n` has the address `10.77.0.n`.
    pub(crate) fn new(numbers: &[u8]) -> Self {
        let network = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let mut hosts = Self { prefix: format!("ringbus-{}-{network}", id()), namespaces: Vec::new() };
        let hub = hosts.add("hub");
        ip(["-n", &hub, "link", "add", "bridge", "type", "bridge"]);
        ip(["-n", &hub, "link", "set", "bridge", "up"]);
        for &number in numbers {
            let (port, name) = (port(number), hosts.add(&number.to_string()));
            let address = format!("{}/24", Self::address(number));
            ip(["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name]);
            ip(["-n", &hub, "link", "set", &port, "master", "bridge", "up"]);
            ip(["-n", &name, "address", "add", &address, "dev", "eth0"]);
            ip(["-n", &name, "link", "set", "lo", "up"]);
            ip(["-n", &name, "link", "set", "eth0", "up"]);
        }
        hosts
    }

    pub(crate) fn address(number: u8) -> String {
        format!("10.77.0.{number}")
    }

    /// The namespace of a host.
    pub(crate) fn namespace(&self, number: u8) -> String {
        self.name(&number.to_string())
    }

    /// Pulls a host's cable: it and the others notice nothing but silence.
    pub(crate) fn cut(&self, number: u8) {
        ip(["-n", &self.name("hub"), "link", "set", &port(number), "down"]);
    }

    /// Puts the cable back.
    pub(crate) fn heal(&self, number: u8) {
        ip(["-n", &self.name("hub"), "link", "set", &port(number), "up"]);
    }

    /// A host hears nothing any more, but is heard.
    pub(crate) fn deafen(&self, number: u8) {
        self.nft(number, "add table inet cut");
        self.nft(number, "add chain inet cut input { type filter hook input priority 0; policy drop; }");
    }

    /// Ends [`deafen`](Self::deafen).
    pub(crate) fn undeafen(&self, number: u8) {
        self.nft(number, "delete table inet cut");
    }

    /// Cuts the way between two hosts, which others go on to reach. For good.
    #[cfg(feature = "cli")]
    pub(crate) fn part(&self, one: u8, other: u8) {
        let address = Self::address(other);
        self.nft(one, "add table inet ways");
        for (chain, way) in [("input", "saddr"), ("output", "daddr")] {
            self.nft(one, &format!("add chain inet ways {chain} {{ type filter hook {chain} priority 0; }}"));
            self.nft(one, &format!("add rule inet ways {chain} ip {way} {address} drop"));
        }
    }

    /// What a host has in `/etc/hosts`, and whom it asks for other names. Programs that run already see later changes, too.
    #[cfg(feature = "cli")]
    pub(crate) fn set_names(&self, number: u8, names: &[(&str, u8)], name_server: &str) {
        let addresses: Vec<_> = names.iter().map(|(name, host)| (*name, Self::address(*host))).collect();
        let addresses: Vec<_> = addresses.iter().map(|(name, address)| (*name, address.as_str())).collect();
        self.set_addresses(number, &addresses, name_server);
    }

    /// The same with names of addresses, of which a name may have several.
    #[cfg(feature = "cli")]
    pub(crate) fn set_addresses(&self, number: u8, names: &[(&str, &str)], name_server: &str) {
        let folder = etc(&self.namespace(number));
        std::fs::create_dir_all(&folder).expect("/etc/netns can be written: this test has to run as root");
        let lines: String = names.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        let files = [
            ("hosts", format!("127.0.0.1 localhost\n{lines}")),
            ("resolv.conf", format!("nameserver {name_server}\noptions timeout:5 attempts:2\n")),
            ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        ];
        for (file, text) in files {
            // In place: it is mounted where programs look for it.
            std::fs::write(folder.join(file), text).expect("a file below /etc/netns can be written");
        }
    }

    /// Whether a host speaks IPv6 with itself. A kernel without IPv6 gives none that.
    #[cfg(feature = "cli")]
    pub(crate) fn has_ipv6(&self, number: u8) -> bool {
        let namespace = self.namespace(number);
        let shown =
            Command::new("ip").args(["-n", &namespace, "-6", "address", "show", "dev", "lo"]).output();
        shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("::1/128"))
    }

    fn nft(&self, number: u8, rule: &str) {
        ip(["netns", "exec", &self.namespace(number), "nft", rule]);
    }

    fn add(&mut self, suffix: &str) -> String {
        let name = self.name(suffix);
        ip(["netns", "add", &name]);
        self.namespaces.push(name.clone());
        name
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.namespaces {
            // What cannot be removed is reported by `ip` itself; the others have to go all the same.
            drop(Command::new("ip").args(["netns", "delete", name]).status());
            drop(std::fs::remove_dir_all(etc(name)));
        }
    }
}

/// What `ip netns exec` mounts over the files of the same names in `/etc`.
fn etc(namespace: &str) -> PathBuf {
    Path::new("/etc/netns").join(namespace)
}

/// The bridge's side of a host's cable.
fn port(number: u8) -> String {
    format!("port{number}")
}

fn ip<I: IntoIterator<Item = S> + Clone, S: AsRef<OsStr>>(arguments: I) {
    let mut command = Command::new("ip");
    let output = command.args(arguments).output().expect("program `ip` (package iproute2) is installed");
    assert!(
        output.status.success(),
        "could not make or change a network namespace: this test has to run as root, with CAP_SYS_ADMIN and \
         CAP_NET_ADMIN, and with nftables installed; RINGBUS_NO_NETNS=1 leaves it out\n{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
