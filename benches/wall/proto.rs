//! Wall-clock time of the protocol code: `cargo bench -p viaduct-benches`. Under `cargo test` each case runs once.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use viaduct_benches::{Frames, decode_in_place, decode_tungstenite, parse_headers};
use viaduct_proto::ws::apply_mask;

/// Frames of one size amount to this much, bytes.
const TOTAL: usize = 1 << 20;
const LENGTHS: [usize; 4] = [128, 1024, 16 * 1024, 128 * 1024];

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for len in LENGTHS {
        let frames = Frames::new(TOTAL / len, len);
        group.throughput(Throughput::Bytes(TOTAL as u64));
        // Every contender starts from a fresh copy of the wire, since decoding unmasks in place.
        group.bench_function(BenchmarkId::new("in_place", len), |bencher| {
            bencher.iter_batched_ref(
                || frames.wire.clone(),
                |wire| decode_in_place(wire),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("tungstenite", len), |bencher| {
            bencher.iter_batched(
                || frames.wire.clone(),
                |wire| decode_tungstenite(wire, frames.count),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("headers_alone", len), |bencher| {
            bencher.iter(|| parse_headers(black_box(&frames.wire)));
        });
    }
    group.finish();
}

fn mask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for len in LENGTHS {
        let mut payload = vec![0x5a; len];
        group.throughput(Throughput::Bytes(len as u64));
        for phase in [0, 1] {
            let name = format!("phase_{phase}");
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| apply_mask(black_box(&mut payload), [1, 2, 3, 4], phase));
            });
        }
        group.bench_function(BenchmarkId::new("byte_by_byte", len), |bencher| {
            bencher.iter(|| byte_by_byte(black_box(&mut payload), [1, 2, 3, 4]));
        });
    }
    group.finish();
}

/// What RFC 6455 writes down, for comparison.
fn byte_by_byte(payload: &mut [u8], key: [u8; 4]) {
    for (n, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[n % 4];
    }
}

criterion_group!(benches, decode, mask);
criterion_main!(benches);
