//! The two halves of a session, as the task of its connection hears them.

use tokio::sync::mpsc;

use super::tx::CloseRequest;
use crate::transport::Event;

/// How the two halves make themselves heard.
#[derive(Debug)]
pub(super) struct Halves {
    pub(super) closes: mpsc::Receiver<CloseRequest>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) tx_gone: bool,
    pub(super) rx_gone: bool,
}

/// What they have said.
pub(super) enum Signal {
    Close(CloseRequest),
    Gone,
}

impl Halves {
    pub(super) fn both_gone(&self) -> bool {
        self.tx_gone && self.rx_gone
    }

    /// Waits for a wish to close, for the end of a half, or, if `room` is asked for, for room in the receiving half's
    /// queue. Cancel-safe. The last two need no action but another look.
    pub(super) async fn signal(&mut self, room: bool) -> Signal {
        tokio::select! {
            request = self.closes.recv(), if !self.tx_gone => match request {
                Some(request) => Signal::Close(request),
                None => {
                    self.tx_gone = true;
                    Signal::Gone
                }
            },
            () = self.events.closed(), if !self.rx_gone => {
                self.rx_gone = true;
                Signal::Gone
            }
            Ok(_) = self.events.reserve(), if room && !self.rx_gone => Signal::Gone,
            else => std::future::pending().await,
        }
    }
}
