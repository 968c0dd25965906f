//! Chance that can be had again.

/// The seed of a test's chances: a new one each time, which is printed, or the one that is given.
#[expect(clippy::print_stderr, reason = "whoever reads of a failure needs it")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("NEBULA_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    eprintln!("NEBULA_TEST_SEED={seed} does the same again");
    seed
}
