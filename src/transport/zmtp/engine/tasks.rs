//! The tasks of a session: each is known while it lives, so that a session can end all of them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use ahash::HashMap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::quiet::{MutexGuard, lock};

/// The tasks that live.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    state: Mutex<State>,
    /// Told when there are none.
    none: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// `None` for one that is just being started.
    live: HashMap<u64, Option<AbortHandle>>,
    next: u64,
    is_shut: bool,
}

impl Tasks {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Starts a task, unless all have been [shut](Self::shut).
    pub(super) fn spawn(self: &Arc<Self>, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let number = {
            let mut state = self.state();
            if state.is_shut {
                return;
            }
            state.next += 1;
            let number = state.next;
            state.live.insert(number, None);
            number
        };
        let end = End { tasks: self.clone(), number };
        // Not under the lock: a runtime that has ended drops the task at once.
        let handle = runtime.spawn(async move {
            let _end = end;
            task.await;
        });
        let mut state = self.state();
        if state.is_shut {
            handle.abort();
        } else if let Some(live) = state.live.get_mut(&number) {
            *live = Some(handle.abort_handle());
        }
    }

    /// Ends all tasks where they wait, and starts none any more.
    pub(super) fn shut(&self) {
        let handles: Vec<_> = {
            let mut state = self.state();
            state.is_shut = true;
            state.live.values_mut().filter_map(Option::take).collect()
        };
        handles.iter().for_each(AbortHandle::abort);
    }

    /// Waits until there is no task. Cancel-safe.
    pub(super) async fn ended(&self) {
        loop {
            let mut none = pin!(self.none.notified());
            none.as_mut().enable();
            if self.state().live.is_empty() {
                return;
            }
            none.await;
        }
    }
}

/// Takes a task off the list when it ends, however it does.
struct End {
    tasks: Arc<Tasks>,
    number: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.tasks.state();
            state.live.remove(&self.number);
            state.live.is_empty()
        };
        if is_last {
            self.tasks.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_by_themselves_or_all_together() {
        let tasks = Arc::new(Tasks::default());
        tasks.ended().await;
        let (done, is_done) = tokio::sync::oneshot::channel();
        tasks.spawn(&Handle::current(), async move { done.send(()).unwrap() });
        is_done.await.unwrap();
        tasks.ended().await;
        for _ in 0..3 {
            tasks.spawn(&Handle::current(), std::future::pending());
        }
        tasks.shut();
        tasks.ended().await;
        tasks.spawn(&Handle::current(), std::future::pending());
        tasks.ended().await;
    }
}
