//! Properties of the WebSocket codec: round trip, any split of the input, hostile bytes.

mod ws_support;

use proptest::collection::vec;
use proptest::prelude::*;
use viaduct_proto::Parsed;
use viaduct_proto::ws::{Assembler, CloseFrame, CloseReason, FrameHeader, OpCode, Side};
use ws_support::{Event, decode, encode, stream};

fn opcode() -> impl Strategy<Value = OpCode> {
    prop_oneof![
        Just(OpCode::Continuation),
        Just(OpCode::Text),
        Just(OpCode::Binary),
        Just(OpCode::Close),
        Just(OpCode::Ping),
        Just(OpCode::Pong),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![0..130u64, 0xfff0..0x1_0010u64, 0..1u64 << 63]
}

/// A legal stream in which a few bytes were changed: gets further than random bytes.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (stream(), any::<Option<[u8; 4]>>(), damage).prop_map(|(events, key, damage)| {
        let mut bytes = encode(&events, key);
        // Headers are rare in long payloads.
        bytes.truncate(2000);
        for (index, byte) in damage {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes
    })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Server), Just(Side::Client)]
}

proptest! {
    #[test]
    fn header_round_trip(fin: bool, opcode in opcode(), mask: Option<[u8; 4]>, len in length()) {
        let control = opcode.is_control();
        let header = FrameHeader { fin: fin || control, opcode, mask, len: if control { len % 126 } else { len } };
        let bytes = header.encode();
        prop_assert_eq!(bytes.len(), header.encoded_len());
        prop_assert_eq!(FrameHeader::parse(&bytes), Ok(Parsed::Done(header, bytes.len())));
    }

    #[test]
    fn header_of_any_bytes(bytes in vec(any::<u8>(), 0..20)) {
        match FrameHeader::parse(&bytes) {
            Ok(Parsed::Done(header, len)) => prop_assert_eq!(&*header.encode(), &bytes[..len]),
            Ok(Parsed::Need) => prop_assert!(bytes.len() < FrameHeader::MAX_LEN),
            Err(violation) => {
                // Once wrong, always wrong, in the same way.
                let longer = [&bytes[..], &[0; 14]].concat();
                prop_assert_eq!(FrameHeader::parse(&longer), Err(violation));
            }
        }
    }

    #[test]
    fn close_payload_round_trip(bytes in vec(any::<u8>(), 0..=125), text in "\\PC{0,200}") {
        if let Ok(Some(close)) = CloseFrame::parse(&bytes) {
            prop_assert_eq!(&*close.encode(), &bytes[..]);
        }
        let reason = CloseReason::truncated(&text);
        prop_assert!(text.starts_with(reason.as_str()));
        prop_assert!(reason.as_str().len() == text.len() || reason.as_str().len() > 119);
    }

    #[test]
    fn stream_round_trip(events in stream(), key: Option<[u8; 4]>, pieces in vec(1..40usize, 1..6)) {
        let side = if key.is_some() { Side::Server } else { Side::Client };
        let bytes = encode(&events, key);
        for pieces in [&[bytes.len().max(1)], &pieces[..]] {
            let (decoded, end) = decode(side, &bytes, pieces);
            prop_assert_eq!(&decoded, &events);
            let reader = end.unwrap();
            prop_assert!(!reader.is_mid_message());
            prop_assert_eq!(reader.is_closed(), matches!(events.last(), Some(Event::Close(_))));
        }
    }

    #[test]
    fn hostile_bytes_give_the_same_in_any_split(
        bytes in prop_oneof![damaged(), vec(any::<u8>(), 0..200)],
        side in side(),
        pieces in vec(1..9usize, 1..6),
    ) {
        let (whole, end) = decode(side, &bytes, &[bytes.len().max(1)]);
        for pieces in [&[1], &pieces[..]] {
            let (split, split_end) = decode(side, &bytes, pieces);
            prop_assert_eq!(&split, &whole);
            prop_assert_eq!(split_end.as_ref().err(), end.as_ref().err());
            if let (Ok(split), Ok(whole)) = (split_end, &end) {
                prop_assert_eq!(split.is_mid_message(), whole.is_mid_message());
                prop_assert_eq!(split.is_closed(), whole.is_closed());
            }
        }
    }

    #[test]
    fn assembler_never_holds_more_than_its_limit(
        frames in vec((any::<bool>(), opcode(), 0..40u64, 0..60usize, any::<bool>()), 0..40),
    ) {
        let mut assembler = Assembler::new(64);
        for (fin, opcode, len, piece, last) in frames {
            let _ = assembler.on_data(&FrameHeader { fin, opcode, mask: None, len });
            let message = assembler.take_if_complete();
            prop_assert!(message.is_none_or(|message| message.bytes.capacity() <= 64));
            if let Ok(Some(message)) = assembler.on_payload(&vec![b'x'; piece], last) {
                prop_assert!(message.bytes.capacity() <= 64);
            }
        }
    }
}
