//! The preamble as a byte stream: round trips, any split, hostile bytes.

use proptest::prelude::*;
use viaduct_proto::preamble::{
    BadReply, Mode, PreambleFault, Reply, ReplyReader, Request, RequestReader, encode_request,
};

proptest! {
    #[test]
    fn request_survives_any_split(
        mode in modes(),
        name in "\\PC{1,60}",
        payload in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(1usize..9, 1..12),
    ) {
        let mut bytes = encode_request(mode, &name).expect("short name");
        let length = bytes.len();
        bytes.extend_from_slice(&payload);
        let (taken, request) = feed_request(&bytes, &cuts).expect("own output");
        prop_assert_eq!(taken, length);
        prop_assert_eq!(request, Some(Request { mode, name }));
    }

    #[test]
    fn hostile_requests_mean_the_same_whole_and_split(
        bytes in hostile(),
        cuts in prop::collection::vec(1usize..9, 1..12),
    ) {
        prop_assert_eq!(feed_request(&bytes, &cuts), feed_request(&bytes, &[usize::MAX]));
    }

    #[test]
    fn replies_mean_the_same_whole_and_split(bytes in hostile(), cut in 1usize..4) {
        let whole = ReplyReader::new().feed(&bytes);
        let mut reader = ReplyReader::new();
        let mut taken = 0;
        let mut reply = None;
        for piece in bytes.chunks(cut) {
            let (consumed, found) = reader.feed(piece);
            taken += consumed;
            reply = found;
            if reply.is_some() {
                break;
            }
        }
        prop_assert_eq!((taken, reply), whole);
        match whole.1 {
            Some(Ok(reply)) => prop_assert_eq!(&reply.encode()[..], &bytes[..3]),
            Some(Err(BadReply(bad))) => {
                prop_assert_eq!(&bad[..], &bytes[..3]);
                prop_assert!(replies().iter().all(|reply| reply.encode() != bad));
            }
            None => prop_assert!(bytes.len() < 3),
        }
    }
}

fn feed_request(bytes: &[u8], cuts: &[usize]) -> Result<(usize, Option<Request>), PreambleFault> {
    let mut reader = RequestReader::new();
    let mut taken = 0;
    for cut in cuts.iter().cycle() {
        let rest = &bytes[taken..];
        let piece = &rest[..rest.len().min(*cut)];
        let (consumed, request) = reader.feed(piece)?;
        taken += consumed;
        if request.is_some() {
            return Ok((taken, request));
        }
        assert_eq!(consumed, piece.len(), "an unfinished request takes every byte");
        if taken == bytes.len() {
            break;
        }
    }
    Ok((taken, None))
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Stream), Just(Mode::Datagram)]
}

fn replies() -> [Reply; 5] {
    let [stream, datagram] = [Mode::Stream, Mode::Datagram].map(Reply::Accepted);
    [
        stream,
        datagram,
        Reply::Version,
        Reply::UdpExpected,
        Reply::Mismatch,
    ]
}

/// Small byte values are likely, so that valid beginnings are.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..300)
}
