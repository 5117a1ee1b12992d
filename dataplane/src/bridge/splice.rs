//! Bytes across: TCP to frames and frames to TCP, without copies.
//!
//! What the kernel put into a buffer is masked there, the frame header goes into the buffer's headroom, and the whole leaves
//! as one piece. In the other direction the payload leaves as a range of the buffer it came in.

use viaduct_proto::ws::{
    CloseCode, CloseFrame, FrameHeader, Item, On, OpCode, apply_mask, encode_close, encode_empty_close,
    encode_pong,
};

use super::Bridge;
use super::lifecycle::Failure;
use super::stream::{Preamble, StreamKey};
use crate::buf::{Chunk, Lease};
use crate::observe::Counter;
use crate::wire::{WireEvent, Wires};

/// Largest payload of a frame: .NET readers store a frame whole before they deliver it.
const FRAME_MAX: usize = 64 * 1024;

impl Bridge {
    pub(super) fn on_tcp_event(&mut self, wires: &mut Wires, key: StreamKey, event: WireEvent) {
        match event {
            WireEvent::Data(lease) => self.on_tcp_data(wires, key, lease),
            WireEvent::Eof => {
                if let Some(stream) = self.stream(key) {
                    stream.tcp.ended = true;
                }
                self.say_shutdown(wires, key);
            }
            WireEvent::Connected => self.on_target_open(wires, key),
            WireEvent::ConnectFailed(error) => {
                let wire = self.stream(key).and_then(|stream| stream.tcp.wire.take());
                if let Some(wire) = wire {
                    self.roles.remove(wire);
                    wires.abort(wire);
                }
                self.connect_target(wires, key, Some(&error));
            }
            WireEvent::Failed(error) => self.fail(wires, key, &Failure::lost(format!("TCP end: {error}"))),
            WireEvent::Drained => {
                if let Some(link) = self.stream(key).and_then(|stream| stream.link.wire) {
                    wires.resume(link);
                }
            }
        }
    }

    fn on_tcp_data(&mut self, wires: &mut Wires, key: StreamKey, mut lease: Lease) {
        let Some(stream) = self.stream(key) else { return };
        let (tcp, link, open) = (stream.tcp.wire, stream.link.wire, stream.is_link_open());
        stream.sent += lease.filled() as u64;
        self.counters.add(Counter::Bytes, lease.filled() as u64);
        if lease.filled() <= FRAME_MAX {
            let mask = self.entropy.mask();
            apply_mask(lease.data_mut(), mask, 0);
            let header = binary(lease.filled(), mask).encode();
            if !lease.prepend(&header) {
                self.send_link(wires, key, Chunk::from_slice(&header));
            }
            self.send_link(wires, key, lease.freeze());
        } else {
            self.send_frames(wires, key, lease);
        }
        // Until the link is open one buffer of the client's is kept, not more.
        let full = !open || link.is_some_and(|link| wires.queued(link) > wires.high_water());
        if let Some(tcp) = tcp.filter(|_| full) {
            wires.pause(tcp);
        }
    }

    fn send_frames(&mut self, wires: &mut Wires, key: StreamKey, mut lease: Lease) {
        let mut headers = Vec::new();
        for part in lease.data_mut().chunks_mut(FRAME_MAX) {
            let mask = self.entropy.mask();
            apply_mask(part, mask, 0);
            headers.push((binary(part.len(), mask), part.len()));
        }
        let chunk = lease.freeze();
        let mut at = 0;
        for (header, len) in headers {
            self.send_link(wires, key, Chunk::from_slice(&header.encode()));
            self.send_link(wires, key, chunk.slice(at..at + len));
            at += len;
        }
    }

    pub(super) fn on_link_data(&mut self, wires: &mut Wires, key: StreamKey, mut lease: Lease) {
        let mut at = 0;
        let mut payload = Vec::new();
        let mut control = Vec::new();
        {
            let Some(stream) = self.stream(key) else { return };
            stream.heard = wires.now();
            stream.pinged = false;
            let bytes = lease.data_mut();
            while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
                match stream.link.reader.next(rest) {
                    Ok(step) => {
                        match step.item {
                            Some(Item::Payload { range, .. }) => {
                                payload.push(at + range.start..at + range.end)
                            }
                            Some(item @ (Item::Ping(_) | Item::Close(_))) => control.push(item),
                            Some(Item::Data { .. } | Item::Pong(_)) | None => {}
                        }
                        at += step.consumed;
                    }
                    Err(violation) => {
                        let failure = Failure {
                            why: violation.to_string(),
                            close: Some(violation.close_code()),
                        };
                        return self.fail(wires, key, &failure);
                    }
                }
            }
        }
        let chunk = lease.freeze();
        for range in payload {
            self.on_payload(wires, key, chunk.slice(range));
        }
        for item in control {
            match item {
                Item::Ping(ping) => {
                    let pong = encode_pong(&ping, Some(self.entropy.mask()));
                    if let Some(link) = self.stream(key).and_then(|stream| stream.link.wire) {
                        wires.send_if_read(link, Chunk::from_slice(&pong));
                    }
                }
                Item::Close(frame) => self.on_link_close(wires, key, frame.as_ref()),
                _ => {}
            }
        }
    }

    fn on_payload(&mut self, wires: &mut Wires, key: StreamKey, mut chunk: Chunk) {
        while !chunk.is_empty() {
            let Some(stream) = self.stream(key) else { return };
            let used = match stream.preamble {
                Preamble::Done => break,
                Preamble::Reply(_) => self.on_reply_bytes(wires, key, chunk.as_slice()),
                Preamble::Request(_) => self.on_request_bytes(wires, key, chunk.as_slice()),
            };
            chunk.advance(used.min(chunk.len()));
        }
        if chunk.is_empty() {
            return;
        }
        self.counters.add(Counter::Bytes, chunk.len() as u64);
        let Some(stream) = self.stream(key) else { return };
        stream.received += chunk.len() as u64;
        let link = stream.link.wire;
        let waiting = match stream.tcp.wire {
            Some(tcp) if stream.tcp.open => {
                wires.send(tcp, chunk);
                wires.queued(tcp)
            }
            _ => {
                stream.tcp.early.push(wires.unpin(chunk));
                // One buffer while there is no target to take it.
                usize::MAX
            }
        };
        if let Some(link) = link
            && waiting > wires.high_water()
        {
            wires.pause(link);
        }
    }

    fn on_link_close(&mut self, wires: &mut Wires, key: StreamKey, frame: Option<&CloseFrame>) {
        let Some(stream) = self.stream(key) else { return };
        if !stream.note_close(On::Receive) {
            return;
        }
        let regular = frame.is_none_or(|frame| frame.code == CloseCode::NORMAL);
        if !regular || !matches!(stream.preamble, Preamble::Done) {
            return self.on_refused_by_far_end(wires, key, frame);
        }
        if stream.tcp.open {
            if let Some(tcp) = stream.tcp.wire {
                wires.half_close(tcp);
            }
        } else {
            stream.tcp.end_after_early = true;
        }
        self.complete_if_ended(wires, key);
    }

    /// A Close that is no FIN: the far end says why there is no stream, or why it breaks.
    fn on_refused_by_far_end(&mut self, wires: &mut Wires, key: StreamKey, frame: Option<&CloseFrame>) {
        let why = match frame {
            Some(frame) => format!(
                "the far end closed with {} {}",
                frame.code.0,
                frame.reason.as_str().escape_debug()
            ),
            None => "the far end closed before it answered the preamble".to_owned(),
        };
        if self
            .stream(key)
            .is_some_and(|stream| stream.link.close.may_send())
        {
            let mask = Some(self.entropy.mask());
            let answer = frame.map_or_else(
                || encode_empty_close(mask),
                |frame| encode_close(frame.code, "", mask),
            );
            self.send_link(wires, key, Chunk::from_slice(&answer));
        }
        let Some(stream) = self.stream(key) else { return };
        if let Some(link) = stream.link.wire.take() {
            self.roles.remove(link);
            wires.finish(link);
        }
        self.fail(wires, key, &Failure::lost(why));
    }
}

const fn binary(len: usize, mask: [u8; 4]) -> FrameHeader {
    FrameHeader {
        fin: true,
        opcode: OpCode::Binary,
        mask: Some(mask),
        len: len as u64,
    }
}
