//! Chance that can be had again: a failed run shows its seed, and `HOTLIST_SEED` takes it.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Another sequence in every run, unless `HOTLIST_SEED` is set.
pub fn chance() -> StdRng {
    let given = std::env::var("HOTLIST_SEED").ok();
    let seed: u64 = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    // Test runners show the output of what failed.
    println!("HOTLIST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
