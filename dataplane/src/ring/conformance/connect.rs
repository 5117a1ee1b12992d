//! Connections, waiting, and misuse.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::rig::{Rig, errno_of, gather};
use crate::ring::{Fd, Op, Outcome, RecvInto, Token};

pub(super) fn each_connection_is_accepted_once(rig: &mut Rig) {
    let (listener, addr) = rig.listen();
    let (key, accept) = rig.submit(Op::Accept { fd: listener });
    let mut clients: Vec<_> = (0..3).map(|_| rig.connect(addr)).collect();
    for _ in 0..3 {
        let completion = rig.next(accept);
        assert!(completion.more, "the listener goes on");
        let Outcome::Accepted(Ok((fd, Some(peer)))) = completion.outcome else {
            panic!("not a connection")
        };
        assert_eq!(peer.ip(), addr.ip());
        clients.push(fd);
    }
    rig.ring.cancel(key);
    let last = rig.outcome(accept);
    assert_eq!(errno_of(&last), Some(libc::ECANCELED));
    clients.push(listener);
    clients.into_iter().for_each(|fd| rig.ring.close(fd));
}

pub(super) fn a_refused_connection_says_so(rig: &mut Rig) {
    let (listener, addr) = rig.listen();
    rig.ring.close(listener);
    rig.settle();
    let fd = rig.ring.socket(&addr, None).unwrap();
    let outcome = rig.run(Op::Connect { fd, addr });
    assert!(matches!(outcome, Outcome::Connected(Err(_))));
    assert_eq!(errno_of(&outcome), Some(libc::ECONNREFUSED));
    rig.ring.close(fd);
}

pub(super) fn a_closed_listener_hands_out_nothing(rig: &mut Rig) {
    let (listener, addr) = rig.listen();
    let client = rig.connect(addr);
    let (_, accept) = rig.submit(Op::Accept { fd: listener });
    rig.ring.close(listener);
    let last = rig.next(accept);
    assert!(!last.more, "nobody could accept after the close: {last:?}");
    assert_eq!(errno_of(&last.outcome), Some(libc::ECANCELED));
    // The connection that waited in the listener is gone.
    assert!(!matches!(rig.recv(client), Ok(Some(_))));
    rig.ring.close(client);
}

pub(super) fn a_socket_can_be_bound_before_it_connects(rig: &mut Rig) {
    let (listener, addr) = rig.listen();
    let (_, accept) = rig.submit(Op::Accept { fd: listener });
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fd = rig.ring.socket(&addr, Some(local)).unwrap();
    assert!(matches!(
        rig.run(Op::Connect { fd, addr }),
        Outcome::Connected(Ok(()))
    ));
    let Outcome::Accepted(Ok((server, peer))) = rig.next(accept).outcome else {
        panic!("not accepted")
    };
    assert_eq!(peer.map(|peer| peer.ip()), Some(local.ip()));
    rig.ring.close(listener);
    assert_eq!(errno_of(&rig.outcome(accept)), Some(libc::ECANCELED));
    rig.ring.close(fd);
    rig.ring.close(server);
}

pub(super) fn a_wake_from_another_thread_ends_the_wait(rig: &mut Rig) {
    for round in 0..3 {
        let waker = rig.waker();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(round * 5));
            waker.wake();
            waker.wake();
        });
        let woken = rig.next(Token::WAKE);
        assert!(matches!(woken.outcome, Outcome::Woken));
        thread.join().unwrap();
        // The second call may have come before or after the first was reported.
        rig.turn(rig.ring.now());
        rig.stash().clear();
    }
    rig.quiet(Duration::from_millis(20));
}

pub(super) fn a_wait_ends_at_its_deadline_and_not_before(rig: &mut Rig) {
    for wait in [0, 1, 7, 30].map(Duration::from_millis) {
        let deadline = rig.ring.now().after(wait);
        rig.quiet(wait);
        assert!(rig.ring.now() >= deadline);
        let late = rig.ring.now().since(deadline);
        assert!(
            late < Duration::from_millis(500),
            "{late:?} after a deadline of {wait:?}"
        );
    }
}

pub(super) fn misuse_is_answered_and_harms_nothing(rig: &mut Rig) {
    let (client, server) = rig.pair();
    let (_, first) = rig.submit(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    let second = rig.run(Op::Recv {
        fd: server,
        into: RecvInto::Provided,
    });
    assert_eq!(
        errno_of(&second),
        Some(libc::EBUSY),
        "two receives would share a stream"
    );
    let unknown = rig.run(Op::Send {
        fd: Fd(1 << 20),
        gather: gather(&[b"x"]),
    });
    assert_eq!(errno_of(&unknown), Some(libc::EBADF));
    let mut full = rig.pool.take().unwrap();
    full.set_filled(full.capacity());
    let outcome = rig.run(Op::Recv {
        fd: client,
        into: RecvInto::Lease(full),
    });
    assert_eq!(
        errno_of(&outcome),
        Some(libc::EINVAL),
        "no room is not the end of the stream"
    );
    rig.send(client, b"still in order");
    assert!(matches!(
        rig.outcome(first),
        Outcome::Received { result: Ok(14), .. }
    ));
    rig.ring.close(client);
    rig.ring.close(server);
}

pub(super) fn a_moved_socket_works_in_its_new_ring(rig: &mut Rig) {
    let Some(sibling) = rig.sibling else { return };
    let mut other = sibling();
    let (client, server) = rig.pair();
    rig.send(client, b"before, ");
    assert_eq!(rig.recv_exact(server, 8), b"before, ");
    rig.ring.detach(server);
    other.ring.adopt(server);
    rig.send(client, b"after");
    assert_eq!(other.recv_exact(server, 5), b"after");
    other.send(server, b"back");
    assert_eq!(rig.recv_exact(client, 4), b"back");
    other.ring.close(server);
    assert!(rig.recv(client).unwrap().is_none());
    rig.ring.close(client);
    other.ends_clean();
}

pub(super) fn two_rings_share_a_port(rig: &mut Rig) {
    let Some(sibling) = rig.sibling else { return };
    let mut other = sibling();
    let (first, addr) = rig
        .ring
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), true)
        .unwrap();
    let (second, same) = other.ring.listen(addr, true).unwrap();
    assert_eq!(addr, same);
    assert!(
        rig.ring.listen(addr, false).is_err(),
        "sharing is asked for by everybody"
    );
    rig.ring.close(first);
    other.ring.close(second);
    other.ends_clean();
}
