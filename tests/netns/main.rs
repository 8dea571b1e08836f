//! System A's programs on several hosts with addresses of their own: they find each other, and go on through killed
//! processes and cut links. `tests/netns/hosts.rs` says how the hosts are made.

#![cfg(all(target_os = "linux", feature = "zmq"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

#[cfg(feature = "cli")]
mod addresses;
mod hosts;
#[path = "../support/machine.rs"]
mod machine;
#[cfg(feature = "cli")]
mod names;
mod program;
#[cfg(feature = "cli")]
mod ways;
mod weather;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hosts::Hosts;
use machine::on_this_machine;
use program::Program;
use weather::{EXACT, LATE, PATIENCE, STRONG, WILDCARD, Weather, assert_gapless, hear, heard, now};

/// The publishers' lease, and a second to notice.
const HANDOVER: Duration = Duration::from_secs(3);
/// From the kill of the responsible server until samples flow again.
const REMAP: Duration = Duration::from_secs(5);

/// What is measured here is measured alone.
static ALONE: Mutex<()> = Mutex::new(());

/// None where the tests are not wanted, which they say.
fn permission() -> Option<MutexGuard<'static, ()>> {
    if std::env::var_os("RINGBUS_NO_NETNS").is_some_and(|value| value == "1") {
        println!("not run: RINGBUS_NO_NETNS=1");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[test]
fn the_weaker_publisher_is_heard_within_a_lease_and_a_second() {
    let Some(_alone) = permission() else { return };
    let mut weather = Weather::start();
    for subscriber in weather.subscribers() {
        let first = hear(subscriber, "a reading", PATIENCE, |heard| heard.strength == 10);
        assert_eq!(first.topic, "weather/98101");
        hear(subscriber, "20 more", PATIENCE, |heard| heard.number == first.number + 20);
        assert_gapless(subscriber);
    }

    let killed = Instant::now();
    weather.strong.kill();
    for subscriber in weather.subscribers() {
        let weak = |heard: &weather::Heard| heard.strength == 5 && heard.at > killed;
        let first = hear(subscriber, "the weaker publisher", PATIENCE, weak);
        let handover = first.at - killed;
        println!("handed over after {handover:?}");
        assert!(
            handover < on_this_machine(HANDOVER),
            "handed over after {handover:?}\n{}",
            subscriber.tail()
        );
        // What the weaker one has sent meanwhile was replayed.
        assert_gapless(subscriber);
    }
}

#[test]
fn samples_flow_again_within_five_seconds_of_the_loss_of_the_responsible_server() {
    let Some(_alone) = permission() else { return };
    let mut weather = Weather::start();
    let (killed, killed_at) = (now(), Instant::now());
    weather.take_responsible().kill();
    for subscriber in weather.subscribers() {
        let first = hear(subscriber, "a reading made after the kill", PATIENCE, |heard| heard.made > killed);
        let remap = first.at - killed_at;
        println!("flowing again after {remap:?}");
        assert!(remap < on_this_machine(REMAP), "flowing again after {remap:?}");
        hear(subscriber, "20 more", PATIENCE, |heard| heard.number == first.number + 20);
        assert_gapless(subscriber);
    }
    let remapped = format!("weather/98101: remapped from {}", weather.responsible);
    for program in [&weather.strong, &weather.weak] {
        program.wait_for("the remap", PATIENCE, |line| line.text.starts_with(&remapped).then_some(()));
    }

    // A newcomer that knows one of the survivors.
    let survivor = Hosts::address(weather.servers[0].0);
    let late = Program::start(&weather.hosts, LATE, "subscriber", &["--details", "98101", &survivor]);
    hear(&late, "a reading", PATIENCE, |heard| heard.strength == 10);
    // Those that remain leave in good order.
    for (_, server) in &mut weather.servers {
        assert_eq!(server.terminate(), Some(0), "{}", server.tail());
    }
    // What the killed server has not acknowledged is waited for in vain.
    assert!(matches!(weather.strong.terminate(), Some(0 | 1)), "{}", weather.strong.tail());
    hear(&weather.exact, "the weaker publisher", PATIENCE, |heard| {
        heard.made > killed && heard.strength == 5
    });
    assert_eq!(weather.exact.terminate(), Some(0));
}

#[test]
fn a_subscriber_whose_link_was_cut_misses_nothing() {
    let Some(_alone) = permission() else { return };
    let weather = Weather::start();
    for (number, subscriber) in [(EXACT, &weather.exact), (WILDCARD, &weather.wildcard)] {
        silenced(subscriber, || weather.hosts.cut(number), || weather.hosts.heal(number));
        assert_gapless(subscriber);
    }
}

#[test]
fn a_subscriber_that_was_deaf_misses_nothing() {
    let Some(_alone) = permission() else { return };
    let weather = Weather::start();
    for (number, subscriber) in [(EXACT, &weather.exact), (WILDCARD, &weather.wildcard)] {
        silenced(subscriber, || weather.hosts.deafen(number), || weather.hosts.undeafen(number));
        assert_gapless(subscriber);
    }
}

/// Cuts a subscriber off for longer than a lease, and waits until samples flow again.
fn silenced(subscriber: &Program, cut: impl Fn(), heal: impl Fn()) {
    let began = Instant::now();
    cut();
    sleep(Duration::from_secs(3));
    // What had arrived before may be printed late.
    while let Some(last) = heard(subscriber).pop().filter(|last| last.at.elapsed() < Duration::from_secs(2)) {
        assert!(began.elapsed() < PATIENCE, "the link was not cut: {last:?}");
        sleep(Duration::from_millis(50));
    }
    heal();
    let (healed, healed_at) = (now(), Instant::now());
    let first = hear(subscriber, "a reading made after the link was healed", PATIENCE, |heard| {
        heard.strength == 10 && heard.made > healed
    });
    println!("flowing again {:?} after the link was healed", first.at - healed_at);
}

#[test]
fn a_publisher_whose_link_was_cut_is_heard_again() {
    let Some(_alone) = permission() else { return };
    let weather = Weather::start();
    let (cut, cut_at) = (now(), Instant::now());
    weather.hosts.cut(STRONG);
    for subscriber in weather.subscribers() {
        let first = hear(subscriber, "the weaker publisher", PATIENCE, |heard| {
            heard.strength == 5 && heard.made > cut
        });
        let handover = first.at - cut_at;
        println!("handed over after {handover:?}");
        assert!(handover < on_this_machine(HANDOVER), "handed over after {handover:?}");
    }
    weather.hosts.heal(STRONG);
    let (healed, healed_at) = (now(), Instant::now());
    for subscriber in weather.subscribers() {
        let first = hear(subscriber, "the stronger publisher", PATIENCE, |heard| {
            heard.strength == 10 && heard.made > healed
        });
        println!("heard again {:?} after the link was healed", first.at - healed_at);
        assert_gapless(subscriber);
    }
}
