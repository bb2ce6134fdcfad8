//! Changed inputs for the smoke run: what libFuzzer does, without its coverage.
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// No input grows beyond this, bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// Most changes of one input.
const CHANGES_MAX: usize = 6;
/// What lengths, counts and numbers go wrong at.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// One of `inputs` with some changes.
pub fn mutate(inputs: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = inputs.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        change(&mut input, inputs, rng);
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut StdRng) {
    if input.is_empty() {
        return input.push(rng.random());
    }
    let at = rng.random_range(0..input.len());
    let (from, to) = range(input.len(), rng);
    match rng.random_range(0..10) {
        0 => input[at] ^= 1 << rng.random_range(0..8),
        1 => input[at] = rng.random(),
        2 => input.truncate(at),
        3 => drop(input.drain(from..to)),
        4 => input.insert(at, rng.random()),
        5 => {
            let piece = input[from..to].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            let width = *[1, 2, 4, 8].choose(rng).unwrap_or(&1);
            let number = NUMBERS.choose(rng).copied().unwrap_or_default().to_le_bytes();
            let end = (at + width).min(input.len());
            input[at..end].copy_from_slice(&number[..end - at]);
        }
        7 => {
            // As a varint, and as text.
            let number = NUMBERS.choose(rng).copied().unwrap_or_default();
            let mut coded = Vec::new();
            trine_store::codec::put_uvarint(&mut coded, number);
            let piece = if input.is_ascii() { number.to_string().into_bytes() } else { coded };
            input.splice(at..at, piece);
        }
        8 => {
            let other = inputs.choose(rng).map_or(&[][..], Vec::as_slice);
            let (from, to) = range(other.len(), rng);
            input.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let other = inputs.choose(rng).map_or(&[][..], Vec::as_slice);
            let cut = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[cut..]);
        }
    }
}

/// A short range in `0..len`.
fn range(len: usize, rng: &mut StdRng) -> (usize, usize) {
    let from = rng.random_range(0..=len);
    let to = from + rng.random_range(0..=(len - from).min(64));
    (from, to)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let inputs = [b"first input".to_vec(), vec![0; 40], Vec::new()];
        let run = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..500).map(|_| mutate(&inputs, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(3).iter().filter(|i| !inputs.contains(i)).count() > 400, "most are changed");
    }
}
