use std::{format, vec};

use super::*;

fn accept(headers: &[(&str, &str)]) -> Accept {
    Accept {
        address: "wss://node:443/$hc/a?sb-hc-action=accept&sb-hc-id=secret-ticket".into(),
        id: "01010101-0101-4101-8101-010101010101_secret_G0".into(),
        connect_headers: headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect(),
        remote: ("203.0.113.5".into(), 51_234),
    }
}

#[test]
fn accept_has_exactly_the_members_that_clients_insist_on() {
    let json = accept(&[
        ("Host", "relay.example"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ])
    .to_json();
    let expected = concat!(
        r#"{"accept":{"address":"wss://node:443/$hc/a?sb-hc-action=accept&sb-hc-id=secret-ticket","#,
        r#""id":"01010101-0101-4101-8101-010101010101_secret_G0","#,
        r#""connectHeaders":{"Host":"relay.example","Sec-WebSocket-Key":"dGhlIHNhbXBsZSBub25jZQ==","#,
        r#""Sec-WebSocket-Version":"13"},"#,
        r#""remoteEndpoint":{"address":"203.0.113.5","port":51234}}}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn accept_joins_duplicates_keeps_letter_case_and_drops_the_token() {
    let json = accept(&[
        ("X-Mixed", "1"),
        ("ServiceBusAuthorization", "SharedAccessSignature sr=secret-token"),
        ("sec-websocket-protocol", "a"),
        ("x-mixed", "2"),
        ("SERVICEBUSAUTHORIZATION", "secret-token"),
        ("Sec-WebSocket-Protocol", "b"),
        ("X-MIXED", ""),
    ])
    .to_json();
    let expected = r#""connectHeaders":{"X-Mixed":"1, 2, ","sec-websocket-protocol":"a, b"}"#;
    assert!(json.contains(expected), "{json}");
    assert!(!json.contains("secret-token"), "{json}");
}

#[test]
fn odd_header_names_and_values_survive() {
    let odd = "!#$%&*+-.^_`~*|";
    let sent = accept(&[
        (odd, "quote \" backslash \\ tab \t ø"),
        ("0", "Sec-WebSocket-Extensions: x"),
        ("id", "1"),
    ]);
    assert_eq!(parse_to_listener(&sent.to_json()), Ok(ToListener::Accept(sent)));
}

#[test]
fn messages_to_a_listener_are_read_leniently() {
    let text = r#" {"future":[1],"accept":{"id":7,"address":"ws:\/\/h\/$hc\/a?x","new":{},
        "connectHeaders":{"a":1,"b":null,"c":["x",2,null],"d":true},"remoteEndpoint":{"port":"80"}}} "#;
    let expected = Accept {
        address: "ws://h/$hc/a?x".into(),
        id: "7".into(),
        connect_headers: vec![
            ("a".into(), "1".into()),
            ("c".into(), "x, 2".into()),
            ("d".into(), "true".into()),
        ],
        remote: (String::new(), 80),
    };
    assert_eq!(parse_to_listener(text), Ok(ToListener::Accept(expected)));
    assert_eq!(parse_to_listener("{}"), Ok(ToListener::Unknown));
    assert_eq!(
        parse_to_listener(r#"{"accept":null,"other":1}"#),
        Ok(ToListener::Unknown)
    );
    assert_eq!(
        parse_to_listener(r#"{"accept":{"id":"x"}}"#),
        Err(MessageError::Missing("address"))
    );
    assert_eq!(
        parse_to_listener(r#"{"accept":{"address":"x"}}"#),
        Err(MessageError::Missing("id"))
    );
}

#[test]
fn announced_and_whole_requests_are_told_apart_by_the_method() {
    let announced = parse_to_listener(r#"{"request":{"address":"wss://h/x","id":"1"}}"#);
    let Ok(ToListener::Request(announced)) = announced else {
        panic!("{announced:?}");
    };
    assert_eq!((announced.method, announced.body), (None, false));
    assert_eq!(announced.address.as_deref(), Some("wss://h/x"));

    let whole = r#"{"request":{"id":"g_G10","requestTarget":"/a?b","method":"GET","body":true,
        "remoteEndpoint":{"address":"::1","port":9},"requestHeaders":{"Via":"1.1 h"}}}"#;
    let expected = Request {
        address: None,
        id: "g_G10".into(),
        method: Some("GET".into()),
        target: "/a?b".into(),
        headers: vec![("Via".into(), "1.1 h".into())],
        remote: ("::1".into(), 9),
        body: true,
    };
    assert_eq!(parse_to_listener(whole), Ok(ToListener::Request(expected)));
}

#[test]
fn renewal_is_read_as_it_is_written() {
    let token = "SharedAccessSignature sr=http%3A%2F%2Fh%2F&sig=a/b\"\\";
    let read = parse_from_listener(&renew_token_json(token));
    assert_eq!(read, Ok(FromListener::RenewToken(Token::new(token))));
    let escaped = r#"{"renewToken":{"token":"a\/b"}}"#;
    assert_eq!(
        parse_from_listener(escaped),
        Ok(FromListener::RenewToken(Token::new("a/b")))
    );
    for text in [r#"{"renewToken":{}}"#, r#"{"renewToken":{"token":{}}}"#] {
        assert_eq!(parse_from_listener(text), Err(MessageError::Missing("token")));
    }
}

#[test]
fn responses_take_numbers_or_texts() {
    for status in ["204", "\"204\""] {
        let text = format!(
            r#"{{"response":{{"requestId":"g_G10","statusCode":{status},"statusDescription":null,
            "responseHeaders":{{"x-num":7,"Set-Cookie":["a","b"]}},"body":false}}}}"#
        );
        let expected = Response {
            request_id: "g_G10".into(),
            status: 204,
            description: None,
            headers: vec![("x-num".into(), "7".into()), ("Set-Cookie".into(), "a, b".into())],
            body: false,
        };
        assert_eq!(parse_from_listener(&text), Ok(FromListener::Response(expected)));
    }
    for status in ["99", "1000", "1e3", "-200", "\"ok\"", "200.5"] {
        let text = format!(r#"{{"response":{{"requestId":"x","statusCode":{status}}}}}"#);
        assert_eq!(
            parse_from_listener(&text),
            Err(MessageError::BadStatus),
            "{status}"
        );
    }
    let nameless = r#"{"response":{"statusCode":200}}"#;
    assert_eq!(
        parse_from_listener(nameless),
        Err(MessageError::Missing("requestId"))
    );
}

#[test]
fn other_texts_are_unknown_or_not_json() {
    for text in [
        r#"{"message":"hello"}"#,
        r#"{"renewToken":"x"}"#,
        r#"{"response":[]}"#,
    ] {
        assert_eq!(parse_from_listener(text), Ok(FromListener::Unknown), "{text}");
    }
    for text in ["", "hello", "[1]", "7", "null", r#"{"a":1"#, r#"{"a":1}x"#] {
        assert_eq!(parse_from_listener(text), Err(MessageError::NotJson), "{text}");
        assert_eq!(parse_to_listener(text), Err(MessageError::NotJson), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_without_a_deep_stack() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(parse_from_listener(&deep), Err(MessageError::NotJson));
}

#[test]
fn debug_output_has_no_secret() {
    let accept = accept(&[("Authorization", "secret")]);
    let shown = format!("{accept:?} {:?}", ToListener::Accept(accept.clone()));
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("01010101-0101-4101-8101-010101010101"), "{shown}");
    let renew = parse_from_listener(&renew_token_json("secret"));
    assert!(!format!("{renew:?}").contains("secret"));
    let request =
        parse_to_listener(r#"{"request":{"address":"secret","id":"secret","requestTarget":"secret"}}"#);
    assert!(!format!("{request:?}").contains("secret"));
}
