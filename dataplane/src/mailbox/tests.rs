//! Mailbox: order, bounds, and that a message never waits for a sleeper.

use super::*;

#[cfg(loom)]
mod model {
    use super::*;

    #[test]
    fn no_wake_up_is_lost() {
        loom::model(|| race(1));
    }

    /// All schedules of three threads are too many; those with up to three preemptions are not.
    #[test]
    fn no_wake_up_is_lost_between_two_senders() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| race(2));
    }

    fn race(senders: usize) {
        let waker = Waker::flag();
        let (sender, mut receiver) = mailbox(4, waker.clone());
        let threads: Vec<_> = (0..senders)
            .map(|_| {
                let sender = sender.clone();
                loom::thread::spawn(move || sender.send(7u8).expect("there is room for all"))
            })
            .collect();
        let mut got = receiver.drain(8, drop);
        for thread in threads {
            thread.join().expect("a sender ends");
        }
        // What the receiver did not see before it went to sleep must wake it.
        if got < senders {
            assert!(waker.take(), "a message is queued and nobody wakes the receiver");
            got += receiver.drain(8, drop);
        }
        assert_eq!(got, senders);
    }
}

#[cfg(not(loom))]
mod native {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::buf::{Pool, PoolConfig};
    use crate::ring::{EngineChoice, Outcome, Ring, RingConfig};

    #[test]
    fn a_full_mailbox_gives_the_message_back() {
        let (sender, mut receiver) = mailbox(2, Waker::flag());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!(sender.send(3), Err(Full(3)));
        let mut got = Vec::new();
        assert_eq!(receiver.drain(8, |n| got.push(n)), 2);
        assert_eq!(got, [1, 2]);
    }

    #[test]
    fn only_a_dozing_receiver_is_woken() {
        let waker = Waker::flag();
        let (sender, mut receiver) = mailbox(8, waker.clone());
        sender.send(1).unwrap();
        assert!(waker.take(), "the receiver may be asleep before its first drain");
        sender.send(2).unwrap();
        assert!(!waker.take(), "one wake-up is enough");
        assert_eq!(receiver.drain(1, drop), 1);
        assert!(waker.take(), "a message is left");
        assert_eq!(receiver.drain(1, drop), 1);
        assert!(!waker.take());
        sender.send(3).unwrap();
        assert!(waker.take());
    }

    #[test]
    fn messages_from_threads_reach_a_sleeping_ring() {
        const EACH: u32 = 2_000;
        let pool = Pool::new(PoolConfig {
            data_len: 1024,
            count: 4,
        })
        .unwrap();
        let (mut ring, _) = Ring::open(EngineChoice::Auto, &RingConfig::new(pool)).unwrap();
        let (sender, mut receiver) = mailbox(16, ring.waker());
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        while sender.send((thread, n)).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut expected = [0; 2];
        let mut out = Vec::new();
        let give_up = ring.now().after(Duration::from_secs(20));
        while expected != [EACH; 2] {
            // Without a wake-up this sleeps until the test fails.
            ring.wait(Some(give_up), &mut out).unwrap();
            assert!(ring.now() < give_up, "a wake-up was lost at {expected:?}");
            assert!(
                out.drain(..)
                    .all(|completion| matches!(completion.outcome, Outcome::Woken))
            );
            receiver.drain(5, |(thread, n): (usize, u32)| {
                assert_eq!(n, expected[thread], "messages of one sender stay in order");
                expected[thread] += 1;
            });
        }
        for thread in threads {
            thread.join().unwrap();
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_queue_that_wakes(
            ops in proptest::collection::vec(prop_oneof![Just(None), (0usize..4).prop_map(Some)], 1..60)
        ) {
            let waker = Waker::flag();
            let (sender, mut receiver) = mailbox(4, waker.clone());
            let mut oracle = VecDeque::new();
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    None => {
                        let sent = sender.send(n).is_ok();
                        prop_assert_eq!(sent, oracle.len() < 4);
                        if sent {
                            oracle.push_back(n);
                        }
                    }
                    Some(max) => {
                        waker.take();
                        let mut got = Vec::new();
                        receiver.drain(max, |n| got.push(n));
                        let count = max.min(oracle.len());
                        prop_assert_eq!(got, oracle.drain(..count).collect::<Vec<_>>());
                        prop_assert_eq!(waker.take(), !oracle.is_empty());
                    }
                }
            }
        }
    }
}
