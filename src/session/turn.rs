//! Letting other tasks have their turn without waking anybody for it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// The driver's way to wait for those whom it has just woken.
///
/// A task that yields is run again by a worker that has found nothing else to do, and tokio has such a worker wake another:
/// some twenty microseconds of the two for nothing, if the task has been woken by then and has nothing to do. So what
/// yields here is a waker of its own, which wakes the task only where that still waits.
#[derive(Debug, Default)]
pub(super) struct Turn(Arc<Yielded>);

#[derive(Debug, Default)]
struct Yielded {
    /// Those that were ready have had their turn.
    over: AtomicBool,
    /// The task, while it waits for that.
    task: AtomicWaker,
}

impl Turn {
    /// Waits until `done`, or until the tasks that are ready by now have had their turn.
    pub(super) async fn pass(&self, done: impl Future<Output = ()>) {
        let _waiting = Waiting(&self.0);
        self.0.over.store(false, Ordering::Release);
        let waker = Waker::from(self.0.clone());
        let (mut done, mut yielded) = (pin!(done), pin!(tokio::task::yield_now()));
        let mut asked = false;
        std::future::poll_fn(|cx| {
            self.0.task.register(cx.waker());
            if !asked {
                asked = true;
                if yielded.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    return Poll::Ready(());
                }
            }
            if self.0.over.load(Ordering::Acquire) { Poll::Ready(()) } else { done.as_mut().poll(cx) }
        })
        .await;
    }
}

impl Wake for Yielded {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.over.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// However the wait ends, nobody is woken for it afterwards.
struct Waiting<'a>(&'a Yielded);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.0.task.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    /// What happened, in order.
    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn note(log: &Log, what: &'static str) {
        log.lock().unwrap().push(what);
    }

    #[tokio::test]
    async fn a_turn_ends_when_the_tasks_that_are_ready_have_had_theirs() {
        let log = Log::default();
        let other = tokio::spawn({
            let log = log.clone();
            async move { note(&log, "other") }
        });
        let turn = Turn::default();
        turn.pass(std::future::pending()).await;
        note(&log, "over");
        other.await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["other", "over"]);
        // And again.
        turn.pass(std::future::pending()).await;
    }

    #[tokio::test]
    async fn a_turn_ends_before_that_if_it_is_told_to() {
        let (log, done) = (Log::default(), Arc::new(Notify::new()));
        let turn = Turn::default();
        let others = ["first", "second"].map(|name| {
            let (log, done) = (log.clone(), done.clone());
            tokio::spawn(async move {
                note(&log, name);
                done.notify_one();
                // Ready again and again.
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
                note(&log, "at last");
            })
        });
        turn.pass(done.notified()).await;
        note(&log, "over");
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(log.lock().unwrap()[..2], ["first", "second"]);
        assert_eq!(log.lock().unwrap().iter().filter(|what| **what == "over").count(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn turns_end_on_any_runtime_and_one_that_was_dropped_disturbs_nobody() {
        let turns = tokio::spawn(async {
            let turn = Turn::default();
            for _ in 0..10_000 {
                assert!(futures::poll!(pin!(turn.pass(std::future::pending()))).is_pending());
                turn.pass(std::future::pending()).await;
            }
        });
        tokio::time::timeout(Duration::from_secs(30), turns).await.unwrap().unwrap();
    }
}
