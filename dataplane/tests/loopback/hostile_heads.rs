//! Hostile and wrong handshakes at the relay's port. Each gets its documented answer and disturbs nobody else.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::frames::{self, upgrade_head_with};
use crate::harness::sas::Rule;
use crate::harness::target::{Target, exchange};
use crate::harness::tunnel::{self, PATH, Tunnel};
use crate::harness::{Engine, Transport, on_each_engine, pattern, wait};

on_each_engine!(garbage_to_tls, bad_heads, slow_heads, wrong_tokens);

fn garbage_to_tls(engine: Engine) {
    undisturbed(engine, Transport::Tls, |tunnel| {
        for seed in 0..GARBAGE_ROUNDS {
            let mut stream = tunnel::connect(tunnel.relay.address);
            let garbage = pattern::bytes(seed, 1 + seed as usize * 37 % 5_000);
            // The relay may hang up before everything is written.
            let _ = stream.write_all(&garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            ended(stream, "garbage instead of a TLS handshake");
        }
    });
}

fn bad_heads(engine: Engine) {
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X-Filler: 1\r\n".repeat(300));
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(200_000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "b".repeat(200_000)
    );
    let plain = "GET /$hc/hc?sb-hc-action=listen HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let action = "GET /$hc/hc?sb-hc-action=dance HTTP/1.1\r\nHost: localhost\r\n\
                  Connection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let cases: [(&str, &str, &[u16]); 8] = [
        ("not HTTP", "\x16\x03\x01 hello\r\n\r\n", &[400]),
        ("no version", "GET /\r\n\r\n", &[400]),
        ("header without a name", "GET / HTTP/1.1\r\n: x\r\n\r\n", &[400]),
        ("too many headers", &many_headers, &[431]),
        ("long request line", &long_line, &[431]),
        ("long header", &long_header, &[431]),
        ("no upgrade", plain, &[400, 401]),
        ("unknown action", action, &[400]),
    ];
    undisturbed(engine, Transport::Plain, |tunnel| {
        for (name, head, wanted) in &cases {
            let mut stream = tunnel::connect(tunnel.relay.address);
            // The relay answers at its limit and may stop reading there.
            let _ = stream.write_all(head.as_bytes());
            let answer = frames::read_answer(&mut stream).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(wanted.contains(&answer.status), "{name}: {}", answer.head);
            ended(stream, name);
        }
    });
}

/// Heads that arrive a byte at a time, or never: the deadline of 10 s ends them all.
fn slow_heads(engine: Engine) {
    undisturbed(engine, Transport::Plain, |tunnel| {
        let start = Instant::now();
        let mut streams: Vec<_> = (0..SLOW_HEADS)
            .map(|_| tunnel::connect(tunnel.relay.address))
            .collect();
        let head = b"GET /$hc/hc?sb-hc-action=listen HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
        for byte in head.iter().chain([b'x'; 512].iter()) {
            let open = streams.iter_mut().enumerate().filter(|(n, _)| n % 2 == 0);
            // A write after the relay's close fails; the read below decides.
            open.for_each(|(_, stream)| drop(stream.write_all(&[*byte])));
            if start.elapsed() > HEAD_DEADLINE {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        streams.into_iter().for_each(|stream| ended(stream, "slow head"));
        assert!(
            start.elapsed() < HEAD_DEADLINE * 2,
            "slow heads were held for {:?}",
            start.elapsed()
        );
    });
}

fn wrong_tokens(engine: Engine) {
    undisturbed(engine, Transport::Plain, |tunnel| {
        let rule = Rule::of(&tunnel.relay.connection_string());
        let wrong_key = Rule {
            key: "bm90IHRoZSBrZXk=".to_owned(),
            ..rule.clone()
        };
        let wrong_name = Rule {
            name: "Nobody".to_owned(),
            ..rule.clone()
        };
        let cases = [
            ("no token", String::new()),
            ("not a token", "SharedAccessSignature".to_owned()),
            ("garbage", "\u{1}\u{2};&%%%=".to_owned()),
            ("another key", wrong_key.token(PATH, 600)),
            ("another rule", wrong_name.token(PATH, 600)),
            ("another path", rule.token("elsewhere", 600)),
            ("expired", rule.token(PATH, -600)),
            (
                "very long",
                format!("{}{}", rule.token(PATH, 600), "a".repeat(20_000)),
            ),
        ];
        for action in ["listen", "connect"] {
            for (name, token) in &cases {
                let mut stream = tunnel::connect(tunnel.relay.address);
                stream
                    .write_all(upgrade_head_with(action, PATH, token).as_bytes())
                    .expect("request");
                let answer = frames::read_answer(&mut stream).expect("answer");
                assert_eq!(answer.status, 401, "{action} with {name}: {}", answer.head);
                assert!(
                    answer.head.contains("TrackingId:"),
                    "{action} with {name}: {}",
                    answer.head
                );
                ended(stream, name);
            }
        }
        assert!(
            !tunnel.relay.process.log().contains(&rule.key),
            "the relay logged a key"
        );
        assert!(
            !tunnel.relay.process.log().contains("sig="),
            "the relay logged a signature"
        );
    });
}

/// Runs `attack` beside a stream that is open before, carries messages during, and works after it; descriptors of the
/// relay return to their count.
pub(crate) fn undisturbed(engine: Engine, transport: Transport, attack: impl FnOnce(&Tunnel)) {
    let echo = Target::echo();
    let tunnel = Tunnel::open(engine.over(transport), &[("echo", echo.address())]);
    let mut witness = tunnel.connect("echo");
    ping(&mut witness);
    let relay = tunnel.relay.process.pid();
    let before = wait::open_fds(relay);
    attack(&tunnel);
    ping(&mut witness);
    exchange(tunnel.entry("echo"), b"a new stream after the attack");
    wait::wait_until("the relay lets go of hostile connections", wait::PATIENCE, || {
        wait::open_fds(relay) <= before
    });
}

fn ping(stream: &mut TcpStream) {
    stream
        .write_all(b"still here")
        .expect("message into an open stream");
    let mut back = [0; 10];
    stream.read_exact(&mut back).expect("answer on an open stream");
    assert_eq!(&back, b"still here");
}

/// The relay ends the connection by itself.
pub(crate) fn ended(mut stream: impl Read, why: &str) {
    let end = io::copy(&mut stream, &mut io::sink());
    let waiting =
        end.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
    assert!(!waiting, "the relay keeps a connection after: {why}");
}

const GARBAGE_ROUNDS: u64 = 100;
const SLOW_HEADS: usize = 50;
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
