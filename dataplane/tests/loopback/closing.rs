//! Half-close and tail bytes: what is written just before a shutdown or a close arrives, and the other direction
//! goes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::harness::target::Target;
use crate::harness::tunnel::Tunnel;
use crate::harness::{Engine, Scale, Transport, on_each_engine, pattern, wait};

on_each_engine!(
    client_shuts_down_first_plain,
    client_shuts_down_first_tls,
    target_shuts_down_first_plain,
    target_shuts_down_first_tls,
    nothing_sent_but_the_end,
    late_reader_gets_the_tail_plain,
    late_reader_gets_the_tail_tls,
);

fn client_shuts_down_first_plain(engine: Engine) {
    client_first(engine, Transport::Plain);
}

fn client_shuts_down_first_tls(engine: Engine) {
    client_first(engine, Transport::Tls);
}

fn target_shuts_down_first_plain(engine: Engine) {
    target_first(engine, Transport::Plain);
}

fn target_shuts_down_first_tls(engine: Engine) {
    target_first(engine, Transport::Tls);
}

/// The client sends and shuts down; the target reads to the end, then answers and closes at once.
fn client_first(engine: Engine, transport: Transport) {
    let target = Target::start(|mut stream| {
        let id = read_numbered(&mut stream)?;
        stream.write_all(&pattern::bytes(id, answer_size(id)))
    });
    let tunnel = Tunnel::open(engine.over(transport), &[("tail", target.address())]);
    for_each_connection(|id| {
        let mut stream = tunnel.connect("tail");
        stream.write_all(&numbered(id)).expect("request");
        stream.shutdown(Shutdown::Write).expect("half-close");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .unwrap_or_else(|error| panic!("answer {id}: {error}"));
        assert!(
            answer == pattern::bytes(id, answer_size(id)),
            "answer {id}: {} of {} bytes, or others",
            answer.len(),
            answer_size(id)
        );
    });
}

/// The target sends and shuts down; the client reads to the end, then answers and closes at once.
fn target_first(engine: Engine, transport: Transport) {
    let verified = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&verified);
    let next = AtomicU64::new(0);
    let target = Target::start(move |mut stream| {
        let greeting = next.fetch_add(1, Ordering::Relaxed);
        stream.write_all(&numbered(greeting))?;
        stream.shutdown(Shutdown::Write)?;
        read_numbered(&mut stream)?;
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let tunnel = Tunnel::open(engine.over(transport), &[("tail", target.address())]);
    for_each_connection(|id| {
        let mut stream = tunnel.connect("tail");
        read_numbered(&mut stream).unwrap_or_else(|error| panic!("greeting of {id}: {error}"));
        stream
            .write_all(&numbered(id))
            .expect("answer after the target's half-close");
    });
    let wanted = Scale::from_env().closings;
    wait::wait_until("every answer arrives whole", wait::PATIENCE, || {
        verified.load(Ordering::Relaxed) >= wanted
    });
}

fn nothing_sent_but_the_end(engine: Engine) {
    let target = Target::start(|mut stream| {
        let mut got = Vec::new();
        stream.read_to_end(&mut got)?;
        stream.write_all(if got.is_empty() { b"empty" } else { b"bytes" })
    });
    let tunnel = Tunnel::open(engine.over(Transport::Plain), &[("end", target.address())]);
    for _ in 0..EMPTY_ROUNDS {
        let mut stream = tunnel.connect("end");
        stream.shutdown(Shutdown::Write).expect("half-close");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("answer after an empty request");
        assert_eq!(answer, "empty");
    }
}

fn late_reader_gets_the_tail_plain(engine: Engine) {
    late_reader(engine, Transport::Plain);
}

fn late_reader_gets_the_tail_tls(engine: Engine) {
    late_reader(engine, Transport::Tls);
}

/// Both ends have closed, and the client begins to read much later than any closing deadline: the answer is whole.
fn late_reader(engine: Engine, transport: Transport) {
    let target = Target::start(|mut stream| {
        let id = read_numbered(&mut stream)?;
        stream.write_all(&pattern::bytes(id, LATE_ANSWER))
    });
    let tunnel = Tunnel::open(engine.over(transport), &[("late", target.address())]);
    let mut stream = tunnel.connect("late");
    stream.write_all(&numbered(7)).expect("request");
    stream.shutdown(Shutdown::Write).expect("half-close");
    thread::sleep(LATE);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answer");
    assert!(
        answer == pattern::bytes(7, LATE_ANSWER),
        "{} of {LATE_ANSWER} bytes, or others",
        answer.len()
    );
}

/// Runs `connection` for each number up to the scale's count, on a few threads.
fn for_each_connection(connection: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let end = Scale::from_env().closings;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id >= end {
                        return;
                    }
                    connection(id);
                }
            });
        }
    });
}

/// A message that says which one it is: its number, then as many bytes of its pattern as belong to the number.
fn numbered(id: u64) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend(pattern::bytes(id, request_size(id)));
    out
}

/// Reads a numbered message to the end of the stream; an error when it is short, long or damaged.
fn read_numbered(stream: &mut TcpStream) -> io::Result<u64> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    let id = got.first_chunk().map(|id| u64::from_be_bytes(*id));
    match id {
        Some(id) if got == numbered(id) => Ok(id),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} bytes, damaged", got.len()),
        )),
    }
}

fn request_size(id: u64) -> usize {
    SIZES[id as usize % SIZES.len()]
}

fn answer_size(id: u64) -> usize {
    SIZES[(id / 3) as usize % SIZES.len()]
}

/// Around the limits of frame lengths and buffers, mostly small.
const SIZES: [usize; 11] = [0, 1, 117, 118, 125, 126, 500, 4_096, 16_384, 16_900, 65_536];
const CLIENTS: usize = 16;
const EMPTY_ROUNDS: usize = 50;

/// More than the sockets on the way take, so that queues in user space hold some of it.
const LATE_ANSWER: usize = 24 * 1024 * 1024;
const LATE: std::time::Duration = std::time::Duration::from_secs(14);
