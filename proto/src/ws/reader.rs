//! Incremental decoder of one direction of a WebSocket.
//!
//! The caller owns the bytes. Data payload is unmasked where it lies and handed out as ranges of the caller's
//! buffer; only a header or a control payload that is cut by the end of the input is kept inside. How the
//! bytes are cut into inputs changes where `Payload` items are cut and nothing else.
//!
//! ```text
//! input   │hdr│payload.........│hdr│hdr│ping│payl     the next input: oad...│
//! items    Data Payload(last)   Data Ping    Payload                 Payload(last)
//! ```
//!
//! Text is not checked for UTF-8 here: a relay passes it through, and [`super::Assembler`] checks what is
//! used.

use core::ops::Range;

use super::close::CloseFrame;
use super::control::ControlPayload;
use super::header::{FrameHeader, OpCode};
use super::mask::apply_mask;
use crate::limits::CONTROL_PAYLOAD_MAX;
use crate::{Parsed, Violation};

/// Which side of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// We accepted: the peer masks its frames.
    Server,
    /// We connected: the peer does not mask its frames.
    Client,
}

/// Incremental decoder. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Reader {
    side: Side,
    state: State,
    /// A message began and its last frame has not.
    in_message: bool,
    closed: bool,
    /// Start of a header, or of a control payload.
    held: ControlPayload,
}

/// What one call of [`Reader::next`] took and gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of `input` that are done with; the next call begins behind them.
    pub consumed: usize,
    /// What was decoded; none if more bytes are needed.
    pub item: Option<Item>,
}

/// Part of a WebSocket stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A data frame begins.
    Data {
        /// Its header.
        header: FrameHeader,
        /// Where the header lies in `input`, if all of it is there: a relay may write another header over it,
        /// in front of the payload.
        at: Option<Range<usize>>,
    },
    /// Next piece of the data frame, never empty: a frame without payload gives none.
    Payload {
        /// Where the piece lies in `input`, unmasked.
        range: Range<usize>,
        /// The frame ends with it.
        last: bool,
    },
    /// Wants a Pong with the same payload.
    Ping(ControlPayload),
    /// Answers a Ping, or comes unasked.
    Pong(ControlPayload),
    /// The peer sends no more data; none for a Close without payload.
    Close(Option<CloseFrame>),
}

impl Reader {
    /// A decoder for what the peer of `side` sends, at the start of the stream.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Header,
            in_message: false,
            closed: false,
            held: ControlPayload::cut(&[]),
        }
    }

    /// Decodes the next item of `input`.
    ///
    /// Takes at least one byte unless `input` is empty, and all of it if no item comes out. Ranges in the
    /// item index `input`. Control frames after Close are reported as before it, a second Close included.
    ///
    /// # Errors
    /// The peer broke RFC 6455. Every later call fails in the same way.
    #[inline]
    pub fn next(&mut self, input: &mut [u8]) -> Result<Step, Violation> {
        let step = match self.state {
            State::Payload { left, mask, phase } => return Ok(self.payload(input, left, mask, phase)),
            State::Header => self.header(input),
            State::Control(header) => self.control(header, input, 0),
            State::Failed(violation) => Err(violation),
        };
        if let Err(violation) = step {
            self.state = State::Failed(violation);
        }
        step
    }

    /// Whether the stream may not end here: inside a frame, or between the frames of a message.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.in_message || !self.held.is_empty() || !matches!(self.state, State::Header)
    }

    /// Whether the payload of a data frame is incomplete, so that nothing may be put in here where frames are passed on.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        matches!(self.state, State::Payload { .. })
    }

    /// Whether the peer's Close arrived.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn header(&mut self, input: &mut [u8]) -> Result<Step, Violation> {
        if self.held.is_empty()
            && let Parsed::Done(header, len) = FrameHeader::parse(input)?
        {
            return self.begin(header, Some(0..len), input, len);
        }
        // The header is cut. Byte by byte, since its length is only known as it goes: 14 rounds at most.
        for (index, byte) in input.iter().enumerate() {
            self.held.0.extend_cut(&[*byte]);
            if let Parsed::Done(header, _) = FrameHeader::parse(&self.held)? {
                self.held.0.clear();
                return self.begin(header, None, input, index + 1);
            }
        }
        Ok(Step {
            consumed: input.len(),
            item: None,
        })
    }

    /// Goes on behind a header that ends at `used`.
    #[inline]
    fn begin(
        &mut self,
        header: FrameHeader,
        at: Option<Range<usize>>,
        input: &mut [u8],
        used: usize,
    ) -> Result<Step, Violation> {
        match (self.side, header.mask) {
            (Side::Server, None) => return Err(Violation::Unmasked),
            (Side::Client, Some(_)) => return Err(Violation::Masked),
            (Side::Server, Some(_)) | (Side::Client, None) => {}
        }
        match header.opcode {
            OpCode::Close | OpCode::Ping | OpCode::Pong => {
                self.state = State::Control(header);
                return self.control(header, input, used);
            }
            _ if self.closed => return Err(Violation::DataAfterClose),
            OpCode::Continuation if !self.in_message => return Err(Violation::UnexpectedContinuation),
            OpCode::Text | OpCode::Binary if self.in_message => return Err(Violation::UnfinishedMessage),
            OpCode::Continuation | OpCode::Text | OpCode::Binary => self.in_message = !header.fin,
        }
        if header.len > 0 {
            self.state = State::Payload {
                left: header.len,
                mask: header.mask,
                phase: 0,
            };
        }
        Ok(Step {
            consumed: used,
            item: Some(Item::Data { header, at }),
        })
    }

    #[inline]
    fn payload(&mut self, input: &mut [u8], left: u64, mask: Option<[u8; 4]>, phase: usize) -> Step {
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        if len == 0 {
            return Step {
                consumed: 0,
                item: None,
            };
        }
        let piece = input.get_mut(..len).unwrap_or_default();
        let phase = mask.map_or(0, |key| apply_mask(piece, key, phase));
        let left = left - len as u64;
        let last = left == 0;
        self.state = if last {
            State::Header
        } else {
            State::Payload { left, mask, phase }
        };
        Step {
            consumed: len,
            item: Some(Item::Payload { range: 0..len, last }),
        }
    }

    /// Collects the payload of a control frame from behind `used`.
    fn control(&mut self, header: FrameHeader, input: &[u8], used: usize) -> Result<Step, Violation> {
        // The length fits: the header was checked.
        let missing = usize::try_from(header.len)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.held.len());
        let rest = input.get(used..).unwrap_or_default();
        let piece = rest.get(..missing).unwrap_or(rest);
        self.held.0.extend_cut(piece);
        let consumed = used + piece.len();
        if piece.len() < missing {
            return Ok(Step { consumed, item: None });
        }
        let mut payload = self.held;
        self.held.0.clear();
        self.state = State::Header;
        if let Some(key) = header.mask {
            apply_mask(payload.0.as_mut_slice(), key, 0);
        }
        let item = match header.opcode {
            OpCode::Ping => Item::Ping(payload),
            OpCode::Pong => Item::Pong(payload),
            _ => {
                self.closed = true;
                Item::Close(CloseFrame::parse(&payload)?)
            }
        };
        Ok(Step {
            consumed,
            item: Some(item),
        })
    }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// `left` bytes of a data frame are to come, `phase` bytes are done (see [`apply_mask`]).
    Payload {
        left: u64,
        mask: Option<[u8; 4]>,
        phase: usize,
    },
    /// The payload of a control frame.
    Control(FrameHeader),
    Failed(Violation),
}

/// One buffer holds either.
const _: () = assert!(FrameHeader::MAX_LEN <= CONTROL_PAYLOAD_MAX);

#[cfg(test)]
mod tests;
