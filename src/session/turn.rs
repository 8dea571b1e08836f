//! Letting other tasks have their turn without waking anybody for it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

use super::bell::Bell;

/// The driver's way to wait for those whom it has just woken.
///
/// It matters how the driver gets on when they are done. A runtime's worker that comes upon a ready task after it has looked for
/// work, as upon one that has yielded, wakes a second worker before it runs it, and so it does where tasks wake each other and the
/// next would be the fourth in a row. Where the two tasks are the driver and whom it works for, the second worker finds
/// nothing to do, and its coming and going takes tens of microseconds of two processors. Hence
/// - the driver rings a [bell](Bell), and the reactor hears it when a worker has nothing else to do: what the reactor wakes
///   is run without further ado;
/// - those who were woken may [say](Turns::end) before that that they are done, but only every other time: so nobody
///   is the fourth in a row.
#[derive(Debug, Default)]
pub(super) struct Turn {
    bell: Bell,
    /// The last turn could be ended early.
    was_brief: bool,
}

/// Where those who were woken say that they have had their turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// A turn that can be ended has begun and was not ended.
    open: AtomicBool,
    /// The driver, while it waits for that.
    driver: AtomicWaker,
}

impl Turn {
    /// Waits until those who are ready have had their turn: until that is said, or the runtime has nothing else to do. What is
    /// said before it has begun is not heard, and not missed either: the bell is.
    pub(super) async fn pass(&mut self, turns: &Arc<Turns>) {
        self.was_brief = !self.was_brief;
        let heard = self.bell.ring();
        if !self.was_brief {
            return heard.await;
        }
        let _over = Over(turns);
        turns.open.store(true, Ordering::Release);
        // Where the turn has been ended the bell is heard by nobody.
        let waker = Waker::from(turns.clone());
        let mut heard = pin!(heard);
        std::future::poll_fn(|cx| {
            turns.driver.register(cx.waker());
            // Looked at after that, so that an end which comes now is seen or wakes.
            match turns.open.load(Ordering::Acquire) {
                true => heard.as_mut().poll(&mut Context::from_waker(&waker)),
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    /// For a driver that has nothing to do: is polled when that is so, and never ready. When the driver gets on it is the
    /// first of a new row.
    pub(super) async fn rest(&mut self) -> Infallible {
        self.was_brief = false;
        std::future::pending().await
    }
}

impl Turns {
    /// Those who were woken have had their turn.
    pub(super) fn end(&self) {
        if self.open.swap(false, Ordering::AcqRel) {
            self.driver.wake();
        }
    }
}

/// By the bell.
impl Wake for Turns {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.driver.wake();
    }
}

/// However the wait ends, nobody is woken for it afterwards.
struct Over<'a>(&'a Turns);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.open.store(false, Ordering::Release);
        drop(self.0.driver.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// What happened, in order.
    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn note(log: &Log, what: &'static str) {
        log.lock().unwrap().push(what);
    }

    #[tokio::test]
    async fn a_turn_ends_when_the_tasks_that_are_ready_have_had_theirs() {
        let (log, turns, mut turn) = (Log::default(), Arc::new(Turns::default()), Turn::default());
        // One that can be ended early, and one that cannot.
        for _ in 0..2 {
            let other = tokio::spawn({
                let log = log.clone();
                async move { note(&log, "other") }
            });
            turn.pass(&turns).await;
            note(&log, "over");
            other.await.unwrap();
        }
        assert_eq!(*log.lock().unwrap(), ["other", "over", "other", "over"]);
    }

    /// What happens in a turn in which the first of two says that it is over, and then has more to do.
    async fn ended_early(turn: &mut Turn, turns: &Arc<Turns>) -> Vec<&'static str> {
        let log = Log::default();
        let others = ["first", "second"].map(|name| {
            let (log, turns) = (log.clone(), turns.clone());
            tokio::spawn(async move {
                note(&log, name);
                if name == "first" {
                    turns.end();
                    tokio::spawn(async move { note(&log, "more") }).await.unwrap();
                }
            })
        });
        turn.pass(turns).await;
        note(&log, "over");
        for other in others {
            other.await.unwrap();
        }
        let log = log.lock().unwrap();
        log.clone()
    }

    #[tokio::test]
    async fn every_other_turn_in_a_row_ends_before_that_if_it_is_said() {
        const EARLY: [&str; 4] = ["first", "second", "over", "more"];
        const LATE: [&str; 4] = ["first", "second", "more", "over"];
        let driver = tokio::spawn(async {
            let (turns, mut turn) = (Arc::new(Turns::default()), Turn::default());
            for expected in [EARLY, LATE, EARLY] {
                assert_eq!(ended_early(&mut turn, &turns).await, expected);
            }
            assert!(futures::poll!(pin!(turn.rest())).is_pending());
            assert_eq!(ended_early(&mut turn, &turns).await, EARLY);
        });
        driver.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn turns_end_on_any_runtime_and_one_that_was_dropped_disturbs_nobody() {
        let turns = tokio::spawn(async {
            let (turns, mut turn) = (Arc::new(Turns::default()), Turn::default());
            for _ in 0..10_000 {
                // Pending, but where the other worker has heard the bell in the very moment.
                let _pending_or_over = futures::poll!(pin!(turn.pass(&turns)));
                turns.end();
                turn.pass(&turns).await;
            }
        });
        tokio::time::timeout(Duration::from_secs(30), turns).await.unwrap().unwrap();
    }
}
