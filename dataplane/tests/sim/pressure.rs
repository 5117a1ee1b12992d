//! Slow readers, and buffers that run out: who waits is who caused it.

use std::rc::Rc;
use std::time::Duration;

use viaduct::observe::Counter;
use viaduct::ring::sim::SimConfig;
use viaduct_proto::ws::OpCode;

use crate::classic::{LIMIT, Talks, some_talk};
use crate::harness::for_each_seed;
use crate::scene::flow::{Message, MessageFlow};
use crate::scene::{End, LOCAL_BRIDGE, RELAY, REMOTE_BRIDGE, Scene, Sizes, fair_weather};
use crate::tunnel::{Stream, Tunnel, some_shards, some_sizes};

/// Small socket buffers, so that back-pressure reaches the far end soon.
fn narrow(seed: u64) -> SimConfig {
    SimConfig {
        pipe_capacity: 16 * 1024,
        ..fair_weather(seed)
    }
}

fn small_queues() -> Sizes {
    Sizes {
        small_buffers: 16,
        large_buffers: 2,
        queue_bytes: 256 * 1024,
        ..Sizes::default()
    }
}

fn queued(scene: &Scene) -> u64 {
    let nodes = [RELAY, LOCAL_BRIDGE, REMOTE_BRIDGE];
    let queues = nodes.map(|node| scene.node(node).count(Counter::QueueBytes));
    queues.into_iter().max().unwrap_or_default()
}

#[test]
fn a_slow_reader_slows_nobody_else_and_gets_everything() {
    for_each_seed(50, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut tunnel = Tunnel::new(narrow(seed), [1, 1, 1], &small_queues());
        // The slow one is alone first, so that everything it can fill is full.
        let upwards = rng.bool();
        let bulk = 600_000;
        let mut slow = if upwards {
            Stream::new(0, bulk, 100)
        } else {
            Stream::new(0, 100, bulk)
        };
        let reader = if upwards {
            &mut slow.target
        } else {
            &mut slow.client
        };
        reader.pace = Some(Duration::from_millis(rng.u64(200..1_500)));
        tunnel.open(0, &slow);
        tunnel.scene.run_for(Duration::from_secs(3));
        let start = tunnel.scene.net.now();
        let quick = Stream::new(1, 100_000, 100_000);
        tunnel.open(1, &quick);
        let client = Rc::clone(&tunnel.clients[&1]);
        let mut most = 0;
        let done = tunnel.scene.run_until(Duration::from_secs(60), |scene| {
            most = queued(scene).max(most);
            client.borrow().end.is_some()
        });
        let took = tunnel.scene.net.now().since(start);
        assert!(
            done && took < Duration::from_secs(6),
            "the quick stream took {took:?}"
        );
        assert!(
            tunnel.clients[&0].borrow().end.is_none(),
            "the slow one is not done"
        );
        assert!(most < 256 * 1024, "{most} bytes in queues");
        tunnel.run(Duration::from_secs(3600));
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}

#[test]
fn a_reader_that_stops_costs_its_own_stream_only() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut talks = Talks::new(narrow(seed), rng.usize(1..3), &small_queues());
        let until = Duration::from_secs(rng.u64(20..200));
        let bulk = |rng: &mut fastrand::Rng| Message {
            opcode: OpCode::Binary,
            bytes: std::iter::repeat_with(|| rng.u8(..)).take(20_000).collect(),
        };
        let mut stopped = some_talk(&mut rng);
        stopped.sender.answers = false;
        stopped.listener.answers = false;
        let heavy = MessageFlow::new((0..10).map(|_| bulk(&mut rng)).collect());
        if rng.bool() {
            stopped.up = heavy;
            stopped.listener.pace = Some(until);
        } else {
            stopped.down = heavy;
            stopped.sender.pace = Some(until);
        }
        talks.send_to(0, 0, stopped);
        talks.scene.run_for(Duration::from_secs(2));
        for number in 1..5 {
            talks.send_to(0, number, some_talk(&mut rng));
        }
        let others = talks.senders.clone();
        let done = talks.scene.run_until(Duration::from_secs(15), |_| {
            others
                .iter()
                .all(|(number, sender)| *number == 0 || sender.borrow().end.is_some())
        });
        assert!(done, "others wait for the one that does not read");
        talks.run(Duration::from_secs(7200));
        talks.assert_all_complete();
        talks.scene.finish();
    });
}

#[test]
fn hardly_any_buffers_are_enough_for_all() {
    for_each_seed(60, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = SimConfig {
            enobufs: 0.3,
            ..SimConfig::rough(seed)
        };
        let sizes = Sizes {
            small_buffers: rng.u32(2..5),
            large_buffers: 1,
            queue_bytes: 64 * 1024,
            ..Sizes::default()
        };
        let mut tunnel = Tunnel::new(config, some_shards(&mut rng), &sizes);
        for number in 0..12 {
            tunnel.open(number, &Stream::some(number, &mut rng));
        }
        tunnel.run(LIMIT);
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}

#[test]
fn stalled_readers_do_not_hold_the_last_buffers() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sizes = Sizes {
            small_buffers: 8,
            ..some_sizes(&mut rng)
        };
        let mut tunnel = Tunnel::new(narrow(seed), some_shards(&mut rng), &sizes);
        let until = Duration::from_secs(rng.u64(60..120));
        for number in 0..8 {
            let mut stream = Stream::new(number, 100, 80_000);
            stream.client.pace = Some(until);
            tunnel.open(number, &stream);
        }
        tunnel.scene.run_for(Duration::from_secs(5));
        let start = tunnel.scene.net.now();
        tunnel.open(8, &Stream::new(8, 50_000, 50_000));
        let client = Rc::clone(&tunnel.clients[&8]);
        let done = tunnel
            .scene
            .run_until(Duration::from_secs(60), |_| client.borrow().end.is_some());
        let took = tunnel.scene.net.now().since(start);
        assert!(
            done && took < Duration::from_secs(6),
            "the quick stream took {took:?}"
        );
        assert_eq!(client.borrow().end, Some(End::Regular));
        tunnel.run(Duration::from_secs(3 * 3600));
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}

#[test]
fn running_out_of_descriptors_costs_some_streams_and_nothing_else() {
    for_each_seed(40, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = SimConfig {
            fd_limit: rng.usize(14..24),
            ..fair_weather(seed)
        };
        let mut tunnel = Tunnel::new(config, [1, rng.usize(1..3), 1], &Sizes::default());
        for number in 0..12 {
            tunnel.open(number, &Stream::some(number, &mut rng));
        }
        tunnel.run(LIMIT);
        tunnel.scene.run_for(Duration::from_secs(60));
        assert!(tunnel.await_online(), "the tunnel comes back");
        tunnel.clients.clear();
        tunnel.open(20, &Stream::some(20, &mut rng));
        tunnel.run(LIMIT);
        tunnel.assert_all_complete();
        tunnel.scene.finish();
    });
}
