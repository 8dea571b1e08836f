//! What the runtime's reactor hears when a worker has nothing else to do.

#[cfg(unix)]
pub(super) use self::pipe::Bell;

/// Without pipes: as quiet as a runtime says that it is.
#[cfg(not(unix))]
#[derive(Debug, Default)]
pub(super) struct Bell;

#[cfg(not(unix))]
impl Bell {
    /// Waits until the tasks that are ready have had their turn.
    pub(super) async fn ring(&mut self) {
        tokio::task::yield_now().await;
    }
}

#[cfg(unix)]
mod pipe {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use tokio::io::{AsyncRead, ReadBuf};
    use tokio::net::unix::pipe::{Receiver, Sender, pipe};

    /// A pipe to oneself. It is made when it is first rung.
    #[derive(Debug, Default)]
    pub(in crate::session) struct Bell(Option<(Sender, Receiver)>);

    impl Bell {
        /// Rings, and waits until the reactor has heard it: the tasks that are ready have had their turn by then. Cancelled, it
        /// leaves nothing that a later ring is mistaken for.
        pub(in crate::session) async fn ring(&mut self) {
            if self.0.is_none() {
                // Without descriptors to spare it is a little slower.
                self.0 = pipe().ok();
            }
            let heard = match &mut self.0 {
                Some((sender, receiver)) => heard(sender, receiver).await,
                None => Err(io::ErrorKind::Unsupported.into()),
            };
            if heard.is_err() {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn heard(sender: &Sender, receiver: &mut Receiver) -> io::Result<()> {
        let mut rung = false;
        std::future::poll_fn(|cx| {
            if !rung {
                // Rings that nobody has waited for.
                while take(receiver, cx)?.is_ready() {}
                rung = sender.try_write(&[0])? == 1;
            }
            take(receiver, cx)
        })
        .await
    }

    /// Takes what the reactor has heard.
    fn take(receiver: &mut Receiver, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // More than there ever is: what is read short of its room is known to be all, without another look.
        let mut bytes = [0; 64];
        let mut room = ReadBuf::new(&mut bytes);
        ready!(Pin::new(receiver).poll_read(cx, &mut room))?;
        // The sender is this side's own.
        Poll::Ready(if room.filled().is_empty() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Rings while so many tasks are ready; whether all of them have run when that is heard.
    async fn heard_after_others(bell: &mut Bell) -> bool {
        const OTHERS: usize = 20;
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..OTHERS {
            let ran = ran.clone();
            tokio::spawn(async move { ran.fetch_add(1, Ordering::Relaxed) });
        }
        bell.ring().await;
        ran.load(Ordering::Relaxed) == OTHERS
    }

    #[tokio::test]
    async fn a_bell_is_heard_after_those_that_are_ready_whatever_was_rung_before() {
        let mut bell = Bell::default();
        assert!(heard_after_others(&mut bell).await);
        for _ in 0..3 {
            assert!(futures::poll!(pin!(bell.ring())).is_pending());
        }
        assert!(heard_after_others(&mut bell).await, "what the reactor has not noticed yet");
        assert!(futures::poll!(pin!(bell.ring())).is_pending());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(heard_after_others(&mut bell).await, "what it has noticed");
    }
}
