//! Tokens and connection strings: what is signed verifies, what is changed does not, hostile text never
//! panics.

use proptest::prelude::*;
use viaduct_proto::{
    sas::{AuthError, ConnectionString, Grant, Key, Rights, Rule, SasToken, sign, verify},
    time::UnixTime,
};

proptest! {
    #[test]
    fn signed_tokens_verify_until_they_expire(
        path in "[A-Za-z0-9 ø_.-]{1,12}(/[A-Za-z0-9 ø_.-]{1,12}){0,3}",
        name in "[ -~]{1,40}",
        key in "\\PC{0,200}",
        expires in 1u64..u64::MAX,
    ) {
        let resource = format!("http://Relay.example/{}/", path.to_uppercase());
        let token = sign(&resource, &name, &Key::new(key.as_str()), UnixTime(expires));
        let parsed = SasToken::parse(&token).expect("own output");
        prop_assert_eq!(parsed.key_name(), name.as_str());
        prop_assert_eq!(parsed.expires(), UnixTime(expires));
        let rules = [rule(&name, &key)];
        let decide = |now| verify(&parsed, "relay.example:1", &path, rules.iter(), Rights::SEND, UnixTime(now));
        prop_assert_eq!(decide(expires - 1), Ok(Grant { expires: UnixTime(expires) }));
        prop_assert_eq!(decide(expires), Err(AuthError::Expired { at: UnixTime(expires) }));
    }

    #[test]
    fn a_token_with_one_byte_changed_is_not_the_same_grant(at in 22usize..140, byte in b' '..=b'~') {
        let token = sign("http://relay.example/a2/", "root", &Key::new("key"), UnixTime(1_700_003_600));
        let mut changed = token.clone().into_bytes();
        let at = at.min(changed.len() - 1);
        prop_assume!(!changed[at].eq_ignore_ascii_case(&byte));
        changed[at] = byte;
        let changed = String::from_utf8(changed).expect("ASCII");
        let rules = [rule("root", "key")];
        let granted = SasToken::parse(&changed).is_ok_and(|parsed| {
            verify(&parsed, "relay.example", "a2", rules.iter(), Rights::SEND, UnixTime(0)).is_ok()
        });
        prop_assert!(!granted, "{}", changed);
    }

    #[test]
    fn hostile_tokens_never_panic(text in prop_oneof![
        "\\PC{0,200}",
        "SharedAccessSignature [srsigeknSRSIG=&%0-9a-f+/ ]{0,200}",
        "SharedAccessSignature sr=\\PC{0,40}&sig=[A-Za-z0-9+/%=]{40,50}&se=[0-9]{0,30}&skn=\\PC{0,10}",
    ]) {
        if let Ok(parsed) = SasToken::parse(&text) {
            let rules = [rule(parsed.key_name(), "key")];
            let decision = verify(&parsed, &text, &text, rules.iter(), Rights::NONE, UnixTime(0));
            prop_assert_eq!(decision, Err(AuthError::BadSignature));
        }
    }

    #[test]
    fn connection_strings_are_read_as_written(
        host in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?",
        port in prop::option::of(1u16..),
        path in prop::option::of("[A-Za-z0-9_.-]{1,20}(/[A-Za-z0-9_.-]{1,20})?"),
        name in "[!-:<-~]{1,256}",
        key in "[!-:<-~]{1,256}",
        timeout in prop::option::of(any::<u64>()),
    ) {
        let mut written = ConnectionString::of_rule(&host, port, &name, Key::new(key.as_str()));
        written.entity_path = path.clone();
        written.operation_timeout_s = timeout;
        let read = ConnectionString::parse(&written.dangerous_text()).expect("own output");
        prop_assert_eq!(read.endpoint_host, host);
        prop_assert_eq!(read.endpoint_port, port);
        prop_assert_eq!(read.entity_path, path);
        prop_assert_eq!(read.key_name, Some(name));
        prop_assert_eq!(read.key.as_ref().map(Key::dangerous_text), Some(key.as_str()));
        prop_assert_eq!(read.operation_timeout_s, timeout);
    }

    #[test]
    fn hostile_connection_strings_never_panic(text in prop_oneof![
        "\\PC{0,200}",
        "Endpoint=sb://[a-z:@/\\[\\]0-9]{0,30};(OperationTimeout=[0-9:.]{0,30};)?\\PC{0,40}",
    ]) {
        let _ = ConnectionString::parse(&text);
    }
}

fn rule(name: &str, key: &str) -> Rule {
    Rule {
        name: name.to_string(),
        primary: Key::new(key),
        secondary: None,
        rights: Rights::SEND,
    }
}
