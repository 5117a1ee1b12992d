//! Every bound of the protocol code, in one place.

use core::time::Duration;

/// Longest HTTP/1 head (start line and headers) that is read, bytes.
pub const HEAD_MAX: usize = 64 * 1024;
/// Most headers in one head.
pub const HEADERS_MAX: usize = 128;
/// Longest text message on a control channel, bytes (clients have 64 KiB buffers; our own bridge reads more).
pub const CONTROL_MESSAGE_MAX: usize = 64 * 1024;
/// Longest payload of a WebSocket control frame (RFC 6455 section 5.5), bytes.
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// Longest reason in a Close frame: the control payload less the code, bytes.
pub const CLOSE_REASON_MAX: usize = CONTROL_PAYLOAD_MAX - 2;
/// Longest reason phrase that is written, bytes.
pub const REASON_PHRASE_MAX: usize = 1024;
/// Longest logical port name (its length is one byte on the wire), bytes.
pub const PORT_NAME_MAX: usize = 255;
/// Longest rule name and longest key, bytes.
pub const KEY_MAX: usize = 256;
/// Longest token that is looked at, bytes.
pub const TOKEN_MAX: usize = 8 * 1024;
/// Longest path of an entity (the service's own limit), bytes.
pub const ENTITY_PATH_MAX: usize = 260;
/// Life that a renewed token must have left.
pub const RENEWED_TOKEN_LIFE_MIN: Duration = Duration::from_secs(60);

/// Longest part of a tracking id that a reason phrase repeats, characters.
pub const TRACKING_ID_MAX: usize = 64;
/// Longest part of a host that a reason phrase repeats: a whole name (RFC 1035 section 2.3.4) and a port,
/// characters.
pub const TRACKING_NAMESPACE_MAX: usize = 261;
/// Longest part of a path that a reason phrase repeats, characters.
pub const TRACKING_PATH_MAX: usize = 400;
/// Room that the tail of a reason phrase leaves for its text and the words between the parts, bytes.
pub const REASON_TEXT_MAX: usize =
    REASON_PHRASE_MAX - TRACKING_ID_MAX - TRACKING_NAMESPACE_MAX - TRACKING_PATH_MAX;
/// Longest endpoint, path or number in a connection string, bytes.
pub const CONNECTION_FIELD_MAX: usize = 1024;

const _: () = assert!(REASON_TEXT_MAX >= 256);
const _: () = assert!(ENTITY_PATH_MAX <= TRACKING_PATH_MAX);
const _: () = assert!(CLOSE_REASON_MAX < CONTROL_PAYLOAD_MAX && CONTROL_PAYLOAD_MAX < 126);
const _: () = assert!(PORT_NAME_MAX <= u8::MAX as usize);
const _: () = assert!(TOKEN_MAX < HEAD_MAX && TOKEN_MAX < CONTROL_MESSAGE_MAX);
