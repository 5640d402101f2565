//! The random generator of a run. The same seed gives the same load.

/// `SplitMix64` (Steele, Lea and Flood, 2014): small and portable.
pub(crate) struct Seed(u64);

impl Seed {
    /// Returns the generator of one scenario: from `OTPOST_FAULTS_SEED`, or from a new seed. It prints the
    /// seed, so that a run can be repeated.
    pub(crate) fn of(scenario: &str) -> Self {
        let given = std::env::var("OTPOST_FAULTS_SEED").ok();
        let run = given.map_or_else(
            || u64::from(uuid::Uuid::new_v4().as_fields().0),
            |text| text.parse().expect("OTPOST_FAULTS_SEED is a whole number"),
        );
        println!("{scenario}: OTPOST_FAULTS_SEED={run}");
        // FNV-1a of the name, so that scenarios of one run differ.
        let name = scenario.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(run ^ name)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns one of the values, by weight.
    pub(crate) fn one_of<T: Copy>(&mut self, weighted: &[(u64, T)]) -> T {
        let mut at = self.below(weighted.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in weighted {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        unreachable!("the weights were added up")
    }
}
