//! Scripted TCP ends: clients of a local forward, and the service that a remote forward leads to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use viaduct::ring::sim::{SimListener, SimNet, SimSocket};
use viaduct_proto::time::Now;

use super::flow::SharedFlow;
use super::{Actor, End};

/// What one end does beside sending its bytes, ending its direction, and reading to the far end's end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Habit {
    /// Sends only after it has read the far end's end.
    pub(crate) answers: bool,
    /// Resets the connection when it has sent and received this many bytes.
    pub(crate) reset_at: Option<usize>,
    /// Pause between two reads.
    pub(crate) pace: Option<Duration>,
    /// Does not end its direction before this time.
    pub(crate) holds_until: Option<Now>,
}

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct TcpEnd {
    socket: Option<SimSocket>,
    out: SharedFlow,
    inward: SharedFlow,
    habit: Habit,
    next_read: Now,
    /// Set once.
    pub(crate) end: Option<End>,
}

impl TcpEnd {
    pub(crate) fn new(socket: SimSocket, out: SharedFlow, inward: SharedFlow, habit: Habit) -> Self {
        Self {
            socket: Some(socket),
            out,
            inward,
            habit,
            next_read: Now(0),
            end: None,
        }
    }

    /// Ends the connection with a reset, as a program that is killed may.
    pub(crate) fn reset(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.reset();
        }
        self.end.get_or_insert(End::Broken);
    }

    fn write(&mut self, now: Now) {
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.is_open()) else {
            return;
        };
        let mut out = self.out.borrow_mut();
        if out.fin || (self.habit.answers && !self.inward.borrow().eof) {
            return;
        }
        out.written += if out.is_written() {
            0
        } else {
            socket.write(out.rest())
        };
        if out.is_written() && socket.is_open() && self.habit.holds_until.is_none_or(|until| now >= until) {
            socket.shutdown();
            out.fin = !socket.is_reset();
        }
    }

    fn read(&mut self, now: Now) {
        let Some(socket) = self.socket.as_mut() else {
            return;
        };
        if now < self.next_read {
            return;
        }
        if let Some(pace) = self.habit.pace {
            self.next_read = now.after(pace);
        }
        let bytes = socket.read();
        let mut inward = self.inward.borrow_mut();
        inward.on_arrival(&bytes);
        let short = socket.is_eof() && !inward.eof && !inward.on_eof();
        if socket.is_reset() || short {
            self.end = Some(End::Broken);
            self.socket = None;
        }
    }
}

impl Actor for TcpEnd {
    fn turn(&mut self, now: Now) {
        self.read(now);
        self.write(now);
        let moved = self.out.borrow().written + self.inward.borrow().got;
        if self.socket.is_some() && self.habit.reset_at.is_some_and(|at| moved >= at) {
            self.reset();
        }
        if self.socket.is_some() && self.out.borrow().fin && self.inward.borrow().eof {
            self.socket = None;
            self.end = Some(End::Regular);
        }
    }

    fn wake_at(&self) -> Option<Now> {
        self.socket.as_ref()?;
        let read = self.habit.pace.map(|_| self.next_read);
        let hold = self.habit.holds_until.filter(|_| !self.out.borrow().fin);
        read.into_iter().chain(hold).min()
    }

    fn hang_up(&mut self) {
        self.socket = None;
    }
}

/// What the service does with one stream.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// From the client; its first four bytes are the number of the stream.
    pub(crate) up: SharedFlow,
    pub(crate) down: SharedFlow,
    pub(crate) habit: Habit,
}

/// Streams by number.
pub(crate) type Parts = Rc<RefCell<BTreeMap<u32, Part>>>;

/// Accepts connections and plays the part that the first bytes of each ask for.
pub(crate) struct Service {
    net: SimNet,
    addr: SocketAddr,
    listener: Option<SimListener>,
    parts: Parts,
    unknown: Vec<(SimSocket, Vec<u8>)>,
    pub(crate) ends: BTreeMap<u32, TcpEnd>,
}

impl Service {
    pub(crate) fn new(net: &SimNet, addr: SocketAddr, parts: Parts) -> Self {
        Self {
            net: net.clone(),
            addr,
            listener: Some(net.listen(addr).expect("the address is free")),
            parts,
            unknown: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Its host was killed.
    pub(crate) fn die(&mut self) {
        self.hang_up();
        for end in self.ends.values_mut() {
            end.end.get_or_insert(End::Broken);
        }
    }

    /// Listens again.
    pub(crate) fn restart(&mut self) {
        self.listener = Some(self.net.listen(self.addr).expect("the address is free"));
    }

    fn introduce(&mut self, (mut socket, mut head): (SimSocket, Vec<u8>)) {
        head.extend(socket.read());
        let Some(number) = head.first_chunk::<4>() else {
            if !socket.is_eof() && !socket.is_reset() {
                self.unknown.push((socket, head));
            }
            return;
        };
        let number = u32::from_le_bytes(*number);
        let part = self.parts.borrow().get(&number).cloned();
        let part = part.unwrap_or_else(|| panic!("no stream has number {number}"));
        part.up.borrow_mut().on_arrival(&head);
        let end = TcpEnd::new(socket, part.down, part.up, part.habit);
        assert!(
            self.ends.insert(number, end).is_none(),
            "stream {number} arrived twice"
        );
    }
}

impl Actor for Service {
    fn turn(&mut self, now: Now) {
        while let Some(socket) = self.listener.as_mut().and_then(SimListener::accept) {
            self.unknown.push((socket, Vec::new()));
        }
        for fresh in std::mem::take(&mut self.unknown) {
            self.introduce(fresh);
        }
        for end in self.ends.values_mut() {
            end.turn(now);
        }
    }

    fn wake_at(&self) -> Option<Now> {
        self.ends.values().filter_map(TcpEnd::wake_at).min()
    }

    fn hang_up(&mut self) {
        self.listener = None;
        self.unknown.clear();
        self.ends.values_mut().for_each(TcpEnd::hang_up);
    }
}
