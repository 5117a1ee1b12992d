use std::format;

use super::*;

#[test]
fn all_fields_in_any_letter_case_and_order() {
    let text = " sharedaccesskey=ab+/c== ;ENDPOINT=sb://localhost:8443/;EntityPath=/dir/a2/;;\
                SharedAccessKeyName=Root=x;operationtimeout=00:01:10;";
    let parsed = ConnectionString::parse(text).expect("valid");
    assert_eq!(
        (parsed.endpoint_host.as_str(), parsed.endpoint_port),
        ("localhost", Some(8443))
    );
    assert_eq!(parsed.entity_path.as_deref(), Some("dir/a2"));
    assert_eq!(parsed.key_name.as_deref(), Some("Root=x"));
    assert_eq!(parsed.key.as_ref().map(Key::dangerous_text), Some("ab+/c=="));
    assert_eq!(parsed.operation_timeout_s, Some(70));
    assert!(!parsed.managed_identity && parsed.signature.is_none());
}

#[test]
fn token_or_identity_in_place_of_a_key() {
    let text = "Endpoint=sb://h;SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1&skn=z";
    let parsed = ConnectionString::parse(text).expect("valid");
    assert_eq!(
        parsed.signature.as_deref(),
        Some("SharedAccessSignature sr=x&sig=y&se=1&skn=z")
    );
    for spelling in ["Managed Identity", "managedidentity"] {
        let text = format!("Endpoint=sb://h/;Authentication={spelling}");
        assert!(ConnectionString::parse(&text).is_ok_and(|parsed| parsed.managed_identity));
    }
}

#[test]
fn endpoints() {
    let table = [
        ("sb://h", Some(("h", None))),
        ("SB://10.0.0.1:1/", Some(("10.0.0.1", Some(1)))),
        ("sb://[::1]:8443/", Some(("::1", Some(8443)))),
        ("https://h/", None),
        ("h:443", None),
        ("sb://", None),
        ("sb://h/path", None),
        ("sb://h:port/", None),
        ("sb://user@h/", None),
    ];
    for (endpoint, expected) in table {
        let parsed = ConnectionString::parse(&format!("Endpoint={endpoint}"));
        let found = parsed
            .as_ref()
            .map(|p| (p.endpoint_host.as_str(), p.endpoint_port));
        assert_eq!(
            found.map_err(|e| *e),
            expected.ok_or(ConnectionStringError::BadEndpoint),
            "{endpoint}"
        );
    }
}

#[test]
fn time_limits() {
    let table = [
        ("60", Some(60)),
        ("00:00:30", Some(30)),
        ("01:02", Some(3720)),
        ("1.02:03:04.5", Some(93_784)),
        ("00:60:00", None),
        ("24:00:00", None),
        ("1:2:3:4", None),
        ("soon", None),
        ("-1", None),
        ("99999999999999999999:00", None),
    ];
    for (text, seconds) in table {
        let parsed = ConnectionString::parse(&format!("Endpoint=sb://h;OperationTimeout={text}"));
        assert_eq!(
            parsed.ok().and_then(|parsed| parsed.operation_timeout_s),
            seconds,
            "{text}"
        );
    }
}

#[test]
fn errors_name_the_field_and_never_the_value() {
    let long = format!(
        "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey={}",
        "secret".repeat(50)
    );
    let table = [
        ("", ConnectionStringError::NoEndpoint),
        ("Endpoint=sb://h;secret", ConnectionStringError::NotAPair(2)),
        (
            "Endpoint=sb://h;secret=secret",
            ConnectionStringError::UnknownKey(2),
        ),
        (
            "Endpoint=sb://h;EntityPath=secret;entitypath=x",
            ConnectionStringError::Repeated("EntityPath"),
        ),
        (
            "Endpoint=sb://h;SharedAccessKey=",
            ConnectionStringError::Empty("SharedAccessKey"),
        ),
        (
            "Endpoint=sb://h;EntityPath=/",
            ConnectionStringError::Empty("EntityPath"),
        ),
        (
            "Endpoint=sb://h;SharedAccessKey=secret",
            ConnectionStringError::Incomplete("SharedAccessKeyName"),
        ),
        (
            "Endpoint=sb://h;SharedAccessKeyName=secret",
            ConnectionStringError::Incomplete("SharedAccessKey"),
        ),
        (
            "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=secret;SharedAccessSignature=secret",
            ConnectionStringError::KeyAndSignature,
        ),
        (
            "Endpoint=sb://h;Authentication=secret",
            ConnectionStringError::Malformed("Authentication"),
        ),
        (&long, ConnectionStringError::TooLong("SharedAccessKey")),
    ];
    for (text, error) in table {
        assert_eq!(ConnectionString::parse(text).err(), Some(error), "{text}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn written_and_read_back() {
    for host in ["localhost", "::1"] {
        let written = ConnectionString::of_rule(
            host,
            Some(8443),
            "RootManageSharedAccessKey",
            Key::new("secret+/="),
        );
        let text = written.dangerous_text();
        let read = ConnectionString::parse(&text).expect("own output");
        assert_eq!(
            (read.endpoint_host.as_str(), read.endpoint_port),
            (host, Some(8443))
        );
        assert_eq!(read.key.as_ref().map(Key::dangerous_text), Some("secret+/="));
        assert_eq!(read.dangerous_text(), text);
        assert!(!format!("{read:?}").contains("secret"));
    }
    let text =
        "Endpoint=sb://localhost:8443/;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=k=";
    assert_eq!(
        ConnectionString::parse(text)
            .map(|parsed| parsed.dangerous_text())
            .as_deref(),
        Ok(text)
    );
    let full = "Endpoint=sb://h/;SharedAccessSignature=t;EntityPath=a;OperationTimeout=5;\
                Authentication=Managed Identity";
    assert_eq!(
        ConnectionString::parse(full)
            .map(|parsed| parsed.dangerous_text())
            .as_deref(),
        Ok(full)
    );
}
