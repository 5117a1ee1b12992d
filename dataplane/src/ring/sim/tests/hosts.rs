//! What a host has: descriptors, and listeners on its addresses.

use super::super::SimSocket;
use super::*;

#[test]
fn a_descriptor_limit_stops_accepting_until_one_is_closed() {
    let net = SimNet::new(SimConfig {
        fd_limit: 2,
        ..SimConfig::calm(1)
    });
    let mut ring = Ring::sim(&net, SERVER, pool(1));
    let (listener, addr) = ring.listen(SocketAddr::new(SERVER, 0), false).unwrap();
    ring.submit(Op::Accept { fd: listener }, label(0));
    let _clients = [net.connect(addr), net.connect(addr)];
    let [out] = run(&net, [&mut ring]);
    let [first, second] = &out[..] else {
        panic!("{out:?}")
    };
    let Outcome::Accepted(Ok((fd, Some(_)))) = first.outcome else {
        panic!("{first:?}")
    };
    assert!(first.more && !second.more);
    assert_eq!(errno_of(second), Some(libc::EMFILE));
    ring.close(fd);
    ring.submit(Op::Accept { fd: listener }, label(0));
    let [out] = run(&net, [&mut ring]);
    assert!(matches!(
        out[..],
        [Completion {
            outcome: Outcome::Accepted(Ok(_)),
            more: true,
            ..
        }]
    ));
}

#[test]
fn listeners_share_an_address_only_if_all_agree() {
    let net = SimNet::new(SimConfig::calm(1));
    let mut rings = [0; 2].map(|_| Ring::sim(&net, SERVER, pool(1)));
    let (alone, addr) = rings[0].listen(SocketAddr::new(SERVER, 0), false).unwrap();
    assert!(rings[1].listen(addr, true).is_err());
    rings[0].close(alone);
    let fds = rings.each_mut().map(|ring| ring.listen(addr, true).unwrap().0);
    assert!(rings[1].listen(addr, false).is_err());
    for (ring, fd) in rings.iter_mut().zip(fds) {
        ring.submit(Op::Accept { fd }, label(0));
    }
    let _clients: Vec<_> = (0..20).map(|_| net.connect(addr)).collect();
    let [first, second] = &mut rings;
    let accepted = run(&net, [first, second]).map(|out| out.len());
    assert!(
        accepted.iter().sum::<usize>() == 20 && !accepted.contains(&0),
        "{accepted:?}"
    );
}

#[test]
fn a_closed_listener_hands_out_nothing_and_its_clients_are_told() {
    for seed in 0..SEEDS {
        let net = SimNet::new(SimConfig {
            emfile: 0.0,
            accept_end: 0.0,
            ..SimConfig::rough(seed)
        });
        let mut ring = Ring::sim(&net, SERVER, pool(1));
        let (listener, addr) = ring.listen(SocketAddr::new(SERVER, 0), false).unwrap();
        ring.submit(Op::Accept { fd: listener }, label(0));
        let mut clients: Vec<_> = (0..4).map(|_| net.connect(addr)).collect();
        let (mut out, limit) = (Vec::new(), net.now().after(Duration::from_micros(seed * 50)));
        while net.advance_to_next(limit) {
            ring.wait(None, &mut out).unwrap();
        }
        ring.close(listener);
        let handed_out = out.len();
        let [rest] = run(&net, [&mut ring]);
        assert_eq!(
            rest.iter().map(errno_of).collect::<Vec<_>>(),
            [Some(libc::ECANCELED)],
            "seed {seed}"
        );
        assert_eq!(net.open_fds(SERVER), handed_out, "seed {seed}");
        let is_served =
            |client: &mut SimSocket| client.read().is_empty() && client.is_open() && !client.is_eof();
        let served = clients.iter_mut().map(is_served).filter(|&served| served).count();
        assert_eq!(served, handed_out, "seed {seed}");
    }
}
