//! Liveness and token expiry of one control channel, on the relay's side.
//!
//! One call of `on_*` at a time, then [`Listener::poll`] until it answers [`ListenerOutput::Idle`]. Time
//! never goes backwards; the wall clock may jump, and is looked at again at every poll.

use core::time::Duration;

use crate::{
    limits::RENEWED_TOKEN_LIFE_MIN,
    time::{Now, UnixTime},
};

/// Intervals of a control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimers {
    /// Silence after which a ping is sent, and interval of further pings.
    pub ping_every: Duration,
    /// Time from the first unanswered ping to the verdict that the peer is gone.
    pub pong_grace: Duration,
    /// Time a channel stays open after its token expired. Clients renew at expiry, not before.
    pub token_grace: Duration,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerOutput {
    /// Nothing; poll again at this instant, or after the next input.
    Idle {
        /// Next deadline.
        wake_at: Now,
    },
    /// Send a ping.
    SendPing,
    /// The token and its grace are over: close with [`super::ControlEnd::TokenExpired`]. Final.
    Expired,
    /// The peer does not answer: drop the connection. Final.
    Dead,
}

/// A renewal whose token is about to expire: close with [`super::ControlEnd::TokenExpired`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewRefused {
    /// Expiry of the refused token.
    pub at: UnixTime,
}

/// Timers of one registered listener.
#[derive(Debug, Clone)]
pub struct Listener {
    timers: ListenerTimers,
    /// When to ping next.
    ping_at: Now,
    /// When the peer counts as gone; `None` while no ping is unanswered.
    dead_at: Option<Now>,
    token_expiry: UnixTime,
}

impl Listener {
    /// A listener that has just registered with a token valid until `token_expiry`.
    #[must_use]
    pub fn new(now: Now, timers: ListenerTimers, token_expiry: UnixTime) -> Self {
        Self {
            timers,
            ping_at: now.after(timers.ping_every),
            dead_at: None,
            token_expiry,
        }
    }

    /// Bytes came from the peer: any byte proves that it lives.
    pub fn on_bytes(&mut self, now: Now) {
        self.dead_at = None;
        self.ping_at = now.after(self.timers.ping_every);
    }

    /// A pong came.
    pub fn on_pong(&mut self, now: Now) {
        self.on_bytes(now);
    }

    /// A renewal came whose token was verified and expires at `expiry`.
    ///
    /// # Errors
    /// [`RenewRefused`] if the token has less than [`RENEWED_TOKEN_LIFE_MIN`] left; the old expiry then still
    /// stands.
    pub fn on_renew(&mut self, expiry: UnixTime, unix: UnixTime) -> Result<(), RenewRefused> {
        if expiry < unix.after(RENEWED_TOKEN_LIFE_MIN) {
            return Err(RenewRefused { at: expiry });
        }
        self.token_expiry = expiry;
        Ok(())
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Now, unix: UnixTime) -> ListenerOutput {
        let closes = self.token_expiry.after(self.timers.token_grace);
        if unix >= closes {
            return ListenerOutput::Expired;
        }
        if self.dead_at.is_some_and(|dead_at| now >= dead_at) {
            return ListenerOutput::Dead;
        }
        if now >= self.ping_at {
            self.ping_at = now.after(self.timers.ping_every);
            self.dead_at
                .get_or_insert_with(|| now.after(self.timers.pong_grace));
            return ListenerOutput::SendPing;
        }
        let expires_at = now.after(Duration::from_secs(closes.0.saturating_sub(unix.0)));
        let wake_at = self.ping_at.min(expires_at);
        ListenerOutput::Idle {
            wake_at: self.dead_at.map_or(wake_at, |dead_at| wake_at.min(dead_at)),
        }
    }

    /// Expiry of the token in force, without grace.
    #[must_use]
    pub const fn token_expiry(&self) -> UnixTime {
        self.token_expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_peer_is_pinged_then_given_up() {
        let mut listener = Listener::new(at(0), TIMERS, UnixTime(10_000));
        assert_eq!(listener.poll(at(0), UnixTime(0)), idle(30));
        assert_eq!(listener.poll(at(29), UnixTime(29)), idle(30));
        assert_eq!(listener.poll(at(30), UnixTime(30)), ListenerOutput::SendPing);
        assert_eq!(listener.poll(at(30), UnixTime(30)), idle(60));
        assert_eq!(listener.poll(at(60), UnixTime(60)), ListenerOutput::SendPing);
        assert_eq!(listener.poll(at(60), UnixTime(60)), idle(90));
        assert_eq!(listener.poll(at(90), UnixTime(90)), ListenerOutput::Dead);
    }

    #[test]
    fn any_byte_proves_life() {
        let mut listener = Listener::new(at(0), TIMERS, UnixTime(10_000));
        assert_eq!(listener.poll(at(30), UnixTime(30)), ListenerOutput::SendPing);
        listener.on_pong(at(31));
        assert_eq!(listener.poll(at(31), UnixTime(31)), idle(61));
        listener.on_bytes(at(60));
        assert_eq!(listener.poll(at(89), UnixTime(89)), idle(90));
    }

    #[test]
    fn token_ends_the_channel_only_after_its_grace() {
        let mut listener = Listener::new(at(0), TIMERS, UnixTime(100));
        listener.on_bytes(at(95));
        assert_eq!(listener.poll(at(100), UnixTime(100)), idle(125));
        listener.on_bytes(at(395));
        assert_eq!(listener.poll(at(395), UnixTime(395)), idle(400));
        assert_eq!(listener.poll(at(400), UnixTime(400)), ListenerOutput::Expired);
        assert_eq!(listener.poll(at(400), UnixTime(400)), ListenerOutput::Expired);
    }

    #[test]
    fn renewal_moves_the_end_and_a_short_one_is_refused() {
        let mut listener = Listener::new(at(0), TIMERS, UnixTime(100));
        let refused = listener.on_renew(UnixTime(159), UnixTime(100));
        assert_eq!(refused, Err(RenewRefused { at: UnixTime(159) }));
        assert_eq!(listener.token_expiry(), UnixTime(100));
        assert_eq!(listener.on_renew(UnixTime(160), UnixTime(100)), Ok(()));
        assert_eq!(listener.token_expiry(), UnixTime(160));
        listener.on_bytes(at(459));
        assert_eq!(listener.poll(at(459), UnixTime(459)), idle(460));
        assert_eq!(listener.poll(at(460), UnixTime(460)), ListenerOutput::Expired);
    }

    #[test]
    fn far_future_expiry_does_not_overflow() {
        let mut listener = Listener::new(at(0), TIMERS, UnixTime(u64::MAX));
        assert_eq!(listener.poll(at(0), UnixTime(0)), idle(30));
    }

    const TIMERS: ListenerTimers = ListenerTimers {
        ping_every: Duration::from_secs(30),
        pong_grace: Duration::from_secs(60),
        token_grace: Duration::from_secs(300),
    };

    fn at(seconds: u64) -> Now {
        Now(seconds * 1_000_000_000)
    }

    fn idle(seconds: u64) -> ListenerOutput {
        ListenerOutput::Idle { wake_at: at(seconds) }
    }
}
