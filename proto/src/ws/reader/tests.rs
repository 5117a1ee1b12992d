use super::{Item, Reader, Side};
use crate::Violation;
use crate::ws::{
    CloseCode, FrameHeader, OpCode, encode_close, encode_empty_close, encode_message, encode_ping,
    encode_pong,
};
use std::vec::Vec;

const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        fin,
        opcode,
        mask: None,
        len: payload.len() as u64,
    };
    [&header.encode(), payload].concat()
}

/// Feeds all of `input` and gives every item with the bytes of its range.
fn drain(reader: &mut Reader, input: &[u8]) -> Result<Vec<(Item, Vec<u8>)>, Violation> {
    let mut input = input.to_vec();
    let mut rest = input.as_mut_slice();
    let mut items = Vec::new();
    while !rest.is_empty() {
        let step = reader.next(rest)?;
        assert!(step.consumed > 0);
        if let Some(item) = step.item {
            let bytes = match &item {
                Item::Payload { range, .. } => rest[range.clone()].to_vec(),
                _ => Vec::new(),
            };
            items.push((item, bytes));
        } else {
            assert_eq!(step.consumed, rest.len());
        }
        rest = &mut rest[step.consumed..];
    }
    Ok(items)
}

fn fails(side: Side, input: &[u8]) -> Violation {
    let mut reader = Reader::new(side);
    let violation = drain(&mut reader, input).unwrap_err();
    assert_eq!(reader.next(&mut [0x82, 0]), Err(violation), "stays failed");
    assert_eq!(reader.next(&mut []), Err(violation), "stays failed");
    violation
}

#[test]
fn a_masked_message_in_place() {
    let mut reader = Reader::new(Side::Server);
    let mut input = encode_message(OpCode::Text, b"Hello", KEY);
    let step = reader.next(&mut input).unwrap();
    let header = FrameHeader {
        fin: true,
        opcode: OpCode::Text,
        mask: KEY,
        len: 5,
    };
    assert_eq!(
        (step.consumed, step.item),
        (
            6,
            Some(Item::Data {
                header,
                at: Some(0..6)
            })
        )
    );
    assert!(reader.is_mid_message());
    let step = reader.next(&mut input[6..]).unwrap();
    assert_eq!(
        (step.consumed, step.item),
        (
            5,
            Some(Item::Payload {
                range: 0..5,
                last: true
            })
        )
    );
    assert_eq!(&input[6..], b"Hello");
    assert!(!reader.is_mid_message());
}

#[test]
fn a_header_in_two_inputs_has_no_place() {
    let input = encode_message(OpCode::Binary, &[7; 300], KEY);
    for cut in 1..8 {
        let mut reader = Reader::new(Side::Server);
        assert_eq!(drain(&mut reader, &input[..cut]), Ok(Vec::new()));
        assert!(reader.is_mid_message());
        let items = drain(&mut reader, &input[cut..]).unwrap();
        let header = FrameHeader {
            fin: true,
            opcode: OpCode::Binary,
            mask: KEY,
            len: 300,
        };
        assert_eq!(items[0].0, Item::Data { header, at: None });
        assert_eq!(
            items[1],
            (
                Item::Payload {
                    range: 0..300,
                    last: true
                },
                [7; 300].to_vec()
            )
        );
    }
}

#[test]
fn empty_frames_give_no_payload() {
    let mut reader = Reader::new(Side::Client);
    let input = [
        frame(false, OpCode::Binary, b""),
        frame(true, OpCode::Continuation, b""),
    ]
    .concat();
    let items = drain(&mut reader, &input).unwrap();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|(item, _)| matches!(item, Item::Data { .. })));
    assert!(!reader.is_mid_message());
}

#[test]
fn control_frames_between_fragments() {
    let mut reader = Reader::new(Side::Client);
    let input = [
        frame(false, OpCode::Text, b"a"),
        encode_ping(b"1", None).to_vec(),
        encode_pong(b"", None).to_vec(),
        frame(true, OpCode::Continuation, b"b"),
    ];
    let items = drain(&mut reader, &input.concat()).unwrap();
    assert!(matches!(&items[2].0, Item::Ping(payload) if **payload == *b"1"));
    assert!(matches!(&items[3].0, Item::Pong(payload) if payload.is_empty()));
    assert_eq!(items[5].1, b"b");
}

#[test]
fn between_fragments_is_mid_message() {
    let mut reader = Reader::new(Side::Client);
    drain(&mut reader, &frame(false, OpCode::Text, b"a")).unwrap();
    assert!(reader.is_mid_message());
    drain(&mut reader, &frame(true, OpCode::Continuation, b"b")).unwrap();
    assert!(!reader.is_mid_message());
    drain(&mut reader, &encode_ping(b"abc", None)[..3]).unwrap();
    assert!(reader.is_mid_message());
}

#[test]
fn close_ends_data_only() {
    let mut reader = Reader::new(Side::Server);
    let items = drain(&mut reader, &encode_close(CloseCode::GOING_AWAY, "bye", KEY)).unwrap();
    let Item::Close(Some(close)) = &items[0].0 else {
        panic!("{items:?}")
    };
    assert_eq!(
        (close.code, close.reason.as_str()),
        (CloseCode::GOING_AWAY, "bye")
    );
    assert!(reader.is_closed() && !reader.is_mid_message());
    let controls = [encode_ping(b"x", KEY).to_vec(), encode_empty_close(KEY).to_vec()].concat();
    let items = drain(&mut reader, &controls).unwrap();
    assert!(matches!(items[..], [(Item::Ping(_), _), (Item::Close(None), _)]));
    let data = encode_message(OpCode::Binary, b"", KEY);
    assert_eq!(drain(&mut reader, &data), Err(Violation::DataAfterClose));
}

#[test]
fn close_inside_a_message_leaves_it_unfinished() {
    let mut reader = Reader::new(Side::Client);
    drain(&mut reader, &frame(false, OpCode::Text, b"a")).unwrap();
    drain(&mut reader, &encode_empty_close(None)).unwrap();
    assert!(reader.is_closed() && reader.is_mid_message());
}

#[test]
fn violations() {
    let client = |input: &[&[u8]]| fails(Side::Client, &input.concat());
    let message = encode_message(OpCode::Binary, b"x", None);
    let open = frame(false, OpCode::Binary, b"x");
    assert_eq!(fails(Side::Server, &message), Violation::Unmasked);
    assert_eq!(
        client(&[&encode_message(OpCode::Binary, b"x", KEY)]),
        Violation::Masked
    );
    assert_eq!(fails(Side::Server, &encode_ping(b"", None)), Violation::Unmasked);
    assert_eq!(
        client(&[&frame(true, OpCode::Continuation, b"")]),
        Violation::UnexpectedContinuation
    );
    assert_eq!(
        client(&[&message, &frame(false, OpCode::Continuation, b"")]),
        Violation::UnexpectedContinuation
    );
    assert_eq!(client(&[&open, &message]), Violation::UnfinishedMessage);
    assert_eq!(
        client(&[&frame(true, OpCode::Close, b"\x03")]),
        Violation::BadCloseCode
    );
    assert_eq!(
        client(&[&encode_close(CloseCode(1005), "", None)]),
        Violation::BadCloseCode
    );
    assert_eq!(
        client(&[&frame(true, OpCode::Close, b"\x03\xe8\xff")]),
        Violation::NotUtf8
    );
    assert_eq!(client(&[&[0xc2, 0]]), Violation::ReservedBits);
    assert_eq!(
        client(&[&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]]),
        Violation::BadLength
    );
}

#[test]
fn nothing_in_nothing_out() {
    let mut reader = Reader::new(Side::Server);
    for byte in encode_message(OpCode::Text, b"abc", KEY)
        .iter_mut()
        .chain(encode_ping(b"x", KEY).to_vec().iter_mut())
    {
        let step = reader.next(&mut []).unwrap();
        assert_eq!((step.consumed, step.item), (0, None));
        reader.next(core::slice::from_mut(byte)).unwrap();
    }
}

/// One per connection: part of its memory budget.
#[test]
fn is_small() {
    assert!(size_of::<Reader>() <= 200, "{}", size_of::<Reader>());
}
