//! From completion queue entries to completions.

use io_uring::cqueue;

use super::submit::Label;
use super::{Request, UringRing};
use crate::buf::Lease;
use crate::ring::op::{Completion, OpKey, Outcome, Token};
use crate::ring::slots::{Entry, Held};
use crate::sys::socket;

impl UringRing {
    /// Takes completions from the kernel until `limit` are out.
    pub(super) fn reap(&mut self, out: &mut Vec<Completion>, limit: usize) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion().take(limit.saturating_sub(out.len())));
        self.counters.cqes += reaped.len() as u64;
        let mut woken = false;
        for cqe in reaped.drain(..) {
            match Label::unpack(cqe.user_data()) {
                Label::Operation { key, accept: true } => self.on_accept(key, &cqe, out),
                Label::Operation { key, accept: false } => self.on_operation(key, &cqe, out),
                Label::Waker => {
                    woken = true;
                    self.waker_watched &= cqueue::more(cqe.flags());
                }
                Label::Cancel => {}
            }
        }
        self.reaped = reaped;
        if woken {
            self.waker.drain();
            out.push(Completion {
                token: Token::WAKE,
                more: true,
                outcome: Outcome::Woken,
            });
        }
    }

    /// A connection, or the end of accepting. The connection belongs to somebody in every case.
    fn on_accept(&mut self, key: OpKey, cqe: &cqueue::Entry, out: &mut Vec<Completion>) {
        let (result, more) = (cqe.result(), cqueue::more(cqe.flags()));
        let Some(entry) = self.slots.get_mut(key) else {
            self.counters.stale += 1;
            if result >= 0 {
                socket::close(result);
            }
            return;
        };
        let (token, listener) = (entry.token, entry.fd);
        if result < 0 {
            out.extend(self.finish(key).map(|entry| settle(entry, result, None)));
            return;
        }
        if self.fds.get_mut(listener).is_none_or(|socket| socket.closing) {
            // Nobody waits for connections of a closed listener.
            socket::close(result);
            if !more {
                out.extend(self.finish(key).map(|entry| entry.failed(libc::ECANCELED)));
            }
            return;
        }
        // Fails only for a connection that is reset already; its first operation will tell.
        drop(socket::tune_connection(result));
        let peer = socket::peer_addr(result).ok();
        let outcome = Outcome::Accepted(Ok((self.take_in(result), peer)));
        out.push(Completion { token, more, outcome });
        if !more {
            self.finish(key);
        }
    }

    fn on_operation(&mut self, key: OpKey, cqe: &cqueue::Entry, out: &mut Vec<Completion>) {
        let (result, flags) = (cqe.result(), cqe.flags());
        // A buffer that is not handed on below goes back to its pool when it is dropped.
        let lease = cqueue::buffer_select(flags).and_then(|bid| self.provided.take(bid));
        let Some(entry) = self.slots.get_mut(key) else {
            self.counters.stale += 1;
            return;
        };
        let interrupted = matches!(-result, libc::EAGAIN | libc::EINTR);
        if interrupted
            && !entry.cancelled
            && matches!(
                entry.held,
                Held::RecvProvided | Held::RecvLease(_) | Held::Send(_)
            )
        {
            entry.retried = true;
            self.counters.retried += 1;
            self.request(Request::Start(key));
            return;
        }
        match &entry.held {
            Held::Send(gather) if usize::try_from(result).is_ok_and(|n| n < gather.exposed()) => {
                self.counters.short_sends += 1;
            }
            Held::RecvProvided if result == -libc::ENOBUFS => self.counters.enobufs += 1,
            Held::Connect(_) if result == 0 => {
                // As for an accepted connection.
                drop(socket::tune_connection(entry.fd.raw()));
            }
            _ => {}
        }
        out.extend(self.finish(key).map(|entry| settle(entry, result, lease)));
    }

    /// Takes an operation out of its slot and its lane, and with the last of a closed socket also the socket.
    pub(super) fn finish(&mut self, key: OpKey) -> Option<Entry> {
        let entry = self.slots.remove(key)?;
        if let Some(socket) = self.fds.get_mut(entry.fd) {
            socket.lanes.release(entry.lane(), key);
        }
        self.close_if_over(entry.fd);
        Some(entry)
    }
}

/// The final completion for a kernel result: a count, or a negated errno.
fn settle(entry: Entry, result: i32, lease: Option<Lease>) -> Completion {
    match usize::try_from(result) {
        Ok(n) => entry.completed(n, lease.filter(|_| n > 0)),
        // A cancel can interrupt a call that sleeps in a worker thread.
        Err(_) if entry.cancelled && result == -libc::EINTR => entry.failed(libc::ECANCELED),
        Err(_) => entry.failed(-result),
    }
}
