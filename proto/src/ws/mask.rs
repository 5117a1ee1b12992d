//! Masking (RFC 6455 section 5.3). The same operation masks and unmasks.

/// Masks or unmasks `buf`, a piece of a frame's payload, in place.
///
/// `phase` is the number of the frame's payload bytes before this piece (only its remainder by four counts).
/// Returns the phase of the byte after the piece.
pub fn apply_mask(buf: &mut [u8], key: [u8; 4], phase: usize) -> usize {
    let next = phase.wrapping_add(buf.len());
    let [a, b, c, d] = key;
    let key = match phase % 4 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    };
    let [a, b, c, d] = key;
    // Written so that the compiler turns it into whole vector registers.
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = buf.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::apply_mask;
    use std::vec::Vec;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// RFC 6455 section 5.7: "A single-frame masked text message", "Hello".
    #[test]
    fn sample_of_the_rfc() {
        let mut hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(apply_mask(&mut hello, KEY, 0), 5);
        assert_eq!(&hello, b"Hello");
    }

    /// RFC 6455 section 5.3: byte `i` is combined with byte `i` modulo four of the key.
    fn by_definition(buf: &mut [u8], phase: usize) {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte ^= KEY[(phase + i) % 4];
        }
    }

    #[test]
    fn every_length_and_phase_agrees_with_the_definition() {
        let data: Vec<u8> = (0..=255).cycle().take(70).collect();
        for len in 0..data.len() {
            for phase in 0..9 {
                let (mut got, mut want) = (data[..len].to_vec(), data[..len].to_vec());
                assert_eq!(apply_mask(&mut got, KEY, phase), phase + len);
                by_definition(&mut want, phase);
                assert_eq!(got, want, "length {len}, phase {phase}");
            }
        }
    }

    #[test]
    fn pieces_are_the_same_as_the_whole() {
        let data: Vec<u8> = (0..41).collect();
        for cut in 0..data.len() {
            let (mut pieces, mut whole) = (data.clone(), data.clone());
            let (head, tail) = pieces.split_at_mut(cut);
            let phase = apply_mask(head, KEY, 0);
            apply_mask(tail, KEY, phase);
            apply_mask(&mut whole, KEY, 0);
            assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn phase_wraps() {
        assert_eq!(apply_mask(&mut [0; 3], KEY, usize::MAX), 2);
    }
}
