//! Properties of the HTTP/1 heads: buffer and parser agree about the end, any split, no injection, hostile bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use viaduct_proto::http1::{HeadBuffer, RequestHead, ResponseHead, write_response};
use viaduct_proto::limits::HEAD_MAX;
use viaduct_proto::{Parsed, Violation};

/// Bytes that look like a request here and there.
fn almost_a_request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => Just(&b"GET / HTTP/1.1\r\n"[..]),
        4 => Just(&b"Host: a\r\n"[..]),
        4 => Just(&b"\r\n"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b": "[..]),
        1 => Just(&b"X"[..]),
        1 => Just(&b"\xff"[..]),
        1 => Just(&b"\0"[..]),
    ];
    (any::<bool>(), vec(line, 0..12)).prop_map(|(begin, lines)| {
        let start: &[u8] = if begin { b"GET / HTTP/1.1\r\n" } else { b"" };
        [start, &lines.concat()].concat()
    })
}

fn collect(bytes: &[u8], pieces: &[usize]) -> Result<Option<usize>, Violation> {
    let mut buffer = HeadBuffer::new(HEAD_MAX);
    let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
        rest = behind;
        let head = buffer.extend(piece)?;
        assert!(bytes.starts_with(buffer.bytes()));
        if head.is_some() {
            return Ok(head);
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn buffer_and_parser_agree(bytes in almost_a_request(), pieces in vec(1..9usize, 1..5)) {
        let found = collect(&bytes, &[bytes.len().max(1)]);
        prop_assert_eq!(collect(&bytes, &pieces), found);
        prop_assert_eq!(collect(&bytes, &[1]), found);
        match (found, RequestHead::parse(&bytes)) {
            (Ok(Some(len)), Ok(Parsed::Done(_, parsed))) => prop_assert_eq!(len, parsed),
            (Ok(None), Ok(Parsed::Need)) | (_, Err(_)) => {}
            (found, parsed) => prop_assert!(false, "{found:?} and {parsed:?}"),
        }
    }

    #[test]
    fn hostile_bytes(bytes in vec(any::<u8>(), 0..200)) {
        let _ = collect(&bytes, &[7]);
        let _ = RequestHead::parse(&bytes);
        let _ = ResponseHead::parse(&bytes);
        let _ = ResponseHead::parse(&[b"HTTP/1.1 400 ", &bytes[..], b"\r\n\r\n"].concat());
    }

    #[test]
    fn response_round_trip(
        status in 200..=999u16,
        reason in "\\PC{0,80}",
        fields in vec(("[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,20}", "([!-~]([ -~]{0,20}[!-~])?)?"), 0..10),
        body in vec(any::<u8>(), 0..50),
    ) {
        prop_assume!(status != 204 && status != 304);
        let headers: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut out = Vec::new();
        write_response(&mut out, status, &reason, &headers, &body);
        let Ok(Parsed::Done(head, len)) = ResponseHead::parse(&out) else { panic!("not a head") };
        prop_assert_eq!((head.status, head.reason), (status, reason));
        prop_assert_eq!(&out[len..], &body[..]);
        let read: Vec<_> = head.headers.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
        let length = body.len().to_string();
        let want: Vec<_> = headers.into_iter().chain([("Content-Length", length.as_str())]).collect();
        prop_assert_eq!(read, want);
    }

    /// Whatever stands in a phrase, name or value: one head, no header more than was given.
    #[test]
    fn nothing_is_injected(
        reason in "[\\x00-\\x{2ff}]{0,20}",
        fields in vec(("[\\x00-\\x{2ff}]{0,4}", "[\\x00-\\x{2ff}]{0,20}"), 0..4),
    ) {
        let headers: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut out = Vec::new();
        write_response(&mut out, 400, &reason, &headers, b"");
        let Ok(Parsed::Done(head, len)) = ResponseHead::parse(&out) else { panic!("not a head: {out:?}") };
        prop_assert_eq!(len, out.len());
        prop_assert!(head.headers.iter().count() <= headers.len() + 1);
    }
}
