//! Tokens of control channels, and listeners that are dead without having said so.

use std::rc::Rc;
use std::time::Duration;

use viaduct::observe::Counter;
use viaduct_proto::sas;
use viaduct_proto::ws::CloseCode;

use crate::classic::{LIMIT, Talks, some_talk};
use crate::harness::for_each_seed;
use crate::scene::{End, RELAY, RELAY_NAME, REMOTE_BRIDGE, RULE, Sizes, fair_weather, host, token, unix};
use crate::tunnel::{Stream, Tunnel, some_shards};

/// Close code and time of the end of the first listener's channel, if it ended.
fn channel_end(talks: &Talks) -> Option<(u64, CloseCode)> {
    let listener = talks.listeners[0].borrow();
    let (at, frame) = listener.closes.last()?;
    Some((at.0, frame.expect("the relay says why").code))
}

/// One listener with a token of `life`; the other two are let be.
fn talks_with(seed: u64, life: Duration) -> Talks {
    let mut talks = Talks::new(fair_weather(seed), 1 + seed as usize % 3, &Sizes::default());
    let mut listener = talks.listeners[0].borrow_mut();
    listener.token_life = life;
    listener.channel().expect("it is online").reset();
    listener.on_channel_lost();
    drop(listener);
    assert!(talks.await_listeners(), "the listener comes back");
    talks
}

#[test]
fn a_channel_is_closed_when_its_token_and_the_grace_are_over() {
    for_each_seed(30, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = talks_with(seed, Duration::from_secs(100));
        let start = talks.scene.net.now();
        talks.listeners[0].borrow_mut().comes_back = false;
        // A stream that runs is not touched.
        let mut part = some_talk(&mut rng);
        part.sender.holds_until = Some(start.after(Duration::from_secs(500)));
        talks.send_to(0, 1, part);
        let talks_end = |talks: &Talks| channel_end(talks);
        talks.scene.run_for(Duration::from_secs(390));
        assert_eq!(talks_end(&talks), None, "within the grace");
        talks.scene.run_for(Duration::from_secs(20));
        let (at, code) = talks_end(&talks).expect("it is over");
        assert_eq!(code, CloseCode::POLICY);
        let seconds = (at - start.0) / 1_000_000_000;
        assert!((397..404).contains(&seconds), "after {seconds} s");
        // Nobody listens there any more.
        talks.send_to(0, 2, some_talk(&mut rng));
        talks.run(LIMIT);
        assert_eq!(talks.senders[&2].borrow().end, Some(End::Refused(404)));
        talks.senders.remove(&2);
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

#[test]
fn a_renewed_token_keeps_the_channel_and_a_bad_one_ends_it() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = talks_with(seed, Duration::from_secs(200));
        talks.listeners[0].borrow_mut().comes_back = false;
        for _ in 0..4 {
            talks.scene.run_for(Duration::from_secs(rng.u64(10..450)));
            let fresh = token(unix(talks.scene.net.now()).after(Duration::from_secs(200)));
            talks.listeners[0].borrow_mut().renew(&fresh);
        }
        talks.scene.run_for(Duration::from_secs(10));
        assert_eq!(channel_end(&talks), None, "every renewal came in time");
        let now = unix(talks.scene.net.now());
        let resource = format!("http://{RELAY_NAME}/");
        let hour = now.after(Duration::from_secs(3600));
        let bad = match rng.u8(..4) {
            0 => sas::sign(&resource, RULE, &sas::Key::new("another key"), hour),
            1 => token(now.after(Duration::from_secs(30))),
            2 => sas::sign("http://elsewhere/", "no such rule", &sas::Key::new("x"), hour),
            _ => "no token at all".to_owned(),
        };
        talks.listeners[0].borrow_mut().renew(&bad);
        talks.scene.run_for(Duration::from_secs(5));
        let (_, code) = channel_end(&talks).expect("a bad token ends the channel at once");
        assert_eq!(code, CloseCode::POLICY);
        talks.scene.finish();
    });
}

#[test]
fn a_listener_that_does_not_answer_is_given_up() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(fair_weather(seed), rng.usize(1..4), &Sizes::default());
        talks.scene.run_for(Duration::from_secs(rng.u64(..100)));
        let cut = rng.bool();
        if cut {
            talks.scene.net.hold(host(100), RELAY);
        } else {
            talks.listeners[0]
                .borrow_mut()
                .channel()
                .expect("it is online")
                .mute = true;
        }
        let relay = |talks: &Talks| talks.scene.node(RELAY).count(Counter::ListenersOnline);
        talks.scene.run_for(Duration::from_secs(28));
        assert_eq!(relay(&talks), 3, "silence of 28 s is no death");
        talks.scene.run_for(Duration::from_secs(65));
        assert_eq!(relay(&talks), if cut { 2 } else { relay(&talks) });
        talks.send_to(0, 0, some_talk(&mut rng));
        talks.run(LIMIT);
        if cut {
            assert_eq!(talks.senders[&0].borrow().end, Some(End::Refused(404)));
            talks.scene.net.release(host(100), RELAY);
        }
        talks.scene.run_for(Duration::from_secs(5));
        assert!(talks.await_listeners(), "it comes back");
        talks.scene.finish();
    });
}

#[test]
fn a_bridge_stays_online_for_hours_on_renewed_tokens() {
    for_each_seed(12, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut tunnel = Tunnel::new(fair_weather(seed), some_shards(&mut rng), &Sizes::default());
        let registered = tunnel.scene.node(RELAY).count(Counter::ListenersRegistered);
        // An idle stream outlives the tokens that it was opened with.
        let mut stream = Stream::new(0, 5_000, 5_000);
        stream.client.holds_until = Some(tunnel.scene.net.now().after(Duration::from_secs(4 * 3600)));
        tunnel.open(0, &stream);
        tunnel.scene.run_for(Duration::from_secs(3 * 3600));
        let now = tunnel.scene.node(RELAY).count(Counter::ListenersRegistered);
        assert_eq!(now, registered, "the channels were never lost");
        assert_eq!(
            tunnel.scene.node(REMOTE_BRIDGE).count(Counter::ListenersOnline),
            2
        );
        tunnel.open(1, &Stream::some(1, &mut rng));
        tunnel.run(Duration::from_secs(2 * 3600));
        tunnel.assert_all_complete();
        let client = Rc::clone(&tunnel.clients[&0]);
        assert_eq!(client.borrow().end, Some(End::Regular));
        tunnel.scene.finish();
    });
}
