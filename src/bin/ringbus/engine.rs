//! Which engine speaks ZeroMQ.

use serde::{Deserialize, Serialize};

/// `--engine`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub(crate) enum Engine {
    /// The C++ library, on threads of its own; two ports
    #[default]
    Libzmq,
    /// ZMTP in Rust, on this program's own threads; one port
    #[cfg(feature = "zmtp")]
    Native,
}

#[cfg(feature = "zmq")]
impl Engine {
    /// The one that has Unix sockets; without it the other refuses them, with the reason.
    #[cfg(feature = "zmtp")]
    const OF_IPC: Self = Self::Native;
    #[cfg(not(feature = "zmtp"))]
    const OF_IPC: Self = Self::Libzmq;

    /// The engine where none is named.
    pub(crate) fn usual(has_ipc: bool) -> Self {
        if has_ipc { Self::OF_IPC } else { Self::default() }
    }
}

#[cfg(feature = "zmq")]
impl From<Engine> for ringbus::transport::zmq::Engine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Libzmq => Self::Libzmq,
            #[cfg(feature = "zmtp")]
            Engine::Native => Self::Native,
        }
    }
}
