//! Somebody dies: at any step of a run the others notice, say so, recover where they should, and leak nothing.

use std::net::IpAddr;
use std::time::Duration;

use crate::classic::{LIMIT, PATHS, Talks, some_talk};
use crate::harness::for_each_seed;
use crate::scene::{
    End, LOCAL_BRIDGE, RELAY, REMOTE_BRIDGE, Scene, Sizes, TARGET, fair_weather, is_stormy, weather,
};
use crate::tunnel::{Stream, Tunnel, some_shards, some_sizes};

/// Lets a run go on for a number of steps, so that over many seeds the end comes at every one of them.
fn some_steps(scene: &mut Scene, most: usize) {
    let limit = scene.net.now().after(Duration::from_secs(3));
    for _ in 0..scene.rng.usize(..most) {
        scene.step(limit);
    }
}

#[test]
fn a_sender_or_rendezvous_is_reset_at_any_step() {
    for_each_seed(100, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = fair_weather(seed);
        let mut talks = Talks::new(config, rng.usize(1..4), &Sizes::default());
        for number in 0..3 {
            talks.send(number, some_talk(&mut rng));
        }
        some_steps(&mut talks.scene, 120);
        let victim = rng.u32(..3);
        let far = talks
            .listeners
            .iter()
            .find(|listener| listener.borrow().talkers.contains_key(&victim));
        match far {
            Some(listener) if rng.bool() => {
                let mut listener = listener.borrow_mut();
                listener.talkers.get_mut(&victim).expect("it is there").reset();
            }
            _ => talks.senders[&victim].borrow_mut().reset(),
        }
        talks.run(LIMIT);
        talks.assert_ends_are_honest();
        talks.senders.remove(&victim);
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

#[test]
fn a_client_or_target_resets_at_any_byte() {
    for_each_seed(100, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut tunnel = Tunnel::new(fair_weather(seed), some_shards(&mut rng), &some_sizes(&mut rng));
        let mut stream = Stream::new(0, rng.usize(..60_000), rng.usize(..60_000));
        let far = Duration::from_secs(3000);
        let never = tunnel.scene.net.now().after(far);
        let at = Some(rng.usize(1..60_000));
        if rng.bool() {
            stream.client.reset_at = at;
            stream.target.holds_until = Some(never);
        } else {
            stream.target.reset_at = at;
            stream.client.holds_until = Some(never);
        }
        tunnel.open(0, &stream);
        tunnel.open(1, &Stream::some(1, &mut rng));
        tunnel.scene.run_for(Duration::from_secs(60));
        let moved = stream.up.borrow().written + stream.down.borrow().got;
        let ends = (tunnel.clients[&0].borrow().end, tunnel.far_end(0));
        let met = tunnel.service.borrow().ends.contains_key(&0);
        let broken = Some(End::Broken);
        assert!(
            ends == (None, None) || ends.0 == broken && (ends.1 == broken || !met),
            "a reset is one at both ends: {ends:?} after {moved} bytes"
        );
        tunnel.clients[&0].borrow_mut().reset();
        tunnel.run(LIMIT);
        tunnel.clients.remove(&0);
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}

#[test]
fn a_relay_dies_at_any_step_and_listeners_come_back() {
    for_each_seed(60, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shards = rng.usize(1..4);
        let mut talks = Talks::new(weather(seed), shards, &Sizes::default());
        for number in 0..3 {
            talks.send(number, some_talk(&mut rng));
        }
        some_steps(&mut talks.scene, 150);
        talks.scene.kill(RELAY);
        if rng.bool() {
            talks.scene.run_for(Duration::from_secs(rng.u64(..20)));
        }
        talks.scene.start_relay(RELAY, shards, &Sizes::default());
        talks.run(LIMIT);
        talks.assert_ends_are_honest();
        talks.scene.run_for(Duration::from_secs(1));
        assert!(talks.await_listeners(), "listeners come back");
        talks.senders.clear();
        for number in 10..10 + PATHS.len() as u32 {
            talks.send(number, some_talk(&mut rng));
        }
        talks.run(LIMIT);
        if !is_stormy(&weather(seed)) {
            talks.assert_all_complete();
        }
        talks.scene.finish();
    });
}

#[test]
fn a_host_of_the_tunnel_dies_at_any_step() {
    for_each_seed(150, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = weather(seed);
        let stormy = is_stormy(&config);
        let sizes = some_sizes(&mut rng);
        let shards = some_shards(&mut rng);
        let mut tunnel = Tunnel::new(config, shards, &sizes);
        for number in 0..3 {
            tunnel.open(number, &Stream::some(number, &mut rng));
        }
        some_steps(&mut tunnel.scene, 250);
        let victim = rng
            .choice([RELAY, LOCAL_BRIDGE, REMOTE_BRIDGE, TARGET])
            .expect("hosts");
        die_and_come_back(&mut tunnel, victim, shards, &sizes, &mut rng);
        tunnel.run(LIMIT);
        assert!(tunnel.await_online(), "the tunnel comes back");
        tunnel.clients.clear();
        for number in 10..13 {
            tunnel.open(number, &Stream::some(number, &mut rng));
        }
        tunnel.run(LIMIT);
        if !stormy {
            tunnel.assert_all_complete();
        }
        tunnel.scene.finish();
    });
}

fn die_and_come_back(
    tunnel: &mut Tunnel,
    victim: IpAddr,
    shards: [usize; 3],
    sizes: &Sizes,
    rng: &mut fastrand::Rng,
) {
    let pause = Duration::from_millis(rng.u64(..10_000));
    tunnel.scene.kill(victim);
    tunnel.cut(victim);
    if victim == TARGET {
        tunnel.service.borrow_mut().die();
    }
    tunnel.scene.run_for(pause);
    match victim {
        RELAY => tunnel.scene.start_relay(RELAY, shards[1], sizes),
        TARGET => tunnel.service.borrow_mut().restart(),
        _ => tunnel.restart_bridge(victim, shards, sizes),
    }
}

#[test]
fn a_power_cut_is_noticed_in_time() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let shards = some_shards(&mut rng);
        let mut tunnel = Tunnel::new(fair_weather(seed), shards, &Sizes::default());
        for number in 0..3 {
            tunnel.open(number, &Stream::some(number, &mut rng));
        }
        some_steps(&mut tunnel.scene, 250);
        // The link is silent for longer than any keep-alive waits.
        let (a, b) = rng
            .choice([
                (RELAY, REMOTE_BRIDGE),
                (RELAY, LOCAL_BRIDGE),
                (REMOTE_BRIDGE, TARGET),
            ])
            .expect("links");
        tunnel.scene.net.hold(a, b);
        tunnel.run(LIMIT);
        tunnel.scene.run_for(Duration::from_secs(120));
        tunnel.scene.net.release(a, b);
        assert!(tunnel.await_online(), "the tunnel comes back");
        tunnel.clients.clear();
        tunnel.open(10, &Stream::some(10, &mut rng));
        tunnel.run(LIMIT);
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}
