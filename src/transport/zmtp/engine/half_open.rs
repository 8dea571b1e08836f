//! Connections that have not greeted yet. Where there are many, the oldest gives way: strangers that say nothing must not keep
//! others out.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::quiet::lock;

/// As many may be greeting at once.
const MOST: usize = 256;

/// Those that are greeting, by the order in which they came.
#[derive(Debug, Default)]
pub(super) struct HalfOpen(Mutex<BTreeMap<u64, oneshot::Sender<()>>>);

impl HalfOpen {
    /// One more. The receiver hears when it has to give way.
    pub(super) fn enter(&self, number: u64) -> (u64, oneshot::Receiver<()>) {
        let (give_way, gives_way) = oneshot::channel();
        let oldest = {
            let mut all = lock(&self.0);
            all.insert(number, give_way);
            if all.len() > MOST { all.pop_first() } else { None }
        };
        if let Some((_, oldest)) = oldest {
            // One that has just greeted does not hear it.
            let _ = oldest.send(());
        }
        (number, gives_way)
    }

    /// One has greeted, or is gone.
    pub(super) fn leave(&self, number: u64) {
        lock(&self.0).remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let half_open = HalfOpen::default();
        let (_, mut first) = half_open.enter(0);
        let (second, mut gone) = half_open.enter(1);
        let mut others: Vec<_> = (2..MOST as u64).map(|number| half_open.enter(number).1).collect();
        half_open.leave(second);
        let mut last = half_open.enter(1000).1;
        assert!(first.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        others.push(half_open.enter(1001).1);
        assert_eq!(first.try_recv(), Ok(()));
        assert!(others.iter_mut().all(|other| other.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
        assert_eq!(last.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
