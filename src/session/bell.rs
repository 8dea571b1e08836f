//! What the runtime's reactor hears when a worker has nothing else to do.

#[cfg(target_os = "linux")]
pub(super) use self::counter::Bell;

/// Without a counter that the reactor can watch: the runtime says itself when the others have had their turn.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
pub(super) struct Bell;

#[cfg(not(target_os = "linux"))]
impl Bell {
    /// Waits until the tasks that are ready have had their turn.
    pub(super) async fn ring(&mut self) {
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
mod counter {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll, ready};

    use rustix::event::{EventfdFlags, eventfd};
    use tokio::io::unix::AsyncFd;

    /// An eventfd, made when it is first rung.
    #[derive(Debug, Default)]
    pub(in crate::session) struct Bell {
        counter: Option<Counter>,
    }

    impl Bell {
        /// Rings, and waits until the reactor has heard it: the tasks that are ready have had their turn by then. What was rung
        /// and not waited for counts for the next time, unless it has been heard.
        pub(in crate::session) async fn ring(&mut self) {
            if self.counter.is_none() {
                self.counter = Counter::new().ok();
            }
            let heard = match &mut self.counter {
                Some(counter) => counter.ring().await,
                None => Err(io::ErrorKind::Unsupported.into()),
            };
            if heard.is_err() {
                // No descriptor to spare: a little slower.
                tokio::task::yield_now().await;
            }
        }
    }

    #[derive(Debug)]
    struct Counter {
        fd: AsyncFd<OwnedFd>,
        /// It was added to, and the reactor has not said so yet.
        rung: bool,
    }

    impl Counter {
        fn new() -> io::Result<Self> {
            let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            Ok(Self { fd: crate::ffi::watch(fd)?, rung: false })
        }

        async fn ring(&mut self) -> io::Result<()> {
            let mut begun = false;
            std::future::poll_fn(|cx| {
                if !begun {
                    // Rings that nobody has waited for.
                    while self.heard(cx)?.is_ready() {}
                    if !self.rung {
                        // The reactor is told of each, whatever was there before, so that it need not be read; and not in
                        // the universe's time does it come to its limit.
                        rustix::io::write(self.fd.get_ref(), &1_u64.to_ne_bytes())?;
                        self.rung = true;
                    }
                    begun = true;
                }
                self.heard(cx)
            })
            .await
        }

        fn heard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.fd.poll_read_ready(cx))?.clear_ready();
            self.rung = false;
            Poll::Ready(Ok(()))
        }
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
