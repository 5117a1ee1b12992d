//! The WebSocket code against tungstenite, an implementation that shares nothing with it.

mod ws_support;

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode as TheirOpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader as TheirHeader};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};
use viaduct_proto::http1::{RequestHead, ResponseHead};
use viaduct_proto::ws::upgrade::{
    accept_key, check_switching, client_key, server_offer, write_client_request, write_switching,
};
use viaduct_proto::ws::{Assembler, FrameHeader, Item, OpCode, Reader, Side, apply_mask, encode_message};
use viaduct_proto::{Parsed, Violation};
use ws_support::{Event, decode, encode, stream};

/// Longest message that either side takes.
const LIMIT: usize = 300_000;

/// A socket whose peer sent `input` and is silent now.
#[derive(Debug, Default)]
struct Pipe {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn their_socket(input: Vec<u8>, role: Role) -> WebSocket<Pipe> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    WebSocket::from_raw_socket(
        Pipe {
            input: Cursor::new(input),
            output: Vec::new(),
        },
        role,
        Some(config),
    )
}

/// What they read until `bytes` end or Close, and their error, if any.
fn they_read(bytes: &[u8], role: Role) -> (Vec<Message>, Option<Error>) {
    let mut socket = their_socket(bytes.to_vec(), role);
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => {
                let closed = message.is_close();
                messages.push(message);
                if closed {
                    return (messages, None);
                }
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

/// The same with our decoder, and whether the stream stopped inside a message.
fn we_read(bytes: &[u8], side: Side) -> (Vec<Message>, Result<bool, Violation>) {
    let (mut reader, mut assembler) = (Reader::new(side), Assembler::new(LIMIT));
    let mut messages = Vec::new();
    let mut bytes = bytes.to_vec();
    let mut rest = bytes.as_mut_slice();
    while !rest.is_empty() && !reader.is_closed() {
        let step = match reader.next(rest) {
            Ok(step) => step,
            Err(violation) => return (messages, Err(violation)),
        };
        let collected = step
            .item
            .map_or(Ok(()), |item| collect(&mut messages, &mut assembler, item, rest));
        if let Err(violation) = collected {
            return (messages, Err(violation));
        }
        rest = &mut rest[step.consumed..];
    }
    (messages, Ok(reader.is_mid_message()))
}

fn collect(
    messages: &mut Vec<Message>,
    assembler: &mut Assembler,
    item: Item,
    input: &[u8],
) -> Result<(), Violation> {
    let whole = match item {
        Item::Data { header, .. } => {
            assembler.on_data(&header)?;
            assembler.take_if_complete()
        }
        Item::Payload { range, last } => assembler.on_payload(&input[range], last)?,
        Item::Ping(payload) => {
            messages.push(Message::Ping(payload.to_vec().into()));
            None
        }
        Item::Pong(payload) => {
            messages.push(Message::Pong(payload.to_vec().into()));
            None
        }
        Item::Close(close) => {
            messages.push(Message::Close(close.map(|close| CloseFrame {
                code: close.code.0.into(),
                reason: close.reason.as_str().into(),
            })));
            None
        }
    };
    messages.extend(whole.map(|message| {
        if message.binary {
            Message::Binary(message.bytes.into())
        } else {
            Message::Text(String::from_utf8(message.bytes).unwrap().into())
        }
    }));
    Ok(())
}

fn their_opcode(opcode: OpCode) -> TheirOpCode {
    match opcode {
        OpCode::Continuation => TheirOpCode::Data(Data::Continue),
        OpCode::Text => TheirOpCode::Data(Data::Text),
        OpCode::Binary => TheirOpCode::Data(Data::Binary),
        OpCode::Close => TheirOpCode::Control(Control::Close),
        OpCode::Ping => TheirOpCode::Control(Control::Ping),
        OpCode::Pong => TheirOpCode::Control(Control::Pong),
    }
}

fn their_header(header: &FrameHeader) -> TheirHeader {
    TheirHeader {
        is_final: header.fin,
        opcode: their_opcode(header.opcode),
        mask: header.mask,
        ..TheirHeader::default()
    }
}

fn their_frame(event: &Event) -> Frame {
    match event.clone() {
        Event::Data { fin, opcode, payload } => Frame::message(payload, their_opcode(opcode), fin),
        Event::Ping(payload) => Frame::ping(payload),
        Event::Pong(payload) => Frame::pong(payload),
        Event::Close(close) => Frame::close(close.map(|(code, reason)| CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })),
    }
}

fn sides() -> impl Strategy<Value = (Side, Role, Option<[u8; 4]>)> {
    let masked = any::<[u8; 4]>().prop_map(|key| (Side::Server, Role::Server, Some(key)));
    prop_oneof![masked, Just((Side::Client, Role::Client, None))]
}

proptest! {
    #[test]
    fn headers_are_read_alike(bytes in vec(any::<u8>(), 0..16)) {
        let mut cursor = Cursor::new(&bytes);
        let theirs = TheirHeader::parse(&mut cursor);
        match FrameHeader::parse(&bytes) {
            Ok(Parsed::Done(ours, len)) => {
                prop_assert_eq!(theirs.unwrap(), Some((their_header(&ours), ours.len)));
                prop_assert_eq!(cursor.position(), len as u64);
            }
            Ok(Parsed::Need) => prop_assert!(theirs.unwrap().is_none()),
            // They check these later, or (the shortest form) not at all.
            Err(
                Violation::ReservedBits
                | Violation::BadLength
                | Violation::ControlFragmented
                | Violation::ControlTooLong,
            ) => {}
            Err(_) => prop_assert!(theirs.map_or(true, |header| header.is_none())),
        }
    }

    #[test]
    fn frames_are_written_alike(text: bool, payload in vec(any::<u8>(), 0..300), mask: Option<[u8; 4]>) {
        let opcode = if text { OpCode::Text } else { OpCode::Binary };
        let header = FrameHeader { fin: true, opcode, mask, len: payload.len() as u64 };
        let mut theirs = Vec::new();
        Frame::from_payload(their_header(&header), payload.clone().into()).format(&mut theirs).unwrap();
        prop_assert_eq!(&theirs, &encode_message(opcode, &payload, mask));
        let mut bare = Vec::new();
        their_header(&header).format(header.len, &mut bare).unwrap();
        prop_assert_eq!(&bare[..], &*header.encode());
    }

    #[test]
    fn masking_is_alike(payload in vec(any::<u8>(), 0..200), key: [u8; 4], cut: prop::sample::Index) {
        let header = TheirHeader { mask: Some(key), opcode: TheirOpCode::Data(Data::Binary), ..Default::default() };
        let mut theirs = Vec::new();
        Frame::from_payload(header, payload.clone().into()).format(&mut theirs).unwrap();
        let mut ours = payload;
        let (head, tail) = { let cut = cut.index(ours.len() + 1); ours.split_at_mut(cut) };
        let phase = apply_mask(head, key, 0);
        apply_mask(tail, key, phase);
        prop_assert!(theirs.ends_with(&ours));
    }

    #[test]
    fn they_read_what_we_write(events in stream(), (side, role, key) in sides()) {
        let bytes = encode(&events, key);
        let (theirs, error) = they_read(&bytes, role);
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(we_read(&bytes, side), (theirs, Ok(false)));
    }

    #[test]
    fn we_read_what_they_write(events in stream(), client: bool, pieces in vec(1..5000usize, 1..4)) {
        let (side, role) = if client { (Side::Server, Role::Client) } else { (Side::Client, Role::Server) };
        let mut socket = their_socket(Vec::new(), role);
        for event in &events {
            socket.write(Message::Frame(their_frame(event))).unwrap();
        }
        socket.flush().unwrap();
        let (ours, end) = decode(side, &socket.get_ref().output, &pieces);
        prop_assert_eq!(ours, events);
        prop_assert!(end.is_ok());
    }

    /// We take nothing that they refuse, and read the same from what both take.
    #[test]
    fn damaged_streams_are_judged_alike(
        events in stream(),
        (side, role, key) in sides(),
        damage in vec((0..400usize, any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&events, key);
        for (at, byte) in damage {
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        let (ours, end) = we_read(&bytes, side);
        let (theirs, error) = they_read(&bytes, role);
        if end == Ok(false) {
            prop_assert!(error.is_none(), "we take it, they say {error:?}");
            prop_assert_eq!(ours, theirs);
        } else {
            // They see broken UTF-8 before the message ends, and take lengths in a longer form.
            let same = ours.len().min(theirs.len());
            prop_assert_eq!(&ours[..same], &theirs[..same], "{:?} and {:?}", end, error);
        }
    }

    #[test]
    fn accept_keys_are_alike(key in "\\PC{0,40}", random: [u8; 16]) {
        prop_assert_eq!(accept_key(&key), derive_accept_key(key.as_bytes()));
        let key = client_key(random);
        prop_assert_eq!(accept_key(&key), derive_accept_key(key.as_bytes()));
    }
}

/// They take every code that we take except 1014 (registered after their table was made).
#[test]
fn close_codes_are_judged_alike() {
    for code in 0..=u16::MAX {
        let ours = viaduct_proto::ws::CloseCode(code).is_sendable();
        assert_eq!(ours, CloseCode::from(code).is_allowed() || code == 1014, "{code}");
    }
}

#[test]
fn their_server_takes_our_request() {
    let key = client_key(*b"0123456789abcdef");
    let mut request = Vec::new();
    write_client_request(&mut request, "localhost", "/$hc/a?sb-hc-action=listen", &key, &[]);
    let pipe = Pipe {
        input: Cursor::new(request),
        output: Vec::new(),
    };
    let socket = tungstenite::accept(pipe).unwrap();
    let Ok(Parsed::Done(head, _)) = ResponseHead::parse(&socket.get_ref().output) else {
        panic!("no head")
    };
    assert_eq!(check_switching(&head, &key), Ok(None));
}

/// A server of ours: answers the request as soon as it is there.
#[derive(Debug, Default)]
struct OurServer(Pipe);

impl Read for OurServer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Ok(Parsed::Done(head, len)) = RequestHead::parse(&self.0.output) {
            let offer = server_offer(&head).map_err(io::Error::other)?;
            write_switching(
                self.0.input.get_mut(),
                &offer.key,
                offer.protocols.first().map(String::as_str),
            );
            self.0.output.drain(..len);
        }
        self.0.read(buf)
    }
}

impl Write for OurServer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn their_client_takes_our_answer() {
    let request = tungstenite::client::ClientRequestBuilder::new("ws://localhost/a".parse().unwrap())
        .with_sub_protocol("viaduct.mux.v1");
    let (_, response) = tungstenite::client(request, OurServer::default()).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "viaduct.mux.v1");
    tungstenite::client("ws://localhost/a", OurServer::default()).unwrap();
}
