//! The rings' protocols, as types.

use std::fmt;

use crate::transport::TransportTx;

/// A ring's protocol: what [`DhtNode`](super::DhtNode) and [`Dht`](super::Dht) speak. It is one of [`OneHop`] and
/// [`Successor`]; others cannot be added from outside.
pub trait RingProtocol: sealed::Sealed + Sized + 'static {
    /// What a running node consists of.
    #[doc(hidden)]
    type Node<Tx: TransportTx>: fmt::Debug + Send + Sync;

    /// What a client consists of.
    #[doc(hidden)]
    type Client<Tx: TransportTx>: fmt::Debug + Clone + Send + Sync;
}

/// The ring of event services: every node knows all members. Publishers and subscribers find each other there.
#[derive(Debug, Clone, Copy)]
pub enum OneHop {}

/// The ring of keys and values, whose nodes know their neighbours and speak text that any MQTT client can speak.
#[derive(Debug, Clone, Copy)]
pub enum Successor {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::OneHop {}
    impl Sealed for super::Successor {}
}
