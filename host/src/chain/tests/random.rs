//! A guest whose memory holds whatever bytes it was given: what the host makes of answers that no toolchain writes.

use gauntlet_tests::guest::{IMAGE, answering};

use super::load::component;
use super::*;

/// A policy that answers with these bytes.
fn saying(image: &[u8]) -> config::Policy {
    let settings = format!("\"{}\"", data_encoding::HEXLOWER.encode(image));
    policy(source("random", &component(&answering())), &settings)
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

/// Words of which some are small, some point into the image, and some are anything.
fn image(numbers: &mut Numbers) -> Vec<u8> {
    let mut words: Vec<u32> = (0..128)
        .map(|_| match numbers.next() % 8 {
            0..=3 => numbers.next() % 4,
            4 | 5 => IMAGE + numbers.next() % 512,
            6 => numbers.next() % 256,
            _ => numbers.next() << 1,
        })
        .collect();
    // Mostly a list as long as the plain batch, so that what is in it is looked at.
    if !numbers.next().is_multiple_of(8) {
        words[..3].copy_from_slice(&[0, IMAGE + 16, 5]);
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[tokio::test]
async fn answers_of_any_bytes_are_faults_or_verdicts() {
    let mut numbers = Numbers(7);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..400 {
        let policies = [saying(&image(&mut numbers))];
        match Chain::build(shared(), &tenant("random"), &policies, 1).await {
            Ok(chain) => {
                taken += 1;
                // Asked about another number of series than it answers.
                assert!(matches!(
                    chain.relabel(batch(&[UP])).await,
                    Err(CallError::Failed { .. })
                ));
            }
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(error.fault, BuildFault::Golden(_) | BuildFault::Impure(_)),
                    "{error}"
                );
                assert!(error.to_string().len() < 2048, "{error}");
            }
        }
    }
    assert!(refused > 100, "{taken} taken, {refused} refused");
    // An answer that keeps all five plain series is one.
    let keeps = [0, IMAGE + 16, 5]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain([0; 512]);
    let policies = [saying(&keeps.collect::<Vec<u8>>())];
    Chain::build(shared(), &tenant("random"), &policies, 1).await.unwrap();
}
