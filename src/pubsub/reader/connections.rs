//! Writers whose connection the transport reports lost or restored.

use super::{ReaderAction, ReaderCore};
use crate::message::EntityId;
use crate::pubsub::events::{Departure, MatchEvent};
use crate::time::Mono;
use crate::transport::Locator;

impl ReaderCore {
    /// The transport has lost a session: its writers are given up unless they are heard again soon.
    pub(in crate::pubsub) fn on_peer_down(&mut self, now: Mono, peer: &Locator) {
        for proxy in self.writers.values_mut().filter(|proxy| proxy.locator == *peer) {
            proxy.connection.lose(now);
            self.deadline = crate::time::earliest(self.deadline, proxy.connection.due());
        }
    }

    /// The transport reaches a session, maybe again.
    pub(in crate::pubsub) fn on_peer_up(&mut self, peer: &Locator) {
        let lost = self.writers.values_mut().filter(|proxy| proxy.connection.lost_at().is_some());
        lost.filter(|proxy| proxy.locator == *peer).for_each(|proxy| proxy.connection.restore());
    }

    /// Gives up the writers that were lost and not heard again: their numbers are kept until their
    /// leases end.
    pub(super) fn give_up_lost(&mut self, now: Mono) {
        let mut gone = Vec::new();
        for (id, proxy) in self.writers.iter_mut() {
            if proxy.connection.give_up(now) && proxy.compatible {
                gone.push((*id, proxy.topic.clone()));
            }
        }
        for (peer, topic) in gone {
            let (cause, topic_told) = (Departure::ConnectionLost, topic.clone());
            let event = MatchEvent::Departed { topic: topic_told, peer, cause };
            self.actions.push_back(ReaderAction::Event(event));
            self.matched -= 1;
            self.stand_down(now, peer);
        }
    }

    /// A writer was heard, from another session than before if it has `moved`: one that was given
    /// up is back.
    pub(super) fn heard(&mut self, now: Mono, writer: EntityId, moved: bool) {
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        if !proxy.connection.heard(now, moved) || !proxy.compatible {
            return;
        }
        let (topic, published) = (proxy.topic.clone(), proxy.last > 0);
        self.actions.push_back(ReaderAction::Event(MatchEvent::Matched { topic, peer: writer }));
        self.matched += 1;
        if published {
            self.stand(now, writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::{Encoding, SessionId};
    use crate::pubsub::control::{Heartbeat, Later};
    use crate::qos::{Offered, Requested};
    use crate::time::Timestamp;
    use crate::topic::Topic;
    use crate::wire::{DataFrame, FrameBuilder};

    const WRITER: EntityId = EntityId { session: SessionId(1), entity: 1 };
    const WALL: Timestamp = Timestamp::from_secs(1);

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    struct Scene {
        reader: ReaderCore,
        frames: FrameBuilder,
        session: Locator,
    }

    impl Scene {
        /// A reader that has had two samples.
        fn new() -> Self {
            let id = EntityId { entity: 2, ..WRITER };
            let mut scene = Self {
                reader: ReaderCore::new(id, false, Requested::reliable().keep_all()),
                frames: FrameBuilder::new(Encoding::Raw, WRITER, 1, 1),
                session: Locator::new("memory:writer").unwrap(),
            };
            scene.hear(at(0), 0);
            for _ in 0..2 {
                let frame = scene.publish();
                scene.reader.on_data(at(0), WALL, &frame);
            }
            assert_eq!(scene.events(), ["matched"]);
            scene
        }

        fn publish(&mut self) -> DataFrame {
            self.frames.push(WALL, WALL, 100, |_| Ok(())).unwrap();
            self.frames.take().unwrap()
        }

        fn hear(&mut self, now: Mono, last: u64) {
            let heartbeat = Heartbeat {
                writer: WRITER,
                epoch: 1,
                locator: self.session.clone(),
                offered: Offered::reliable().keep_all(),
                encoding: Encoding::Raw,
                first: 1,
                last,
                overflow: Later(None),
            };
            self.reader.on_heartbeat(now, WALL, Some(&Topic::new("t").unwrap()), &heartbeat);
        }

        fn lose(&mut self, now: Mono) {
            let session = self.session.clone();
            self.reader.on_peer_down(now, &session);
        }

        fn events(&mut self) -> Vec<&'static str> {
            std::iter::from_fn(|| self.reader.poll_action())
                .filter_map(|action| match action {
                    ReaderAction::Event(MatchEvent::Matched { .. }) => Some("matched"),
                    ReaderAction::Event(MatchEvent::Departed { cause, .. }) => Some(match cause {
                        Departure::ConnectionLost => "lost",
                        Departure::LeaseExpired => "expired",
                        _ => "other",
                    }),
                    ReaderAction::Event(_) => Some("event"),
                    ReaderAction::Tell { .. } => None,
                })
                .collect()
        }
    }

    #[test]
    fn a_writer_that_comes_back_goes_on_at_its_number() {
        let mut scene = Scene::new();
        scene.lose(at(10));
        assert_eq!((scene.events(), scene.reader.matched()), (vec![], 1));
        let due = scene.reader.poll_timeout().unwrap();
        assert!(due < at(1_000), "{due:?}");
        scene.reader.on_timeout(due);
        assert_eq!((scene.events(), scene.reader.matched()), (vec!["lost"], 0));
        // What was on its way is taken, and is no sign of life.
        let straggler = scene.publish();
        scene.reader.on_data(at(300), WALL, &straggler);
        assert_eq!((scene.events(), scene.reader.stats.received), (vec![], 3));
        let (_missed, next) = (scene.publish(), scene.publish());
        scene.reader.on_peer_up(&scene.session.clone());
        scene.reader.on_data(at(400), WALL, &next);
        assert_eq!((scene.events(), scene.reader.matched()), (vec!["matched"], 1));
        let proxy = scene.reader.writer(WRITER).unwrap();
        assert_eq!((proxy.next, proxy.missing()), (4, vec![(4, 4)]), "what was missed is asked for");
        assert_eq!((scene.reader.stats.lost, scene.reader.stats.duplicates), (0, 0));
    }

    #[test]
    fn a_connection_that_is_back_at_once_is_not_spoken_of() {
        let mut scene = Scene::new();
        scene.lose(at(10));
        scene.reader.on_peer_up(&scene.session.clone());
        scene.hear(at(100), 2);
        scene.reader.on_timeout(at(5_000));
        assert_eq!((scene.events(), scene.reader.matched()), (vec![], 1));
    }

    #[test]
    fn one_that_stays_away_is_forgotten_after_ten_seconds_whatever_its_lease() {
        let mut scene = Scene::new();
        scene.reader.writers.get_mut(&WRITER).unwrap().offered.liveliness.lease =
            Duration::from_secs(3600).into();
        scene.lose(at(10));
        scene.reader.on_timeout(at(500));
        scene.reader.on_timeout(at(10_011));
        assert_eq!((scene.events(), scene.reader.knows(WRITER)), (vec!["lost", "expired"], false));
        scene.hear(at(20_000), 2);
        assert_eq!(scene.events(), ["matched"]);
        assert_eq!(scene.reader.writer(WRITER).unwrap().next, 3);
    }
}
