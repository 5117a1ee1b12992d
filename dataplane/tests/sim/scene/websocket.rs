//! A scripted WebSocket client: sender, rendezvous or control channel.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use viaduct::ring::sim::{SimNet, SimSocket};
use viaduct_proto::Parsed;
use viaduct_proto::http1::{HeadBuffer, ResponseHead};
use viaduct_proto::time::Now;
use viaduct_proto::ws::{
    CloseCode, CloseFrame, FrameHeader, Item, OpCode, Reader, Side, apply_mask, encode_close, encode_ping,
    encode_pong, upgrade,
};

use super::End;
use super::flow::Message;

/// What comes out of a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The upgrade was answered with 101.
    Open,
    /// Of the message that is arriving: all bytes so far, and whether that is all.
    Part {
        opcode: OpCode,
        so_far: Vec<u8>,
        last: bool,
    },
    Pong,
    Close(Option<CloseFrame>),
    /// Nothing comes any more.
    End(End),
}

/// Where to connect, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) from: IpAddr,
    pub(crate) to: SocketAddr,
    /// The `Host` header.
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// The connection. Answers pings by itself.
#[derive(Debug)]
pub(crate) struct WebSocket {
    socket: Option<SimSocket>,
    rng: fastrand::Rng,
    key: String,
    head: Option<HeadBuffer>,
    reader: Reader,
    out: Vec<u8>,
    message: Option<(OpCode, Vec<u8>)>,
    /// The header of the frame that is arriving.
    frame: Option<FrameHeader>,
    /// Pause between two reads, and the next one.
    pub(crate) pace: Option<Duration>,
    next_read: Now,
    pub(crate) said_close: bool,
    heard_close: bool,
    ended: bool,
    /// Answers nothing, pings included.
    pub(crate) mute: bool,
}

impl WebSocket {
    pub(crate) fn connect(net: &SimNet, address: &Address, mut rng: fastrand::Rng) -> Self {
        let mut random = [0; 16];
        rng.fill(&mut random);
        let key = upgrade::client_key(random);
        let headers: Vec<_> = address
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut out = Vec::new();
        upgrade::write_client_request(&mut out, &address.authority, &address.target, &key, &headers);
        Self {
            socket: Some(net.connect_from(address.from, address.to)),
            rng,
            key,
            head: Some(HeadBuffer::new(64 * 1024)),
            reader: Reader::new(Side::Client),
            out,
            message: None,
            frame: None,
            pace: None,
            next_read: Now(0),
            said_close: false,
            heard_close: false,
            ended: false,
            mute: false,
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.head.is_none() && !self.ended
    }

    /// Queues a message, in fragments with control frames between them as it comes.
    pub(crate) fn send(&mut self, message: &Message) {
        let mut bytes = message.bytes.as_slice();
        let mut opcode = message.opcode;
        loop {
            let fragment = if self.rng.u8(..) < 90 {
                self.rng.usize(..=bytes.len())
            } else {
                bytes.len()
            };
            let (now, later) = bytes.split_at(fragment);
            bytes = later;
            let fin = bytes.is_empty();
            self.frame(fin, opcode, now);
            if self.rng.u8(..) < 30 {
                self.ping();
            }
            if fin {
                return;
            }
            opcode = OpCode::Continuation;
        }
    }

    fn frame(&mut self, fin: bool, opcode: OpCode, payload: &[u8]) {
        let mask = self.mask();
        let len = payload.len() as u64;
        let header = FrameHeader {
            fin,
            opcode,
            mask: Some(mask),
            len,
        };
        self.out.extend_from_slice(&header.encode());
        let start = self.out.len();
        self.out.extend_from_slice(payload);
        apply_mask(&mut self.out[start..], mask, 0);
    }

    pub(crate) fn ping(&mut self) {
        let mask = self.mask();
        self.out.extend_from_slice(&encode_ping(b"there?", Some(mask)));
    }

    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) {
        let mask = self.mask();
        self.out
            .extend_from_slice(&encode_close(code, reason, Some(mask)));
        self.said_close = true;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.reset();
        }
        self.ended = true;
    }

    /// Ends the connection without a word.
    pub(crate) fn drop_connection(&mut self) {
        self.socket = None;
        self.ended = true;
    }

    /// Reads and writes what the network takes.
    pub(crate) fn turn(&mut self, now: Now) -> Vec<Heard> {
        let mut heard = Vec::new();
        if self.ended {
            return heard;
        }
        if now >= self.next_read {
            self.next_read = self.pace.map_or(Now(0), |pace| now.after(pace));
            self.read(&mut heard);
        }
        self.flush();
        heard
    }

    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.pace.filter(|_| !self.ended).map(|_| self.next_read)
    }

    /// Writes what the network takes.
    pub(crate) fn flush(&mut self) {
        if let Some(socket) = self.socket.as_mut().filter(|socket| socket.is_open()) {
            let sent = socket.write(&self.out);
            self.out.drain(..sent);
        }
    }

    fn read(&mut self, heard: &mut Vec<Heard>) {
        let Some(socket) = &mut self.socket else { return };
        let mut bytes = socket.read();
        let over = socket.is_reset() || socket.is_eof();
        if let Some(head) = &mut self.head {
            if head.extend(&bytes).expect("the answer has a head").is_some() {
                match ResponseHead::parse(head.bytes()).expect("the answer has a head") {
                    Parsed::Need => unreachable!("the head is whole"),
                    Parsed::Done(answer, used) => {
                        let rest = head.bytes()[used..].to_vec();
                        self.on_answer(&answer, heard);
                        bytes = rest;
                    }
                }
            } else {
                bytes.clear();
            }
        }
        if !self.ended {
            self.on_bytes(&mut bytes, heard);
        }
        if over && !self.ended {
            // After the closing handshake it is for the server to end the connection (RFC 6455 section 7.1.1).
            let complete = self.said_close && self.heard_close && self.out.is_empty();
            self.drop_connection();
            heard.push(Heard::End(if complete { End::Regular } else { End::Broken }));
        }
    }

    fn on_answer(&mut self, answer: &ResponseHead, heard: &mut Vec<Heard>) {
        self.head = None;
        if answer.status == 101 {
            upgrade::check_switching(answer, &self.key).expect("a proper upgrade");
            heard.push(Heard::Open);
        } else {
            self.drop_connection();
            heard.push(Heard::End(End::Refused(answer.status)));
        }
    }

    fn on_bytes(&mut self, mut bytes: &mut [u8], heard: &mut Vec<Heard>) {
        while !bytes.is_empty() {
            let step = self.reader.next(bytes).expect("the relay keeps to RFC 6455");
            let (now, later) = bytes.split_at_mut(step.consumed);
            bytes = later;
            match step.item {
                None => {}
                Some(Item::Ping(payload)) => {
                    let mask = self.mask();
                    if !self.mute && !self.said_close {
                        self.out.extend_from_slice(&encode_pong(&payload, Some(mask)));
                    }
                }
                Some(Item::Pong(payload)) => {
                    assert_eq!(&*payload, b"there?", "a pong repeats its ping");
                    heard.push(Heard::Pong);
                }
                Some(Item::Close(frame)) => {
                    self.heard_close = true;
                    heard.push(Heard::Close(frame));
                }
                Some(Item::Data { header, .. }) => {
                    if header.opcode != OpCode::Continuation {
                        self.message = Some((header.opcode, Vec::new()));
                    }
                    self.frame = Some(header);
                    if header.len == 0 {
                        heard.extend(self.part(&[], true));
                    }
                }
                Some(Item::Payload { range, last }) => heard.extend(self.part(&now[range], last)),
            }
        }
    }

    fn part(&mut self, bytes: &[u8], frame_ends: bool) -> Option<Heard> {
        let (opcode, so_far) = self.message.as_mut()?;
        so_far.extend_from_slice(bytes);
        let last = frame_ends && self.frame.is_some_and(|header| header.fin);
        Some(Heard::Part {
            opcode: *opcode,
            so_far: so_far.clone(),
            last,
        })
    }

    fn mask(&mut self) -> [u8; 4] {
        self.rng.u32(..).to_ne_bytes()
    }
}
