//! Scripted users of a relay: a listener with its control channel and rendezvous, and senders.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use viaduct::ring::sim::SimNet;
use viaduct_proto::hybrid::{
    ToListener, connect_target, listen_target, parse_to_listener, parse_ws_url, renew_token_json,
};
use viaduct_proto::time::Now;
use viaduct_proto::ws::{CloseCode, CloseFrame, OpCode};

use super::flow::{Message, SharedMessages};
use super::websocket::{Address, Heard, WebSocket};
use super::{Actor, End, RELAY_ADDR, RELAY_NAME, RELAY_PORT, token, unix};

/// One end of a stream of messages.
#[derive(Debug)]
pub(crate) struct Talker {
    pub(crate) socket: WebSocket,
    out: SharedMessages,
    inward: SharedMessages,
    habit: TalkHabit,
    pub(crate) close: Option<Option<CloseFrame>>,
    pub(crate) end: Option<End>,
    pub(crate) ended_at: Option<Now>,
}

/// What an end does beside sending its messages, closing, and reading to the other's close.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TalkHabit {
    /// Sends only after it has heard the other's close.
    pub(crate) answers: bool,
    /// Sends before its handshake has been answered.
    pub(crate) is_eager: bool,
    /// Resets the connection after so many messages, sent and received together.
    pub(crate) reset_at: Option<usize>,
    /// Pause between two reads.
    pub(crate) pace: Option<Duration>,
    /// Does not close before this time.
    pub(crate) holds_until: Option<Now>,
}

impl Talker {
    pub(crate) fn new(
        mut socket: WebSocket,
        out: SharedMessages,
        inward: SharedMessages,
        habit: TalkHabit,
    ) -> Self {
        socket.pace = habit.pace;
        Self {
            socket,
            out,
            inward,
            habit,
            close: None,
            end: None,
            ended_at: None,
        }
    }

    /// A sender of stream `number`.
    pub(crate) fn sender(
        net: &SimNet,
        from: IpAddr,
        path: &str,
        number: u32,
        part: &TalkPart,
        rng: fastrand::Rng,
    ) -> Self {
        let address = Address {
            from,
            to: RELAY_ADDR,
            authority: format!("{RELAY_NAME}:{RELAY_PORT}"),
            target: connect_target(path, ""),
            headers: vec![
                (
                    "ServiceBusAuthorization".to_owned(),
                    token(unix(net.now()).after(HOUR)),
                ),
                (STREAM_HEADER.to_owned(), number.to_string()),
            ],
        };
        let socket = WebSocket::connect(net, &address, rng);
        Self::new(socket, Rc::clone(&part.up), Rc::clone(&part.down), part.sender)
    }

    pub(crate) fn reset(&mut self) {
        self.socket.reset();
        self.end.get_or_insert(End::Broken);
    }

    fn write(&mut self, now: Now) {
        let mut out = self.out.borrow_mut();
        let open = self.socket.is_open() || (self.habit.is_eager && self.end.is_none());
        if !open || out.closed || (self.habit.answers && self.close.is_none()) {
            return;
        }
        while self.socket.queued() < QUEUE && out.sent < out.messages.len() {
            self.socket.send(&out.messages[out.sent]);
            out.sent += 1;
        }
        let due = self.habit.holds_until.is_none_or(|until| now >= until);
        if out.sent == out.messages.len() && due {
            let (code, reason) = out.farewell;
            self.socket.close(code, reason);
            out.closed = true;
        }
        self.socket.flush();
    }
}

impl Actor for Talker {
    fn turn(&mut self, now: Now) {
        for heard in self.socket.turn(now) {
            tracing::debug!(at = now.0, habit = ?self.habit, sent = self.out.borrow().sent, "{heard:.60?}");
            match heard {
                Heard::Open | Heard::Pong => {}
                Heard::Part { opcode, so_far, last } => {
                    self.inward.borrow_mut().on_part(opcode, &so_far, last);
                }
                Heard::Close(frame) => {
                    // Breaking a stream is for the relay done without a word.
                    let said = frame.as_ref().expect("a close says why");
                    self.inward.borrow_mut().on_close(said);
                    self.close = Some(frame);
                }
                Heard::End(end) => {
                    let regular = end == End::Regular && self.inward.borrow().ended;
                    let end = if end == End::Regular && !regular {
                        End::Broken
                    } else {
                        end
                    };
                    self.end.get_or_insert(end);
                    self.ended_at.get_or_insert(now);
                }
            }
        }
        self.write(now);
        let moved = self.out.borrow().sent + self.inward.borrow().got;
        if self.end.is_none() && self.habit.reset_at.is_some_and(|at| moved >= at) {
            self.reset();
        }
    }

    fn wake_at(&self) -> Option<Now> {
        let hold = self
            .habit
            .holds_until
            .filter(|_| self.end.is_none() && !self.out.borrow().closed);
        self.socket.wake_at().into_iter().chain(hold).min()
    }

    fn hang_up(&mut self) {
        self.socket.drop_connection();
    }
}

/// Both directions of a stream and how its ends behave.
#[derive(Debug, Clone)]
pub(crate) struct TalkPart {
    pub(crate) up: SharedMessages,
    pub(crate) down: SharedMessages,
    pub(crate) sender: TalkHabit,
    pub(crate) listener: TalkHabit,
    pub(crate) greeting: Greeting,
}

/// What a listener does with an offered stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Opens the rendezvous after this time.
    Accept(Duration),
    Reject(u16, &'static str),
    Ignore,
}

pub(crate) type TalkParts = Rc<RefCell<BTreeMap<u32, TalkPart>>>;

/// A listener that comes back when its control channel is lost.
pub(crate) struct Listener {
    net: SimNet,
    rng: fastrand::Rng,
    from: IpAddr,
    path: &'static str,
    parts: TalkParts,
    channel: Option<WebSocket>,
    /// How long its tokens are valid.
    pub(crate) token_life: Duration,
    retry_at: Now,
    pub(crate) comes_back: bool,
    pub(crate) online: bool,
    planned: Vec<(Now, u32, Address, bool)>,
    pub(crate) talkers: BTreeMap<u32, Talker>,
    /// What the relay answered to rejects.
    pub(crate) rejects: Vec<(u32, WebSocket, Option<End>)>,
    /// How its control channels ended.
    pub(crate) closes: Vec<(Now, Option<CloseFrame>)>,
    pub(crate) offers: Vec<(Now, u32, Address)>,
}

impl Listener {
    pub(crate) fn new(
        net: &SimNet,
        from: IpAddr,
        path: &'static str,
        parts: TalkParts,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            net: net.clone(),
            rng,
            from,
            path,
            parts,
            channel: None,
            token_life: HOUR,
            retry_at: Now(0),
            comes_back: true,
            online: false,
            planned: Vec::new(),
            talkers: BTreeMap::new(),
            rejects: Vec::new(),
            closes: Vec::new(),
            offers: Vec::new(),
        }
    }

    /// The control channel, while it is there.
    pub(crate) fn channel(&mut self) -> Option<&mut WebSocket> {
        self.channel.as_mut()
    }

    /// Sends a token over the control channel.
    pub(crate) fn renew(&mut self, token: &str) {
        if let Some(channel) = &mut self.channel {
            let bytes = renew_token_json(token).into_bytes();
            channel.send(&Message {
                opcode: OpCode::Text,
                bytes,
            });
        }
    }

    fn open_channel(&mut self, now: Now) {
        let expires = unix(now).after(self.token_life);
        let address = Address {
            from: self.from,
            to: RELAY_ADDR,
            authority: format!("{RELAY_NAME}:{RELAY_PORT}"),
            target: listen_target(self.path, ""),
            headers: vec![("ServiceBusAuthorization".to_owned(), token(expires))],
        };
        let rng = self.fork_rng();
        self.channel = Some(WebSocket::connect(&self.net, &address, rng));
    }

    fn fork_rng(&mut self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.rng.u64(..))
    }

    fn on_offer(&mut self, now: Now, text: &str) {
        let Ok(ToListener::Accept(accept)) = parse_to_listener(text) else {
            panic!("the relay sends an accept message, not: {text}");
        };
        let number = accept
            .connect_headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(STREAM_HEADER));
        let number: u32 = number
            .expect("headers are handed on")
            .1
            .parse()
            .expect("a number");
        let url = parse_ws_url(&accept.address).expect("an address");
        let mut address = Address {
            from: self.from,
            to: RELAY_ADDR,
            authority: url.authority(),
            target: url.target,
            headers: Vec::new(),
        };
        self.offers.push((now, number, address.clone()));
        let greeting = self.parts.borrow().get(&number).map(|part| part.greeting.clone());
        match greeting.expect("the stream is known") {
            Greeting::Accept(wait) => self.planned.push((now.after(wait), number, address, true)),
            Greeting::Reject(status, why) => {
                address.target += &format!("&sb-hc-statusCode={status}&sb-hc-statusDescription={why}");
                self.planned.push((now, number, address, false));
            }
            Greeting::Ignore => {}
        }
    }

    fn turn_channel(&mut self, now: Now) {
        if self.channel.is_none() && now >= self.retry_at {
            self.open_channel(now);
        }
        let Some(channel) = &mut self.channel else { return };
        let mut lost = false;
        let mut offers = Vec::new();
        for heard in channel.turn(now) {
            match heard {
                Heard::Open => self.online = true,
                Heard::Part { so_far, last, .. } if last => offers.push(so_far),
                Heard::Part { .. } | Heard::Pong => {}
                Heard::Close(frame) => {
                    self.closes.push((now, frame));
                    channel.close(frame.map_or(CloseCode::NORMAL, |frame| frame.code), "");
                }
                Heard::End(_) => lost = true,
            }
        }
        channel.flush();
        for text in offers {
            self.on_offer(now, std::str::from_utf8(&text).expect("text"));
        }
        if lost {
            self.on_channel_lost();
        }
    }

    pub(crate) fn on_channel_lost(&mut self) {
        self.channel = None;
        self.online = false;
        let again = self.net.now().after(RETRY);
        self.retry_at = if self.comes_back { again } else { Now(u64::MAX) };
    }

    fn open_planned(&mut self, now: Now) {
        for (due, number, address, accept) in std::mem::take(&mut self.planned) {
            if due > now {
                self.planned.push((due, number, address, accept));
                continue;
            }
            let rng = self.fork_rng();
            let socket = WebSocket::connect(&self.net, &address, rng);
            if accept {
                let part = self.parts.borrow()[&number].clone();
                let talker = Talker::new(socket, part.down, part.up, part.listener);
                assert!(
                    self.talkers.insert(number, talker).is_none(),
                    "stream {number} was offered twice"
                );
            } else {
                self.rejects.push((number, socket, None));
            }
        }
    }
}

impl Actor for Listener {
    fn turn(&mut self, now: Now) {
        self.turn_channel(now);
        self.open_planned(now);
        for talker in self.talkers.values_mut() {
            talker.turn(now);
        }
        for (_, socket, end) in &mut self.rejects {
            for heard in socket.turn(now) {
                if let Heard::End(how) = heard {
                    end.get_or_insert(how);
                }
            }
        }
    }

    fn wake_at(&self) -> Option<Now> {
        let talkers = self.talkers.values().filter_map(Talker::wake_at);
        let planned = self.planned.iter().map(|plan| plan.0);
        let retry = self.channel.is_none().then_some(self.retry_at);
        let channel = self.channel.as_ref().and_then(WebSocket::wake_at);
        talkers.chain(planned).chain(retry).chain(channel).min()
    }

    fn hang_up(&mut self) {
        self.channel = None;
        self.planned.clear();
        self.rejects.clear();
        self.talkers.values_mut().for_each(Talker::hang_up);
    }
}

/// Number of the stream, in the sender's request and so in the accept message.
const STREAM_HEADER: &str = "X-Stream";
const HOUR: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(1);
/// A script that is ahead of the network by this much waits.
const QUEUE: usize = 32 * 1024;
