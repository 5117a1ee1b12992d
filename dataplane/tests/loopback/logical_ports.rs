//! Two logical ports of one tunnel, with different services behind them, at the same time.

use std::thread;

use crate::harness::target::{Target, exchange};
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Transport, on_each_engine};
use std::io::Write;

on_each_engine!(two_ports_at_once);

fn two_ports_at_once(engine: Engine) {
    let echo = Target::echo();
    let upper = Target::start(|mut stream| {
        let mut word = [0; WORD];
        std::io::Read::read_exact(&mut stream, &mut word)?;
        stream.write_all(&word.map(|byte| byte.to_ascii_uppercase()))
    });
    let tunnel = Tunnel::open(
        engine.over(Transport::Tls),
        &[("echo", echo.address()), ("upper", upper.address())],
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..ROUNDS).for_each(|_| exchange(tunnel.entry("echo"), b"lower case stays")));
            scope.spawn(|| (0..ROUNDS).for_each(|_| shout(&tunnel)));
        }
    });
}

fn shout(tunnel: &Tunnel) {
    let mut stream = tunnel.connect("upper");
    stream.write_all(b"upper").expect("write");
    let mut back = [0; WORD];
    std::io::Read::read_exact(&mut stream, &mut back).expect("answer of the second service");
    assert_eq!(&back, b"UPPER");
}

const WORD: usize = 5;
const ROUNDS: usize = 50;
