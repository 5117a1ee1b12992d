//! Senders and listeners that miss each other.

use std::time::Duration;

use viaduct::observe::Counter;

use crate::classic::{LIMIT, Talks, some_talk};
use crate::harness::for_each_seed;
use crate::scene::listener::Greeting;
use crate::scene::websocket::{Heard, WebSocket};
use crate::scene::{End, RELAY, Sizes, fair_weather};

#[test]
fn a_sender_that_nobody_accepts_is_told_after_30_seconds() {
    for_each_seed(30, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..4), &Sizes::default());
        let mut part = some_talk(&mut rng);
        // Sometimes the listener comes, too late.
        part.greeting = if rng.bool() {
            Greeting::Ignore
        } else {
            Greeting::Accept(Duration::from_secs(32))
        };
        let start = talks.scene.net.now();
        talks.send(0, part);
        talks.send(1, some_talk(&mut rng));
        talks.scene.run_for(Duration::from_secs(40));
        let sender = talks.senders.remove(&0).expect("it was there");
        assert_eq!(sender.borrow().end, Some(End::Refused(504)));
        let waited = sender.borrow().ended_at.expect("it ended").since(start);
        let expected = Duration::from_secs(30)..Duration::from_millis(31_500);
        assert!(expected.contains(&waited), "after {waited:?}");
        if talks.is_met(0) {
            assert_eq!(
                talks.far_end(0),
                Some(End::Refused(403)),
                "the address has expired"
            );
        }
        talks.run(LIMIT);
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

#[test]
fn a_reject_reaches_the_sender_and_nobody_else() {
    for_each_seed(30, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..4), &Sizes::default());
        let mut part = some_talk(&mut rng);
        let status = rng.u16(400..600);
        part.greeting = Greeting::Reject(status, "not%20today");
        talks.send(0, part);
        talks.send(1, some_talk(&mut rng));
        talks.run(LIMIT);
        let sender = talks.senders.remove(&0).expect("it was there");
        assert_eq!(sender.borrow().end, Some(End::Refused(status)));
        talks.scene.run_for(Duration::from_secs(5));
        let rejects: Vec<_> = talks
            .listeners
            .iter()
            .flat_map(|listener| {
                listener
                    .borrow()
                    .rejects
                    .iter()
                    .map(|reject| reject.2)
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(rejects, [Some(End::Refused(410))]);
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

#[test]
fn a_rendezvous_address_works_once_and_only_while_its_sender_waits() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..4), &Sizes::default());
        let leaves = rng.bool();
        let mut part = some_talk(&mut rng);
        let until = talks.scene.net.now().after(Duration::from_secs(25));
        part.sender.holds_until = Some(until);
        if leaves {
            part.greeting = Greeting::Ignore;
        }
        talks.send(0, part);
        talks.scene.run_for(Duration::from_secs(3));
        let offers = |talks: &Talks| {
            let all = talks.listeners.iter();
            all.flat_map(|listener| listener.borrow().offers.clone()).next()
        };
        let (_, _, mut address) = offers(&talks).expect("it was offered");
        if leaves {
            talks.senders[&0].borrow_mut().reset();
            talks.scene.run_for(Duration::from_secs(2));
        }
        let forged = rng.bool();
        if forged {
            // Nothing that was ever given out.
            address.target = address.target.replace("sb-hc-id=", "sb-hc-id=0");
        }
        let mut late = WebSocket::connect(&talks.scene.net, &address, rng.clone());
        let mut end = None;
        for _ in 0..2_000 {
            let limit = talks.scene.net.now().after(Duration::from_secs(1));
            talks.scene.step(limit);
            for heard in late.turn(talks.scene.net.now()) {
                if let Heard::End(how) = heard {
                    end = Some(how);
                }
            }
            if end.is_some() {
                break;
            }
        }
        assert_eq!(end, Some(End::Refused(if forged { 400 } else { 403 })));
        talks.run(LIMIT);
        if leaves {
            assert_eq!(talks.scene.node(RELAY).count(Counter::RendezvousTimedOut), 0);
        } else {
            talks.assert_all_complete();
        }
        talks.scene.finish();
    });
}

#[test]
fn senders_are_spread_over_the_listeners_of_a_path() {
    for_each_seed(10, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..4), &Sizes::default());
        talks.add_listener(0);
        assert!(talks.await_listeners(), "the second listener comes online");
        for number in 0..10 {
            talks.send_to(0, number, some_talk(&mut rng));
        }
        talks.run(LIMIT);
        talks.assert_all_complete();
        let offers = |index: usize| talks.listeners[index].borrow().offers.len();
        assert_eq!((offers(0), offers(talks.listeners.len() - 1)), (5, 5));
        talks.scene.finish();
    });
}
