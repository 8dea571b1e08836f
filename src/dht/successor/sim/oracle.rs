//! What must hold of a world at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::world::{Fate, World};
use crate::dht::key::Key;
use crate::dht::successor::event::Links;

/// A world comes to rest within so long after the last fault.
pub(super) const REST: Duration = Duration::from_secs(60);

/// Whether all live nodes are settled and linked in one cycle in the order of their ids.
///
/// Their own word, [`is_settled`](crate::dht::successor::core::SuccessorCore::is_settled), is not enough: right after a
/// crash they do not know of it.
pub(super) fn at_rest(world: &World) -> Result<(), String> {
    if !world.is_unscheduled() {
        return Err("something is to come".into());
    }
    let ids: BTreeSet<Key> = world.alive().map(|(_, node)| node.id).collect();
    let mut keys = 0;
    for (_, node) in world.alive() {
        let id = node.id;
        if node.fate == Fate::Leaving {
            return Err(format!("{id} is still leaving"));
        }
        if !node.core.is_serving() {
            return Err(format!("{id} does not serve"));
        }
        let others = || ids.iter().copied().filter(|other| *other != id);
        let expected = Links {
            predecessor: others().min_by_key(|other| other.ahead(id)),
            successor: others().min_by_key(|other| id.ahead(*other)),
        };
        let links = node.core.links();
        if links != expected {
            return Err(format!("{id} has {links:?} instead of {expected:?}"));
        }
        if !node.core.is_settled() {
            return Err(format!("{id} is not settled"));
        }
        keys += links.arc(id).keys();
    }
    if !ids.is_empty() && keys != 1 << 32 {
        return Err(format!("the arcs hold {keys} keys"));
    }
    Ok(())
}

/// Lets the world come to rest, checks that it stays there, and that everything is where it belongs.
pub(super) fn check(world: &mut World) {
    rest(world);
    // Long enough for each node to hear of each.
    world.run_for(world.config.announce + world.longest_delay());
    if let Err(why) = at_rest(world) {
        panic!("at {:?} it no longer rests: {why}", world.now);
    }
    check_ends(world);
    if world.alive().next().is_some() {
        check_stored(world);
        check_answers(world);
    }
}

/// Lets the world come to rest, all requests answered, and whatever was on its way then heard.
pub(super) fn rest(world: &mut World) {
    let since = world.now;
    let rests = |world: &World| !world.clients.has_open() && at_rest(world).is_ok();
    loop {
        world.run_until(REST, rests);
        world.run_for(world.longest_delay() * 2);
        if rests(world) {
            return;
        }
        if world.now - since >= REST {
            let open: Vec<_> = world.clients.open().collect();
            panic!("no rest at {:?}: {:?}; open: {open:?}", world.now, at_rest(world));
        }
    }
}

/// Nobody who left had to give pairs up, unless it was cut off: then others have them, as after a crash.
fn check_ends(world: &World) {
    for node in world.nodes.iter().filter(|node| !node.was_cut) {
        if let Fate::Ended { abandoned } = node.fate {
            assert_eq!(abandoned, 0, "{} left pairs behind", node.id);
        }
    }
}

/// Each pair is at its owner, and nowhere else.
fn check_stored(world: &World) {
    let mut stored: BTreeMap<Key, (Key, Arc<str>)> = BTreeMap::new();
    for (_, node) in world.alive() {
        let arc = node.core.links().arc(node.id);
        for (key, value) in node.core.pairs() {
            assert!(arc.contains(key), "{} counts {key} as its own", node.id);
            let other = stored.insert(key, (node.id, value.into()));
            assert!(other.is_none(), "{key} is at {} and at {other:?}", node.id);
        }
    }
    for (key, book) in &world.clients.books {
        let found = stored.remove(key);
        let value = found.as_ref().map(|(_, value)| value.clone());
        assert!(book.allowed.contains(&value), "at {key} there is {found:?} instead of {:?}", book.allowed);
    }
    assert!(stored.is_empty(), "never put: {stored:?}");
}

/// A client finds each pair, and is told where there is none.
fn check_answers(world: &mut World) {
    let keys: Vec<Key> = world.clients.books.keys().copied().collect();
    for key in &keys {
        world.get(*key);
    }
    if !world.run_until(Duration::from_secs(10), |world| !world.clients.has_open()) {
        panic!("no answer: {:?}", world.clients.open().collect::<Vec<_>>());
    }
    for key in keys {
        let book = &world.clients.books[&key];
        let found = book.found.as_ref().expect("an answer");
        assert!(book.allowed.contains(found), "a get of {key} finds {found:?} instead of {:?}", book.allowed);
    }
}
