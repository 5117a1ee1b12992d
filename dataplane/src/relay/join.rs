//! Two WebSockets joined: frames go across with their type, boundaries and fragments.
//!
//! # Without copies
//! A client's frame is masked, ours is not, so the header that goes out is four bytes shorter than the one that came in:
//! it is written over the end of the old one, directly in front of the payload, which is unmasked where it lies. What goes
//! out is a range of the buffer that the kernel filled.
//!
//! # Invariants
//! * Frames of our own (pong, ping) enter a direction only between two frames of the other end.
//! * A Close goes across like data, and ends its direction only. When both directions have ended, both connections are
//!   finished. An end without Close is carried across as an end without Close.

use std::ops::Range;

use viaduct_proto::Violation;
use viaduct_proto::ws::{
    CloseFrame, CloseState, FrameHeader, Item, On, Reader, Side, encode_close, encode_empty_close,
    encode_ping, encode_pong,
};

use super::{Relay, Role, timer};
use crate::buf::{Chunk, Lease};
use crate::observe::Counter;
use crate::timer::TimerKey;
use crate::wire::{WireError, WireEvent, WireId, Wires};

/// One end of a stream.
#[derive(Debug)]
pub(super) struct Joined {
    other: WireId,
    reader: Reader,
    close: CloseState,
    /// A pong or ping for this end that waits until the other end's frame is complete.
    held: Option<Chunk>,
    /// Something came from this end since its last look by the timer.
    active: bool,
    timer: Option<TimerKey>,
}

impl Relay {
    pub(super) fn join(&mut self, wires: &mut Wires, sender: WireId, listener: WireId) {
        self.counters.count(Counter::RendezvousJoined);
        self.ends += 2;
        for (id, other) in [(sender, listener), (listener, sender)] {
            let timer =
                self.setup.limits.idle_ping.map(|wait| {
                    wires.set_timer(wires.now().after(wait), Wires::timer_token(id, timer::STREAM))
                });
            let joined = Joined {
                other,
                reader: Reader::new(Side::Server),
                close: CloseState::Open,
                held: None,
                active: true,
                timer,
            };
            self.take_role(wires, id, Role::Joined(Box::new(joined)));
        }
    }

    pub(super) fn on_joined_event(&mut self, wires: &mut Wires, id: WireId, event: WireEvent) {
        match event {
            WireEvent::Data(lease) => self.forward(wires, id, lease),
            WireEvent::Drained => {
                if let Some(other) = self.other_end(id) {
                    wires.resume(other);
                }
            }
            // After its Close an end may end its direction: it still reads. Whether it does shows when something is sent.
            WireEvent::Eof if self.has_closed(id) => {}
            WireEvent::Eof => self.on_end(wires, id, None),
            WireEvent::Failed(error) => self.on_end(wires, id, Some(&error)),
            WireEvent::Connected | WireEvent::ConnectFailed(_) => {}
        }
    }

    /// Bytes that were read before the two ends were joined.
    pub(super) fn forward_early(&mut self, wires: &mut Wires, id: WireId, bytes: &[u8]) {
        match wires.leases(bytes) {
            Some(leases) => leases
                .into_iter()
                .for_each(|lease| self.forward(wires, id, lease)),
            None => self.on_end(wires, id, None),
        }
    }

    fn forward(&mut self, wires: &mut Wires, id: WireId, mut lease: Lease) {
        let Some(Role::Joined(joined)) = self.roles.get_mut(id) else {
            return;
        };
        joined.active = true;
        let other = joined.other;
        self.counters.add(Counter::Bytes, lease.filled() as u64);
        let mut pieces = std::mem::take(&mut self.pieces);
        let result = cut_frames(&mut joined.reader, lease.data_mut(), &mut pieces);
        let close = self.send_pieces(wires, id, other, &lease.freeze(), &mut pieces);
        self.pieces = pieces;
        self.release_held(wires, other);
        if wires.queued(other) > wires.high_water() {
            wires.pause(id);
        }
        match (result, close) {
            (Err(violation), _) => self.on_violation(wires, id, violation),
            (Ok(()), Some(frame)) => self.on_close(wires, id, frame.as_ref()),
            (Ok(()), None) => {}
        }
    }

    /// Sends what a buffer turned into; gives back the Close in it.
    fn send_pieces(
        &mut self,
        wires: &mut Wires,
        id: WireId,
        other: WireId,
        chunk: &Chunk,
        pieces: &mut Vec<Piece>,
    ) -> Option<Option<CloseFrame>> {
        let mut close = None;
        for piece in pieces.drain(..) {
            match piece {
                Piece::Ping(pong) => self.send_between_frames(wires, id, Chunk::from_slice(&pong)),
                Piece::Close(frame) => close = Some(frame),
                Piece::Frame { range, frames } => {
                    self.counters.add(Counter::Frames, u64::from(frames));
                    wires.send(other, chunk.slice(range));
                }
                Piece::Header(header) => {
                    self.counters.count(Counter::Frames);
                    wires.send(other, Chunk::from_slice(&header.encode()));
                }
            }
        }
        close
    }

    fn other_end(&self, id: WireId) -> Option<WireId> {
        match self.roles.get(id) {
            Some(Role::Joined(joined)) => Some(joined.other),
            _ => None,
        }
    }

    fn has_closed(&self, id: WireId) -> bool {
        matches!(self.roles.get(id), Some(Role::Joined(joined)) if !joined.close.may_receive())
    }

    /// Whether a frame of the other end is on its way to `id`.
    fn is_inside_frame(&self, id: WireId) -> bool {
        let source = self.other_end(id).and_then(|other| self.roles.get(other));
        matches!(source, Some(Role::Joined(source)) if source.reader.is_mid_frame())
    }

    /// Sends a frame of our own to `id`, now or when the other end's frame is complete. Only the latest is kept.
    fn send_between_frames(&mut self, wires: &mut Wires, id: WireId, frame: Chunk) {
        if !self.is_inside_frame(id) {
            wires.send_if_read(id, frame);
        } else if let Some(Role::Joined(joined)) = self.roles.get_mut(id) {
            joined.held = Some(frame);
        }
    }

    fn release_held(&mut self, wires: &mut Wires, id: WireId) {
        let Some(Role::Joined(joined)) = self.roles.get_mut(id) else {
            return;
        };
        if let Some(frame) = joined.held.take() {
            self.send_between_frames(wires, id, frame);
        }
    }

    fn on_close(&mut self, wires: &mut Wires, id: WireId, frame: Option<&CloseFrame>) {
        let Some(Role::Joined(joined)) = self.roles.get_mut(id) else {
            return;
        };
        // A second Close says nothing new.
        let Some(state) = joined.close.next(On::Receive) else {
            return;
        };
        joined.close = state;
        let other = joined.other;
        let close = match frame {
            Some(frame) => encode_close(frame.code, frame.reason.as_str(), None),
            None => encode_empty_close(None),
        };
        wires.send(other, Chunk::from_slice(&close));
        let Some(Role::Joined(peer)) = self.roles.get_mut(other) else {
            return;
        };
        peer.close = peer.close.next(On::Send).unwrap_or(peer.close);
        if peer.close == CloseState::Closed {
            self.counters.count(Counter::StreamsFinished);
            self.part(wires, id);
            self.part(wires, other);
        }
    }

    /// One end is there no more: EOF without Close, or reset.
    fn on_end(&mut self, wires: &mut Wires, id: WireId, error: Option<&WireError>) {
        let Some(other) = self.other_end(id) else { return };
        self.counters.count(Counter::StreamsFailed);
        tracing::debug!(peer = ?wires.peer(id), error = error.map(tracing::field::display), "stream broke");
        self.forget_joined(wires, id);
        wires.abort(id);
        self.part(wires, other);
    }

    fn on_violation(&mut self, wires: &mut Wires, id: WireId, violation: Violation) {
        let other = self.other_end(id);
        tracing::info!(peer = ?wires.peer(id), "stream ended: {violation}");
        self.counters.count(Counter::ProtocolViolations);
        if !self.is_inside_frame(id) {
            let close = encode_close(violation.close_code(), violation.text(), None);
            wires.send(id, Chunk::from_slice(&close));
        }
        self.part(wires, id);
        if let Some(other) = other {
            self.part(wires, other);
        }
    }

    /// Ends a connection after what is queued for it.
    fn part(&mut self, wires: &mut Wires, id: WireId) {
        self.forget_joined(wires, id);
        wires.finish_stream(id);
    }

    fn forget_joined(&mut self, wires: &mut Wires, id: WireId) {
        if let Some(Role::Joined(joined)) = self.roles.remove(id) {
            self.ends -= 1;
            if let Some(timer) = joined.timer {
                wires.cancel_timer(timer);
            }
        }
    }

    /// Looks after an idle stream: a ping keeps middleboxes from forgetting it.
    pub(super) fn on_stream_timer(&mut self, wires: &mut Wires, id: WireId) {
        let Some(Role::Joined(joined)) = self.roles.get_mut(id) else {
            return;
        };
        let Some(wait) = self.setup.limits.idle_ping else {
            return;
        };
        joined.timer = Some(wires.set_timer(wires.now().after(wait), Wires::timer_token(id, timer::STREAM)));
        // An end that has been sent Close may have closed already, unread: a ping would meet a reset, and that the stream.
        let idle = !std::mem::take(&mut joined.active) && joined.close.may_send();
        if idle && wires.queued(id) == 0 {
            self.send_between_frames(wires, id, Chunk::from_slice(&encode_ping(&[], None)));
        }
    }
}

/// What a buffer of frames turns into.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes to pass on: a header written in place, payload, or both.
    Frame {
        range: Range<usize>,
        frames: u32,
    },
    /// A header whose original came in two buffers.
    Header(FrameHeader),
    /// The answer to a ping.
    Ping(viaduct_proto::ws::SmallFrame),
    Close(Option<CloseFrame>),
}

/// Reads the frames in `bytes`, rewrites them as unmasked frames in place, and lists what is to be sent.
fn cut_frames(reader: &mut Reader, bytes: &mut [u8], out: &mut Vec<Piece>) -> Result<(), Violation> {
    let mut at = 0;
    while at < bytes.len() {
        let step = reader.next(bytes.get_mut(at..).unwrap_or_default())?;
        match step.item {
            None | Some(Item::Pong(_)) => {}
            Some(Item::Ping(payload)) => out.push(Piece::Ping(encode_pong(&payload, None))),
            Some(Item::Close(frame)) => out.push(Piece::Close(frame)),
            Some(Item::Payload { range, .. }) => push_bytes(out, at + range.start..at + range.end, 0),
            Some(Item::Data { header, at: place }) => {
                let header = FrameHeader { mask: None, ..header };
                let encoded = header.encode();
                let room = place.and_then(|place| {
                    let end = at + place.end;
                    let start = end.checked_sub(encoded.len())?;
                    (start >= at + place.start).then_some(start..end)
                });
                match room.and_then(|range| Some((bytes.get_mut(range.clone())?, range))) {
                    Some((space, range)) => {
                        space.copy_from_slice(&encoded);
                        push_bytes(out, range, 1);
                    }
                    None => out.push(Piece::Header(header)),
                }
            }
        }
        at += step.consumed;
    }
    Ok(())
}

fn push_bytes(out: &mut Vec<Piece>, range: Range<usize>, new_frames: u32) {
    if let Some(Piece::Frame { range: last, frames }) = out.last_mut()
        && last.end == range.start
    {
        last.end = range.end;
        *frames += new_frames;
        return;
    }
    out.push(Piece::Frame {
        range,
        frames: new_frames,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use viaduct_proto::ws::{CloseCode, OpCode, apply_mask, encode_ping};

    use super::*;

    /// One frame as a client sends it, and as it must leave.
    fn frame(fin: bool, opcode: OpCode, payload: &[u8], mask: [u8; 4]) -> (Vec<u8>, Vec<u8>) {
        let header = |mask| {
            FrameHeader {
                fin,
                opcode,
                mask,
                len: payload.len() as u64,
            }
            .encode()
        };
        let mut masked = payload.to_vec();
        apply_mask(&mut masked, mask, 0);
        (
            [&header(Some(mask))[..], &masked].concat(),
            [&header(None)[..], payload].concat(),
        )
    }

    /// What a relay would send for `input` cut into pieces of the given lengths (the last one repeats).
    fn relayed(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize), Violation> {
        let (mut reader, mut out, mut pings) = (Reader::new(Side::Server), Vec::new(), 0);
        let (mut rest, mut cuts) = (input.to_vec(), cuts.iter().copied());
        let mut cut = 1;
        while !rest.is_empty() {
            cut = cuts.next().unwrap_or(cut);
            let later = rest.split_off(cut.clamp(1, rest.len()));
            let mut pieces = Vec::new();
            cut_frames(&mut reader, &mut rest, &mut pieces)?;
            for piece in pieces {
                match piece {
                    Piece::Frame { range, .. } => out.extend_from_slice(&rest[range]),
                    Piece::Header(header) => out.extend_from_slice(&header.encode()),
                    Piece::Ping(_) => pings += 1,
                    Piece::Close(_) => {}
                }
            }
            rest = later;
        }
        Ok((out, pings))
    }

    proptest! {
        #[test]
        fn frames_leave_as_they_came_but_unmasked(
            frames in prop::collection::vec((any::<bool>(), prop_oneof![4 => 0_usize..300, 1 => 0_usize..70_000], any::<[u8; 4]>(), any::<bool>()), 1..6),
            cuts in prop::collection::vec(prop_oneof![1_usize..20, 1_usize..40_000], 1..12),
        ) {
            let (mut sent, mut expected, mut inside, mut pings) = (Vec::new(), Vec::new(), false, 0);
            for (at, (fin, len, mask, ping)) in frames.iter().enumerate() {
                let opcode = match (inside, at % 2) {
                    (true, _) => OpCode::Continuation,
                    (false, 0) => OpCode::Binary,
                    (false, _) => OpCode::Text,
                };
                let payload: Vec<u8> = (0..*len).map(|i| (i % 251) as u8).collect();
                let (masked, plain) = frame(*fin, opcode, &payload, *mask);
                sent.extend(masked);
                expected.extend(plain);
                inside = !fin;
                if *ping {
                    sent.extend_from_slice(&encode_ping(b"are you there", Some(*mask)));
                    pings += 1;
                }
            }
            let (out, seen) = relayed(&sent, &cuts).unwrap();
            prop_assert!(out == expected);
            prop_assert_eq!(seen, pings);
        }

        #[test]
        fn hostile_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..2_000), cut in 1_usize..500) {
            let _either = relayed(&input, &[cut]);
        }
    }

    #[test]
    fn neighbouring_bytes_leave_as_one_range() {
        let (mut bytes, _) = frame(true, OpCode::Binary, &[7; 300], [1, 2, 3, 4]);
        let close = encode_close(CloseCode::NORMAL, "", Some([0; 4]));
        bytes.extend_from_slice(&close);
        let mut pieces = Vec::new();
        cut_frames(&mut Reader::new(Side::Server), &mut bytes, &mut pieces).unwrap();
        assert!(
            matches!(&pieces[..], [Piece::Frame { range, frames: 1 }, Piece::Close(Some(_))] if range.len() == 304),
            "{pieces:?}"
        );
    }
}
