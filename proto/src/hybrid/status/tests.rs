use std::{format, vec, vec::Vec};

use super::*;
use crate::limits::CLOSE_REASON_MAX;

#[test]
fn statuses_and_texts() {
    for (refusal, status, start) in TEXTS {
        assert_eq!(refusal.status(), *status, "{refusal:?}");
        let phrase = reason_phrase(refusal, &TRACKING);
        assert!(phrase.starts_with(start), "{phrase}");
        let tail = " TrackingId:g_G13, SystemTracker:sb://ns.example/Dir/a2, Timestamp:2025-04-24T11:08:15";
        assert!(phrase.ends_with(tail), "{phrase}");
    }
}

#[test]
fn faults_of_other_modules_become_refusals() {
    let table = [
        (Violation::HeadTooLong.into(), Refusal::HeadTooLong),
        (Violation::BadHead.into(), Refusal::BadHead),
        (AddressError::NotHc.into(), Refusal::EndpointDoesNotExist),
        (AddressError::EmptyPath.into(), Refusal::EndpointDoesNotExist),
        (AddressError::UnknownAction.into(), Refusal::UnknownAction),
        (
            AddressError::BadPort.into(),
            Refusal::BadAddress(AddressError::BadPort),
        ),
        (
            AuthError::Missing.into(),
            Refusal::Unauthorized(AuthError::Missing),
        ),
    ];
    for (converted, expected) in table {
        let converted: Refusal = converted;
        assert_eq!(converted, expected);
    }
}

#[test]
fn the_published_line_is_met_byte_for_byte() {
    assert_eq!(
        reason_phrase(&Refusal::NoListeners, &TRACKING),
        "There are no listeners connected for the endpoint. TrackingId:g_G13, \
         SystemTracker:sb://ns.example/Dir/a2, Timestamp:2025-04-24T11:08:15"
    );
}

#[test]
fn a_listeners_text_is_exact_but_stays_on_one_line() {
    let rejected = |status, text: &str| Refusal::Rejected {
        status,
        text: text.to_string(),
    };
    let refusal = rejected(502, "Rejected by user code!#$%&*+-.^_`~|");
    assert_eq!(refusal.status(), 502);
    assert_eq!(
        reason_phrase(&refusal, &TRACKING),
        "Rejected by user code!#$%&*+-.^_`~|"
    );
    let hostile = rejected(400, "no\r\nSet-Cookie: x\0\u{85}");
    assert_eq!(reason_phrase(&hostile, &TRACKING), "noSet-Cookie: x");
    let long = reason_phrase(&rejected(400, &"ø".repeat(5000)), &TRACKING);
    assert_eq!(long.len(), REASON_PHRASE_MAX);
    assert_eq!(long, "ø".repeat(REASON_PHRASE_MAX / 2));
    let odd = reason_phrase(&rejected(400, &format!("x{}", "ø".repeat(5000))), &TRACKING);
    assert_eq!(odd.len(), REASON_PHRASE_MAX - 1);
}

#[test]
fn a_hostile_path_does_not_push_the_time_out() {
    let path = "\u{1f4a9}\r".repeat(40_000);
    let tracking = Tracking {
        path: &path,
        ..TRACKING
    };
    let phrase = reason_phrase(&Refusal::ListenerTimeout, &tracking);
    assert!(phrase.len() <= REASON_PHRASE_MAX);
    assert!(phrase.ends_with(", Timestamp:2025-04-24T11:08:15"), "{phrase}");
}

#[test]
fn ends_of_a_control_channel() {
    let at = UnixTime(0);
    let table = [
        (ControlEnd::EntityGone, CloseCode::GOING_AWAY),
        (ControlEnd::ShuttingDown, CloseCode::GOING_AWAY),
        (ControlEnd::TokenExpired { at }, CloseCode::POLICY),
        (ControlEnd::Internal, CloseCode::INTERNAL),
    ];
    let errors = [
        AuthError::Missing,
        AuthError::Malformed,
        AuthError::UnknownRule,
        AuthError::BadSignature,
        AuthError::WrongResource,
        AuthError::MissingRight,
        AuthError::Expired { at },
    ];
    let invalid = errors.map(|error| (ControlEnd::TokenInvalid(error), CloseCode::POLICY));
    let all: Vec<_> = table.into_iter().chain(invalid).collect();
    for (end, code) in all {
        assert_eq!(end.code(), code, "{end:?}");
        assert!((1..=CLOSE_REASON_MAX).contains(&end.reason().len()), "{end:?}");
    }
    let expired = "The token is expired. Expiration time: '1970-01-01T00:00:00'.";
    let same = vec![
        ControlEnd::TokenExpired { at },
        ControlEnd::TokenInvalid(AuthError::Expired { at }),
    ];
    assert!(same.into_iter().all(|end| end.reason() == expired));
}

const TRACKING: Tracking<'_> = Tracking {
    id: "g_G13",
    namespace: "ns.example",
    path: "Dir/a2",
    at: AT,
};

/// 2025-04-24T11:08:15.
const AT: UnixTime = UnixTime(1_745_492_895);

/// Refusal, status, and how its reason phrase starts.
const TEXTS: &[(Refusal, u16, &str)] = &[
    (
        Refusal::EndpointDoesNotExist,
        404,
        "Endpoint does not exist. TrackingId:",
    ),
    (
        Refusal::NoListeners,
        404,
        "There are no listeners connected for the endpoint. TrackingId:",
    ),
    (
        Refusal::NoMatchingListener,
        404,
        "None of the connected listeners meet the Allowed",
    ),
    (
        Refusal::ListenerTimeout,
        504,
        "None of the connected listeners accepted the connection(s) within the allowed timeout. ",
    ),
    (
        Refusal::ResponseTimeout,
        504,
        "The request was routed to the listener but the listener did not respond in the required time. ",
    ),
    (
        Refusal::Unauthorized(AuthError::Missing),
        401,
        "RelaySecurityTokenRequired",
    ),
    (
        Refusal::Unauthorized(AuthError::Malformed),
        401,
        "The token is not a readable",
    ),
    (
        Refusal::Unauthorized(AuthError::UnknownRule),
        401,
        "The token has an invalid signature. TrackingId:",
    ),
    (
        Refusal::Unauthorized(AuthError::BadSignature),
        401,
        "The token has an invalid signature. TrackingId:",
    ),
    (
        Refusal::Unauthorized(AuthError::WrongResource),
        401,
        "The token is for another resource",
    ),
    (
        Refusal::Unauthorized(AuthError::MissingRight),
        401,
        "Authorization failed for specified action: ",
    ),
    (
        Refusal::Unauthorized(AuthError::Expired { at: AT }),
        401,
        "The token is expired. Expiration time: '2025-04-24T11:08:15'. TrackingId:",
    ),
    (
        Refusal::AddressDenied,
        401,
        "Ip has been prevented to connect to the endpoint. ",
    ),
    (Refusal::TooManyListeners, 403, "MaximumListenersPerEndpoint"),
    (
        Refusal::NotWebSocket { missing: "Upgrade" },
        400,
        "This endpoint is only for web-socket requests: header Upgrade is missing or wrong. ",
    ),
    (Refusal::UnknownAction, 400, "Unknown action"),
    (
        Refusal::BadAddress(AddressError::BadStatus),
        400,
        "Bad address: the status of a reject",
    ),
    (Refusal::BadRendezvous, 403, "The rendezvous address is not valid"),
    (Refusal::UnknownConnection, 400, "Unknown Connection ID: "),
    (
        Refusal::RejectNoted,
        410,
        "The connection was rejected as asked. ",
    ),
    (Refusal::HeadTooLong, 431, "The request head is too long. "),
    (
        Refusal::BadHead,
        400,
        "The request is not a valid HTTP/1.1 request. ",
    ),
    (
        Refusal::HeadTimeout,
        408,
        "The request head did not arrive in time. ",
    ),
    (Refusal::TooManyAttempts, 429, "Too many refused attempts"),
    (Refusal::Overloaded, 503, "The relay has no room"),
    (Refusal::ShuttingDown, 503, "The relay is shutting down"),
    (Refusal::Internal, 500, "The relay failed"),
];
