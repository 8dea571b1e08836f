//! The `ringbus` program over one transport: command lines, and rings of nodes that are processes.

use super::mosquitto::Mosquitto;
use super::program::{Ended, Program};

/// The transport, as options.
pub enum Net {
    Zmq,
    Mqtt(Mosquitto),
}

impl Net {
    pub fn mqtt() -> Self {
        Self::Mqtt(Mosquitto::start())
    }

    /// A command line over this transport.
    pub fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut command: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let options = match self {
            Self::Zmq => vec!["--transport=zmq".to_owned()],
            Self::Mqtt(broker) => vec!["--transport=mqtt".to_owned(), format!("--broker={}", broker.url())],
        };
        command.splice(1..1, options);
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Program {
        Program::start(&self.command(arguments))
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Program::run(&self.command(arguments))
    }

    /// Starts a ring of nodes of these names, and waits until each has met the others.
    pub fn ring(&self, names: &[&'static str]) -> Vec<Node> {
        let mut ring: Vec<Node> = Vec::new();
        for &name in names {
            let node = self.node(name, ring.get(..1).unwrap_or_default());
            ring.push(node);
        }
        for node in &mut ring {
            let mut others = node.program.lines(names.len() - 1);
            others.sort();
            assert!(others.iter().all(|line| line.starts_with("joined\tn")), "{others:?}");
            others.dedup();
            assert_eq!(others.len(), names.len() - 1, "{others:?}");
        }
        ring
    }

    /// Starts a node that joins the ring of these, over ZeroMQ at a free port.
    pub fn node(&self, name: &'static str, members: &[Node]) -> Node {
        let mut arguments = vec!["node", "--name", name];
        if matches!(self, Self::Zmq) {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let join = addresses(members);
        if !members.is_empty() {
            arguments.extend(["--join", &join]);
        }
        Node::new(name, self.start(&arguments))
    }
}

/// A node of a ring.
pub struct Node {
    pub name: &'static str,
    /// As it calls itself, and as a user may call it.
    pub locator: String,
    pub address: String,
    pub program: Program,
}

impl Node {
    fn new(name: &'static str, mut program: Program) -> Self {
        let line = program.line();
        let [what, who, locator] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        assert_eq!((what, who), ("started", name));
        let address = locator.strip_prefix("zmq+tcp://").unwrap_or(name).to_owned();
        Self { name, locator: locator.to_owned(), address, program }
    }
}

/// These nodes, as `--join` and `--node` take them.
pub fn addresses(nodes: &[Node]) -> String {
    nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",")
}
