//! Legal WebSocket streams, and what our decoder makes of bytes. Shared by the tests of the codec.

use proptest::collection::vec;
use proptest::prelude::*;
use viaduct_proto::Violation;
use viaduct_proto::ws::{CloseCode, FrameHeader, Item, OpCode, Reader, Side, apply_mask};
use viaduct_proto::ws::{encode_close, encode_empty_close, encode_ping, encode_pong};

/// A frame, unmasked. The payload of the last one may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Data {
        fin: bool,
        opcode: OpCode,
        payload: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// Messages in fragments with control frames among them, and perhaps a Close at the end.
pub(crate) fn stream() -> impl Strategy<Value = Vec<Event>> {
    let close = prop_oneof![
        Just(None),
        (
            prop_oneof![1000..=1003u16, 1007..=1013u16, 3000..=4999u16],
            "\\PC{0,30}"
        )
            .prop_map(Some),
    ];
    (
        vec(prop_oneof![3 => message(), 1 => control()], 0..8),
        proptest::option::of(close),
    )
        .prop_map(|(events, close)| {
            events
                .into_iter()
                .flatten()
                .chain(close.map(Event::Close))
                .collect()
        })
}

/// The bytes of `events`. With `key`, every frame has a masking key of its own.
pub(crate) fn encode(events: &[Event], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let mask = key.map(|key| key.map(|byte| byte.wrapping_add(index as u8)));
        match event {
            Event::Data { fin, opcode, payload } => {
                let header = FrameHeader {
                    fin: *fin,
                    opcode: *opcode,
                    mask,
                    len: payload.len() as u64,
                };
                let mut payload = payload.clone();
                mask.map(|key| apply_mask(&mut payload, key, 0));
                bytes.extend_from_slice(&header.encode());
                bytes.extend_from_slice(&payload);
            }
            Event::Ping(payload) => bytes.extend_from_slice(&encode_ping(payload, mask)),
            Event::Pong(payload) => bytes.extend_from_slice(&encode_pong(payload, mask)),
            Event::Close(None) => bytes.extend_from_slice(&encode_empty_close(mask)),
            Event::Close(Some((code, reason))) => {
                bytes.extend_from_slice(&encode_close(CloseCode(*code), reason, mask));
            }
        }
    }
    bytes
}

/// Feeds `bytes` in pieces of the sizes in `pieces`, over and over. Checks the promises of every step.
pub(crate) fn decode(side: Side, bytes: &[u8], pieces: &[usize]) -> (Vec<Event>, Result<Reader, Violation>) {
    let mut reader = Reader::new(side);
    let mut events = Vec::new();
    let mut left = 0;
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    for &size in pieces.iter().cycle() {
        let (mut piece, behind) = rest.split_at_mut(size.min(rest.len()));
        rest = behind;
        while !piece.is_empty() {
            let step = match reader.next(piece) {
                Ok(step) => step,
                Err(violation) => return (events, Err(violation)),
            };
            assert!(step.consumed > 0 && step.consumed <= piece.len(), "progress");
            match step.item {
                Some(item) => push(&mut events, &mut left, item, piece),
                None => assert_eq!(step.consumed, piece.len(), "stops only at the end"),
            }
            piece = &mut piece[step.consumed..];
        }
        if rest.is_empty() {
            break;
        }
    }
    (events, Ok(reader))
}

fn push(events: &mut Vec<Event>, left: &mut u64, item: Item, piece: &[u8]) {
    match item {
        Item::Data { header, at } => {
            assert_eq!(*left, 0, "the frame before is whole");
            if let Some(at) = at {
                assert_eq!(piece[at], *header.encode(), "the header lies there");
            }
            *left = header.len;
            let (fin, opcode) = (header.fin, header.opcode);
            events.push(Event::Data {
                fin,
                opcode,
                payload: Vec::new(),
            });
        }
        Item::Payload { range, last } => {
            let Some(Event::Data { payload, .. }) = events.last_mut() else {
                panic!("payload of nothing")
            };
            assert!(!range.is_empty());
            payload.extend_from_slice(&piece[range.clone()]);
            *left -= range.len() as u64;
            assert_eq!(last, *left == 0);
        }
        Item::Ping(payload) => events.push(Event::Ping(payload.to_vec())),
        Item::Pong(payload) => events.push(Event::Pong(payload.to_vec())),
        Item::Close(close) => {
            let close = close.map(|close| (close.code.0, close.reason.as_str().to_owned()));
            events.push(Event::Close(close));
        }
    }
}

fn message() -> impl Strategy<Value = Vec<Event>> {
    let payload = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => vec(any::<u8>(), 110..300),
        1 => (65_530..65_545usize).prop_map(|len| vec![0x5a; len]),
    ];
    let binary = vec(payload, 1..4).prop_map(|fragments| (OpCode::Binary, fragments));
    // Cut between bytes, not characters: only the whole message has to be UTF-8.
    let text = ("\\PC{0,60}", vec(0..200usize, 0..4)).prop_map(|(text, mut cuts)| {
        cuts.sort_unstable();
        let (mut rest, mut done, mut fragments) = (text.as_bytes(), 0, Vec::new());
        for cut in cuts {
            let (fragment, behind) = rest.split_at((cut - done).min(rest.len()));
            fragments.push(fragment.to_vec());
            (rest, done) = (behind, done + fragment.len());
        }
        fragments.push(rest.to_vec());
        (OpCode::Text, fragments)
    });
    (prop_oneof![binary, text], vec(control(), 4)).prop_map(|((opcode, fragments), controls)| {
        let count = fragments.len();
        let mut events = Vec::new();
        for (index, (payload, control)) in fragments.into_iter().zip(controls.iter().cycle()).enumerate() {
            let opcode = if index == 0 { opcode } else { OpCode::Continuation };
            if index > 0 && index % 2 == 0 {
                events.extend_from_slice(control);
            }
            events.push(Event::Data {
                fin: index + 1 == count,
                opcode,
                payload,
            });
        }
        events
    })
}

fn control() -> impl Strategy<Value = Vec<Event>> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        payload().prop_map(|payload| vec![Event::Ping(payload)]),
        payload().prop_map(|payload| vec![Event::Pong(payload)]),
    ]
}
