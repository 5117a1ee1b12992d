//! A shard: one thread, one ring, one table of connections, and what the connections are for.
//!
//! One turn, in a fixed order and bounded in every part: flush and wait, orders from other threads, completions with the
//! events they cause, timers. Nothing in a turn blocks. Shards share nothing but mailboxes and immutable snapshots.

mod entropy;
mod orders;

use std::io;
use std::net::SocketAddr;

pub use entropy::Entropy;
pub use orders::{Ask, Asks, Handover, Order, Peers};

use crate::bridge::Bridge;
use crate::mailbox;
use crate::relay::Relay;
use crate::ring::{Completion, Fd, Outcome, Token};
use crate::wire::Wires;

/// Most orders taken from the mailbox in one turn.
const ORDERS_PER_TURN: usize = 256;

/// What the connections of a shard are for.
#[derive(Debug)]
pub enum Job {
    /// A relay node.
    Relay(Box<Relay>),
    /// A bridge: local and remote forwards.
    Bridge(Box<Bridge>),
}

/// One data thread's state.
#[derive(Debug)]
pub struct Shard {
    wires: Wires,
    job: Job,
    mailbox: mailbox::Receiver<Order>,
    completions: Vec<Completion>,
    timers: Vec<Token>,
    orders: Vec<Order>,
}

/// Whether the shard has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Call again.
    Again,
    /// It was told to stop, and has.
    Stopped,
}

impl Shard {
    /// A shard that has not started: its first turn opens what the job listens on.
    #[must_use]
    pub const fn new(wires: Wires, job: Job, mailbox: mailbox::Receiver<Order>) -> Self {
        Self {
            wires,
            job,
            mailbox,
            completions: Vec::new(),
            timers: Vec::new(),
            orders: Vec::new(),
        }
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn run(mut self) -> io::Result<()> {
        while self.turn()? == Turn::Again {}
        Ok(())
    }

    /// One turn; waits in the ring if there is nothing to do.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn turn(&mut self) -> io::Result<Turn> {
        self.wires.wait(&mut self.completions, &mut self.timers)?;
        let orders = &mut self.orders;
        self.mailbox.drain(ORDERS_PER_TURN, |order| orders.push(order));
        for order in self.orders.drain(..) {
            if matches!(order, Order::Stop) {
                return Ok(Turn::Stopped);
            }
            self.job.on_order(&mut self.wires, order);
        }
        for completion in self.completions.drain(..) {
            match completion.outcome {
                Outcome::Accepted(result) => {
                    let listener = completion.token.index();
                    if !completion.more {
                        self.wires.on_accept_ended(listener, result.is_err());
                    }
                    self.job.on_accepted(&mut self.wires, listener, result);
                }
                _ => self.wires.on_completion(completion),
            }
            self.job.on_events(&mut self.wires);
        }
        for token in self.timers.drain(..) {
            if let Some(token) = self.wires.on_timer(token) {
                self.job.on_timer(&mut self.wires, token);
            }
        }
        self.job.on_events(&mut self.wires);
        self.job.on_turn_end(&self.wires);
        Ok(Turn::Again)
    }

    /// The connections, for tests and counters.
    #[must_use]
    pub const fn wires(&self) -> &Wires {
        &self.wires
    }

    /// What the shard does, for tests and counters.
    #[must_use]
    pub const fn job(&self) -> &Job {
        &self.job
    }
}

impl Job {
    fn on_accepted(
        &mut self,
        wires: &mut Wires,
        listener: u32,
        result: io::Result<(Fd, Option<SocketAddr>)>,
    ) {
        match self {
            Self::Relay(relay) => relay.on_accepted(wires, result),
            Self::Bridge(bridge) => bridge.on_accepted(wires, listener, result),
        }
    }

    fn on_events(&mut self, wires: &mut Wires) {
        while let Some((id, event)) = wires.next_event() {
            match self {
                Self::Relay(relay) => relay.on_event(wires, id, event),
                Self::Bridge(bridge) => bridge.on_event(wires, id, event),
            }
        }
    }

    fn on_timer(&mut self, wires: &mut Wires, token: Token) {
        match self {
            Self::Relay(relay) => relay.on_timer(wires, token),
            Self::Bridge(bridge) => bridge.on_timer(wires, token),
        }
    }

    fn on_order(&mut self, wires: &mut Wires, order: Order) {
        match self {
            Self::Relay(relay) => relay.on_order(wires, order),
            Self::Bridge(bridge) => bridge.on_order(wires, order),
        }
    }

    fn on_turn_end(&mut self, wires: &Wires) {
        match self {
            Self::Relay(relay) => relay.publish(wires),
            Self::Bridge(bridge) => bridge.publish(wires),
        }
    }
}
