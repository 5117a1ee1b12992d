//! WebSocket by hand: heads and single frames, well formed or not.

use std::io::{self, Read, Write};

use super::sas::{Rule, encode};

/// What a server answered to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
}

/// A frame from the relay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match (self.opcode, self.payload.get(..2)) {
            (CLOSE, Some(code)) => Some(u16::from_be_bytes([code[0], code[1]])),
            _ => None,
        }
    }
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The request head of a listener or sender on `path` with a token for it.
pub(crate) fn upgrade_head(action: &str, path: &str, rule: &Rule) -> String {
    upgrade_head_with(action, path, &rule.token(path, 600))
}

/// The same with any token.
pub(crate) fn upgrade_head_with(action: &str, path: &str, token: &str) -> String {
    format!(
        "GET /$hc/{path}?sb-hc-action={action}&sb-hc-token={} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        encode(token)
    )
}

/// Reads one response head, byte by byte so that nothing after it is taken.
pub(crate) fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
        assert!(head.len() < HEAD_LIMIT, "endless response head");
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
    Ok(Answer { status, head })
}

/// Registers as a listener of `path` and leaves the stream at its first frame.
pub(crate) fn listen_on(stream: &mut (impl Read + Write), path: &str, rule: &Rule) {
    stream
        .write_all(upgrade_head("listen", path, rule).as_bytes())
        .expect("request");
    let answer = read_answer(stream).expect("answer to a listener");
    assert_eq!(answer.status, 101, "{}", answer.head);
}

/// One frame as a client sends it: masked with a fixed key.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = header(first, payload.len() as u64, 0x80);
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, k)| byte ^ k));
    out
}

/// A frame header with any claimed length in its shortest form; `mask` is 0x80 or 0.
pub(crate) fn header(first: u8, len: u64, mask: u8) -> Vec<u8> {
    let mut out = vec![first];
    if let Ok(short @ 0..=125) = u8::try_from(len) {
        out.push(mask | short);
    } else if let Ok(medium) = u16::try_from(len) {
        out.push(mask | 126);
        out.extend(medium.to_be_bytes());
    } else {
        out.push(mask | 127);
        out.extend(len.to_be_bytes());
    }
    out
}

/// Reads one frame from a server; `None` at the end of the stream.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 2];
    match stream.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut head[1..])?,
    }
    assert_eq!(head[1] & 0x80, 0, "the relay masked a frame");
    let len = match head[1] {
        126 => u64::from(u16::from_be_bytes(read_array(stream)?)),
        127 => u64::from_be_bytes(read_array(stream)?),
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(len).expect("frame of a sane length")];
    stream.read_exact(&mut payload)?;
    Ok(Some(Frame {
        opcode: head[0] & 0x0f,
        payload,
    }))
}

fn read_array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut out = [0; N];
    stream.read_exact(&mut out)?;
    Ok(out)
}

const HEAD_LIMIT: usize = 16 * 1024;
