//! A small deterministic generator of weights. Owns reproducibility across machines: no operation
//! here depends on a platform's mathematical library. Must not know what the numbers are for.

/// A `splitmix64` generator (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts a stream of numbers; `stream` separates the users of one seed, so that a tensor keeps
    /// its weights when another one is added before it.
    pub(crate) fn new(seed: u64, stream: &str) -> Self {
        let mixed = stream
            .bytes()
            .fold(seed, |state, byte| Self(state ^ u64::from(byte)).next_u64());
        Self(mixed)
    }

    /// `count` numbers of mean 0 and the given standard deviation.
    pub(crate) fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * deviation).collect()
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `[0, 1)`, with the 24 bits that an `f32` represents exactly.
    fn uniform(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Nearly normal: a sum of four uniforms (mean 2, variance 1/3), centred and scaled. Needs no
    /// logarithm, whose last bit differs between platforms.
    fn normal(&mut self) -> f32 {
        let sum = self.uniform() + self.uniform() + self.uniform() + self.uniform();
        (sum - 2.0) * 3.0_f32.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_stream_repeats_and_differs_from_its_neighbours() {
        let draw = |seed, stream| Random::new(seed, stream).normals(8, 1.0);
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }

    #[test]
    fn the_numbers_have_the_requested_mean_and_deviation() {
        let numbers = Random::new(3, "moments").normals(20_000, 2.0);
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        let variance = numbers.iter().map(|n| n * n).sum::<f32>() / numbers.len() as f32;
        assert!(mean.abs() < 0.06, "mean {mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.06, "variance {variance}");
    }
}
