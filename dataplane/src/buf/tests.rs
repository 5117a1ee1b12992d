//! Buffers: holders, ranges, and that everything goes back.

use super::*;

fn pool(count: u32) -> Pool {
    Pool::new(PoolConfig {
        data_len: 1000,
        count,
    })
    .unwrap()
}

#[test]
fn a_pool_gives_each_buffer_once_and_takes_it_back() {
    let pool = pool(3);
    let held: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!((held.len(), pool.free()), (3, 0));
    drop(held);
    assert_eq!(pool.free(), 3);
    assert!(pool.take().is_some());
}

#[test]
fn sizes_of_zero_are_refused() {
    assert!(
        Pool::new(PoolConfig {
            data_len: 0,
            count: 1
        })
        .is_err()
    );
    assert!(
        Pool::new(PoolConfig {
            data_len: 1,
            count: 0
        })
        .is_err()
    );
}

#[test]
fn a_lease_appends_and_prepends_within_its_bounds() {
    let mut lease = pool(1).take().unwrap();
    assert_eq!((lease.capacity(), lease.spare(), lease.filled()), (1000, 1000, 0));
    assert_eq!(lease.extend_from_slice(&[7; 600]), 600);
    assert_eq!(lease.extend_from_slice(&[8; 600]), 400);
    assert_eq!(lease.spare(), 0);
    assert!(lease.prepend(b"header"));
    assert!(
        !lease.prepend(&[0; HEADROOM - 5]),
        "only ten bytes of headroom are left"
    );
    assert!(lease.prepend(&[1; HEADROOM - 6]));
    assert_eq!(lease.filled(), 1000 + HEADROOM);
    assert_eq!(&lease.data()[HEADROOM - 6..HEADROOM + 1], b"header\x07");
    lease.set_filled(4);
    assert_eq!(lease.data(), [1; 4]);
}

#[test]
fn a_buffer_is_free_only_when_its_last_range_is_gone() {
    let pool = pool(1);
    let mut lease = pool.take().unwrap();
    lease.extend_from_slice(b"0123456789");
    let chunk = lease.freeze_range(2..9);
    let mut part = chunk.slice(1..5);
    assert!(part.is_pooled());
    drop(chunk);
    part.advance(1);
    assert_eq!((part.as_slice(), part.len()), (&b"456"[..], 3));
    let copy = part.copied();
    assert_eq!(pool.free(), 0);
    drop(part);
    assert_eq!(pool.free(), 1);
    assert!(!copy.is_pooled());
    assert_eq!(copy.as_slice(), b"456");
}

#[test]
fn the_slab_outlives_the_pool_handle() {
    let pool = pool(1);
    let mut lease = pool.take().unwrap();
    drop(pool);
    lease.extend_from_slice(b"still here");
    assert_eq!(lease.freeze().as_slice(), b"still here");
}

#[test]
fn a_gather_advances_across_chunks() {
    let mut gather = Gather::new();
    for text in ["ab", "", "cde", "f"] {
        gather.push(Chunk::from_slice(text.as_bytes()));
    }
    assert_eq!((gather.len(), gather.chunks().len()), (6, 3));
    gather.advance(3);
    let left: Vec<_> = gather.chunks().map(|chunk| chunk.as_slice().to_vec()).collect();
    assert_eq!(left, [b"de".to_vec(), b"f".to_vec()]);
    gather.advance(3);
    assert!(gather.is_empty());
}

#[test]
fn a_send_shows_one_range_as_it_is_and_many_up_to_the_limit() {
    let mut gather = Gather::new();
    gather.push(Chunk::from_static(b"xyz"));
    assert!(matches!(gather.expose(), Exposed::One { len: 3, .. }));
    for _ in 0..IOV_MAX_PER_SEND {
        gather.push(Chunk::from_vec(vec![1, 2]));
    }
    assert!(matches!(gather.expose(), Exposed::Many { rest: true, .. }));
    assert_eq!(gather.exposed(), 3 + 2 * (IOV_MAX_PER_SEND - 1));
    gather.advance(3);
    assert!(matches!(gather.expose(), Exposed::Many { rest: false, .. }));
}

#[test]
fn many_small_chunks_share_blocks_and_keep_their_order() {
    let mut gather = Gather::new();
    let mut expected = Vec::new();
    for n in 0..5_000_u32 {
        let bytes = n.to_be_bytes();
        let bytes = &bytes[..1 + n as usize % 4];
        expected.extend_from_slice(bytes);
        gather.push_merging(Chunk::from_slice(bytes));
        if n == 2_500 {
            gather.push_merging(Chunk::from_slice(&[7; 1_000]));
            expected.extend_from_slice(&[7; 1_000]);
        }
    }
    assert!(
        gather.len() == expected.len() && gather.chunks().len() < 20,
        "{gather:?}"
    );
    gather.advance(6_000);
    let left: Vec<u8> = gather
        .chunks()
        .flat_map(|chunk| chunk.as_slice().to_vec())
        .collect();
    assert_eq!(left, expected[6_000..]);
}
