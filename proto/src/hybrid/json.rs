//! Lenient readings of JSON values. Clients write numbers where texts are meant and the other way round.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use serde_json::{Map, Value};

use super::message::MessageError;

/// A text that must be there.
pub(super) fn text(object: &Map<String, Value>, key: &'static str) -> Result<String, MessageError> {
    optional_text(object, key).ok_or(MessageError::Missing(key))
}

/// A text that may be absent or null. Numbers and booleans read as their text.
pub(super) fn optional_text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(scalar)
}

/// A flag; absent, null and anything but `true` read as false.
pub(super) fn flag(object: &Map<String, Value>, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// A header object, in the order of the message. Lists are joined with `", "`, null and nested objects are
/// left out.
pub(super) fn headers(object: &Map<String, Value>, key: &str) -> Vec<(String, String)> {
    let Some(Value::Object(headers)) = object.get(key) else {
        return Vec::new();
    };
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), header_value(value)?));
    headers.iter().filter_map(pair).collect()
}

/// `remoteEndpoint`: address and port, empty and 0 where they are missing.
pub(super) fn remote(object: &Map<String, Value>) -> (String, u16) {
    let Some(Value::Object(remote)) = object.get("remoteEndpoint") else {
        return (String::new(), 0);
    };
    let address = optional_text(remote, "address").unwrap_or_default();
    let port = optional_text(remote, "port").and_then(|port| port.parse().ok());
    (address, port.unwrap_or(0))
}

/// Joins repeated headers into one member each (`"v1, v2"`); the first spelling of a name is kept.
pub(super) fn header_object<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut seen = alloc::collections::BTreeMap::<String, &'a str>::new();
    let mut object = Map::new();
    for (name, value) in headers {
        let spelling = *seen.entry(name.to_ascii_lowercase()).or_insert(name);
        match object.get_mut(spelling) {
            Some(Value::String(joined)) => {
                joined.push_str(", ");
                joined.push_str(value);
            }
            _ => {
                object.insert(spelling.to_string(), Value::from(value));
            }
        }
    }
    Value::Object(object)
}

fn header_value(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => Some(values.iter().filter_map(scalar).collect::<Vec<_>>().join(", ")),
        _ => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(format!("{flag}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
