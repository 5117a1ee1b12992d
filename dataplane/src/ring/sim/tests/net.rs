//! The network alone: scripted ends on both sides.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use viaduct_proto::time::Now;

use super::super::{CLIENT_HOST, SimConfig, SimListener, SimNet, SimSocket};

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SEEDS: u64 = 200;

/// A listener and an established connection to it.
fn pair(net: &SimNet) -> (SimListener, SimSocket, SimSocket) {
    let mut listener = net.listen(SocketAddr::new(SERVER, 0)).unwrap();
    let client = net.connect(listener.addr());
    settle(net);
    let server = listener.accept().expect("the attempt succeeds");
    assert!(client.is_open());
    (listener, client, server)
}

/// Lets everything on the way arrive, but no attempt or partition time out.
fn settle(net: &SimNet) {
    let limit = net.now().after(Duration::from_secs(1));
    while net.advance_to_next(limit) {}
}

/// Distinguishable bytes.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

/// Writes all of `bytes`, then half-closes, reading on the other side as time passes. Answers what arrived.
fn pump(net: &SimNet, from: &mut SimSocket, to: &mut SimSocket, bytes: &[u8]) -> Vec<u8> {
    let mut sent = 0;
    let mut got = Vec::new();
    let mut ended = false;
    for _ in 0..100_000 {
        if !ended {
            sent += from.write(&bytes[sent..]);
        }
        if sent == bytes.len() && !ended && !from.is_reset() {
            from.shutdown();
            ended = true;
        }
        got.extend(to.read());
        if to.is_eof() || to.is_reset() {
            return got;
        }
        net.advance_to_next(net.now().after(Duration::from_secs(1)));
    }
    panic!("the stream never ended: {} of {}", got.len(), bytes.len());
}

#[test]
fn a_stream_arrives_whole_and_in_order() {
    for seed in 0..SEEDS {
        for config in [SimConfig::calm(seed), SimConfig::rough(seed)] {
            let net = SimNet::new(config);
            let (_listener, mut client, mut server) = pair(&net);
            let bytes = pattern(seed, 100_000);
            assert!(
                pump(&net, &mut client, &mut server, &bytes) == bytes,
                "seed {seed}"
            );
            assert!(
                pump(&net, &mut server, &mut client, &bytes) == bytes,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_reset_stream_is_a_prefix_and_never_ends_cleanly() {
    let mut resets = 0;
    for seed in 0..SEEDS {
        let net = SimNet::new(SimConfig {
            reset: 0.02,
            ..SimConfig::rough(seed)
        });
        let (_listener, mut client, mut server) = pair(&net);
        let bytes = pattern(seed, 100_000);
        let got = pump(&net, &mut client, &mut server, &bytes);
        assert!(bytes.starts_with(&got), "seed {seed}");
        assert_eq!(
            server.is_eof(),
            got.len() == bytes.len() && !server.is_reset(),
            "seed {seed}"
        );
        resets += net.counters().resets;
    }
    assert!(resets > SEEDS / 4, "the fault happens");
}

#[test]
fn same_seed_same_fingerprint() {
    let run = |seed| {
        let net = SimNet::new(SimConfig::stormy(seed));
        let mut listener = net.listen(SocketAddr::new(SERVER, 80)).unwrap();
        let mut clients: Vec<_> = (0..8).map(|_| net.connect(listener.addr())).collect();
        let mut servers = Vec::new();
        for turn in 0..200 {
            servers.extend(listener.accept());
            for socket in clients.iter_mut().chain(&mut servers) {
                socket.write(&pattern(turn, 500));
                socket.read();
            }
            net.advance_to_next(net.now().after(Duration::from_millis(5)));
        }
        net.fingerprint()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_full_pipe_pushes_back_until_the_reader_reads() {
    let net = SimNet::new(SimConfig {
        pipe_capacity: 1000,
        ..SimConfig::calm(1)
    });
    let (_listener, mut client, mut server) = pair(&net);
    assert_eq!(client.write(&[1; 5000]), 1000);
    settle(&net);
    assert_eq!(client.write(&[1; 5000]), 0);
    assert_eq!(server.read().len(), 1000);
    assert_eq!(client.write(&[1; 5000]), 0, "the window update is on its way");
    settle(&net);
    assert_eq!(client.write(&[1; 5000]), 1000);
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let net = SimNet::new(SimConfig::calm(1));
    let (_listener, mut client, mut server) = pair(&net);
    client.write(b"question");
    client.shutdown();
    settle(&net);
    assert_eq!(server.read(), b"question");
    assert!(server.is_eof());
    server.write(b"answer");
    settle(&net);
    assert_eq!(client.read(), b"answer");
    assert!(!client.is_eof());
    drop(server);
    settle(&net);
    assert!(client.read().is_empty() && client.is_eof());
}

#[test]
fn a_reset_keeps_what_arrived_and_is_reported_once() {
    let net = SimNet::new(SimConfig::calm(1));
    let (_listener, mut client, mut server) = pair(&net);
    client.write(b"last words");
    settle(&net);
    client.reset();
    settle(&net);
    assert_eq!(server.read(), b"last words");
    assert_eq!(server.error(), Some(libc::ECONNRESET));
    assert_eq!(server.write(b"x"), 0);
    assert!(!server.is_eof());
}

#[test]
fn closing_with_unread_bytes_resets() {
    let net = SimNet::new(SimConfig::calm(1));
    let (_listener, mut client, server) = pair(&net);
    client.write(b"unread");
    settle(&net);
    drop(server);
    settle(&net);
    client.read();
    assert_eq!(client.error(), Some(libc::ECONNRESET));
}

#[test]
fn writing_to_a_closed_peer_is_answered_by_a_reset() {
    let net = SimNet::new(SimConfig::calm(1));
    let (_listener, mut client, server) = pair(&net);
    drop(server);
    settle(&net);
    assert_eq!(client.write(b"x"), 1);
    settle(&net);
    assert_eq!(client.write(b"x"), 0);
    assert_eq!(client.error(), Some(libc::EPIPE));
}

#[test]
fn attempts_are_refused_without_a_listener_and_time_out_without_an_answer() {
    let net = SimNet::new(SimConfig::calm(1));
    let refused = net.connect(SocketAddr::new(SERVER, 9));
    settle(&net);
    assert_eq!(refused.error(), Some(libc::ECONNREFUSED));

    let listener = net.listen(SocketAddr::new(SERVER, 9)).unwrap();
    net.hold(CLIENT_HOST, SERVER);
    let unanswered = net.connect(listener.addr());
    settle(&net);
    assert!(!unanswered.is_reset() && !unanswered.is_open());
    while net.advance_to_next(Now(u64::MAX)) {}
    assert_eq!(unanswered.error(), Some(libc::ETIMEDOUT));
}

#[test]
fn a_full_backlog_makes_clients_come_back() {
    let net = SimNet::new(SimConfig {
        backlog: 1,
        ..SimConfig::calm(1)
    });
    let mut listener = net.listen(SocketAddr::new(SERVER, 80)).unwrap();
    let clients: Vec<_> = (0..3).map(|_| net.connect(listener.addr())).collect();
    let mut servers = Vec::new();
    for _ in 0..4 {
        settle(&net);
        servers.extend(listener.accept());
    }
    assert_eq!(servers.len(), 3);
    settle(&net);
    assert!(clients.iter().all(SimSocket::is_open));
}

#[test]
fn a_partition_delays_in_order_and_kills_when_it_lasts() {
    let net = SimNet::new(SimConfig::rough(3));
    let (_listener, mut client, mut server) = pair(&net);
    let bytes = pattern(3, 20_000);
    net.hold(SERVER, CLIENT_HOST);
    let mut sent = client.write(&bytes);
    settle(&net);
    assert!(server.read().is_empty());
    net.release(CLIENT_HOST, SERVER);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        assert!(net.advance_to_next(net.now().after(Duration::from_secs(1))));
        got.extend(server.read());
        sent += client.write(&bytes[sent..]);
    }
    assert!(got == bytes);

    net.hold(CLIENT_HOST, SERVER);
    while net.advance_to_next(Now(u64::MAX)) {}
    client.read();
    server.read();
    assert_eq!([client.error(), server.error()], [Some(libc::ETIMEDOUT); 2]);
}

#[test]
fn a_killed_host_leaves_nothing_behind() {
    let net = SimNet::new(SimConfig::calm(1));
    let (listener, mut client, server) = pair(&net);
    let addr = listener.addr();
    let waiting = net.connect(addr);
    settle(&net);
    net.kill_host(SERVER);
    settle(&net);
    client.read();
    assert!(client.is_eof() || client.is_reset());
    assert!(waiting.is_reset());
    let late = net.connect(addr);
    settle(&net);
    assert_eq!(late.error(), Some(libc::ECONNREFUSED));
    assert!(net.listen(addr).is_ok(), "the address is free again");
    drop((listener, client, server, waiting, late));
    while net.advance_to_next(Now(u64::MAX)) {}
    assert_eq!(net.sockets(), 0);
}

#[test]
fn closed_connections_are_forgotten() {
    for seed in 0..SEEDS {
        let net = SimNet::new(SimConfig::stormy(seed));
        let mut listener = net.listen(SocketAddr::new(SERVER, 80)).unwrap();
        let mut sockets: Vec<_> = (0..10).map(|_| net.connect(listener.addr())).collect();
        for _ in 0..20 {
            settle(&net);
            sockets.extend(listener.accept());
            for socket in &mut sockets {
                socket.write(&[5; 3000]);
            }
        }
        drop((sockets, listener));
        while net.advance_to_next(Now(u64::MAX)) {}
        assert_eq!(net.sockets(), 0, "seed {seed}");
    }
}
