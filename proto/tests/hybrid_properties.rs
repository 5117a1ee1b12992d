//! Addresses and messages: what one side writes the other reads, and hostile text never panics.

use std::collections::BTreeMap;

use proptest::prelude::*;
use viaduct_proto::{
    hybrid::{
        Accept, Action, FromListener, Refusal, ToListener, Tracking, accept_address, connect_target,
        entity_key, filter_query, listen_target, match_entity, parse_from_listener, parse_hc_target,
        parse_to_listener, parse_ws_url, reason_phrase, rendezvous_id, renew_token_json,
    },
    limits::REASON_PHRASE_MAX,
    time::UnixTime,
};

proptest! {
    #[test]
    fn targets_of_a_bridge_are_read_back(path in path(), id in "\\PC{0,40}") {
        for (target, action) in [
            (listen_target(&path, &id), Action::Listen),
            (connect_target(&path, &id), Action::Connect),
        ] {
            let parsed = parse_hc_target(&target).expect("own output");
            prop_assert_eq!(&parsed.path, &path);
            prop_assert_eq!(parsed.action, action);
            prop_assert_eq!(parsed.id.unwrap_or_default(), id.as_str());
            prop_assert_eq!(parsed.forward_query, "");
        }
    }

    #[test]
    fn a_sender_is_announced_followed_and_recognised(
        path in path(),
        query in "[a-zA-Z0-9=&%+.-]{0,40}",
        secure: bool,
        guid: [u8; 16],
        nonce: [u8; 16],
    ) {
        let id = rendezvous_id(guid, nonce);
        let raw = connect_target(&path, "");
        let (raw_path, _) = raw["/$hc/".len()..].split_once('?').expect("has a query");
        let kept = filter_query(&query).unwrap_or_default();
        let address = accept_address(secure, "[::1]:8443", raw_path, &kept, &id);
        let url = parse_ws_url(&address).expect("own output");
        prop_assert_eq!((url.secure, url.host.as_str(), url.port), (secure, "::1", 8443));
        let parsed = parse_hc_target(&url.target).expect("own output");
        prop_assert_eq!(&parsed.path, &path);
        prop_assert_eq!((parsed.action, parsed.id.as_deref()), (Action::Accept, Some(id.as_str())));
        prop_assert_eq!(&parsed.forward_query, &kept);
        prop_assert_eq!(parsed.rejection(), Ok(None));
    }

    #[test]
    fn filtering_twice_changes_nothing_and_leaves_nothing_of_ours(query in "(sb-hc-|SB-HC-|[a-z=&%]){0,20}") {
        let once = filter_query(&query).unwrap_or_default();
        prop_assert_eq!(filter_query(&once).unwrap_or_default(), once.as_str());
        let ours = |part: &str| part.to_lowercase().starts_with("sb-hc-") && part.contains('=');
        prop_assert!(!once.split('&').any(ours), "{}", once);
        let kept: Vec<_> = query.split('&').filter(|part| !ours(part)).collect();
        prop_assert_eq!(once, kept.join("&"));
    }

    #[test]
    fn accept_messages_are_read_back(
        address in "\\PC{0,60}",
        id in "\\PC{0,60}",
        headers in prop::collection::btree_map("[!#$%&'*+.^_`|~0-9a-z-]{1,20}", "\\PC{0,40}", 0..10),
        remote in ("\\PC{0,20}", any::<u16>()),
    ) {
        let connect_headers = headers.into_iter().collect();
        let accept = Accept { address, id, connect_headers, remote };
        prop_assert_eq!(parse_to_listener(&accept.to_json()), Ok(ToListener::Accept(accept)));
    }

    #[test]
    fn renewals_are_read_back(token in any::<String>()) {
        let read = parse_from_listener(&renew_token_json(&token));
        prop_assert_eq!(read, Ok(FromListener::RenewToken(token.into())));
    }

    #[test]
    fn hostile_text_never_panics(text in prop_oneof![
        any::<String>(),
        "/\\$hc/[a-z%/?#0-9]{0,30}\\?(sb-hc-|action=|id=|statusCode=|[a-z0-9&=%+]){0,20}",
        "wss?://[a-z:@/\\[\\]0-9%?#]{0,40}",
    ]) {
        if let Ok(parsed) = parse_hc_target(&text) {
            let _ = parsed.rejection();
            let _ = format!("{parsed:?}");
            prop_assert!(!parsed.path.chars().any(char::is_control));
        }
        if let Ok(url) = parse_ws_url(&text) {
            prop_assert!(url.target.bytes().all(|b| b.is_ascii_graphic()));
        }
        let _ = filter_query(&text);
    }

    #[test]
    fn hostile_json_never_panics(text in prop_oneof![
        any::<String>(),
        r#"\{"(accept|request)":\{("(id|address|body|remoteEndpoint)":(1|"x"|null|\[\]|\{\}|1e9),){0,5}"z":0\}\}"#,
        r#"\{"(response|renewToken)":\{("(body|statusCode|token|requestId)":(1|"x"|\[\]|1e9|200),){0,5}"z":0\}\}"#,
    ]) {
        let _ = format!("{:?} {:?}", parse_to_listener(&text), parse_from_listener(&text));
    }

    #[test]
    fn reason_phrases_are_one_bounded_line(
        id in any::<String>(),
        namespace in any::<String>(),
        path in any::<String>(),
        at: u64,
        status: u16,
        text in any::<String>(),
    ) {
        let tracking = Tracking { id: &id, namespace: &namespace, path: &path, at: UnixTime(at) };
        for refusal in [Refusal::NoListeners, Refusal::Rejected { status, text }] {
            let phrase = reason_phrase(&refusal, &tracking);
            prop_assert!(phrase.len() <= REASON_PHRASE_MAX);
            prop_assert!(!phrase.chars().any(char::is_control));
        }
    }

    #[test]
    fn matching_finds_the_longest_registered_prefix(
        entities in prop::collection::vec("[ab](/[ab]){0,3}", 0..8),
        path in "[abAB](/[abAB]){0,5}",
    ) {
        let map: BTreeMap<String, ()> = entities.iter().map(|entity| (entity_key(entity), ())).collect();
        let lower = path.to_lowercase();
        let covers = |entity: &&String| lower == **entity || lower.starts_with(&format!("{entity}/"));
        let expected = map.keys().filter(covers).max_by_key(|entity| entity.len());
        let found = match_entity(&map, &path);
        prop_assert_eq!(found.map(|found| found.0), expected.map(String::as_str));
        if let Some((entity, (), suffix)) = found {
            let slash = if suffix.is_empty() { "" } else { "/" };
            let again = format!("{entity}{slash}{}", suffix.to_lowercase());
            prop_assert_eq!(again, lower);
        }
    }
}

/// A path without leading, trailing or control characters that decoding would change or refuse.
fn path() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ?#%&=+ø._-]{1,10}(/[a-zA-Z0-9 ?#%&=+ø._-]{1,10}){0,3}"
}
