//! Partitions: names that gate a match.

use serde::{Deserialize, Deserializer, Serialize};

use super::bounded;

/// The partitions that a publisher or subscriber belongs to; empty means the default partition, whose name is `""`.
///
/// Partition gates a match without being a mismatch: the two sides must share one. A name may be a pattern, with `*`
/// for any run of characters and `?` for any one character; all other characters stand for themselves.
///
/// A decoded partition is within [`MAX_NAMES`](Self::MAX_NAMES) and [`MAX_NAME_LEN`](Self::MAX_NAME_LEN).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Partition(#[serde(deserialize_with = "decode_names")] pub Vec<String>);

impl Partition {
    /// The most names.
    pub const MAX_NAMES: usize = 32;

    /// The longest name, in bytes.
    pub const MAX_NAME_LEN: usize = 128;

    /// Whether these are the default partition and no other.
    pub fn is_default(&self) -> bool {
        self.0.iter().all(String::is_empty)
    }

    /// Whether the two sides share a partition: some name of one side equals a name of the other, or is a pattern that
    /// matches it. Two patterns never match each other, not even equal ones. The relation is symmetric.
    ///
    /// ```
    /// use ringbus::qos::Partition;
    /// let of = |names: &[&str]| Partition(names.iter().map(|&name| name.into()).collect());
    /// assert!(of(&["lab", "hall-*"]).matches(&of(&["hall-7"])));
    /// assert!(!of(&["hall-*"]).matches(&of(&["hall-?"])));
    /// assert!(of(&[]).matches(&of(&[""])) && of(&[]).matches(&of(&["*"])));
    /// ```
    pub fn matches(&self, other: &Partition) -> bool {
        self.names().any(|left| other.names().any(|right| names_match(left, right)))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let default = self.0.is_empty().then_some("");
        self.0.iter().map(String::as_str).chain(default)
    }
}

fn names_match(left: &str, right: &str) -> bool {
    match (is_pattern(left), is_pattern(right)) {
        (false, false) => left == right,
        (true, false) => glob(left, right),
        (false, true) => glob(right, left),
        (true, true) => false,
    }
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Matches in at most `pattern × name` steps: only the last `*` is ever tried again, since an earlier one could only
/// take what the last one can take as well.
fn glob(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut last_star = None;
    loop {
        let before = (pattern.clone(), name.clone());
        match (pattern.next(), name.next()) {
            (Some('*'), _) => {
                name = before.1;
                last_star = Some((pattern.clone(), name.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (None, None) => return true,
            _ => {
                let Some((after_star, taken)) = &mut last_star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                name = taken.clone();
            }
        }
    }
}

fn decode_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Name(#[serde(deserialize_with = "bounded::string::<_, { Partition::MAX_NAME_LEN }>")] String);

    let names = bounded::seq::<_, Name, { Partition::MAX_NAMES }>(deserializer)?;
    Ok(names.into_iter().map(|name| name.0).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition(names: &[&str]) -> Partition {
        Partition(names.iter().map(|&name| name.into()).collect())
    }

    #[test]
    fn the_rules_of_dds_hold_in_both_directions() {
        // (one side, the other side, whether they share a partition)
        let table: &[(&[&str], &[&str], bool)] = &[
            (&[], &[], true),
            (&[], &[""], true),
            (&[], &["a"], false),
            (&[], &["*"], true),
            (&[], &["?"], false),
            (&["a"], &["a"], true),
            (&["a"], &["A"], false),
            (&["a"], &["b", "a"], true),
            (&["a"], &["b", "c"], false),
            (&["a*"], &["a"], true),
            (&["a*c"], &["abbc"], true),
            (&["a*c"], &["abbcd"], false),
            (&["a?"], &["a"], false),
            (&["?"], &["é"], true),
            (&["*a*b*"], &["xxaxxbxx"], true),
            (&["*a*b*"], &["xxbxxaxx"], false),
            (&["a*"], &["a*"], false),
            (&["*"], &["*"], false),
            (&["*", "a"], &["*"], true),
            (&["[ab]"], &["a"], false),
            (&["[ab]"], &["[ab]"], true),
        ];
        for (left, right, expected) in table {
            assert_eq!(partition(left).matches(&partition(right)), *expected, "{left:?} {right:?}");
            assert_eq!(partition(right).matches(&partition(left)), *expected, "{right:?} {left:?}");
        }
    }

    #[test]
    fn only_empty_names_are_the_default() {
        assert!(partition(&[]).is_default());
        assert!(partition(&["", ""]).is_default());
        assert!(!partition(&["", "a"]).is_default());
        assert!(!partition(&["*"]).is_default());
    }

    #[test]
    fn decoding_refuses_what_is_over_the_bounds() {
        let longest = "x".repeat(Partition::MAX_NAME_LEN);
        let largest = Partition(vec![longest; Partition::MAX_NAMES]);
        let bytes = postcard::to_stdvec(&largest).unwrap();
        assert_eq!(postcard::from_bytes::<Partition>(&bytes).unwrap(), largest);

        let too_many = Partition(vec![String::new(); Partition::MAX_NAMES + 1]);
        let bytes = postcard::to_stdvec(&too_many).unwrap();
        assert!(postcard::from_bytes::<Partition>(&bytes).is_err());

        let too_long = Partition(vec!["x".repeat(Partition::MAX_NAME_LEN + 1)]);
        let bytes = postcard::to_stdvec(&too_long).unwrap();
        assert!(postcard::from_bytes::<Partition>(&bytes).is_err());
    }

    /// fnmatch by its definition: exponential, and obviously right.
    fn naive_glob(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|taken| naive_glob(rest, &name[taken..])),
            Some(('?', rest)) => !name.is_empty() && naive_glob(rest, &name[1..]),
            Some((wanted, rest)) => name.first() == Some(wanted) && naive_glob(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_the_definition(pattern in "[ab*?é]{0,8}", name in "[abé]{0,10}") {
            let expected =
                naive_glob(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>());
            prop_assert_eq!(glob(&pattern, &name), expected);
        }
    }
}
