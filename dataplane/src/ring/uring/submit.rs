//! From an operation to a submission queue entry, and the label that its completions carry.

use std::os::fd::RawFd;

use io_uring::squeue::{self, Flags};
use io_uring::{opcode, types};

use super::provided::GROUP;
use crate::buf::Exposed;
use crate::ring::op::OpKey;
use crate::ring::slots::{Entry, Held};

/// Whose completion it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// An operation; `accept` is kept beside the key so that a descriptor can be reclaimed even when the key
    /// is stale.
    Operation { key: OpKey, accept: bool },
    /// The poll on the waker.
    Waker,
    /// A cancel request: its own result is of no use.
    Cancel,
}

impl Label {
    /// Bit 63: accept. Bits 32..63: generation. Bits 0..32: index.
    pub(super) const fn pack(self) -> u64 {
        match self {
            Self::Operation { key, accept } => {
                (accept as u64) << 63 | (key.generation as u64) << 32 | key.index as u64
            }
            Self::Waker => WAKER,
            Self::Cancel => CANCEL,
        }
    }

    pub(super) const fn unpack(packed: u64) -> Self {
        match packed {
            WAKER => Self::Waker,
            CANCEL => Self::Cancel,
            _ => {
                let generation = (packed >> 32) as u32 & OpKey::GENERATION_MAX;
                let key = OpKey {
                    index: packed as u32,
                    generation,
                };
                Self::Operation {
                    key,
                    accept: packed >> 63 == 1,
                }
            }
        }
    }
}

/// The entry that starts an operation. It points into what the operation holds, which stays in its slot
/// unchanged until the final completion.
pub(super) fn start(entry: &mut Entry, key: OpKey) -> squeue::Entry {
    let fd = types::Fd(entry.fd.raw());
    let first = if entry.retried { POLL_FIRST } else { 0 };
    let sqe = match &mut entry.held {
        Held::Accept => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
        Held::Connect(addr) => opcode::Connect::new(fd, addr.as_ptr(), addr.len()).build(),
        Held::Poll(interest) => {
            let flags = interest.poll_flags().cast_unsigned();
            opcode::PollAdd::new(fd, u32::from(flags)).build()
        }
        Held::RecvProvided => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .ioprio(first)
            .build()
            .flags(Flags::BUFFER_SELECT),
        Held::RecvLease(lease) => {
            let room = u32::try_from(lease.spare()).unwrap_or(u32::MAX);
            opcode::Recv::new(fd, lease.spare_ptr().as_ptr(), room)
                .ioprio(first)
                .build()
        }
        Held::Send(gather) => match gather.expose() {
            Exposed::One { ptr, len } => {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                opcode::Send::new(fd, ptr, len)
                    .flags(libc::MSG_NOSIGNAL)
                    .ioprio(first)
                    .build()
            }
            Exposed::Many { header, rest } => {
                let more = if rest { libc::MSG_MORE } else { 0 };
                let flags = (libc::MSG_NOSIGNAL | more).cast_unsigned();
                opcode::SendMsg::new(fd, header)
                    .flags(flags)
                    .ioprio(first)
                    .build()
            }
        },
    };
    let accept = matches!(entry.held, Held::Accept);
    sqe.user_data(Label::Operation { key, accept }.pack())
}

/// Asks for the end of an operation.
pub(super) fn cancel(key: OpKey, accept: bool) -> squeue::Entry {
    let target = Label::Operation { key, accept }.pack();
    quiet(opcode::AsyncCancel::new(target).build())
}

/// Asks for the end of everything.
pub(super) fn cancel_all() -> squeue::Entry {
    quiet(opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build())
}

/// Reports each signal of the waker's eventfd.
pub(super) fn watch_waker(fd: RawFd) -> squeue::Entry {
    let readable = u32::from(libc::POLLIN.cast_unsigned());
    opcode::PollAdd::new(types::Fd(fd), readable)
        .multi(true)
        .build()
        .user_data(Label::Waker.pack())
}

/// A request whose success needs no completion.
fn quiet(sqe: squeue::Entry) -> squeue::Entry {
    sqe.flags(Flags::SKIP_SUCCESS).user_data(Label::Cancel.pack())
}

/// `IORING_RECVSEND_POLL_FIRST`: wait for readiness before the first try.
const POLL_FIRST: u16 = 1;
/// No slot has an index this large.
const WAKER: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_survive_the_round_trip() {
        let key = OpKey {
            index: 77,
            generation: OpKey::GENERATION_MAX,
        };
        for label in [
            Label::Operation { key, accept: true },
            Label::Operation { key, accept: false },
            Label::Waker,
            Label::Cancel,
        ] {
            assert_eq!(Label::unpack(label.pack()), label);
        }
    }
}
