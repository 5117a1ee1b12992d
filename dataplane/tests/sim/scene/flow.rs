//! What one direction of a stream should carry, known to both of its ends, and checked with every byte that arrives.

use std::cell::RefCell;
use std::rc::Rc;

use viaduct_proto::ws::{CloseCode, CloseFrame, OpCode};

/// Bytes of one direction. What arrives is compared on arrival: in order, once, and never more than was sent.
#[derive(Debug)]
pub(crate) struct Flow {
    bytes: Vec<u8>,
    pub(crate) written: usize,
    /// The sender has ended its direction in order.
    pub(crate) fin: bool,
    pub(crate) got: usize,
    /// The reader has seen the regular end.
    pub(crate) eof: bool,
    /// A process was killed whose kernel may end the connection as if in order, so that an early end says nothing.
    pub(crate) cut: bool,
}

pub(crate) type SharedFlow = Rc<RefCell<Flow>>;

impl Flow {
    pub(crate) fn new(bytes: Vec<u8>) -> SharedFlow {
        Rc::new(RefCell::new(Self {
            bytes,
            written: 0,
            fin: false,
            got: 0,
            eof: false,
            cut: false,
        }))
    }

    /// What is still to be written.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(crate) fn is_written(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// All of it has arrived, and its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.eof && self.got == self.bytes.len()
    }

    pub(crate) fn on_arrival(&mut self, bytes: &[u8]) {
        let end = self.got + bytes.len();
        assert!(
            end <= self.written,
            "{end} bytes arrived of {} sent",
            self.written
        );
        assert!(
            self.bytes[self.got..end] == *bytes,
            "other bytes than sent, between {} and {end}",
            self.got
        );
        assert!(!self.eof || bytes.is_empty(), "bytes after the end");
        self.got = end;
    }

    /// The reader sees an end in order; answers whether it is one.
    pub(crate) fn on_eof(&mut self) -> bool {
        let whole = self.fin && self.got == self.written;
        assert!(
            whole || self.cut,
            "a regular end after {} of {} bytes (sender ended: {})",
            self.got,
            self.bytes.len(),
            self.fin
        );
        self.eof = whole;
        whole
    }
}

/// A WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) opcode: OpCode,
    pub(crate) bytes: Vec<u8>,
}

/// Messages of one direction, ended by Close.
#[derive(Debug)]
pub(crate) struct MessageFlow {
    pub(crate) messages: Vec<Message>,
    /// What the Close says.
    pub(crate) farewell: (CloseCode, &'static str),
    pub(crate) sent: usize,
    /// The sender's Close has been written behind all messages.
    pub(crate) closed: bool,
    pub(crate) got: usize,
    /// The reader has seen the Close.
    pub(crate) ended: bool,
}

pub(crate) type SharedMessages = Rc<RefCell<MessageFlow>>;

impl MessageFlow {
    pub(crate) fn new(messages: Vec<Message>) -> SharedMessages {
        Rc::new(RefCell::new(Self {
            messages,
            farewell: (CloseCode::NORMAL, "done"),
            sent: 0,
            closed: false,
            got: 0,
            ended: false,
        }))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.ended && self.got == self.messages.len()
    }

    /// A part of a message has come; it is the whole if `last`.
    pub(crate) fn on_part(&mut self, opcode: OpCode, so_far: &[u8], last: bool) {
        assert!(self.got < self.sent, "a message that was not sent");
        let Message { opcode: kind, bytes } = &self.messages[self.got];
        assert_eq!(*kind, opcode, "type of message {}", self.got);
        assert!(bytes.starts_with(so_far), "other bytes in message {}", self.got);
        assert!(
            !last || bytes.len() == so_far.len(),
            "message {} ends early",
            self.got
        );
        self.got += usize::from(last);
    }

    /// A Close comes through as it was said.
    pub(crate) fn on_close(&mut self, frame: &CloseFrame) {
        assert_eq!((frame.code, frame.reason.as_str()), self.farewell);
        assert!(
            self.closed && self.got == self.sent,
            "a regular close after {} of {} messages",
            self.got,
            self.sent
        );
        self.ended = true;
    }
}

/// Bytes that differ by seed and place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}
