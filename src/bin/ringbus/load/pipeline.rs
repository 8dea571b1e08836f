//! Many puts at a time, of which no two concern one key.

use std::cell::RefCell;
use std::collections::HashMap;

use futures::{StreamExt, stream};
use ringbus::dht::Key;

use super::rows::Row;

/// What has come of it so far.
struct Progress<'r, 'a, E, A> {
    count: usize,
    failed: Option<(&'r Row<'a>, E)>,
    acknowledged: A,
}

/// Puts the rows, up to `limit` at a time, and a row only after every earlier one with its key has been acknowledged.
/// After a failure nothing more is begun, but what has begun is waited for. Returns how many rows were acknowledged, and
/// the row that failed first.
pub(super) async fn run<'r, 'a, E, P>(
    rows: &'r [Row<'a>],
    limit: usize,
    put: impl Fn(&'r Row<'a>) -> P,
    acknowledged: impl FnMut(Key),
) -> (usize, Option<(&'r Row<'a>, E)>)
where
    P: Future<Output = Result<Key, E>>,
{
    let progress = RefCell::new(Progress { count: 0, failed: None, acknowledged });
    let put_each = async |rows: Vec<&'r Row<'a>>| {
        for row in rows {
            if progress.borrow().failed.is_some() {
                return;
            }
            let stored = put(row).await;
            let mut progress = progress.borrow_mut();
            match stored {
                Ok(node) => {
                    progress.count += 1;
                    (progress.acknowledged)(node);
                }
                Err(error) => {
                    progress.failed.get_or_insert((row, error));
                }
            }
        }
    };
    stream::iter(by_key(rows)).for_each_concurrent(limit, put_each).await;
    let Progress { count, failed, .. } = progress.into_inner();
    (count, failed)
}

/// The rows of each key, in their order; the keys in the order of their first rows.
fn by_key<'r, 'a>(rows: &'r [Row<'a>]) -> Vec<Vec<&'r Row<'a>>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<&Row<'_>>> = Vec::new();
    for row in rows {
        let place = *places.entry(row.key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    fn rows(keys: &[u32]) -> Vec<Row<'static>> {
        let row =
            |(line, &key): (usize, &u32)| Row { line, name: key.to_string(), key: Key::new(key), text: "" };
        keys.iter().enumerate().map(row).collect()
    }

    /// Each put takes as many turns as its key says. Returns the lines in the order in which they began and ended.
    async fn trace(keys: &[u32], limit: usize, broken: Option<usize>) -> (Vec<String>, usize, Option<usize>) {
        let (rows, log) = (rows(keys), RefCell::new(Vec::new()));
        let put = |row: &Row<'_>| {
            let (line, turns) = (row.line, row.key.get());
            log.borrow_mut().push(format!("+{line}"));
            let log = &log;
            async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                log.borrow_mut().push(format!("-{line}"));
                if broken == Some(line) { Err(()) } else { Ok(Key::new(0)) }
            }
        };
        let (count, failed) = run(&rows, limit, put, |_| {}).await;
        let failed = failed.map(|(row, ())| row.line);
        (log.take(), count, failed)
    }

    #[tokio::test]
    async fn the_later_of_two_rows_with_one_key_waits_for_the_earlier() {
        let (log, count, failed) = trace(&[9, 1, 9, 2], 10, None).await;
        assert_eq!(log, ["+0", "+1", "+3", "-1", "-3", "-0", "+2", "-2"]);
        assert_eq!((count, failed), (4, None));
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_asked_for() {
        let (log, count, _) = trace(&[5, 4, 3, 2, 1], 2, None).await;
        let mut under_way = 0;
        for event in &log {
            under_way += if event.starts_with('+') { 1 } else { -1 };
            assert!(under_way <= 2, "{log:?}");
        }
        assert_eq!((log.len(), count), (10, 5));
        assert_eq!(trace(&[2, 1], 1, None).await.0, ["+0", "-0", "+1", "-1"]);
    }

    #[tokio::test]
    async fn after_a_failure_what_has_begun_is_waited_for_and_nothing_else_begins() {
        let (log, count, failed) = trace(&[9, 1, 8, 7], 3, Some(1)).await;
        assert_eq!(log, ["+0", "+1", "+2", "-1", "-2", "-0"]);
        assert_eq!((count, failed), (2, Some(1)));
    }
}
