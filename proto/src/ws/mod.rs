//! WebSocket (RFC 6455): framing, closing and the opening handshake, of both roles.
//!
//! * [`FrameHeader`], [`apply_mask`]: the codec of one frame.
//! * [`Reader`]: bytes in, [`Item`]s out. Data payload is unmasked where it lies and handed out as
//!   ranges, never copied.
//! * `encode_*`: control frames and whole messages as owned bytes.
//! * [`Assembler`]: collects one small message, with a limit.
//! * [`CloseState`]: the closing handshake of one connection as a table.
//! * [`upgrade`]: the opening handshake.
//!
//! No extension is ever agreed, so reserved bits are always a violation.

mod assembly;
mod close;
mod control;
mod header;
mod inline;
mod mask;
mod messages;
mod reader;
pub mod upgrade;
mod writer;

pub use assembly::{Assembler, Message};
pub use close::{CloseCode, CloseFrame, CloseReason, CloseState, On};
pub use control::ControlPayload;
pub use header::{EncodedHeader, FrameHeader, OpCode};
pub use mask::apply_mask;
pub use messages::{MessageReader, Said};
pub use reader::{Item, Reader, Side, Step};
pub use writer::{SmallFrame, encode_close, encode_empty_close, encode_message, encode_ping, encode_pong};
