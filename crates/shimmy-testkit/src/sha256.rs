//! SHA-256 (FIPS 180-4), to name the files of the fake hub. Owns nothing else.

/// The digest of `bytes` in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((bytes.len() as u64 * 8).to_be_bytes());
    let constants = fractions(64, 3);
    let mut state: Vec<u32> = fractions(8, 2);
    for block in padded.chunks(64) {
        compress(&mut state, block, &constants);
    }
    state.iter().map(|word| format!("{word:08x}")).collect()
}

/// The first 32 bits of the fractional parts of the roots of the first primes.
fn fractions(count: usize, root: u32) -> Vec<u32> {
    let primes = (2_u64..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
    let fraction = |prime: u64| {
        // The root of `prime · 2^(32 · root)`, whose low 32 bits are the fraction, by bisection.
        let target = u128::from(prime) << (32 * root);
        let (mut low, mut high) = (0_u128, 1 << 40);
        while high - low > 1 {
            let middle = (low + high) / 2;
            match middle
                .checked_pow(root)
                .is_some_and(|power| power <= target)
            {
                true => low = middle,
                false => high = middle,
            }
        }
        low as u32
    };
    primes.take(count).map(fraction).collect()
}

fn compress(state: &mut [u32], block: &[u8], constants: &[u32]) {
    let words = block
        .chunks(4)
        .map(|word| word.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)));
    let mut words: Vec<u32> = words.collect();
    for at in 16..64 {
        let (early, late) = (words[at - 15], words[at - 2]);
        let first = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
        let second = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
        let sum = words[at - 16]
            .wrapping_add(first)
            .wrapping_add(words[at - 7]);
        words.push(sum.wrapping_add(second));
    }
    let mut now: Vec<u32> = state.to_vec();
    for (word, constant) in words.iter().zip(constants) {
        let (a, e) = (now[0], now[4]);
        let first = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & now[5]) ^ (!e & now[6]);
        let sum = now[7].wrapping_add(first).wrapping_add(choice);
        let sum = sum.wrapping_add(*constant).wrapping_add(*word);
        let second = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & now[1]) ^ (a & now[2]) ^ (now[1] & now[2]);
        now.rotate_right(1);
        now[4] = now[4].wrapping_add(sum);
        now[0] = sum.wrapping_add(second).wrapping_add(majority);
    }
    for (word, add) in state.iter_mut().zip(now) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::sha256;

    #[test]
    fn known_digests_come_out() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b""), empty);
        assert_eq!(sha256(b"abc"), abc);
        let million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(sha256(&vec![b'a'; 1_000_000]), million);
    }
}
