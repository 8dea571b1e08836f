//! What the nodes and clients of each protocol consist of.

use super::client::OneHopClient;
use super::node::OneHopNode;
use super::protocol::{OneHop, RingProtocol, Successor};
use super::successor::{SuccessorClient, SuccessorNode};
use crate::transport::TransportTx;

impl RingProtocol for OneHop {
    type Node<Tx: TransportTx> = OneHopNode<Tx>;
    type Client<Tx: TransportTx> = OneHopClient<Tx>;
}

impl RingProtocol for Successor {
    type Node<Tx: TransportTx> = SuccessorNode<Tx>;
    type Client<Tx: TransportTx> = SuccessorClient<Tx>;
}
