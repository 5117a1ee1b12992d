//! Streams of messages between scripted senders and listeners: everything arrives, and both ends learn how it ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use viaduct::ring::sim::SimConfig;
use viaduct_proto::ws::{CloseCode, OpCode};

use crate::harness::for_each_seed;
use crate::scene::flow::{Message, MessageFlow};
use crate::scene::listener::{Greeting, Listener, TalkHabit, TalkPart, TalkParts, Talker};
use crate::scene::{End, RELAY, Scene, Sizes, fair_weather, host, weather};

/// A relay with listeners on several paths, and the streams that run over it.
pub(crate) struct Talks {
    pub(crate) scene: Scene,
    pub(crate) parts: TalkParts,
    pub(crate) listeners: Vec<Rc<RefCell<Listener>>>,
    pub(crate) senders: BTreeMap<u32, Rc<RefCell<Talker>>>,
}

impl Talks {
    /// The listeners are online when this returns.
    pub(crate) fn new(config: SimConfig, shards: usize, sizes: &Sizes) -> Self {
        let mut scene = Scene::new(config);
        scene.start_relay(RELAY, shards, sizes);
        let mut talks = Self {
            scene,
            parts: TalkParts::default(),
            listeners: Vec::new(),
            senders: BTreeMap::new(),
        };
        (0..PATHS.len()).for_each(|path| talks.add_listener(path));
        assert!(talks.await_listeners(), "the listeners come online");
        talks
    }

    /// One more listener for a path.
    pub(crate) fn add_listener(&mut self, path: usize) {
        let rng = self.scene.fork_rng();
        let from = host(100 + self.listeners.len() as u8);
        let parts = Rc::clone(&self.parts);
        let listener = Listener::new(&self.scene.net, from, PATHS[path], parts, rng);
        self.listeners.push(self.scene.add(listener));
    }

    pub(crate) fn await_listeners(&mut self) -> bool {
        let listeners = self.listeners.clone();
        self.scene.run_until(Duration::from_secs(300), |_| {
            listeners.iter().all(|listener| listener.borrow().online)
        })
    }

    /// A sender comes, for the listeners of a path drawn.
    pub(crate) fn send(&mut self, number: u32, part: TalkPart) {
        let path = self.scene.rng.usize(..PATHS.len());
        self.send_to(path, number, part);
    }

    /// A sender comes for the listeners of a path.
    pub(crate) fn send_to(&mut self, path: usize, number: u32, part: TalkPart) {
        let rng = self.scene.fork_rng();
        let from = host(120 + (number % 100) as u8);
        let sender = Talker::sender(&self.scene.net, from, PATHS[path], number, &part, rng);
        self.parts.borrow_mut().insert(number, part);
        let sender = self.scene.add(sender);
        self.senders.insert(number, sender);
    }

    /// How the listener's end of a stream ended.
    pub(crate) fn far_end(&self, number: u32) -> Option<End> {
        self.listeners
            .iter()
            .find_map(|listener| listener.borrow().talkers.get(&number).map(|talker| talker.end))
            .flatten()
    }

    /// Whether a listener has opened its end of a stream.
    pub(crate) fn is_met(&self, number: u32) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.borrow().talkers.contains_key(&number))
    }

    /// Goes on until all ends have ended; a stream that hangs fails the test.
    pub(crate) fn run(&mut self, limit: Duration) {
        let senders = self.senders.clone();
        let listeners = self.listeners.clone();
        let over = self.scene.run_until(limit, |_| {
            let near = senders.values().all(|sender| sender.borrow().end.is_some());
            near && listeners.iter().all(|listener| {
                listener
                    .borrow()
                    .talkers
                    .values()
                    .all(|talker| talker.end.is_some())
            })
        });
        assert!(over, "streams hang: {:?}", self.outcomes());
    }

    fn outcomes(&self) -> Vec<(u32, Option<End>, Option<End>)> {
        let end = |(number, sender): (&u32, &Rc<RefCell<Talker>>)| {
            (*number, sender.borrow().end, self.far_end(*number))
        };
        self.senders.iter().map(end).collect()
    }

    /// Every stream has carried everything and has ended in order at both ends.
    pub(crate) fn assert_all_complete(&self) {
        for (number, sender) in &self.senders {
            let ends = (sender.borrow().end, self.far_end(*number));
            assert_eq!(
                ends,
                (Some(End::Regular), Some(End::Regular)),
                "ends of stream {number}"
            );
            let part = &self.parts.borrow()[number];
            assert!(part.up.borrow().is_complete() && part.down.borrow().is_complete());
        }
    }

    /// Whoever believes that a stream ended in order has got all of it. (That what it sent has arrived is another matter:
    /// nobody can know that of the last flight.)
    pub(crate) fn assert_ends_are_honest(&self) {
        for (number, sender) in &self.senders {
            let part = &self.parts.borrow()[number];
            if sender.borrow().end == Some(End::Regular) {
                assert!(
                    part.down.borrow().is_complete(),
                    "stream {number} is short for the sender"
                );
            }
            if self.far_end(*number) == Some(End::Regular) {
                assert!(
                    part.up.borrow().is_complete(),
                    "stream {number} is short for the listener"
                );
            }
        }
    }
}

/// A stream with some messages in both directions.
pub(crate) fn some_talk(rng: &mut fastrand::Rng) -> TalkPart {
    let answers = rng.u8(..3);
    let sender = TalkHabit {
        answers: answers == 1,
        is_eager: answers != 1 && rng.u8(..4) == 0,
        ..TalkHabit::default()
    };
    let listener = TalkHabit {
        answers: answers == 2,
        ..TalkHabit::default()
    };
    let part = TalkPart {
        up: MessageFlow::new(some_messages(rng)),
        down: MessageFlow::new(some_messages(rng)),
        sender,
        listener,
        greeting: Greeting::Accept(Duration::from_millis(rng.u64(..50))),
    };
    for flow in [&part.up, &part.down] {
        flow.borrow_mut().farewell = rng.choice(FAREWELLS).expect("there are some");
    }
    part
}

pub(crate) fn some_messages(rng: &mut fastrand::Rng) -> Vec<Message> {
    (0..rng.usize(..6)).map(|_| some_message(rng)).collect()
}

fn some_message(rng: &mut fastrand::Rng) -> Message {
    let len = match rng.u8(..10) {
        0 => 0,
        1..5 => rng.usize(..130),
        5..9 => rng.usize(..3_000),
        _ => rng.usize(..70_000),
    };
    let opcode = if rng.bool() { OpCode::Text } else { OpCode::Binary };
    let bytes = std::iter::repeat_with(|| rng.u8(b' '..b'~')).take(len).collect();
    Message { opcode, bytes }
}

fn some_sizes(rng: &mut fastrand::Rng) -> Sizes {
    Sizes {
        small_buffers: *rng.choice(&[2, 4, 8, 64]).expect("sizes"),
        large_buffers: rng.u32(1..3),
        ..Sizes::default()
    }
}

fn run(config: SimConfig) -> (Talks, bool) {
    let mut rng = fastrand::Rng::with_seed(config.seed);
    let stormy = config.reset > 0.0;
    let sizes = some_sizes(&mut rng);
    let mut talks = Talks::new(config, rng.usize(1..4), &sizes);
    for number in 0..rng.u32(1..8) {
        talks.send(number, some_talk(&mut rng));
        if rng.bool() {
            talks.scene.run_for(Duration::from_millis(rng.u64(..300)));
        }
    }
    talks.run(LIMIT);
    (talks, stormy)
}

#[test]
fn messages_arrive_whole_and_in_order() {
    for_each_seed(150, |seed| {
        let (talks, stormy) = run(weather(seed));
        if stormy {
            talks.assert_ends_are_honest();
        } else {
            talks.assert_all_complete();
        }
        talks.scene.finish();
    });
}

#[test]
fn a_seed_repeats_its_run() {
    for_each_seed(10, |seed| {
        let fingerprint = |seed| run(SimConfig::stormy(seed)).0.scene.finish();
        assert_eq!(fingerprint(seed), fingerprint(seed));
    });
}

#[test]
fn streams_survive_the_loss_of_their_control_channel() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..3), &Sizes::default());
        for number in 0..4 {
            let mut part = some_talk(&mut rng);
            let until = talks.scene.net.now().after(Duration::from_secs(20));
            part.sender.holds_until = Some(until);
            talks.send(number, part);
        }
        talks.scene.run_for(Duration::from_secs(5));
        assert!((0..4).all(|number| talks.is_met(number)));
        for listener in &talks.listeners {
            let mut listener = listener.borrow_mut();
            let channel = listener.channel().expect("it is online");
            if rng.bool() {
                channel.reset();
            } else {
                channel.drop_connection();
            }
            listener.on_channel_lost();
        }
        talks.run(LIMIT);
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

/// Longer than everything that relay or peer waits for.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);
const FAREWELLS: [(CloseCode, &str); 4] = [
    (CloseCode::NORMAL, "done"),
    (CloseCode::NORMAL, ""),
    (CloseCode::GOING_AWAY, "to lunch"),
    (CloseCode(4999), "für heute"),
];
pub(crate) const PATHS: [&str; 3] = ["one", "two/deep", "three"];
