//! One function per fuzz target: hostile bytes in, a panic if a promise of the protocol code is broken.

use viaduct_proto::http1::{HeadBuffer, RequestHead, ResponseHead};
use viaduct_proto::hybrid::{
    FromListener, ToListener, filter_query, parse_from_listener, parse_hc_target, parse_to_listener,
    parse_ws_url,
};
use viaduct_proto::limits::{HEAD_MAX, TOKEN_MAX};
use viaduct_proto::preamble::{ReplyReader, Request, RequestReader, encode_request};
use viaduct_proto::sas::{ConnectionString, Key, Rights, Rule, SasToken, TokenError, sign, verify};
use viaduct_proto::time::UnixTime;
use viaduct_proto::ws::upgrade::{check_switching, server_offer};
use viaduct_proto::ws::{Assembler, Item, Reader, Side};
use viaduct_proto::{Parsed, Violation};

/// Frames: no panic, progress on every call, and the same events however the bytes are cut.
pub fn ws_reader(data: &[u8]) {
    let Some((&[choice, step], frames)) = data.split_first_chunk() else {
        return;
    };
    let side = if choice & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let whole = read_frames(side, frames, frames.len().max(1));
    let cut = read_frames(side, frames, usize::from(step % 17) + 1);
    assert_eq!(whole, cut, "events depend on where the input is cut");
}

/// Heads: lengths are within the input, the buffer agrees with itself however the bytes are cut, and what reads a
/// head takes any head.
pub fn http_head(data: &[u8]) {
    let Some((&step, head)) = data.split_first() else {
        return;
    };
    assert_eq!(
        head_length(head, head.len().max(1)),
        head_length(head, usize::from(step % 31) + 1)
    );
    if let Ok(Parsed::Done(request, taken)) = RequestHead::parse(head) {
        assert!(taken <= head.len());
        // A refusal is as good as an offer here: neither may panic.
        let _ = server_offer(&request);
        let _ = parse_hc_target(&request.target);
    }
    if let Ok(Parsed::Done(response, taken)) = ResponseHead::parse(head) {
        assert!(taken <= head.len());
        let _ = check_switching(&response, "dGhlIHNhbXBsZSBub25jZQ==");
    }
}

/// Control texts: what is built from a parsed message parses to the same message again.
pub fn control_json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(ToListener::Accept(accept)) = parse_to_listener(&text) {
        let once = accept.to_json();
        match parse_to_listener(&once) {
            Ok(ToListener::Accept(again)) => assert_eq!(again.to_json(), once),
            other => panic!("an accept message became {other:?}"),
        }
    }
    if let Ok(FromListener::Response(response)) = parse_from_listener(&text) {
        assert!((100..=999).contains(&response.status));
    }
}

/// Addresses: a filtered query has nothing left to filter, and decoded paths never carry the marker.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(once) = filter_query(&text) {
        assert_eq!(filter_query(&once).as_deref(), Some(once.as_str()));
    }
    if let Ok(target) = parse_hc_target(&text) {
        assert!(!target.path.starts_with('/') && !target.path.ends_with('/'));
        let _ = target.rejection();
    }
    if let Ok(url) = parse_ws_url(&text) {
        assert!(url.target.starts_with('/') && !url.host.is_empty());
    }
}

/// Tokens: only a token that our key signed for our path is granted, and no text of a connection string panics.
pub fn sas(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let rules = [Rule {
        name: "rule".into(),
        primary: Key::new("a key that no corpus holds"),
        secondary: None,
        rights: Rights::LISTEN,
    }];
    if let Ok(token) = SasToken::parse(&text) {
        let granted = verify(
            &token,
            "localhost",
            "hc",
            rules.iter(),
            Rights::LISTEN,
            UnixTime(0),
        );
        assert!(granted.is_err(), "a token that nobody signed was granted");
    }
    let signed = sign(&text, "rule", &rules[0].primary, UnixTime(100));
    match SasToken::parse(&signed) {
        Ok(token) => assert!(token.is_signed_by(&rules[0].primary)),
        // Escaping makes a resource up to three times longer.
        Err(TokenError::TooLong) => assert!(
            signed.len() > TOKEN_MAX,
            "{} bytes are not too long",
            signed.len()
        ),
        Err(error) => panic!("an own token does not parse: {error}"),
    }
    if let Ok(parsed) = ConnectionString::parse(&text) {
        ConnectionString::parse(&parsed.dangerous_text()).expect("what was parsed and written parses again");
    }
}

/// Preamble: the same request and answer however the bytes are cut; a request survives encoding.
pub fn preamble(data: &[u8]) {
    let whole = read_request(data, data.len().max(1));
    assert_eq!(whole, read_request(data, 1));
    if let Some(Ok(request)) = whole
        && !request.name.is_empty()
        && request.name.len() <= 255
    {
        let encoded =
            encode_request(request.mode, &request.name).expect("a name that was read can be asked for");
        assert_eq!(read_request(&encoded, 1), Some(Ok(request)));
    }
    let (taken, answer) = ReplyReader::new().feed(data);
    assert!(taken <= data.len() && answer.is_some() == (data.len() >= 3));
}

/// What came out of a [`Reader`], with pieces of payload joined.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Data(u8, bool, u64),
    Payload(Vec<u8>, bool),
    Control(Item),
    Message(Vec<u8>),
    Failed(Violation),
}

fn read_frames(side: Side, frames: &[u8], piece: usize) -> Vec<Seen> {
    let mut reader = Reader::new(side);
    let mut assembler = Assembler::new(ASSEMBLY_LIMIT);
    let mut seen = Vec::new();
    for piece in frames.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let step = match reader.next(rest) {
                Ok(step) => step,
                Err(violation) => {
                    seen.push(Seen::Failed(violation));
                    return seen;
                }
            };
            assert!(
                step.consumed > 0 && step.consumed <= rest.len(),
                "no progress, or too much"
            );
            if let Some(item) = step.item
                && let Err(violation) = record(item, rest, &mut assembler, &mut seen)
            {
                seen.push(Seen::Failed(violation));
                return seen;
            }
            rest = &mut rest[step.consumed..];
        }
    }
    seen
}

fn record(
    item: Item,
    input: &[u8],
    assembler: &mut Assembler,
    seen: &mut Vec<Seen>,
) -> Result<(), Violation> {
    match item {
        Item::Data { header, .. } => {
            seen.push(Seen::Data(header.opcode as u8, header.fin, header.len));
            assembler.on_data(&header)?;
            seen.extend(
                assembler
                    .take_if_complete()
                    .map(|message| Seen::Message(message.bytes)),
            );
        }
        Item::Payload { range, last } => {
            let piece = &input[range];
            match seen.last_mut() {
                Some(Seen::Payload(sofar, end @ false)) => {
                    sofar.extend(piece);
                    *end = last;
                }
                _ => seen.push(Seen::Payload(piece.to_vec(), last)),
            }
            let message = assembler.on_payload(piece, last)?;
            seen.extend(message.map(|message| Seen::Message(message.bytes)));
        }
        control => seen.push(Seen::Control(control)),
    }
    Ok(())
}

fn head_length(head: &[u8], piece: usize) -> Result<Option<usize>, Violation> {
    let mut buffer = HeadBuffer::new(HEAD_MAX);
    for piece in head.chunks(piece) {
        if let Some(length) = buffer.extend(piece)? {
            assert!(length <= buffer.bytes().len());
            return Ok(Some(length));
        }
    }
    Ok(None)
}

fn read_request(data: &[u8], piece: usize) -> Option<Result<Request, ()>> {
    let mut reader = RequestReader::new();
    for piece in data.chunks(piece) {
        match reader.feed(piece) {
            Ok((taken, None)) => assert_eq!(
                taken,
                piece.len(),
                "bytes were left although the request is not whole"
            ),
            Ok((taken, Some(request))) => {
                assert!(taken <= piece.len());
                return Some(Ok(request));
            }
            Err(_) => return Some(Err(())),
        }
    }
    None
}

const ASSEMBLY_LIMIT: usize = 4096;
