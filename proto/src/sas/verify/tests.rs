use std::{format, vec, vec::Vec};

use super::*;
use crate::sas::sign;

/// Computed with OpenSSL: `printf '%s\n%s' "$sr" "$se" | openssl dgst -sha256 -hmac "$key" -binary | base64`.
const VECTORS: [(&str, &str); 5] = [
    (
        "http%3A%2F%2Frelay.example%2Fa2%2F",
        "5jqUkwhNCerSlsXMOq7LcfGcn5/nxP5tIRzwK+ebcFg=",
    ),
    (
        "http%3a%2f%2frelay.example%3a443%2fa2",
        "SpubCoVqDs6AdhJkpajNPJ/1U7sqxYBC8SVQUpd+C/g=",
    ),
    (
        "http%3A%2F%2Frelay.example",
        "ZvozYY7iB6B9memoY9BX+/DhCahFPxgQ6Mup2W1eCao=",
    ),
    (
        "sb%3A%2F%2Frelay.example%2Fa2",
        "ghreEfJvJL1izGwBgTodXzzmnqhyP3kZvX8Zs+nwjFU=",
    ),
    (
        "http%3A%2F%2Frelay.example%2Fmy+path",
        "Nok+LDP45vxdxr12qtga0I6OIT0ZJ8gYHGVafp4LHB0=",
    ),
];
const KEY: &str = "cGxlYXNlIGRvIG5vdCBkZWNvZGUgdGhpcyBrZXkhISE=";
const EXPIRY: UnixTime = UnixTime(1_700_003_600);
const BEFORE: UnixTime = UnixTime(1_700_000_000);

fn rule(name: &str, primary: &str, secondary: Option<&str>, rights: Rights) -> Rule {
    Rule {
        name: name.into(),
        primary: Key::new(primary),
        secondary: secondary.map(Key::new),
        rights,
    }
}

fn root() -> Vec<Rule> {
    vec![rule("root", KEY, None, Rights::MANAGE)]
}

fn check(token: &str, entity: &str, rules: &[Rule], need: Rights, now: UnixTime) -> Result<Grant, AuthError> {
    let token = SasToken::parse(token)?;
    verify(&token, "Relay.Example:8443", entity, rules.iter(), need, now)
}

#[test]
fn signing_matches_an_independent_computation() {
    assert_eq!(
        sign("http://relay.example/a2/", "root", &Key::new(KEY), EXPIRY),
        "SharedAccessSignature sr=http%3A%2F%2Frelay.example%2Fa2%2F\
         &sig=5jqUkwhNCerSlsXMOq7LcfGcn5%2FnxP5tIRzwK%2BebcFg%3D&se=1700003600&skn=root"
    );
}

#[test]
fn raw_resource_is_what_is_verified_in_every_spelling() {
    for (raw_resource, signature) in VECTORS {
        let entity = if raw_resource.ends_with("+path") {
            "my path"
        } else {
            "a2"
        };
        let escaped = signature.replace('+', "%2B").replace('=', "%3d");
        let spellings = [
            format!("SharedAccessSignature sr={raw_resource}&sig={escaped}&se=1700003600&skn=root"),
            format!("SharedAccessSignature sr={raw_resource}&sig={signature}&se=1700003600&skn=root"),
            format!(
                "SharedAccessSignature sr={raw_resource}&sig={}&se=1700003600&skn=root",
                signature.replace('+', " ")
            ),
            format!("sharedaccesssignature  SKN=root&Se=1700003600&SIG={escaped}&Sr={raw_resource}"),
            format!(
                " SharedAccessSignature se=1700003600&skn=r%6fot&x=y&sr={raw_resource}&sig={}",
                escaped.replace('/', "%2F").replace("%3d", "")
            ),
        ];
        for token in spellings {
            let granted = check(&token, entity, &root(), Rights::LISTEN, BEFORE);
            assert_eq!(granted, Ok(Grant { expires: EXPIRY }), "{token}");
        }
    }
}

#[test]
fn a_resource_that_differs_only_in_escaping_has_another_signature() {
    let (_, signature) = VECTORS[0];
    let escaped = signature.replace('+', "%2B");
    let lower = format!(
        "SharedAccessSignature sr=http%3a%2f%2frelay.example%2fa2%2f&sig={escaped}&se=1700003600&skn=root"
    );
    assert_eq!(
        check(&lower, "a2", &root(), Rights::SEND, BEFORE),
        Err(AuthError::BadSignature)
    );
    let later = format!(
        "SharedAccessSignature sr=http%3A%2F%2Frelay.example%2Fa2%2F&sig={escaped}&se=1700003601&skn=root"
    );
    assert_eq!(
        check(&later, "a2", &root(), Rights::SEND, BEFORE),
        Err(AuthError::BadSignature)
    );
}

#[test]
fn decisions_come_in_an_order_that_tells_strangers_nothing() {
    let listen_only = [rule("root", KEY, None, Rights::LISTEN)];
    let token = sign("http://relay.example/a2/", "root", &Key::new(KEY), EXPIRY);
    let forged = sign(
        "http://relay.example/a2/",
        "root",
        &Key::new("other"),
        UnixTime(0),
    );
    let unknown = sign("http://relay.example/a2/", "nobody", &Key::new(KEY), EXPIRY);
    let send = Rights::SEND;
    assert_eq!(
        check(&forged, "other", &listen_only, send, BEFORE),
        Err(AuthError::BadSignature)
    );
    assert_eq!(
        check(&unknown, "a2", &listen_only, send, BEFORE),
        Err(AuthError::UnknownRule)
    );
    assert_eq!(
        check(&token, "other", &listen_only, send, EXPIRY),
        Err(AuthError::WrongResource)
    );
    let expired = Err(AuthError::Expired { at: EXPIRY });
    assert_eq!(check(&token, "a2", &listen_only, send, EXPIRY), expired);
    assert_eq!(
        check(&token, "a2", &listen_only, send, BEFORE),
        Err(AuthError::MissingRight)
    );
    let granted = check(&token, "a2/suffix", &listen_only, Rights::LISTEN, BEFORE);
    assert_eq!(granted, Ok(Grant { expires: EXPIRY }));
}

#[test]
fn secondary_keys_and_rules_of_the_same_name_are_tried_in_order() {
    let rules = [
        rule("shared", "entity-primary", Some("entity-secondary"), Rights::SEND),
        rule(
            "shared",
            "namespace-primary",
            Some("namespace-secondary"),
            Rights::LISTEN,
        ),
    ];
    let table = [
        ("entity-primary", Rights::SEND, true),
        ("entity-secondary", Rights::SEND, true),
        ("entity-secondary", Rights::LISTEN, false),
        ("namespace-primary", Rights::LISTEN, true),
        ("namespace-secondary", Rights::LISTEN, true),
        ("namespace-secondary", Rights::SEND, false),
    ];
    for (key, need, granted) in table {
        let token = sign("http://relay.example/", "shared", &Key::new(key), EXPIRY);
        assert_eq!(check(&token, "a", &rules, need, BEFORE).is_ok(), granted, "{key}");
    }
}

#[test]
fn unreadable_tokens() {
    let good_signature = "ZvozYY7iB6B9memoY9BX%2B/DhCahFPxgQ6Mup2W1eCao%3D";
    let table = [
        ("".into(), TokenError::NotSas),
        ("com.example.SecurityToken@1a2b".into(), TokenError::NotSas),
        ("SharedAccessSignaturesr=x".into(), TokenError::NotSas),
        ("Bearer eyJhbGciOi.e30.x".into(), TokenError::NotSas),
        ("SharedAccessSignature ".into(), TokenError::NotSas),
        ("SharedAccessSignature x".into(), TokenError::Missing("sr")),
        ("SharedAccessSignature sr=x".into(), TokenError::Missing("sig")),
        (
            "SharedAccessSignature sr=x&sig=x".into(),
            TokenError::Missing("se"),
        ),
        (
            "SharedAccessSignature sr=x&sig=x&se=1".into(),
            TokenError::Missing("skn"),
        ),
        (
            "SharedAccessSignature sr=x&SR=y".into(),
            TokenError::Repeated("sr"),
        ),
        (
            "SharedAccessSignature sr=x&sig=x&se=1&skn=x".into(),
            TokenError::Malformed("sig"),
        ),
        (
            format!("SharedAccessSignature sr=x&sig={good_signature}&se=-1&skn=x"),
            TokenError::Malformed("se"),
        ),
        (
            format!("SharedAccessSignature sr=x&sig={good_signature}&se=&skn=x"),
            TokenError::Malformed("se"),
        ),
        (
            format!("SharedAccessSignature sr=x&sig={good_signature}&se=1&skn=%ff"),
            TokenError::Malformed("skn"),
        ),
        (
            format!(
                "SharedAccessSignature sr=x&sig={good_signature}&se=1&skn={}",
                "n".repeat(257)
            ),
            TokenError::TooLong,
        ),
        (
            format!("SharedAccessSignature sr={}", "x".repeat(9000)),
            TokenError::TooLong,
        ),
    ];
    for (text, error) in table {
        assert_eq!(SasToken::parse(&text).err(), Some(error), "{text}");
        assert_eq!(
            check(&text, "a", &root(), Rights::NONE, BEFORE),
            Err(AuthError::Malformed)
        );
    }
}

#[test]
fn an_expiry_of_many_digits_is_the_far_future() {
    let digits = "9".repeat(40);
    let text = format!(
        "SharedAccessSignature sr=x&sig=ZvozYY7iB6B9memoY9BX%2B/DhCahFPxgQ6Mup2W1eCao%3D&se={digits}&skn=x"
    );
    assert_eq!(
        SasToken::parse(&text).map(|token| token.expires()),
        Ok(UnixTime(u64::MAX))
    );
}

#[test]
fn debug_output_has_no_secret() {
    let rules = [rule("root", "secret-one", Some("secret-two"), Rights::MANAGE)];
    let token = sign("http://relay.example/", "root", &rules[0].primary, EXPIRY);
    let (_, signature) = token.split_once("sig=").expect("signed");
    let shown = format!("{rules:?} {:?}", SasToken::parse(&token));
    assert!(
        !shown.contains("secret") && !shown.contains(&signature[..8]),
        "{shown}"
    );
}
