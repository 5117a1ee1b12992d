//! Frames that break RFC 6455, on a control channel and on both ends of a stream.

use std::io::Write;
use std::net::TcpStream;

use crate::harness::frames::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT, client_frame, header};
use crate::harness::sas::Rule;
use crate::harness::tunnel::{self, PATH, Tunnel};
use crate::harness::{Engine, Transport, on_each_engine};
use crate::hostile_heads::{ended, undisturbed};

on_each_engine!(on_control_channel, on_stream, ping_is_answered);

/// Name, bytes, the close code that they earn.
fn cases() -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut unmasked = header(FIN | TEXT, 5, 0);
    unmasked.extend(b"hello");
    let huge = [
        &[FIN | BINARY, 0x80 | 127][..],
        &(1_u64 << 63).to_be_bytes(),
        &[0; 4],
    ]
    .concat();
    let not_minimal = [&[FIN | BINARY, 0x80 | 126][..], &[0, 5], &[0; 9]].concat();
    let long_ping = [header(FIN | PING, 126, 0x80), vec![0; 4 + 126]].concat();
    let mut two_starts = client_frame(TEXT, b"first");
    two_starts.extend(client_frame(FIN | TEXT, b"second"));
    vec![
        ("unmasked", unmasked, 1002),
        ("reserved bit 1", client_frame(FIN | 0x40 | TEXT, b"x"), 1002),
        ("reserved bit 2", client_frame(FIN | 0x20 | TEXT, b"x"), 1002),
        ("reserved bit 3", client_frame(FIN | 0x10 | TEXT, b"x"), 1002),
        ("reserved opcode 3", client_frame(FIN | 3, b"x"), 1002),
        ("reserved opcode 11", client_frame(FIN | 11, b"x"), 1002),
        ("length 2^63", huge, 1002),
        ("length not minimal", not_minimal, 1002),
        ("ping over 125 bytes", long_ping, 1002),
        ("fragmented ping", client_frame(PING, b"x"), 1002),
        ("continuation without a start", client_frame(FIN, b"x"), 1002),
        ("start inside a message", two_starts, 1002),
        ("close of one byte", client_frame(FIN | CLOSE, &[3]), 1002),
        (
            "close with a reserved code",
            client_frame(FIN | CLOSE, &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "close reason not UTF-8",
            client_frame(FIN | CLOSE, &[3, 232, 0xff]),
            1007,
        ),
    ]
}

fn on_control_channel(engine: Engine) {
    undisturbed(engine, Transport::Plain, |tunnel| {
        let rule = Rule::of(&tunnel.relay.connection_string());
        for (name, bytes, code) in cases() {
            let mut stream = tunnel::connect(tunnel.relay.address);
            // A path of its own: the tunnel's senders must not be sent here.
            frames::listen_on(&mut stream, "hostile", &rule);
            stream.write_all(&bytes).expect("hostile frame");
            closes_with(&mut stream, code, name);
            ended(stream, name);
        }
    });
}

/// The same from a sender, with a listener at the other end that sees its stream end without a clean close.
fn on_stream(engine: Engine) {
    undisturbed(engine, Transport::Plain, |tunnel| {
        let rule = Rule::of(&tunnel.relay.connection_string());
        for (name, bytes, code) in cases() {
            let (mut sender, mut rendezvous, _control) = join(tunnel, &rule);
            sender
                .write_all(&client_frame(FIN | BINARY, b"well formed"))
                .expect("first message");
            let first = frames::read_frame(&mut rendezvous)
                .expect("frame")
                .expect("no end yet");
            assert_eq!(
                (first.opcode, &first.payload[..]),
                (BINARY, &b"well formed"[..]),
                "{name}"
            );
            sender.write_all(&bytes).expect("hostile frame");
            closes_with(&mut sender, code, name);
            while let Ok(Some(frame)) = frames::read_frame(&mut rendezvous) {
                assert_ne!(
                    frame.close_code(),
                    Some(1000),
                    "{name}: the listener was told of a normal end"
                );
            }
        }
    });
}

fn ping_is_answered(engine: Engine) {
    undisturbed(engine, Transport::Plain, |tunnel| {
        let rule = Rule::of(&tunnel.relay.connection_string());
        let mut stream = tunnel::connect(tunnel.relay.address);
        frames::listen_on(&mut stream, "hostile", &rule);
        let payload = [42; 125];
        stream
            .write_all(&client_frame(FIN | PING, &payload))
            .expect("ping");
        let pong = Frame {
            opcode: PONG,
            payload: payload.to_vec(),
        };
        assert_eq!(frames::read_frame(&mut stream).expect("frame"), Some(pong));
    });
}

/// A sender and a listener joined on a path of their own; the control channel comes last.
fn join(tunnel: &Tunnel, rule: &Rule) -> (TcpStream, TcpStream, TcpStream) {
    const OWN: &str = "hostile-stream";
    assert_ne!(OWN, PATH);
    let address = tunnel.relay.address;
    let mut control = tunnel::connect(address);
    frames::listen_on(&mut control, OWN, rule);
    let mut sender = tunnel::connect(address);
    sender
        .write_all(frames::upgrade_head("connect", OWN, rule).as_bytes())
        .expect("request");
    let accept = frames::read_frame(&mut control)
        .expect("frame")
        .expect("accept message");
    let target = accept_target(&String::from_utf8(accept.payload).expect("JSON is UTF-8"));
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut rendezvous = tunnel::connect(address);
    rendezvous.write_all(head.as_bytes()).expect("request");
    for stream in [&mut rendezvous, &mut sender] {
        let answer = frames::read_answer(stream).expect("answer");
        assert_eq!(answer.status, 101, "{}", answer.head);
    }
    (sender, rendezvous, control)
}

/// Path and query of the address in an accept message.
fn accept_target(json: &str) -> String {
    let address = json
        .split("\"address\":\"")
        .find_map(|part| part.strip_prefix("ws://"));
    let address = address.unwrap_or_else(|| panic!("no ws:// address in {json}"));
    let address = address.split('"').next().unwrap_or_default().replace("\\/", "/");
    let start = address.find('/').expect("a path in the address");
    address[start..].to_owned()
}

fn closes_with(stream: &mut TcpStream, code: u16, name: &str) {
    loop {
        let frame = frames::read_frame(stream).unwrap_or_else(|error| panic!("{name}: {error}"));
        let frame = frame.unwrap_or_else(|| panic!("{name}: ended without a Close frame"));
        if frame.opcode == CLOSE {
            return assert_eq!(frame.close_code(), Some(code), "{name}");
        }
    }
}

const FIN: u8 = 0x80;
