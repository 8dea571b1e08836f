//! Which service a directed message is for.

use std::sync::Arc;

use super::{Service, SessionCore};
use crate::transport::TransportTx;
use crate::wire::Room;

/// The service of the last message's room: most of a bundle is for the same.
#[derive(Default)]
pub(super) struct Addressee(Option<(Room, Arc<dyn Service>)>);

impl Addressee {
    /// The service of a room, if it has one.
    pub(super) fn find<Tx: TransportTx>(
        &mut self,
        core: &SessionCore<Tx>,
        room: Room,
    ) -> Option<&dyn Service> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != room) {
            self.0 = core.service(room).map(|service| (room, service));
        }
        self.0.as_ref().map(|(_, service)| &**service)
    }
}
