use std::format;

use super::*;
use crate::hybrid::accept_address;

#[test]
fn missing_action_means_connect() {
    for target in [
        "/$hc/a2",
        "/$hc/a2?",
        "/$hc/a2?x=1",
        "/%24HC/a2",
        "wss://h:1/$hc/a2",
    ] {
        let parsed = parse_hc_target(target).expect(target);
        assert_eq!(
            (parsed.action, parsed.path.as_str()),
            (Action::Connect, "a2"),
            "{target}"
        );
        assert_eq!((parsed.id, parsed.token), (None, None), "{target}");
    }
}

#[test]
fn actions_and_names_ignore_letter_case() {
    let table = [
        ("listen", Action::Listen),
        ("ACCEPT", Action::Accept),
        ("Connect", Action::Connect),
        ("request", Action::Request),
    ];
    for (text, action) in table {
        let target = format!("/$hc/a?SB-HC-Action={text}&Sb-Hc-Id=1");
        let parsed = parse_hc_target(&target).expect(text);
        assert_eq!((parsed.action, parsed.id.as_deref()), (action, Some("1")));
    }
    for target in ["/$hc/a?sb-hc-action=", "/$hc/a?sb-hc-action=send"] {
        assert_eq!(parse_hc_target(target), Err(AddressError::UnknownAction));
    }
}

#[test]
fn path_is_decoded_and_kept_as_sent() {
    let parsed = parse_hc_target("/$hc/dir%2Fa%20b/%C3%B8+c/?x").expect("valid");
    assert_eq!(parsed.path, "dir/a b/ø+c");
    assert_eq!(parsed.raw_path, "dir%2Fa%20b/%C3%B8+c/");
    assert_eq!(parsed.forward_query, "x");
}

#[test]
fn wrong_endpoints_and_unusable_paths() {
    let table = [
        ("/a2", AddressError::NotHc),
        ("/$hc", AddressError::NotHc),
        ("$hc/a2", AddressError::NotHc),
        ("", AddressError::NotHc),
        ("*", AddressError::NotHc),
        ("https://host", AddressError::NotHc),
        ("/$hc/", AddressError::EmptyPath),
        ("/$hc//%2F?x", AddressError::EmptyPath),
        ("/$hc/%ff", AddressError::BadEncoding),
        ("/$hc/a%0d%0ab", AddressError::BadEncoding),
        ("/$hc/a%00", AddressError::BadEncoding),
        ("/$hc/a?sb-hc-id=%ff", AddressError::BadEncoding),
    ];
    for (target, error) in table {
        assert_eq!(parse_hc_target(target), Err(error), "{target}");
    }
}

#[test]
fn own_parameters_are_taken_and_the_rest_is_forwarded() {
    let target =
        "/$hc/a/b?&k=%2f&sb-hc-id=g_G1&k=2&sb-hc-token=SharedAccessSignature+sr%3Dx%2526&&sb-hc-undefined";
    let parsed = parse_hc_target(target).expect("valid");
    assert_eq!(parsed.id.as_deref(), Some("g_G1"));
    assert_eq!(parsed.token.as_deref(), Some("SharedAccessSignature sr=x%26"));
    assert_eq!(parsed.forward_query, "&k=%2f&k=2&&sb-hc-undefined");
}

#[test]
fn both_spellings_of_a_reject() {
    let rejects = [
        "sb-hc-statusCode=400&sb-hc-statusDescription=Rejected%20by%20user+code",
        "statusCode=400&statusDescription=Rejected+by%20user%20code",
        "STATUSCODE=400&sb-hc-StatusDescription=Rejected+by+user+code",
    ];
    for reject in rejects {
        let target = format!("/$hc/a?sb-hc-action=accept&sb-hc-id=x&{reject}");
        let rejection = parse_hc_target(&target).expect(reject).rejection();
        let expected = Rejection {
            status: 400,
            description: "Rejected by user code".into(),
        };
        assert_eq!(rejection, Ok(Some(expected)), "{reject}");
    }
}

#[test]
fn a_reject_needs_a_three_digit_status() {
    for status in ["", "99", "1000", "-1", "4e2", "70000", "abc"] {
        let target = format!("/$hc/a?sb-hc-id=x&sb-hc-statusCode={status}");
        let parsed = parse_hc_target(&target).expect(status);
        assert_eq!(parsed.rejection(), Err(AddressError::BadStatus), "{status}");
    }
    for status in [100, 999] {
        let parsed = parse_hc_target(&format!("/$hc/a?sb-hc-id=x&statusCode={status}")).expect("valid");
        let found = parsed
            .rejection()
            .map(|found| found.map(|rejection| rejection.status));
        assert_eq!(found, Ok(Some(status)));
    }
    let parsed = parse_hc_target("/$hc/a?sb-hc-id=x&statusDescription=only").expect("valid");
    assert_eq!(parsed.rejection(), Ok(None));
}

#[test]
fn a_senders_own_status_code_is_not_a_reject() {
    let sender = parse_hc_target("/$hc/a?statusCode=500&statusDescription=no").expect("valid");
    assert_eq!(sender.rejection(), Ok(None));
    let address = accept_address(true, "h:443", &sender.raw_path, &sender.forward_query, "x");
    let accept = parse_hc_target(&address).expect("valid");
    assert_eq!(accept.rejection(), Ok(None));
    let reject = parse_hc_target(&(address + "&statusCode=403")).expect("valid");
    assert_eq!(reject.rejection().map(|r| r.map(|r| r.status)), Ok(Some(403)));
}

#[test]
fn first_of_repeated_parameters_counts() {
    let parsed = parse_hc_target("/$hc/a?sb-hc-id=1&sb-hc-id=2&sb-hc-action=listen&sb-hc-action=nonsense");
    let parsed = parsed.expect("valid");
    assert_eq!((parsed.id.as_deref(), parsed.action), (Some("1"), Action::Listen));
}

#[test]
fn debug_output_has_no_secret() {
    let guid = "01010101-0101-4101-8101-010101010101";
    let target = format!("/$hc/a?sb-hc-id={guid}_nonce_G0&sb-hc-token=secret&private=1");
    let shown = format!("{:?}", parse_hc_target(&target).expect("valid"));
    assert!(shown.contains(guid), "{shown}");
    for secret in ["nonce", "secret", "private"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let shown = format!("{:?}", parse_hc_target("/$hc/a?sb-hc-id=unusual").expect("valid"));
    assert!(!shown.contains("unusual"), "{shown}");
}
