//! From the path of a request to the hybrid connection registered for it.
//!
//! A sender may append a suffix to the entity's path, so the longest registered entity that is a prefix of
//! the path on a segment boundary is meant. Letter case does not count.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use crate::limits::ENTITY_PATH_MAX;

/// The form under which an entity is kept in a map: lower case, no leading or trailing `/`.
#[must_use]
pub fn entity_key(path: &str) -> String {
    path.trim_matches('/')
        .chars()
        .flat_map(char::to_lowercase)
        .collect()
}

/// Longest entity of `map` that is a prefix of `path`, its value, and the suffix (letter case kept, no
/// leading `/`, empty if there is none). Keys must come from [`entity_key`].
///
/// Only prefixes up to [`ENTITY_PATH_MAX`] bytes are tried, which bounds the work that a path of many
/// segments can cause.
pub fn match_entity<'m, 'p, V>(
    map: &'m BTreeMap<String, V>,
    path: &'p str,
) -> Option<(&'m str, &'m V, &'p str)> {
    let path = path.trim_matches('/');
    let mut key = String::with_capacity(path.len().min(ENTITY_PATH_MAX));
    let mut boundaries = Vec::new();
    for (at, c) in path.char_indices() {
        if key.len() > ENTITY_PATH_MAX {
            break;
        }
        if c == '/' {
            boundaries.push((key.len(), at));
        }
        key.extend(c.to_lowercase());
    }
    if key.len() <= ENTITY_PATH_MAX {
        boundaries.push((key.len(), path.len()));
    }
    boundaries.into_iter().rev().find_map(|(key_end, path_end)| {
        let (entity, value) = map.get_key_value(key.get(..key_end)?)?;
        let suffix = path.get(path_end..)?.trim_start_matches('/');
        Some((entity.as_str(), value, suffix))
    })
}

#[cfg(test)]
mod tests {
    use std::{borrow::ToOwned, format};

    use super::*;

    fn map(entities: &[&str]) -> BTreeMap<String, usize> {
        entities
            .iter()
            .enumerate()
            .map(|(i, e)| (entity_key(e), i))
            .collect()
    }

    #[test]
    fn longest_prefix_on_a_segment_boundary_wins() {
        let map = map(&["A1", "a1/deep", "microsoft.hybridcompute/machines/ab12/1/v2"]);
        assert_eq!(match_entity(&map, "a1"), Some(("a1", &0, "")));
        assert_eq!(match_entity(&map, "A1/x/Y"), Some(("a1", &0, "x/Y")));
        assert_eq!(match_entity(&map, "a1/DEEP/z"), Some(("a1/deep", &1, "z")));
        assert_eq!(match_entity(&map, "a1/deeper"), Some(("a1", &0, "deeper")));
        assert_eq!(match_entity(&map, "a12"), None);
        assert_eq!(match_entity(&map, ""), None);
        let arc = "Microsoft.HybridCompute/machines/AB12/1/v2";
        assert_eq!(match_entity(&map, arc).map(|found| *found.1), Some(2));
    }

    #[test]
    fn letters_whose_lower_case_is_longer_keep_the_boundaries() {
        let map = map(&["İİ"]);
        assert_eq!(match_entity(&map, "İİ/Rest").map(|found| found.2), Some("Rest"));
    }

    #[test]
    fn entities_are_found_up_to_the_longest_that_may_be() {
        let (longest, too_long) = ("a".repeat(ENTITY_PATH_MAX), "b".repeat(ENTITY_PATH_MAX + 1));
        let map = map(&[&longest, &too_long]);
        assert_eq!(match_entity(&map, &longest).map(|found| *found.1), Some(0));
        assert_eq!(
            match_entity(&map, &format!("{longest}/x")).map(|found| found.2),
            Some("x")
        );
        assert_eq!(match_entity(&map, &too_long), None);
        assert_eq!(match_entity(&map, &format!("{too_long}/x")), None);
    }

    #[test]
    fn a_path_of_very_many_segments_is_cut_off() {
        let map = map(&["a"]);
        let path = format!("a{}", "/b".repeat(30_000));
        assert_eq!(
            match_entity(&map, &path).map(|found| found.0.to_owned()),
            Some("a".into())
        );
    }
}
